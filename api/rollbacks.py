"""Acts that change the past: planned beside the service, appended, carried out by the learner where they stand.

    plan → refused, or what would change → append (with the newest act that the plan knew of) → the learner reads it,
    folds the little that the plan had not, and publishes a new generation → the outcome, as the log tells it

An act is void where another came in between (compare and swap), and the same act where its Idempotency-Key was used.
"""

from typing import Any

import msgspec

from api.body import decode
from api.idempotency import Answer
from api.identifiers import clock_ms, id_from_key, make_id
from api.problems import Fault, Problem
from api.schemas_past import ChangeReply, RollbackRequest, Span, Top, Without
from api.service import Call, Service
from api.values import check_printable, identifiers, time_ms
from online.lineage import user_key
from online.records import Act

_decoder: msgspec.json.Decoder[RollbackRequest] = msgspec.json.Decoder(RollbackRequest)
_encoder = msgspec.json.Encoder()
_SWITCH_S = 300.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """An act on the past, as asked for."""

    act: str
    arguments: dict[str, Any]
    reason: str
    author: str = ""
    dry_run: bool = False
    snapshot: str | None = None
    time_ms: int | None = None
    expected: int | None = None


async def roll_back(service: Service, call: Call) -> Answer:
    """Answer POST /v1/rollbacks. Raises Problem."""
    asked = decode(_decoder, call.body)
    try:
        change = _change(asked)
    except Fault as fault:
        raise fault.problem() from fault
    return await change_past(service, call, change)


async def change_past(service: Service, call: Call, change: Change) -> Answer:
    """Plan an act, and carry it out unless it is a dry run. Raises Problem."""
    model = service.model
    received_ms = clock_ms()
    key = None if call.idempotency_key is None else call.own_key
    act_id = make_id(received_ms) if key is None else id_from_key(service.settings.secret, key, purpose="act")
    plan = await service.historian.ask(
        "plan",
        act=change.act,
        arguments=change.arguments,
        dry_run=change.dry_run,
        act_id="" if change.dry_run else act_id,
        snapshot=change.snapshot,
        time_ms=change.time_ms,
    )
    if "known" in plan:
        return await _told_again(service, plan["known"])
    if change.expected is not None and change.expected != plan["arguments"].get("expected", 0):
        raise Problem("act_overtaken", f"The newest act stands at position {plan['arguments'].get('expected', 0)}.")
    if change.dry_run:
        return _reply(_of_plan(plan, act_id, position=None, digest=plan["digest"]))
    told = {
        "told": {name: plan[name] for name in ("to", "removed", "restored", "changed_decisions", "compared_decisions")}
    }
    entry = Act(
        act=change.act,
        reason=change.reason,
        received_ms=received_ms,
        client=call.client or change.author,
        arguments=msgspec.json.encode(plan["arguments"] | told, order="sorted").decode(),
        act_id=act_id,
    )
    position = await service.append([entry])
    if not await model.wait_for(position, _SWITCH_S):
        detail = f"The act is in the log at position {position}, and in force once the learner has read it."
        raise Problem("learner_behind", detail, retry_after_s=5)
    acts = await service.historian.ask("acts")
    if next(known for known in acts if known["position"] == position)["void"]:
        raise Problem("act_overtaken", "Another act came in between; nothing was changed.")
    await _finish(service, change.act, position)
    digest = await service.historian.ask("digest", position=position)
    return _reply(_of_plan(plan, act_id, position=position, digest=digest))


async def _told_again(service: Service, known: dict[str, Any]) -> Answer:
    """The outcome of an act that the log holds already."""
    if known["void"]:
        raise Problem("act_overtaken", "This act was overtaken by another; nothing was changed.")
    await _finish(service, known["act"], known["position"])
    told = known["arguments"].get("told", {})
    reply = ChangeReply(
        act=known["act"],
        act_id=known["act_id"],
        from_=known["position"] - 1,
        to=told.get("to", 0),
        position=known["position"],
        removed=told.get("removed", 0),
        restored=told.get("restored", 0),
        changed_decisions=told.get("changed_decisions", 0),
        compared_decisions=told.get("compared_decisions", 0),
        digest=await service.historian.ask("digest", position=known["position"]),
        top=None,
        dry_run=False,
    )
    answer = _reply(reply)
    return Answer(answer.status, answer.body, ((b"idempotent-replayed", b"true"),))


async def _finish(service: Service, act: str, position: int) -> None:
    """What an act leaves to be done once the learner has carried it out; done again, it changes nothing."""
    if act == "erase":
        await service.historian.ask("erase", position=position)


def _of_plan(plan: dict[str, Any], act_id: str, *, position: int | None, digest: str) -> ChangeReply:
    return ChangeReply(
        act=plan["act"],
        act_id=act_id if position is not None else "",
        from_=plan["head"] if position is None else position - 1,
        to=plan["to"],
        position=position,
        removed=plan["removed"],
        restored=plan["restored"],
        changed_decisions=plan["changed_decisions"],
        compared_decisions=plan["compared_decisions"],
        digest=digest,
        top=Top(plan["top_before"], plan["top_after"]),
        dry_run=position is None,
    )


def _reply(reply: ChangeReply) -> Answer:
    return Answer(200, _encoder.encode(reply))


def _change(asked: RollbackRequest) -> Change:
    """What a rollback's body asks for. Raises Fault."""
    arguments: dict[str, Any] = {}
    snapshot = at_ms = None
    if asked.to is not None:
        given = [v for v in (asked.to.snapshot, asked.to.position, asked.to.time) if v is not None]
        if len(given) != 1:
            raise Fault("value_out_of_range", "Name one of snapshot, position, time.", pointer="/to")
        snapshot = asked.to.snapshot
        if asked.to.position is not None:
            arguments["to"] = asked.to.position
        if asked.to.time is not None:
            at_ms = time_ms(asked.to.time, "/to/time")
    if asked.without is not None:
        arguments["without"] = _cut(asked.without)
    for text, pointer in ((asked.reason, "/reason"), (asked.author, "/author")):
        if text is not None and not text.isprintable():
            check_printable(text, pointer)
    return Change(
        act="rollback",
        arguments=arguments,
        reason=asked.reason or "not given",
        author=asked.author or "",
        dry_run=asked.dry_run,
        snapshot=snapshot,
        time_ms=at_ms,
        expected=asked.expected_position,
    )


def _cut(without: Without) -> dict[str, Any]:
    cut: dict[str, Any] = {}
    if without.users:
        cut["users"] = [user_key(user) for user in identifiers(without.users, "/without/users")]
    if without.clients:
        cut["clients"] = identifiers(without.clients, "/without/clients")
    if without.events:
        cut["events"] = identifiers(without.events, "/without/events")
    match without.positions:
        case Span(from_=first, until=last) if first > last:
            raise Fault("value_out_of_range", "`from` lies behind `until`.", pointer="/without/positions")
        case Span(from_=first, until=last):
            cut["positions"] = [[first, last]]
        case [_, *_] as positions:
            cut["positions"] = [[position, position] for position in positions]
    if not cut:
        raise Fault("missing_field", "Name users, clients, events or positions.", pointer="/without")
    return cut
