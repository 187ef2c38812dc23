"""Whether this worker can do all that it promises, check by check, each with its cure."""

from api.identifiers import clock_ms
from api.schemas import CheckReply, ReadyReply
from api.service import Service

# A learner that publishes nothing for this long while records wait is not learning.
_LAG_MAX_RECORDS = 10_000
_SILENT_MAX_MS = 10_000


async def readiness(service: Service) -> ReadyReply:
    """The checks, in a fixed order. Reads memory only: a probe costs nothing and waits for nothing."""
    model = service.model_if_ready
    head = service.writer.head
    checks = [
        CheckReply(
            name="log",
            ok=service.writer.connected,
            found="connected" if service.writer.connected else "not connected; decisions are answered, feedback is not",
            cure=""
            if service.writer.connected
            else "Start the log's server again; `perennial doctor` says what it lacks.",
        ),
        CheckReply(
            name="parameters",
            ok=model is not None,
            found="not published yet"
            if model is None
            else f"position {model.position}, artifact {model.artifact_id or 'none'}",
            cure=""
            if model is not None
            else "Wait for the learner; its messages stand in the output of `perennial up`.",
        ),
    ]
    if model is not None:
        lag = max(0, head - model.position)
        silent_ms = max(0, clock_ms() - model.heartbeat_ms)
        checks.append(
            CheckReply(
                name="learner",
                ok=silent_ms <= _SILENT_MAX_MS,
                found="alive" if silent_ms <= _SILENT_MAX_MS else f"silent for {silent_ms // 1000} s",
                cure=""
                if silent_ms <= _SILENT_MAX_MS
                else "`perennial up` starts a dead learner again; see its messages.",
            )
        )
        checks.append(
            CheckReply(
                name="lag",
                ok=lag <= _LAG_MAX_RECORDS,
                found=f"{lag} records behind",
                cure=""
                if lag <= _LAG_MAX_RECORDS
                else "The learner is stuck or too slow: see its messages, or restart it.",
            )
        )
    return ReadyReply(ready=all(check.ok for check in checks), checks=checks)
