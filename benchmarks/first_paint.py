"""How fast the dashboard stands on the screen after a long life: first paint of every view, in a real Chromium.

    python benchmarks/first_paint.py [--decisions 1000000] [--snapshots 10000] [--times 5] [--home DIR] [--json]

A log of so many slates, each with an id and a user of its own, is appended as a worker appends; a service is started on
it, learns it, and takes a snapshot. So many more manifests of that snapshot, valid, each with an id, a position and a
label of its own, are laid beside it, as labelled ones are kept for ever. Then every view is opened, the first time and
again: from the address being entered to the first contentful paint, as the browser tells it. Needs Chromium on PATH.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx

from api.dashboard.page import VIEWS
from api.identifiers import make_id
from benchmarks.recommend_rate import service
from online.archive import open_log
from online.log import LogServer, LogWriter
from online.records import Decision, decode, encode
from online.snapshot import _write_manifest, list_snapshots
from tests.api.chromium import Page, program

ITEMS, USERS, TEMPLATES = 2_000, 50_000, 200
BATCH = 1_000
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def begun(home: Path) -> list[Decision]:
    """A service's first minutes: a catalogue, and slates to make others of."""
    with service(home, None) as address, httpx.Client(base_url=address["url"], timeout=60.0) as client:
        items = [{"item_id": f"i{n}", "title": f"Title {n}"} for n in range(ITEMS)]
        for first in range(0, ITEMS, 1_000):
            client.post("/v1/items", json={"items": items[first : first + 1_000]}).raise_for_status()
        for n in range(TEMPLATES):
            client.post("/v1/recommendations", json={"user_id": f"u{n}", "n": 10}).raise_for_status()
        log = open_log(address["log_url"], home)
        records = [decode(payload) for _, payload in log.read(0, 10_000, 0)]
        log.close()
    return [record for record in records if isinstance(record, Decision)]


async def append(url: str, slates: list[Decision], many: int) -> None:
    """So many slates more, a quarter of a second apart, up to now."""
    writer = LogWriter(url, patience_s=5.0)
    await writer.start()
    now_ms, told = time.time_ns() // 1_000_000, time.monotonic()
    for first in range(0, many, BATCH):
        payloads = []
        for number in range(first, min(many, first + BATCH)):
            at_ms = now_ms - 250 * (many - number)
            user = f"u{int(USERS * random.random() ** 2)}"
            changed = {"decision_id": make_id(at_ms), "user_id": user, "at_ms": at_ms, "received_ms": at_ms}
            payloads.append(encode(msgspec.structs.replace(slates[number % len(slates)], **changed)))
        await writer.append(payloads)
        if time.monotonic() - told > 10.0:
            told = time.monotonic()
            print(f"  {first:,} slates appended", file=sys.stderr)
    await writer.close()


def lay_manifests(folder: Path, many: int) -> None:
    """So many more snapshots of the newest one's content."""
    newest = list_snapshots(folder)[-1]
    for number in range(many - len(list_snapshots(folder))):
        position = 1 + number * newest.position // many
        created_ms = newest.created_ms - 60_000 * (many - number)
        changed = {"id": f"{number:016x}", "position": position, "created_ms": created_ms}
        _write_manifest(folder, msgspec.structs.replace(newest, **changed, label=f"kept {number}"))


def painted(page: Page, address: str, times: int) -> list[float]:
    """Milliseconds to the first contentful paint, each time the view is opened."""
    found = []
    for _ in range(times):
        page.go("about:blank")
        page.go(address)
        found.append(float(page.until(PAINTED)))
    return found


def measure(home: Path, *, decisions: int, snapshots: int, times: int) -> dict[str, Any]:
    """Every view's times, the first one first."""
    random.seed(0)
    if not (home / "whole").exists():
        slates = begun(home)
        server = LogServer.start(home / "log")
        asyncio.run(append(server.url, slates, decisions))
        server.stop()
        (home / "whole").touch()
    with service(home, None) as address, httpx.Client(base_url=address["url"], timeout=60.0) as client:
        began = time.monotonic()
        while (state := client.get("/v1/state").json()).get("learned_position", 0) < state.get("log_head", 1):
            time.sleep(0.5)
        print(f"  learned in {time.monotonic() - began:.0f} s", file=sys.stderr)
        client.post("/v1/snapshots", json={"label": "now"}, timeout=300.0).raise_for_status()
        lay_manifests(home / "snapshots", snapshots)
    found: dict[str, Any] = {}
    # A fresh service: nothing of the past is in its memory when the first page is asked for.
    with service(home, None) as address, tempfile.TemporaryDirectory() as profile:
        with httpx.Client(base_url=address["url"], timeout=600.0) as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.2)
            found["decisions"] = client.get("/metrics").text.partition("\nperennial_decisions_total ")[2].split()[0]
        page = Page(Path(profile))
        try:
            page.go("about:blank")
            for path, name in VIEWS:
                found[name] = [round(one, 1) for one in painted(page, address["url"] + path, times)]
        finally:
            page.close()
    found["snapshots"] = len(list(home.glob("snapshots/*.json")))
    return found


def main() -> int:
    """Exit code 1 where a view's first paint took more than a second, the first time or later."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--snapshots", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--home", type=Path, help="where the long life is kept; else a folder that is removed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if program() is None:
        print("not run: no Chromium on PATH (`apt-get install chromium`)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder) / "home"
        found = measure(home, decisions=options.decisions, snapshots=options.snapshots, times=options.times)
    if options.json:
        print(json.dumps(found))
    else:
        print(
            f"{float(found['decisions']):,.0f} decisions, {found['snapshots']:,} snapshots; first contentful paint, ms"
        )
        for _, name in VIEWS:
            print(f"{name:16} first {found[name][0]:8,.1f}   median {statistics.median(found[name]):8,.1f}")
    return int(any(max(found[name]) > 1_000 for _, name in VIEWS))


if __name__ == "__main__":
    sys.exit(main())
