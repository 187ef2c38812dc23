"""Questions about the past, answered by a process beside the workers: `python -m api.past`, started by a worker.

Reproducing a decision, planning an act and taking a snapshot all fold the log, which takes a core; a worker that did it
would keep its own requests waiting. One question at a time, a line of JSON each way. The process ends with the worker.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from api.home import history_of
from api.snapshots import snapshot_at
from api.supervisor import keep_artifact
from online.archive import open_log
from online.artifact import ArtifactCorrupt, ArtifactMissing, artifact_kind, read_artifact
from online.erasure import finish_erasure
from online.history import History, PositionUnknown
from online.lineage import Arguments
from online.log import connect
from online.planning import PlanRefused, planned
from online.records import Act
from online.reproduction import Reproducer, Unreproducible
from online.search import find_backwards
from online.snapshot import SnapshotCorrupt, SnapshotForeign, SnapshotMissing, describe, find_snapshot

_REFUSED = (PositionUnknown, PlanRefused, SnapshotMissing, SnapshotCorrupt, SnapshotForeign, Unreproducible)


class Past:
    """One home's past. Every method is a question; its arguments and its answer are plain values."""

    def __init__(self, home: Path, log_url: str) -> None:
        self._home = home
        self._log_url = log_url
        self._reader = open_log(log_url, home)
        self._history: History | None = None
        self._reproducer: Reproducer | None = None

    @property
    def history(self) -> History:
        """Opened at the first question: the log may be away before it."""
        if self._history is None:
            self._history = history_of(self._home, self._reader)
        return self._history

    def find(self, decision_id: str) -> int | None:
        """Where a decision stands whose id does not say when it was made."""
        return find_backwards(self._reader, decision_id)

    def reproduce(self, position: int) -> Any:
        """Decide the decision at a position again."""
        if self._reproducer is None:
            self._reproducer = Reproducer(self.history)
        return msgspec.to_builtins(self._reproducer.reproduce(position))

    def plan(
        self,
        act: str,
        arguments: dict[str, Any],
        dry_run: bool,
        act_id: str,
        snapshot: str | None = None,
        time_ms: int | None = None,
    ) -> Any:
        """What an act on the past would do; `known` where it is done already: it was sent again."""
        self.history.scan(self._reader.head())
        for position, known in self.history.lineages.acts:
            if act_id and known.act_id == act_id:
                return {"known": self._of(position, known)}
        if snapshot is not None:
            arguments["to"] = find_snapshot(self._home / "snapshots", snapshot).position
        if time_ms is not None:
            arguments["to"] = self.history.position_at(time_ms)
        if act == "promote":
            kept = self._kept_artifact(arguments.pop("artifact"))
            of_fares = artifact_kind(self._home / "artifacts" / kept) == "pricing"
            arguments["pricing_artifact" if of_fares else "artifact"] = kept
        told = msgspec.convert(arguments, Arguments)
        plan = planned(self.history, act, told, dry_run=dry_run, snapshots=self._home / "snapshots")
        return msgspec.to_builtins(plan)

    def _kept_artifact(self, named: str) -> str:
        """The id of an artifact that is named by it, or by a folder: then it is copied into the home first."""
        kept = self._home / "artifacts"
        try:
            if Path(named).name != named or not (kept / named).is_dir():
                artifact = read_artifact(Path(named))
                keep_artifact(Path(named), kept / artifact.id)
                named = artifact.id
            return read_artifact(kept / named).id
        except (ArtifactMissing, ArtifactCorrupt) as error:
            raise PlanRefused(str(error)) from error

    def erase(self, position: int) -> Any:
        """Take the records of the erasure at a position out of log, files and snapshots; the receipt."""
        self.history.scan(position)
        with connect(self._log_url) as client:
            receipt = finish_erasure(self.history, client, position, home=self._home)
        self._history = self._reproducer = None  # states that it kept have seen the user
        return msgspec.to_builtins(receipt)

    def digest(self, position: int) -> str:
        """The digest of the state at a position."""
        return self.history.state_at(position).state.digest()

    def snapshot(self, label: str) -> Any:
        """Take a snapshot at the log's end."""
        return describe(snapshot_at(self._home, self.history, self._reader.head(), label=label))

    def acts(self) -> Any:
        """Every act of the log, the newest last."""
        self.history.scan(self._reader.head())
        return [self._of(position, act) for position, act in self.history.lineages.acts]

    def _of(self, position: int, act: Act) -> dict[str, Any]:
        return {
            "position": position,
            "act": act.act,
            "reason": act.reason,
            "author": act.client,
            "received_ms": act.received_ms,
            "act_id": act.act_id,
            "arguments": json.loads(act.arguments),
            "void": position in self.history.lineages.void,
        }


def answer(past: Past, question: dict[str, Any]) -> dict[str, Any]:
    """The reply to one question; a refusal says why, a defect that it is one."""
    asked: Callable[..., Any] = getattr(past, question["ask"])
    try:
        return {"answer": asked(**question["arguments"])}
    except _REFUSED as refused:
        return {"refused": str(refused), "kind": type(refused).__name__}
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}


def main(arguments: list[str] | None = None) -> int:
    """Answer lines until there are none."""
    parser = argparse.ArgumentParser(prog="python -m api.past", description=main.__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--log-url", required=True)
    options = parser.parse_args(arguments)
    past = Past(options.home, options.log_url)
    for line in sys.stdin:
        print(json.dumps(answer(past, json.loads(line))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
