"""Commands on the configuration: show."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from api.console import MISSING, USAGE, Home, Json, default_home, give, refuse, say


def config_show(
    resolved: Annotated[bool, typer.Option("--resolved", help="Every value; without, those that are set.")] = False,
    settings: Annotated[Path | None, typer.Option(help="A file of settings, as `up` takes it.")] = None,
    home: Home = default_home(),
    redis_url: Annotated[str | None, typer.Option(help="The log's server, where it is not this home's own.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a service on this home is configured with, and where each value comes from.

    Example: perennial config show --resolved
    """
    from api.configuration import resolved as resolve
    from api.configuration import unknown_variables
    from api.home import HomeEmpty, history_of, log_of
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.fold import LogForeign
    from online.log import LogError
    from online.settings import SettingsInvalid

    begun = None
    try:
        with log_of(home, redis_url) as reader:
            begun = history_of(home, reader, from_snapshots=False).settings
    except HomeEmpty:
        pass  # nothing was served from here yet: a file, or the defaults, will count
    except (LogError, LogForeign, ArtifactMissing, ArtifactCorrupt) as error:
        refuse(str(error), MISSING)
    try:
        values = resolve(home, os.environ, chosen=settings, begun=begun)
    except SettingsInvalid as error:
        refuse(str(error), USAGE)
    if begun is not None and settings is not None:
        say(f"perennial: {settings} does not count: this home's log has begun, with the settings shown")
    for problem in unknown_variables(os.environ):
        say(f"perennial: {problem}")
    shown = [one for one in values if resolved or not one.by_default]
    found = [{"name": one.name, "value": one.value, "origin": one.origin} for one in shown]
    lines = [f"{one.name:44} {json.dumps(one.value):32} {one.origin}" for one in shown]
    give(found, as_json=as_json, text="\n".join(lines) or "everything is as by default; --resolved shows it")
