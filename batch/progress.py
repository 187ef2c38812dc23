"""Progress of a training run: a bar on a terminal, one plain line every few seconds elsewhere. Talks on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_LINE_S = 5.0


class TrainingProgress:
    """`with TrainingProgress("pretrain", quiet=False) as progress: progress.show(...)`; cheap to call at every step."""

    def __init__(self, title: str, *, quiet: bool) -> None:
        self.title = title
        self.quiet = quiet
        self.last_line_s = -PLAIN_LINE_S
        self.bar: Progress | None = None
        console = Console(stderr=True)
        if not quiet and console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                console=console,
                transient=False,
            )
            self.task = self.bar.add_task(title, total=1.0, text="")

    def __enter__(self) -> TrainingProgress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def show(
        self, *, share: float, epoch: int, tokens_per_s: float, loss: float, ndcg: float | None, left_s: float
    ) -> None:
        """share: of the run that is done, 0 to 1; ndcg: of the last validation; left_s: estimated seconds left."""
        scored = "" if ndcg is None else f" · validation NDCG@10 {ndcg:.4f}"
        speed = f"{tokens_per_s:,.0f} items/s"
        self.tell(share=share, text=f"epoch {epoch} · {speed} · loss {loss:.4f}{scored} · {duration(left_s)} left")

    def tell(self, *, share: float, text: str) -> None:
        """share: of the run that is done, 0 to 1; text: how it goes."""
        now = time.monotonic()
        if self.quiet or (self.bar is None and now - self.last_line_s < PLAIN_LINE_S):
            return
        self.last_line_s = now
        if self.bar is not None:
            self.bar.update(self.task, completed=share, text=text)
        else:
            print(f"{self.title} {share:4.0%} · {text}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.console.print(text, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """
    >>> duration(59.6), duration(61), duration(3700)
    ('60 s', '1 min 1 s', '1 h 1 min')
    """
    whole = round(max(seconds, 0.0))
    if whole <= 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
