"""The document behind /docs, made from the same structs that decode the calls and encode the answers."""

import re
from types import UnionType
from typing import Any

import msgspec

from api import schemas
from api.openapi_fares import FARE_EXAMPLES
from api.openapi_past import PAST_EXAMPLES
from api.problems import CATALOGUE, ProblemBody
from api.schemas_fares import AnyAct
from api.scopes import DESCRIBED, SCOPES, scope_of

_EVENT = {
    "event_id": "e-1",
    "event_type": "watch",
    "user_id": "ada",
    "item_id": "film-17",
    "value": 0.8,
    "occurred_at": "2026-01-31T12:00:00Z",
}

# Each is sent to a running service by a test: an example that does not work is a defect.
EXAMPLES: dict[Any, dict[str, Any]] = {
    schemas.RecommendationRequest: {"user_id": "ada", "n": 3, "context": {"device": "tv"}},
    schemas.EventsRequest: {"events": [_EVENT]},
    schemas.ItemBody: {
        "title": "The Long Winter",
        "features": {"genre": ["drama"], "year": 2024},
        "available_from": "2026-01-01T00:00:00Z",
    },
    schemas.ItemsRequest: {
        "items": [
            {"item_id": "film-17", "title": "The Long Winter", "features": {"genre": ["drama"]}},
            {"item_id": "film-18", "title": "Summer House", "features": {"genre": ["comedy"]}},
        ]
    },
    AnyAct: {"act": "resume", "reason": "the import of last night is through", "author": "ada"},
    schemas.ActReply: {"act_id": "0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e12", "act": "resume", "position": 4187},
    schemas.RecommendationReply: {
        "decision_id": "0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e11",
        "items": [
            {
                "item_id": "film-17",
                "position": 1,
                "score": 2.31,
                "propensity": 0.955,
                "because": [{"expert": "memory", "contribution": 1.4}],
            }
        ],
        "model": {
            "artifact": "3f0c2a9e11b6d3aa",
            "position": 4182,
            "staleness_ms": 3,
            "arm": "live",
            "recorded": True,
        },
    },
    schemas.EventsReply: {
        "received": 2,
        "accepted": 1,
        "duplicate": 0,
        "rejected": [{"index": 1, "code": "empty_id", "detail": "/user_id: The id is empty."}],
        "position": 4184,
    },
    schemas.ItemsReply: {"accepted": 2, "position": 4186},
    schemas.DecisionReply: {
        "decision_id": "0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e11",
        "user_id": "ada",
        "decided_at": "2026-01-31T12:00:00.000Z",
        "received_at": "2026-01-31T12:00:00.000Z",
        "n": 1,
        "items": [],
        "model": {
            "artifact": "3f0c2a9e11b6d3aa",
            "position": 4182,
            "staleness_ms": 3,
            "arm": "live",
            "recorded": True,
        },
        "log_position": 4183,
        "context": {"device": "tv"},
        "candidates": None,
        "exclude": None,
    },
    schemas.StateReply: {
        "position": 4186,
        "digest": "9a0c51b6f0d2e4477a3b8c1d2e3f4a5b",
        "artifact": "3f0c2a9e11b6d3aa",
        "learning": "on",
        "received": 2100,
        "applied": 2080,
        "duplicate": 12,
        "late": 3,
        "rejected": 5,
        "freshness_ms": {"p50": 3.1, "p99": 9.8},
        "learned_position": 4186,
        "log_head": 4186,
        "users": 210,
        "items": 1000,
        "decisions": 2080,
    },
    schemas.ExperimentReply: {
        "arms": [
            {"arm": "live", "n": 1900, "mean_reward": 0.31},
            {"arm": "champion", "n": 101, "mean_reward": 0.22},
        ],
        "difference": {
            "mean": 0.09,
            "low": 0.01,
            "high": 0.17,
            "method": "normal mixture, sub-Gaussian, 95 % at every moment at once",
        },
        "verdict": "live is better",
    },
    schemas.ReadyReply: {
        "ready": True,
        "checks": [{"name": "log", "ok": True, "found": "connected", "cure": ""}],
    },
    schemas.LiveReply: {"live": True, "pid": 4711},
}
EXAMPLES.update(PAST_EXAMPLES)
EXAMPLES.update(FARE_EXAMPLES)

REQUEST_ID_HEADER = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Repeated in the answer; one is made where it is missing, longer than 128 or not printable ASCII.",
}
IDEMPOTENCY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key with the same body gets the first answer again, marked "
    "`Idempotent-Replayed: true`; with another body it is refused.",
}
MIN_POSITION_HEADER = {
    "name": "X-Min-Position",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
    "description": "Read your own writes: decide only from a state that has learned up to this log position. "
    "Waits 250 ms at most, then 503 with `Retry-After`.",
}

