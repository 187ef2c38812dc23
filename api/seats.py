"""Records that claim a seat, and the ids of bookings."""

from api.problems import Problem
from api.service import Service
from online import records
from online.log import Claim, LogError, LogUnavailable, Verdict

_KEY_DIGITS = 16


async def claim(service: Service, entry: records.Record, wanted: Claim) -> Verdict:
    """Append a record if its seat is there, in one step. Raises Problem where the log cannot be written, or does not
    know the flight's seats."""
    if service.model_if_ready is None:
        raise Problem("learner_not_ready", retry_after_s=1)
    try:
        verdict = await service.writer.claim(records.encode(entry), wanted)
    except LogUnavailable as error:
        raise Problem("log_unavailable", retry_after_s=max(1, round(error.retry_after_s))) from error
    except LogError as error:
        raise Problem("log_unavailable", retry_after_s=30) from error
    service.metrics.claimed(verdict.code)
    if verdict.code == "unknown" and verdict.position == 0 and wanted.verb != "give":
        raise Problem("seats_unknown", retry_after_s=30)
    return verdict


def booking_id(flight_key: int, quote_id: str) -> str:
    """The id of the booking that a quote became: it says which flight's seats it is counted among."""
    return f"{flight_key:016x}-{quote_id}"


def booked_quote(name: str) -> tuple[int, str] | None:
    """(the flight's key, the quote) of a booking's id; None for what is no such id.

    >>> booked_quote(booking_id(255, "q-1"))
    (255, 'q-1')
    """
    head, dash, quote_id = name[:_KEY_DIGITS], name[_KEY_DIGITS : _KEY_DIGITS + 1], name[_KEY_DIGITS + 1 :]
    if dash != "-" or not quote_id or any(c not in "0123456789abcdef" for c in head):
        return None
    return int(head, 16), quote_id
