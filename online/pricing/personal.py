"""No word about a person sets a fare (law 9): names that say who somebody is, by the words that they are made of."""

PERSONAL = frozenset(
    "user users userid person customer client name firstname lastname surname passenger email mail "
    "phone mobile tel telephone address street zip postcode account acct member membership loyalty frequent ffn device "
    "ip useragent agent browser cookie cookies session fingerprint advertising idfa gaid gender sex age birth birthday "
    "birthdate dob nationality citizenship ethnicity religion passport ssn income salary employer iban card".split()
)


def is_personal(name: str) -> bool:
    """Whether a name says something of a person.

    >>> is_personal("user_id"), is_personal("deviceType"), is_personal("saturday_stay")
    (True, True, False)
    """
    spaced = "".join(f" {c.lower()}" if c.isupper() else c for c in name).replace("_", " ").replace("-", " ")
    words = spaced.split()
    return any(word in PERSONAL for word in words) or name.lower().replace("_", "").replace("-", "") in PERSONAL
