"""Every error that the service answers with, on one page: RFC 9457 `application/problem+json`.

The law of this file: no answer repeats what a client sent, because what cannot be decoded cannot be encoded
either (a lone surrogate in an echoed input is how a 422 becomes a 500). An error names the place by a JSON
pointer, says what was expected, and how to cure it.
"""

import re
from typing import Any

import msgspec

MEDIA_TYPE = b"application/problem+json"
# Refused before the body was read: whoever goes on sending it would hold the connection.
_BODY_UNREAD = frozenset(
    {"unsupported_media_type", "body_too_large", "body_timeout", "key_missing", "key_unknown", "scope_missing"}
    | {"origin_foreign", "host_foreign", "too_many_guesses", "rate_limited", "overloaded"}
)


class Kind(msgspec.Struct, frozen=True):
    """One entry of the catalogue. `status` is that of a whole request; an event's own code carries none of its own."""

    code: str
    status: int
    title: str
    cure: str


CATALOGUE: dict[str, Kind] = {
    kind.code: kind
    for kind in (
        Kind(
            "malformed_json",
            400,
            "The body is not JSON",
            "Send UTF-8 JSON (RFC 8259): no NaN, no Infinity, no lone surrogates.",
        ),
        Kind(
            "too_deep",
            400,
            "The body is nested too deeply",
            "Nothing in this API nests deeper than five levels.",
        ),
        Kind("header_invalid", 400, "A header cannot be read", "See the header's description in /docs."),
        Kind(
            "key_missing",
            401,
            "A key is needed",
            "Send `Authorization: Bearer KEY`; `perennial keys create` makes one. People sign in at /login.",
        ),
        Kind(
            "key_unknown",
            401,
            "This key is not known, or was revoked",
            "`perennial keys list` shows the valid ones; `perennial keys create` makes another.",
        ),
        Kind(
            "scope_missing",
            403,
            "This key does not open that",
            "Use a key with the scope that the detail names: `perennial keys create NAME --scope SCOPE`.",
        ),
        Kind(
            "origin_foreign",
            403,
            "The request comes from a page of another site",
            "Only this service's own pages may change something in a browser; programs send no `Origin`.",
        ),
        Kind(
            "host_foreign",
            403,
            "Without keys only loopback names are answered to",
            "Ask for 127.0.0.1 or localhost, or make keys: `perennial keys create`.",
        ),
        Kind(
            "too_many_guesses",
            429,
            "Too many unknown keys from this address",
            "Wait for `Retry-After` seconds; a valid key is still taken.",
        ),
        Kind(
            "rate_limited",
            429,
            "This key has asked too often",
            "Wait for `Retry-After` seconds; `RateLimit` says what is left. `perennial keys create --limit` sets it.",
        ),
        Kind(
            "overloaded",
            503,
            "More is asked than can be answered in time",
            "Wait for `Retry-After` seconds and send it again. Figures and lists are refused first, feedback last.",
        ),
        Kind(
            "not_found",
            404,
            "There is nothing at this address",
            "See /docs for every address; a trailing slash is one too many.",
        ),
        Kind(
            "decision_unknown",
            404,
            "No such decision",
            "Use the decision_id of an answer; decisions leave with the log's retention.",
        ),
        Kind(
            "flight_unknown",
            404,
            "No such flight",
            "Say what the flight is first: PUT /v1/flights/{flight_id}.",
        ),
        Kind(
            "quote_unknown",
            404,
            "No such quote",
            "Use the quote_id of an answer to POST /v1/quotes.",
        ),
        Kind(
            "booking_unknown",
            404,
            "No such booking",
            "Use the booking_id of an answer to POST /v1/quotes/{quote_id}/outcome.",
        ),
        Kind(
            "record_unknown",
            404,
            "No such record",
            "Paste the id of an event, a decision or an act as it was sent or answered, or a position of the log.",
        ),
        Kind(
            "snapshot_unknown",
            404,
            "No such snapshot",
            "See GET /v1/snapshots for those that there are.",
        ),
        Kind("problem_unknown", 404, "No such problem", "See /problems for all of them."),
        Kind(
            "method_not_allowed",
            405,
            "This address does not answer to this method",
            "The `Allow` header lists those it answers to.",
        ),
        Kind("malformed_request", 400, "What was sent is not HTTP/1.1", "Use an HTTP client; TLS is not spoken here."),
        Kind("head_timeout", 408, "The request did not arrive in time", "Send all headers within 10 seconds."),
        Kind("head_too_large", 431, "The headers are too large", "Send less than 64 KiB of headers."),
        Kind("body_timeout", 408, "The body did not arrive in time", "Send the whole body within 15 seconds."),
        Kind(
            "decision_conflict",
            409,
            "This decision_id has been used for another request",
            "Send a new decision_id, or none: then one is made.",
        ),
        Kind(
            "sold_out",
            409,
            "No seat is left",
            "Ask for another flight, or again when a booking was cancelled or a hold has ended.",
        ),
        Kind(
            "outcome_conflict",
            409,
            "This quote has another outcome already",
            "A booked quote is given back by POST /v1/bookings/{booking_id}/cancel; a new booking takes a new quote.",
        ),
        Kind(
            "capacity_in_use",
            409,
            "More seats are booked or held than this capacity",
            "Cancel bookings first, or let holds end.",
        ),
        Kind(
            "quote_expired",
            410,
            "The quote has expired",
            "Ask for a new one: POST /v1/quotes.",
        ),
        Kind(
            "history_refused",
            409,
            "This cannot be done with the log as it is",
            "The detail says why, and what there is instead; nothing was changed.",
        ),
        Kind(
            "act_overtaken",
            409,
            "Another act came in between",
            "Look at GET /v1/acts, and ask again if it is still wanted; nothing was changed.",
        ),
        Kind("body_too_large", 413, "The body is too large", "Send fewer events or items in one call."),
        Kind(
            "unsupported_media_type",
            415,
            "The body is not declared as JSON",
            "Send `Content-Type: application/json`, with no `Content-Encoding`.",
        ),
        Kind(
            "invalid_request",
            422,
            "The request does not fit its schema",
            "See `errors`: each names a place in the body and what was expected there.",
        ),
        Kind(
            "duplicate_key",
            422,
            "An object has the same key twice",
            "Send each key once: which of two values is meant cannot be known.",
        ),
        Kind(
            "idempotency_key_reused",
            422,
            "This Idempotency-Key came with another body before",
            "Use a new key for a new request; repeat a request with the very same body.",
        ),
        Kind("internal", 500, "The service failed", "This is a defect: report it with its request_id."),
        Kind(
            "log_unavailable",
            503,
            "The log cannot be written now, so nothing was accepted",
            "Send the same request again after `Retry-After` seconds; nothing is counted twice.",
        ),
        Kind(
            "trace_failed",
            503,
            "The state before that record could not be built",
            "Try again; `perennial snapshot verify` and `perennial doctor` say what is missing.",
        ),
        Kind(
            "learner_not_ready",
            503,
            "The learner has not published its first parameters",
            "Wait for /readyz; `perennial doctor` names what is missing.",
        ),
        Kind(
            "learner_behind",
            503,
            "This worker has not learned up to X-Min-Position yet",
            "Ask again after `Retry-After` seconds, or leave the header out.",
        ),
        Kind(
            "seats_unknown",
            503,
            "The log's server does not know this flight's seats",
            "The learner counts them again from the log at its next start.",
        ),
        # What can be wrong with one event or one item of a batch; it rejects itself, not the batch.
        Kind("wrong_type", 422, "A field has the wrong type", "See the schema of the call in /docs."),
        Kind("missing_field", 422, "A required field is missing", "See the schema of the call in /docs."),
        Kind(
            "unknown_field",
            422,
            "A field is not known",
            "Check its spelling in /docs; what was known about the moment goes into `context`.",
        ),
        Kind(
            "personal_data",
            422,
            "No personal data sets a price",
            "Leave the field out: a fare depends on the flight and on what is asked for, never on who asks.",
        ),
        Kind(
            "unknown_feature",
            422,
            "The model does not know this feature",
            "Send features that its history had as `feature_*` columns; a missing one counts as its usual value.",
        ),
        Kind("rule_invalid", 422, "A rule cannot be applied", "See the rule's kind in docs/architecture.md."),
        Kind("unknown_rule", 422, "No such rule", "GET /v1/rules lists those in force."),
        Kind(
            "unknown_event_type",
            422,
            "This event_type is not known",
            "The detail lists the known ones; the settings add others.",
        ),
        Kind("empty_id", 422, "An id is empty", "Ids have 1 to 256 characters."),
        Kind("id_too_long", 422, "An id is too long", "Ids have 1 to 256 characters."),
        Kind(
            "id_not_printable",
            422,
            "An id holds control characters or is not valid Unicode",
            "Use printable characters.",
        ),
        Kind("not_finite", 422, "A number is not finite", "Leave the field out where there is no value."),
        Kind("value_out_of_range", 422, "A number is out of its range", "See the schema of the call in /docs."),
        Kind(
            "time_malformed",
            422,
            "A time cannot be read",
            "Send RFC 3339 with an offset, such as 2026-01-31T12:00:00Z, or Unix milliseconds as an integer.",
        ),
        Kind(
            "time_in_future",
            422,
            "A time is more than an hour ahead",
            "Check the sender's clock; without the field the arrival counts.",
        ),
    )
}


