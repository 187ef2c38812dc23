"""What all commands share: results go to stdout, talk to stderr, and an end says what to do.

Exit codes: 0 done; 1 what was checked is not so; 2 wrong usage; 3 something that is needed is missing.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

CHECK_FAILED, USAGE, MISSING = 1, 2, 3
EXIT_CODES = (
    "Exit codes: 0 done; 1 what was checked is not so; 2 wrong usage; 3 something that is needed is missing; "
    "130 interrupted."
)

Home = Annotated[
    Path,
    typer.Option(help="Folder of the log, snapshots and artifacts.", envvar="PERENNIAL_HOME", show_default=True),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def default_home() -> Path:
    """~/.local/share/perennial, or where the XDG rules put it."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "perennial"


def say(text: str) -> None:
    """Talk: to stderr."""
    print(text, file=sys.stderr, flush=True)


def give(result: Any, *, as_json: bool, text: str) -> None:
    """The result: to stdout, as JSON or as text."""
    print(json.dumps(result, ensure_ascii=False) if as_json else text, flush=True)


def refuse(message: str, code: int) -> NoReturn:
    """End with a message that says what to do."""
    say(f"perennial: {message}")
    raise typer.Exit(code)
