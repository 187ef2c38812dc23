"""Results of a comparison as a table for a document.

python -m benchmarks.peers.table build/peers/results.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = "| | HR@10 | NDCG@10 | MRR | coverage | Gini | HR new users | new items | burst starts | ours less it |"
NAMES = {"frozen": "ours, frozen", "frozen+state": "ours, frozen, users followed", "continued": "**ours, continued**"}


def table(report: dict[str, Any]) -> str:
    """Ours first, then the peers from the best to the last."""
    rows = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    names = {
        "frozen": "ours, frozen",
        "frozen+state": "ours, frozen, users followed",
        "continued": "**ours, continued**",
    }
    rows += [_row(names[name], figures) for name, figures in report["perennial"].items()]
    peers = sorted(report["peers"].items(), key=lambda peer: -peer[1]["all"]["hr@10"])
    return "\n".join([*rows, *(_row(name, figures) for name, figures in peers)])


def _row(name: str, figures: dict[str, Any]) -> str:
    whole = figures["all"]
    cells = [_bare(whole[key]) for key in ("hr@10", "ndcg@10", "mrr")]
    cells += [_bare(figures.get(key)) for key in ("coverage", "gini")]
    cells += [_bare(figures[part]["hr@10"]) for part in ("new_users", "new_items", "burst_starts")]
    ahead = figures.get("perennial_less_it") or figures.get("continued_less_it")
    cells.append("" if ahead is None else "{:+.4f} [{:+.4f}, {:+.4f}]".format(*ahead["hr@10"]))
    return f"| {name} | " + " | ".join(cells) + " |"


def _bare(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".lstrip("0") or "0"


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
