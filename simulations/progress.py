"""Progress of long work, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any


class Bar:
    """Progress on stderr, with the rate and the time left; silent where nobody looks."""

    def __init__(self, quiet: bool) -> None:
        self.progress: Any = None
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.progress = Progress(
                TextColumn("{task.description:>10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.progress.start()

    def of(self, name: str) -> Any:
        """A report function for one part of the work."""
        if self.progress is None:
            return lambda done, total: None
        task = self.progress.add_task(name, rate="")
        started = time.perf_counter()

        def report(done: int, total: int) -> None:
            rate = done / max(time.perf_counter() - started, 1e-9)
            self.progress.update(task, completed=done, total=total, rate=f"{rate:,.0f}/s")

        return report

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.progress is not None:
            self.progress.stop()
