"""The log: one ordered, durable sequence of records per workspace, in a Redis or Valkey stream.

Nothing here knows what a record says. Positions are dense: 1, 2, 3 …; position n is the stream's entry "n-0".
"""

from online.log.checks import Check, check_server, require_durable
from online.log.connection import connect
from online.log.errors import (
    LogBroken,
    LogError,
    LogGap,
    LogInUse,
    LogNotDurable,
    LogServerFailed,
    LogServerMissing,
    LogUnavailable,
    LogWentBack,
)
from online.log.keys import LogKeys
from online.log.reader import LogReader
from online.log.server import LogServer
from online.log.writer import Claim, LogWriter, Verdict

__all__ = [
    "Check",
    "Claim",
    "LogBroken",
    "LogError",
    "LogGap",
    "LogInUse",
    "LogKeys",
    "LogNotDurable",
    "LogReader",
    "LogServer",
    "LogServerFailed",
    "LogServerMissing",
    "LogUnavailable",
    "LogWentBack",
    "LogWriter",
    "Verdict",
    "check_server",
    "connect",
    "require_durable",
]
