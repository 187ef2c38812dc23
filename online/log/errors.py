"""All that can go wrong with the log, on one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from online.log.checks import Check


class LogError(Exception):
    """The root of what this package raises."""


class LogUnavailable(LogError):
    """The log cannot take or give records now. An append that ends so may have been kept: send it again."""

    def __init__(self, reason: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class LogWentBack(LogError):
    """The server holds less than it acknowledged before: another data folder, a restore, or a failover."""


class LogGap(LogError):
    """The next record is not there: trimmed away before it was read, or lost."""

    def __init__(self, *, expected: int, found: int) -> None:
        super().__init__(
            f"expected the record at position {expected}, the log continues at {found}: those between were "
            "trimmed or lost. Start from a snapshot at or after that place."
        )
        self.expected = expected
        self.found = found


class LogBroken(LogError):
    """The keys of the log hold something else than this package writes."""


class LogNotDurable(LogError):
    """The server's settings would lose acknowledged records."""

    def __init__(self, checks: "Sequence[Check]") -> None:
        red = [check for check in checks if not check.ok]
        lines = [f"  {check.name}: {check.found}\n    {check.cure}" for check in red]
        super().__init__("\n".join(["the log's server is not safe to use:", *lines]))
        self.checks = tuple(checks)


class LogInUse(LogError):
    """Another process serves this folder. Two servers on one folder lose records without an error."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(f"{folder} is in use by {holder}. Stop that one, or give this one another folder.")
        self.folder = folder
        self.holder = holder


class LogServerMissing(LogError):
    """No server program is to be had on this machine."""


class LogServerFailed(LogError):
    """The server ended, or did not answer, before it was ready."""
