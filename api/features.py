"""Facts of a request or a flight that a fare may depend on, checked; and no word about a person (law 9).

A fare is set from the flight and from what is asked for, never from who asks: names of personal data are refused with
the reason, wherever they stand. The features that an artifact's log named are the declared list, and any other name is
refused; without a log, a name that comes often enough is used, and the list of what is refused still holds.
"""

from collections.abc import Iterable, Mapping

from api.problems import Fault, Problem
from api.values import check_printable
from online.pricing.personal import is_personal

VALUE_MAX = 1e12
NAME_MAX = 64
PREFIX = "feature_"  # what files of bookings call these columns begins with it


def personal_fault(name: str, pointer: str) -> Fault:
    """What a client is told that sends such a field."""
    shown = f" `{name}`" if name.isascii() and name.isprintable() and len(name) <= NAME_MAX else ""
    detail = f"No personal data sets a price, so the field{shown} is refused. Leave it out."
    return Fault("personal_data", detail, pointer=pointer)


def refuse_personal(problem: Problem) -> Problem:
    """A problem about an unknown field, told as what it is where its name is one of a person's."""
    for error in problem.errors:
        if error.code == "unknown_field" and "`" in error.detail:
            name = error.detail.split("`")[1]
            if is_personal(name):
                return personal_fault(name, f"{error.pointer}/{name}").problem()
    return problem


def features_of(
    values: Mapping[str, float | bool] | None, known: Iterable[str] | None, pointer: str = "/features"
) -> dict[str, float] | None:
    """Features by their names, without the prefix that they have in files. `known` None: any name. Raises Fault."""
    if not values:
        return None
    found: dict[str, float] = {}
    for given, value in values.items():
        name = given.removeprefix(PREFIX)
        place = f"{pointer}/{given.replace('~', '~0').replace('/', '~1')}"
        if not name or len(name) > NAME_MAX:
            raise Fault("id_too_long", f"A feature's name has 1 to {NAME_MAX} characters.", pointer=pointer)
        check_printable(name, pointer)
        if is_personal(name):
            raise personal_fault(name, place)
        if known is not None and name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise Fault("unknown_feature", f"The booking log named: {listed}.", pointer=place)
        if not -VALUE_MAX <= value <= VALUE_MAX:
            raise Fault("value_out_of_range", f"A feature lies within ±{VALUE_MAX:g}.", pointer=place)
        if name in found:
            raise Fault("duplicate_key", "A feature stands with and without `feature_`.", pointer=place)
        found[name] = float(value)
    return found


def disclosure(features: Mapping[str, float] | None) -> str:
    """What a quote says of what it was made from."""
    used = f"Of the request it used: {', '.join(sorted(features))}." if features else "Of the request it used nothing."
    return (
        "This fare was set by an algorithm from the flight's demand, its seats and the time to departure. "
        f"{used} No personal data was used."
    )
