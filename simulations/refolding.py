"""Fold a running service's log a second time, in this process, and print the digest.

    python -m simulations.refolding --home DIR --log-url URL --position P

Nothing is shared with the learner but the artifact and the log.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from online.history import artifacts_of
from online.log import LogReader
from online.refold import refolded


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m simulations.refolding", description=__doc__.split("\n")[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--log-url", required=True)
    parser.add_argument("--position", type=int, required=True)
    options = parser.parse_args(arguments)
    reader = LogReader(options.log_url)
    try:
        began = time.perf_counter()
        digests = [state.digest() for state in refolded(reader, artifacts_of(options.home), [options.position])]
        seconds = time.perf_counter() - began
    finally:
        reader.close()
    print(json.dumps({"position": options.position, "digest": digests[0], "seconds": round(seconds, 3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
