"""How a command talks to the running service of a home."""

import http.client
import json
import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from api.console import CHECK_FAILED, MISSING, USAGE, refuse
from api.keys import owners_pass
from api.supervisor import read_address

_PATIENCE_S = 900.0  # acts on the past fold the log


def call(home: Path, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """The service's answer. Ends the command, with what the service said, where it refuses or does not run.

    PERENNIAL_KEY, where it is set, goes along as the bearer's key. Without it, whoever can read the home's own secret
    is its owner, and shows a pass made with it.
    """
    address = read_address(home)
    if address is None:
        refuse(f"no service runs on {home}: start one with `perennial up`, or name another --home", MISSING)
    where = urlsplit(address.url)
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    key = os.environ.get("PERENNIAL_KEY") or owners_pass(home)
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=_PATIENCE_S)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        refuse(f"{address.url} does not answer: {error}", MISSING)
    finally:
        connection.close()
    if response.status >= 400:
        errors = "; ".join(f"{one['pointer']}: {one['detail']}" for one in answer.get("errors", ()))
        said = " ".join(part for part in (answer.get("detail", ""), errors, answer.get("hint", "")) if part)
        refuse(said, {422: USAGE, 400: USAGE, 503: MISSING}.get(response.status, CHECK_FAILED))
    return answer
