"""*Health*: what `perennial doctor` knows, each red line with its cause and its cure."""

import asyncio
from typing import Any

from api.dashboard.tables import State, Table
from api.doctor import examine
from api.readiness import readiness
from api.service import Service


async def health(service: Service) -> Table:
    """Readiness first, then every precondition."""
    checks: list[Any] = list((await readiness(service)).checks)
    # Without the batch job's: asking for a GPU would load torch into a worker.
    checks += await asyncio.to_thread(examine, service.home, service.settings.log_url, batch=False)
    rows: list[Any] = [(check.name, State(check.ok, check.found), "" if check.ok else check.cure) for check in checks]
    return Table(name="health", caption="Every precondition", columns=("check", "found", "cure"), rows=rows)