_REFUSED_AT_THE_DOOR = (
    "key_missing",
    "key_unknown",
    "scope_missing",
    "origin_foreign",
    "host_foreign",
    "too_many_guesses",
    "rate_limited",
    "overloaded",
)
_PROBLEM_MEDIA = "application/problem+json"


def operation(
    *,
    request: type | UnionType | None = None,
    replies: dict[int, type],
    problems: tuple[str, ...],
    headers: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    """What FastAPI is told about a route whose body it does not parse: `openapi_extra`."""
    responses: dict[str, Any] = {}
    for status, reply in replies.items():
        content: dict[str, Any] = {"schema": _reference(reply)}
        if reply in EXAMPLES:
            content["example"] = EXAMPLES[reply]
        description = (reply.__doc__ or "").strip().split("\n")[0]
        responses[str(status)] = {"description": description, "content": {"application/json": content}}
    responses |= _refusals((*problems, "internal"))
    found: dict[str, Any] = {"responses": responses, "parameters": [*headers, REQUEST_ID_HEADER]}
    if request is not None:
        body: dict[str, Any] = {"schema": _reference(request)}
        if request in EXAMPLES:
            body["example"] = EXAMPLES[request]
        found["requestBody"] = {"required": True, "content": {"application/json": body}}
    return found


def _refusals(problems: tuple[str, ...]) -> dict[str, Any]:
    """What is answered with a problem, by status."""
    responses: dict[str, Any] = {}
    by_status: dict[int, list[str]] = {}
    for code in problems:
        by_status.setdefault(CATALOGUE[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        described = "; ".join(f"`{code}`: {CATALOGUE[code].title}" for code in codes)
        kind = CATALOGUE[codes[0]]
        example = {
            "type": f"/problems/{kind.code}",
            "title": kind.title,
            "status": status,
            "detail": f"{kind.title}.",
            "code": kind.code,
            "request_id": "7c00d3a9f00e-1",
            "hint": kind.cure,
            "errors": [],
        }
        content = {_PROBLEM_MEDIA: {"schema": _reference(ProblemBody), "example": example}}
        described_response: dict[str, Any] = {"description": described, "content": content}
        if status in (429, 503):
            described_response["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        if "rate_limited" in codes:
            described_response["headers"] |= {
                "RateLimit": {
                    "schema": {"type": "string"},
                    "description": "What is left of the nearest limit, until when.",
                },
                "RateLimit-Policy": {
                    "schema": {"type": "string"},
                    "description": "The limit, and its span in seconds.",
                },
            }
        responses[str(status)] = described_response
    return responses


BODY_PROBLEMS = (
    "malformed_json",
    "too_deep",
    "body_timeout",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
    "duplicate_key",
)


def components() -> dict[str, Any]:
    """JSON Schemas of every struct that goes in or out."""
    structs = [*EXAMPLES, ProblemBody]
    _, found = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    return found


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with our schemas, and without its own description of a validation error."""
    schemas_found = document.setdefault("components", {}).setdefault("schemas", {})
    schemas_found.pop("HTTPValidationError", None)
    schemas_found.pop("ValidationError", None)
    schemas_found.update(components())
    document["components"]["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key that `perennial keys create` made. Without any, only this machine is answered. "
            + "; ".join(f"`{scope}`: {DESCRIBED[scope]}" for scope in SCOPES),
        }
    }
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            responses = described.get("responses", {})
            scope = scope_of(method.upper(), re.sub(r"\{[^}]*\}", "x", path))
            described["security"] = [] if scope is None else [{"key": [scope]}]
            if scope is not None:
                for status, refusal in _refusals(_REFUSED_AT_THE_DOOR).items():
                    responses.setdefault(status, refusal)
            automatic = responses.get("422", {}).get("content", {})
            if "HTTPValidationError" in str(automatic.get("application/json")):
                del automatic["application/json"]
            if "422" in responses and not automatic:
                del responses["422"]
            if "200" in responses and not responses["200"].get("content", {}).get("application/json", {}).get(
                "schema", True
            ):
                # FastAPI assumes a 200 for every route; ours that say otherwise are the truth.
                if any(status in responses for status in ("201", "202")):
                    del responses["200"]
    return document


def _reference(struct: type | UnionType) -> dict[str, Any]:
    if isinstance(struct, UnionType):
        return {"oneOf": [_reference(one) for one in struct.__args__]}
    return {"$ref": f"#/components/schemas/{struct.__name__}"}
