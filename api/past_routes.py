"""The calls about the past: rollbacks, acts, snapshots, reproductions."""

from collections.abc import Awaitable, Callable

import msgspec
from fastapi import FastAPI, Request, Response

from api import schemas_past as schemas
from api.body import decode
from api.decisions import find_position
from api.heads import Headers
from api.hot import read_body
from api.openapi import BODY_PROBLEMS, IDEMPOTENCY_HEADER, operation
from api.problems import Problem
from api.rollbacks import roll_back
from api.service import Answering, Service
from api.values import rfc3339
from online.reproduction import Difference
from online.snapshot import Snapshot, SnapshotCorrupt, SnapshotForeign, SnapshotMissing, find_snapshot, newest_first

_CHANGING = (*BODY_PROBLEMS, "header_invalid", "idempotency_key_reused", "history_refused", "act_overtaken")
_AWAY = ("log_unavailable", "learner_not_ready", "learner_behind")
_snapshot_request: msgspec.json.Decoder[schemas.SnapshotRequest] = msgspec.json.Decoder(schemas.SnapshotRequest)
_encoder = msgspec.json.Encoder()


def add_past_routes(
    app: FastAPI,
    service: Service,
    run: Callable[[Service, Request, str, Answering], Awaitable[Response]],
    check_path: Callable[[Request], None],
) -> None:
    """Add them to the app; `run` answers a call that has a body, once per Idempotency-Key."""

    @app.post(
        "/v1/rollbacks",
        name="rollbacks",
        summary="Go back to a snapshot, a position or a time; or live on without some of the records",
        tags=["operation"],
        response_class=Response,
        openapi_extra=operation(
            request=schemas.RollbackRequest,
            replies={200: schemas.ChangeReply},
            problems=(*_CHANGING, "snapshot_unknown", *_AWAY),
            headers=(IDEMPOTENCY_HEADER,),
        ),
    )
    async def post_rollbacks(request: Request) -> Response:
        return await run(service, request, "rollbacks", roll_back)

    @app.get(
        "/v1/acts",
        name="acts_read",
        summary="What operators did, act by act",
        tags=["audit"],
        response_class=Response,
        openapi_extra=operation(replies={200: schemas.ActsReply}, problems=("log_unavailable",)),
    )
    async def get_acts() -> Response:
        found = await service.historian.ask("acts")
        return _json(
            schemas.ActsReply(
                [
                    schemas.ActEntry(
                        received_at=rfc3339(act.pop("received_ms")),
                        **act,
                    )
                    for act in found
                ]
            )
        )

    @app.post(
        "/v1/decisions/{decision_id:path}/reproduce",
        name="reproduce",
        summary="Rebuild the state of a decision's moment, decide again, compare byte by byte",
        tags=["audit"],
        response_class=Response,
        openapi_extra=operation(
            replies={200: schemas.ReproduceReply},
            problems=("invalid_request", "decision_unknown", "history_refused", "log_unavailable"),
        ),
    )
    async def post_reproduce(decision_id: str, request: Request) -> Response:
        check_path(request)
        position = await find_position(service, decision_id, search=True)
        if position is None:
            position = await service.historian.ask("find", decision_id=decision_id)
        if position is None:
            raise Problem("decision_unknown")
        found = await service.historian.ask("reproduce", position=position)
        return _json(
            schemas.ReproduceReply(
                decision_id=found["decision_id"],
                identical=found["identical"],
                digest=found["digest"],
                expected_digest=found["expected_digest"],
                differences=[Difference(**one) for one in found["differences"]],
                promised=found["promised"],
                why=found["why"],
                position=found["read_position"],
                log_position=found["log_position"],
                snapshot=found["snapshot"],
            )
        )

    @app.get(
        "/v1/snapshots",
        name="snapshots",
        summary="The snapshots, the newest last",
        tags=["audit"],
        response_class=Response,
        openapi_extra=operation(replies={200: schemas.SnapshotsReply}, problems=()),
    )
    async def get_snapshots() -> Response:
        whole, broken = [], []
        for found in newest_first(service.home / "snapshots"):
            if isinstance(found, Snapshot):
                whole.append(_shown(found))
            else:
                broken.append(str(found))
        return _json(schemas.SnapshotsReply(whole[::-1], broken))

    @app.post(
        "/v1/snapshots",
        name="snapshots_create",
        summary="Take a snapshot at the log's end; the learner does not pause for it",
        tags=["operation"],
        status_code=201,
        response_class=Response,
        openapi_extra=operation(
            request=schemas.SnapshotRequest,
            replies={201: schemas.SnapshotReply},
            problems=(*BODY_PROBLEMS, "history_refused", "log_unavailable", "learner_not_ready"),
        ),
    )
    async def post_snapshots(request: Request) -> Response:
        body = await read_body(request.receive, Headers(request.scope["headers"]))
        asked = decode(_snapshot_request, body)
        _ = service.model
        found = msgspec.convert(await service.historian.ask("snapshot", label=asked.label), Snapshot)
        return _json(_shown(found), status=201)

    @app.get(
        "/v1/snapshots/{snapshot_id}",
        name="snapshot",
        summary="One snapshot's manifest",
        tags=["audit"],
        response_class=Response,
        openapi_extra=operation(replies={200: schemas.SnapshotReply}, problems=("snapshot_unknown", "history_refused")),
    )
    async def get_snapshot(snapshot_id: str) -> Response:
        try:
            return _json(_shown(find_snapshot(service.home / "snapshots", snapshot_id)))
        except SnapshotMissing as error:
            raise Problem("snapshot_unknown") from error
        except (SnapshotCorrupt, SnapshotForeign) as error:
            raise Problem("history_refused", str(error)) from error


def _shown(snapshot: Snapshot) -> schemas.SnapshotReply:
    return schemas.SnapshotReply(
        id=snapshot.id,
        position=snapshot.position,
        state_digest=snapshot.state_digest,
        root=snapshot.root,
        artifact=snapshot.artifact_id,
        base=snapshot.base,
        parent=snapshot.parent,
        depth=snapshot.depth,
        bytes=snapshot.bytes,
        label=snapshot.label,
        reason=snapshot.reason,
        planned=snapshot.planned,
        created_at=rfc3339(snapshot.created_ms),
        environment=snapshot.environment,
        counters=snapshot.counters,
    )


def _json(reply: msgspec.Struct, *, status: int = 200) -> Response:
    return Response(_encoder.encode(reply), status_code=status, media_type="application/json")
