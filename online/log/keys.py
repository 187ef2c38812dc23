"""The names of a log's keys.

One log per workspace and partition. The part in braces is the hash tag: all keys of one log lie in one slot
of a cluster, so that one script may touch them together, and logs spread over the masters.
"""

import re
from dataclasses import dataclass

_WORKSPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LogKeys:
    """The keys of one log.

    >>> LogKeys().log
    'perennial:{default/0}:log'
    """

    workspace: str = "default"
    partition: int = 0

    def __post_init__(self) -> None:
        if not _WORKSPACE.fullmatch(self.workspace):
            raise ValueError(f"a workspace is 1 to 64 of A-Z a-z 0-9 _ . -, got {self.workspace!r}")
        if self.partition < 0:
            raise ValueError(f"partition must be 0 or more, got {self.partition}")

    @property
    def tag(self) -> str:
        return f"perennial:{{{self.workspace}/{self.partition}}}"

    @property
    def log(self) -> str:
        """The stream. Entry "<position>-0" has one field, "r": the encoded record."""
        return f"{self.tag}:log"

    @property
    def sequence(self) -> str:
        """The last position given out."""
        return f"{self.tag}:sequence"

    @property
    def writers(self) -> str:
        """Per writer its last batch: what a batch that is sent again is recognised by."""
        return f"{self.tag}:writers"

    def stock(self, name: str) -> str:
        """Places that records may claim, as the script that appends counts them."""
        return f"{self.tag}:stock:{name}"
