"""Examples of the calls about the past, for /docs; each is sent to a running service by a test."""

from typing import Any

from api import schemas_past as schemas

_DIGEST = "5d1c0f0a6c8e44c1b5b7f7a2c9d3e1f0"
_SNAPSHOT = {
    "id": "3f0c2a9e11b6d3aa",
    "position": 4182,
    "state_digest": _DIGEST,
    "root": "9b1d" * 16,
    "artifact": "8c5de0ffb1a94a73",
    "base": "a11b6d3aa3f0c2a9",
    "parent": "a11b6d3aa3f0c2a9",
    "depth": 1,
    "bytes": 184_320,
    "label": "before the sale",
    "reason": "asked for",
    "planned": False,
    "created_at": "2026-01-31T12:00:00.000Z",
    "environment": {"python": "3.11.7", "numpy": "2.4.6", "numba": "0.68.1", "llvmlite": "0.48.0", "machine": "x86_64"},
    "counters": {"received": 3100, "applied": 3000, "duplicate": 60, "late": 30, "rejected": 10},
}

PAST_EXAMPLES: dict[Any, dict[str, Any]] = {
    schemas.RollbackRequest: {"to": {"position": 2}, "dry_run": True},
    schemas.ChangeReply: {
        "act": "rollback",
        "act_id": "0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e13",
        "from": 4182,
        "to": 3900,
        "position": 4183,
        "removed": 282,
        "restored": 0,
        "changed_decisions": 41,
        "compared_decisions": 60,
        "digest": _DIGEST,
        "top": {"before": ["film-17", "film-3"], "after": ["film-3", "film-17"]},
        "dry_run": False,
    },
    schemas.ReproduceReply: {
        "decision_id": "0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e11",
        "identical": True,
        "digest": _DIGEST,
        "expected_digest": _DIGEST,
        "differences": [],
        "promised": True,
        "why": "",
        "position": 4180,
        "log_position": 4181,
        "snapshot": "3f0c2a9e11b6d3aa",
    },
    schemas.SnapshotRequest: {"label": "before the sale"},
    schemas.SnapshotReply: _SNAPSHOT,
    schemas.SnapshotsReply: {"snapshots": [_SNAPSHOT], "broken": []},
    schemas.ActsReply: {
        "acts": [
            {
                "position": 4183,
                "act": "freeze",
                "reason": "bad feed",
                "author": "ada",
                "received_at": "2026-01-31T12:00:00.000Z",
                "act_id": "0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e13",
                "arguments": {},
                "void": False,
            }
        ]
    },
}
