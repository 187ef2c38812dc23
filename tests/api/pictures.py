"""The dashboard's pictures in the documents, made again of a running service: `make pictures URL=http://127.0.0.1:8080`.

    python -m tests.api.pictures --url http://127.0.0.1:8080 [--out docs/pictures]

The service should be one that lives, such as that of `perennial demo` in a terminal. The windows are small, so that
texts stay readable where a page shrinks them.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import httpx

from tests.api.chromium import Page, program

ROOT = Path(__file__).resolve().parent.parent.parent
BYTES_MAX = 150_000
DRAWN = "document.querySelectorAll('figure svg path').length > 3"


def views(url: str) -> list[tuple[str, str, str, tuple[int, int], bool]]:
    """(name, address, when it is all there, size, dark)."""
    with httpx.Client(base_url=url, timeout=120.0) as client:
        told = client.get("/dashboard/tables/decisions.json", params={"arm": "live"}).json()
        flights = client.get("/dashboard/tables/flights.json").json()
        decision = told[0]["decision"]
    wide, there = (1_200, 860), "!!document.querySelector('main table tbody tr')"
    found = [
        ("now", "/", DRAWN, wide, False),
        ("now-dark", "/", DRAWN, wide, True),
        ("decision", f"/dashboard/decision?id={decision}", there, (1_000, 720), True),
        ("timeline", "/dashboard/timeline", there, (1_200, 640), False),
        ("phone", "/", DRAWN, (390, 844), True),
    ]
    if flights:
        found.append(("flight", f"/dashboard/flight?id={flights[0]['flight']}", "true", wide, False))
    return found


def take(url: str, out: Path) -> int:
    """Every picture; how many are larger than they may be, or came with a word on the console."""
    out.mkdir(parents=True, exist_ok=True)
    wrong = 0
    with tempfile.TemporaryDirectory() as profile:
        page = Page(Path(profile))
        try:
            for name, address, there, (width, height), dark in views(url):
                page.emulate(width=width, height=height, dark=dark)
                page.go(url + address)
                page.until(there, within_s=60.0)
                path = out / f"{name}.png"
                page.screenshot(path)
                size = path.stat().st_size
                wrong += size > BYTES_MAX
                print(f"{path}: {size:,} bytes{' TOO LARGE' if size > BYTES_MAX else ''}")
            for error in page.errors:
                print(f"console: {error}")
        finally:
            page.close()
    return wrong + len(page.errors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    options = parser.parse_args()
    if program() is None:
        sys.exit("no Chromium on PATH: `apt-get install chromium`")
    return int(take(options.url.rstrip("/"), options.out) > 0)


if __name__ == "__main__":
    sys.exit(main())
