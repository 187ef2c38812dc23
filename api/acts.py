"""POST /v1/acts: what an operator does, as a record of the log.

An act takes effect where it stands in the log, for this service and for everyone who folds that log again. It says why,
and who; sent again under its Idempotency-Key it is one act, through whichever worker.
"""

from typing import Any

import msgspec

from api.body import decode
from api.fare_rules import preview, rules_change
from api.idempotency import Answer
from api.identifiers import clock_ms, id_from_key, make_id
from api.problems import Fault, Problem
from api.rollbacks import Change, change_past
from api.schemas import ActReply, Erase, OperatorsAct, Promote, Resume
from api.schemas_fares import AnyAct, Rules
from api.scopes import scope_of_act
from api.service import Call, Service
from api.values import check_printable, identifier
from online import records
from online.lineage import user_key

_decoder: msgspec.json.Decoder[AnyAct] = msgspec.json.Decoder(AnyAct)
_encoder = msgspec.json.Encoder()
_SAID = {"act", *OperatorsAct.__struct_fields__}


async def act(service: Service, call: Call) -> Answer:
    """Answer one call. Raises Problem."""
    asked = decode(_decoder, call.body)
    name = str(msgspec.to_builtins(asked)["act"])
    if not call.may(scope_of_act(name)):
        raise Problem("scope_missing", f"The act `{name}` needs a key with the scope `{scope_of_act(name)}`.")
    try:
        for text, pointer in ((asked.reason, "/reason"), (asked.author, "/author")):
            if text is not None and not text.isprintable():
                check_printable(text, pointer)
    except Fault as fault:
        raise fault.problem() from fault
    match asked:
        case Resume(meanwhile="learn"):
            return await change_past(service, call, _change(asked, {"meanwhile": "learn"}))
        case Rules():
            change = rules_change(service, asked)
            if asked.dry_run:
                return await preview(service, change)
            return await record(service, call, asked, msgspec.to_builtins(change))
        case Promote():
            return await change_past(service, call, _change(asked, {"artifact": asked.artifact}))
        case Erase():
            try:
                user = identifier(asked.user_id, "/user_id")
            except Fault as fault:
                raise fault.problem() from fault
            return await change_past(service, call, _change(asked, {"without": {"users": [user_key(user)]}}))
    return await record(service, call, asked)


def _change(asked: Resume | Promote | Erase, arguments: dict[str, Any]) -> Change:
    return Change(
        act=msgspec.to_builtins(asked)["act"],
        arguments=arguments,
        reason=asked.reason,
        author=asked.author or "",
        dry_run=not isinstance(asked, Resume) and asked.dry_run,
    )


async def record(service: Service, call: Call, asked: OperatorsAct, arguments: dict[str, Any] | None = None) -> Answer:
    """Append an act, its own fields as arguments where none are given. Raises Problem."""
    received_ms = clock_ms()
    secret = service.settings.secret
    repeatable = call.idempotency_key is not None
    act_id = id_from_key(secret, call.own_key, purpose="act") if repeatable else make_id(received_ms)
    fields = msgspec.to_builtins(asked)
    if arguments is None:
        arguments = {name: value for name, value in fields.items() if name not in _SAID}
    entry = records.Act(
        act=fields["act"],
        reason=asked.reason,
        received_ms=received_ms,
        client=call.client or asked.author or "",  # who holds a key is who the key says
        arguments=msgspec.json.encode(arguments, order="sorted").decode(),
        act_id=act_id,
    )
    position = await service.append([entry])
    return Answer(200, _encoder.encode(ActReply(act_id=act_id, act=entry.act, position=position)))
