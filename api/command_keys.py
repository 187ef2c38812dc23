"""Commands on API keys: create, list, revoke."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from api.console import CHECK_FAILED, USAGE, Home, Json, default_home, give, refuse
from api.scopes import SCOPES


class ScopeChoice(StrEnum):
    """What `--scope` takes: `api.scopes.SCOPES`."""

    DECIDE = "decide"
    FEEDBACK = "feedback"
    OPERATE = "operate"
    ADMIN = "admin"


def keys_create(
    name: Annotated[str, typer.Argument(help="Whose key it is: stands in the records as their client.")],
    scope: Annotated[list[ScopeChoice], typer.Option(help="What it opens; repeatable. `admin` opens everything.")],
    limit: Annotated[
        list[str] | None, typer.Option(help="How often it may ask, such as 200/second or 1000000/day; repeatable.")
    ] = None,
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Make a key and show it, once: only its digest is kept. A running service takes it within a second.

    Example: perennial keys create shop-frontend --scope decide --scope feedback
    """
    from api.keys import KeyRefused, KeysUnreadable, create_key

    try:
        key, text = create_key(home, name, tuple(one for one in SCOPES if one in scope), tuple(limit or ()))
    except KeyRefused as error:
        refuse(str(error), USAGE)
    except KeysUnreadable as error:
        refuse(str(error), CHECK_FAILED)
    shown = {"id": key.id, "name": key.name, "scopes": list(key.scopes), "limits": list(key.limits), "key": text}
    give(shown, as_json=as_json, text=f"{text}\n\nKeep it now: it cannot be shown again. Id {key.id}, name {key.name}.")


def keys_list(home: Home = default_home(), as_json: Json = False) -> None:
    """List the keys, revoked ones too: id, name, scopes, limits, made, last used. Never the key itself.

    Example: perennial keys list
    """
    from api.keys import KeysUnreadable, last_used_ms, read_keys
    from api.values import rfc3339

    try:
        keys = read_keys(home)
    except KeysUnreadable as error:
        refuse(str(error), CHECK_FAILED)
    found: list[dict[str, Any]] = []
    for key in keys:
        used_ms = last_used_ms(home, key.id)
        found.append(
            {
                "id": key.id,
                "name": key.name,
                "scopes": list(key.scopes),
                "limits": list(key.limits),
                "created_at": rfc3339(key.created_at_ms),
                "last_used_at": None if used_ms is None else rfc3339(used_ms),
                "revoked_at": None if key.revoked_at_ms is None else rfc3339(key.revoked_at_ms),
            }
        )
    lines = [f"{'id':8}  {'name':20}  {'scopes':32}  {'limits':24}  {'made':24}  {'last used':24}  revoked"]
    lines += [
        f"{one['id']:8}  {one['name']:20}  {', '.join(one['scopes']):32}  {', '.join(one['limits']):24}  "
        f"{one['created_at']:24}  "
        f"{one['last_used_at'] or 'never':24}  {one['revoked_at'] or ''}".rstrip()
        for one in found
    ]
    give(found, as_json=as_json, text="\n".join(lines) if found else "no keys: only this machine is answered")


def keys_revoke(
    which: Annotated[str, typer.Argument(help="An id; or a name, for all keys of that name.")],
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Revoke a key: a running service refuses it within a second.

    Example: perennial keys revoke shop-frontend
    """
    from api.keys import KeyRefused, KeysUnreadable, revoke_key

    try:
        revoked = revoke_key(home, which)
    except KeyRefused as error:
        refuse(str(error), USAGE)
    except KeysUnreadable as error:
        refuse(str(error), CHECK_FAILED)
    ids = [key.id for key in revoked]
    give({"revoked": ids}, as_json=as_json, text=f"revoked: {', '.join(ids) or 'none, they were already'}")
