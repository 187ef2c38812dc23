"""POST /v1/acts: what an operator does, as a record of the log.

An act takes effect where it stands in the log, for this service and for everyone who folds that log again. It says why,
and who; sent again under its Idempotency-Key it is one act, through whichever worker.
"""

import msgspec

from api.body import decode
from api.idempotency import Answer
from api.identifiers import clock_ms, id_from_key, make_id
from api.problems import Fault
from api.schemas import ActReply, ActRequest, OperatorsAct
from api.service import Call, Service
from api.values import check_printable
from online import records

_decoder: msgspec.json.Decoder[ActRequest] = msgspec.json.Decoder(ActRequest)
_encoder = msgspec.json.Encoder()
_SAID = {"act", *OperatorsAct.__struct_fields__}


async def act(service: Service, call: Call) -> Answer:
    """Answer one call. Raises Problem."""
    asked = decode(_decoder, call.body)
    try:
        for text, pointer in ((asked.reason, "/reason"), (asked.author, "/author")):
            if text is not None and not text.isprintable():
                check_printable(text, pointer)
    except Fault as fault:
        raise fault.problem() from fault
    return await record(service, call, asked)


async def record(service: Service, call: Call, asked: OperatorsAct) -> Answer:
    """Append an act, its own fields as arguments. Raises Problem."""
    received_ms = clock_ms()
    secret = service.settings.secret
    repeatable = call.idempotency_key is not None
    act_id = id_from_key(secret, call.own_key, purpose="act") if repeatable else make_id(received_ms)
    fields = msgspec.to_builtins(asked)
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