class Pointer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One place in the body (RFC 6901) and what is wrong there."""

    pointer: str
    code: str
    detail: str


class ProblemBody(msgspec.Struct, frozen=True, rename={"kind": "type"}):
    """The body of every error answer. `type` is an address on this service that explains the code."""

    kind: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    hint: str
    errors: tuple[Pointer, ...] = ()


class Problem(Exception):
    """Raised anywhere in a request, answered as problem+json."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: tuple[Pointer, ...] = (),
        retry_after_s: int | None = None,
        allow: str | None = None,
        more: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.kind = CATALOGUE[code]
        self.detail = detail or self.kind.title + "."
        self.errors = errors
        self.retry_after_s = retry_after_s
        self.allow = allow
        self.more = more  # headers beside these
        super().__init__(f"{code}: {self.detail}")

    @property
    def status(self) -> int:
        return self.kind.status

    def body(self, request_id: str) -> bytes:
        """The JSON document (RFC 9457, section 3)."""
        return _encode(
            ProblemBody(
                kind=f"/problems/{self.kind.code}",
                title=self.kind.title,
                status=self.kind.status,
                detail=self.detail,
                code=self.kind.code,
                request_id=request_id,
                hint=self.kind.cure,
                errors=self.errors,
            )
        )

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers beyond content type and length."""
        found: list[tuple[bytes, bytes]] = list(self.more)
        if self.retry_after_s is not None:
            found.append((b"retry-after", str(max(1, self.retry_after_s)).encode()))
        if self.allow is not None:
            found.append((b"allow", self.allow.encode()))
        if self.kind.status == 401:
            found.append((b"www-authenticate", b'Bearer realm="perennial"'))
        if self.kind.code in _BODY_UNREAD:
            found.append((b"connection", b"close"))
        return found


class Fault(Exception):
    """One thing wrong with one value: becomes an entry of `rejected` in a batch, or a 422 for a whole request."""

    def __init__(self, code: str, detail: str, *, pointer: str = "") -> None:
        self.code = code
        self.detail = detail
        self.pointer = pointer
        super().__init__(f"{code} at {pointer or '/'}: {detail}")

    def problem(self) -> Problem:
        """This fault as the answer to a whole request."""
        code = self.code if self.code in ("malformed_json", "too_deep", "duplicate_key") else "invalid_request"
        return Problem(code, self.detail, errors=(Pointer(self.pointer, self.code, self.detail),))


_PATH_PART = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]|\[\.\.\.\]")


def pointer_of(path: str) -> str:
    """A JSON pointer from msgspec's path; where msgspec does not say the index or key, the pointer stops before it.

    >>> pointer_of("$.events[3].value")
    '/events/3/value'
    >>> pointer_of("$.context[...]")
    '/context'
    """
    parts: list[str] = []
    for match in _PATH_PART.finditer(path):
        name, index = match.groups()
        if name is None and index is None:
            break
        parts.append(name if name is not None else index)
    return "".join(f"/{part}" for part in parts)


_QUOTED = re.compile(r"`([^`]*)`")


def fault_of(error: msgspec.ValidationError) -> Fault:
    """What msgspec found, in this catalogue's words."""
    text, _, path = str(error).partition(" - at `")
    pointer = pointer_of(path.rstrip("`"))
    lower = text.lower()
    if "unknown field" in lower:
        name = "".join(_QUOTED.findall(text))[:64]
        # The name is the client's own: only what is certain to be encodable is repeated.
        shown = f" `{name}`" if name.isascii() and name.isprintable() else ""
        return Fault("unknown_field", f"Unknown field{shown}.", pointer=pointer)
    if "missing required field" in lower:
        name = "".join(_QUOTED.findall(text))
        return Fault("missing_field", f"The field `{name}` is required.", pointer=f"{pointer}/{name}")
    if "rfc3339" in lower or "timezone" in lower or "datetime" in lower:
        return Fault("time_malformed", "Expected an RFC 3339 time with an offset.", pointer=pointer)
    if "out of range" in lower or "<=" in text or ">=" in text or "length" in lower:
        return Fault("value_out_of_range", text + ".", pointer=pointer)
    return Fault("wrong_type", text + ".", pointer=pointer)


_encoder = msgspec.json.Encoder()


def _encode(body: Any) -> bytes:
    return _encoder.encode(body)
