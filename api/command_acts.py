"""Operators' acts: freeze, resume, promote, erase, rollback. The running service carries them out, and logs them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api.console import USAGE, Home, Json, default_home, give, refuse

Reason = Annotated[str, typer.Option(help="Why; it stands in the log.")]
Author = Annotated[str, typer.Option(help="Who decided it; it stands in the log.", envvar="PERENNIAL_AUTHOR")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]
NOT_GIVEN = "not given"


def freeze(reason: Reason = NOT_GIVEN, author: Author = "", home: Home = default_home(), as_json: Json = False) -> None:
    """Stop learning: feedback is still logged, and moves no shared parameter.

    Example: perennial freeze --reason bad-feed
    """
    _act(home, {"act": "freeze"}, reason, author, as_json)


def resume(
    learn: Annotated[bool, typer.Option("--learn", help="Learn what came meanwhile too, as if never frozen.")] = False,
    reason: Reason = NOT_GIVEN,
    author: Author = "",
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Learn again: from here on, or, with --learn, from what came meanwhile too.

    Example: perennial resume --learn --reason feed-was-right
    """
    _act(home, {"act": "resume", "meanwhile": "learn" if learn else "skip"}, reason, author, as_json)


def promote(
    artifact: Annotated[str, typer.Argument(help="An artifact's folder, or the id of one that the home keeps.")],
    reason: Reason = NOT_GIVEN,
    author: Author = "",
    dry_run: DryRun = False,
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Put another artifact in the place of the one that serves; what was learned live is learned on it again.

    Example: perennial promote ./artifact-of-monday --reason weekly
    """
    named = str(Path(artifact).resolve()) if Path(artifact).is_dir() else artifact
    _act(home, {"act": "promote", "artifact": named, "dry_run": dry_run}, reason, author, as_json)


def erase(
    user: Annotated[str, typer.Option(help="The user's id.")],
    reason: Reason = NOT_GIVEN,
    author: Author = "",
    dry_run: DryRun = False,
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Forget a user: state, log, snapshots and files become those of a service that never saw them. For good.

    Example: perennial erase --user ada --reason asked-for
    """
    _act(home, {"act": "erase", "user_id": user, "dry_run": dry_run}, reason, author, as_json)


def rollback(
    snapshot: Annotated[str | None, typer.Argument(help="A snapshot's id.")] = None,
    to_position: Annotated[int | None, typer.Option(help="A log position.", min=1)] = None,
    to_time: Annotated[str | None, typer.Option(help="A date, an RFC 3339 time, or Unix time.")] = None,
    without_user: Annotated[list[str] | None, typer.Option(help="Leave this user's records out; repeatable.")] = None,
    without_client: Annotated[list[str] | None, typer.Option(help="Leave this client's records out.")] = None,
    without_event: Annotated[list[str] | None, typer.Option(help="Leave this event out, by its id.")] = None,
    from_position: Annotated[int | None, typer.Option(help="Leave the records out from here …", min=1)] = None,
    until_position: Annotated[int | None, typer.Option(help="… to here.", min=1)] = None,
    reason: Reason = NOT_GIVEN,
    author: Author = "",
    dry_run: DryRun = False,
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Go back; or, with --without-…, live on without some of the records after that place. A later one undoes it.

    Example: perennial rollback --without-user bot-7 --dry-run
    """
    body: dict[str, Any] = {"dry_run": dry_run, "reason": reason}
    if author:
        body["author"] = author
    to = {"snapshot": snapshot, "position": to_position, "time": _moment(to_time)}
    given = {name: value for name, value in to.items() if value is not None}
    if len(given) > 1:
        refuse("name one of a snapshot, --to-position, --to-time", USAGE)
    if (from_position is None) != (until_position is None):
        refuse("--from-position and --until-position come together", USAGE)
    without: dict[str, Any] = {
        name: ids
        for name, ids in (("users", without_user), ("clients", without_client), ("events", without_event))
        if ids
    }
    if from_position is not None:
        without["positions"] = {"from": from_position, "until": until_position}
    if not given and not without:
        refuse("say where to go back to (a snapshot, --to-position, --to-time), or what to leave out", USAGE)
    if given:
        body["to"] = given
    if without:
        body["without"] = without
    _tell(home, "/v1/rollbacks", body, as_json)


def _act(home: Path, body: dict[str, Any], reason: str, author: str, as_json: bool) -> None:
    _tell(home, "/v1/acts", body | {"reason": reason} | ({"author": author} if author else {}), as_json)


def _tell(home: Path, path: str, body: dict[str, Any], as_json: bool) -> None:
    from api.calling import call

    done = call(home, "POST", path, body)
    give(done, as_json=as_json, text=_text(done))


def _text(done: dict[str, Any]) -> str:
    if "removed" not in done:
        return f"{done['act']} stands in the log at position {done['position']}, and is in force from there on"
    lines = [
        f"{done['act']}: nothing was changed; this is what it would do"
        if done["dry_run"]
        else f"{done['act']} stands in the log at position {done['position']}, and is in force",
        f"  same up to position   {done['to']:,}",
        f"  records removed       {done['removed']:,}",
        f"  records back          {done['restored']:,}",
        f"  decisions changed     {done['changed_decisions']:,} of {done['compared_decisions']:,} decided again",
        f"  state digest          {done['digest']}",
    ]
    if done["top"] is not None:
        lines.append(f"  top items before      {', '.join(done['top']['before']) or 'none'}")
        lines.append(f"  top items after       {', '.join(done['top']['after']) or 'none'}")
    if not done["dry_run"] and done["act"] != "erase":
        lines.append(f"  undone by             perennial rollback --to-position {done['from']}")
    return "\n".join(lines)


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    from api.command_batch import moment_ms

    return moment_ms(text)
