"""The act `rules`: rules for fares, checked before they are written, with a preview of what they change."""

import asyncio

import msgspec

from api.idempotency import Answer
from api.problems import Fault
from api.schemas_fares import FareChange, PreviewReply, RuleBody, Rules, RulesReply
from api.service import Service
from api.values import identifier, time_ms
from online.pricing.live import Previewed
from online.pricing.rules import RULES_BYTES_MAX, Rule, RulesChange, changed, encode_rules, rule_problem

CHANGES_MAX = 1_000  # flights that a preview lists

_encoder = msgspec.json.Encoder()


def rules_change(service: Service, asked: Rules) -> RulesChange:
    """What is to be written. Raises Problem where a rule could not be applied."""
    try:
        put = tuple(_rule(body, asked, f"/put/{number}") for number, body in enumerate(asked.put))
    except Fault as fault:
        raise fault.problem() from fault
    known = service.model.pricing.rules()
    unknown = [name for name in asked.remove if name not in {rule.rule_id for rule in known.rules}]
    if unknown:
        detail = "No rule of this id is in force."
        raise Fault("unknown_rule", detail, pointer=f"/remove/{asked.remove.index(unknown[0])}").problem()
    if not put and not asked.remove:
        raise Fault("missing_field", "Nothing to `put` and nothing to `remove`.", pointer="/put").problem()
    if len({rule.rule_id for rule in put}) < len(put):
        raise Fault("duplicate_key", "One rule_id stands twice.", pointer="/put").problem()
    if len(encode_rules(changed(known, put=put, remove=asked.remove))) > RULES_BYTES_MAX:
        detail = f"All rules together have {RULES_BYTES_MAX} bytes at most."
        raise Fault("value_out_of_range", detail, pointer="/put").problem()
    return RulesChange(put=put, remove=tuple(asked.remove))


def _rule(body: RuleBody, asked: Rules, pointer: str) -> Rule:
    rule = Rule(
        rule_id=body.rule_id,
        kind=body.kind,
        market=body.market,
        flight_id=None if body.flight_id is None else identifier(body.flight_id, f"{pointer}/flight_id"),
        from_ms=None if body.since is None else time_ms(body.since, f"{pointer}/from"),
        until_ms=None if body.until is None else time_ms(body.until, f"{pointer}/until"),
        fare_cents=body.fare_cents,
        ladder_cents=tuple(body.ladder_cents or ()),
        multiple_cents=body.multiple_cents,
        ending_cents=body.ending_cents,
        most_cents=body.most_cents,
        most_percent=body.most_percent,
        days_before=body.days_before,
        feature=body.feature,
        at_least=body.at_least,
        author=asked.author or "",
        reason=asked.reason,
    )
    wrong = rule_problem(rule)
    if wrong is not None:
        field = "author" if wrong[0] == "reason" and not rule.author else wrong[0]
        place = f"/{field}" if field in ("author", "reason") else f"{pointer}/{field}"
        raise Fault("rule_invalid", wrong[1], pointer=place)
    return rule


async def preview(service: Service, change: RulesChange) -> Answer:
    """The answer to a dry run: what would change, and nothing written."""
    model = service.model
    position = model.position
    found: list[Previewed] = await asyncio.to_thread(model.pricing.preview, change.put, change.remove)
    changes = [FareChange(one.flight_id, _cents(one.before_cents), _cents(one.after_cents)) for one in found]
    reply = PreviewReply(
        act="rules", dry_run=True, position=position, changed=len(changes), changes=changes[:CHANGES_MAX]
    )
    return Answer(200, _encoder.encode(reply))


def _cents(fare: int) -> int | None:
    return None if fare < 0 else fare


def rules_in_force(service: Service) -> RulesReply:
    """GET /v1/rules."""
    found = service.model.pricing.rules()
    return RulesReply(service.model.position, [msgspec.to_builtins(rule) for rule in found.rules])
