"""PUT /v1/items/{item_id} and POST /v1/items: the catalogue, as records like everything else."""

import msgspec

from api.body import decode, decode_once
from api.idempotency import Answer
from api.identifiers import clock_ms
from api.problems import Fault
from api.schemas import ItemBody, ItemRequest, ItemsReply, ItemsRequest
from api.service import Call, Service
from api.values import check_printable, features_of, identifier, time_ms
from online import records

_one = msgspec.json.Decoder(ItemRequest)
_many = msgspec.json.Decoder(ItemsRequest)
_list = msgspec.json.Decoder(ItemsRequest.__annotations__["items"])
_body = msgspec.json.Decoder(ItemBody)
_encoder = msgspec.json.Encoder()


class _Shape(msgspec.Struct):
    items: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_shape = msgspec.json.Decoder(_Shape)


async def put_item(service: Service, item_id: str, body: bytes, client: str) -> Answer:
    """Say what an item is; the newest word counts. Raises Problem."""
    described = decode(_body, body)
    try:
        entry = _record(identifier(item_id, "/item_id"), described, clock_ms(), "", client)
    except Fault as fault:
        raise fault.problem() from fault
    return await _append(service, [entry], status=200)


async def post_items(service: Service, call: Call) -> Answer:
    """One item, a list of them, or `{"items": [...]}`. All or none: a catalogue is sent again. Raises
    Problem.
    """
    received_ms = clock_ms()
    items, prefix = _read(call.body)
    entries: list[records.Record] = []
    try:
        for index, item in enumerate(items):
            pointer = prefix.format(index=index)
            item_id = identifier(item.item_id, f"{pointer}/item_id")
            entries.append(_record(item_id, item, received_ms, pointer, call.client))
    except Fault as fault:
        raise fault.problem() from fault
    return await _append(service, entries, status=201)


def _read(body: bytes) -> tuple[list[ItemRequest], str]:
    if body.lstrip()[:1] == b"[":
        return decode(_list, body), "/{index}"
    if decode_once(_shape, body).items is not msgspec.UNSET:
        return decode(_many, body).items, "/items/{index}"
    return [decode(_one, body)], ""


def _record(item_id: str, item: ItemBody, received_ms: int, pointer: str, client: str) -> records.ItemUpsert:
    available_from = None if item.available_from is None else time_ms(item.available_from, f"{pointer}/available_from")
    available_until = (
        None if item.available_until is None else time_ms(item.available_until, f"{pointer}/available_until")
    )
    if available_from is not None and available_until is not None and available_until <= available_from:
        detail = "available_until must be after available_from."
        raise Fault("value_out_of_range", detail, pointer=f"{pointer}/available_until")
    title = item.title or ""
    if not title.isprintable():
        check_printable(title, f"{pointer}/title")
    return records.ItemUpsert(
        item_id=item_id,
        received_ms=received_ms,
        title=title,
        features=features_of(item.features, f"{pointer}/features") if item.features else None,
        available_from_ms=available_from,
        available_until_ms=available_until,
        client=client,
    )


async def _append(service: Service, entries: list[records.Record], *, status: int) -> Answer:
    position = await service.append(entries)
    return Answer(status, _encoder.encode(ItemsReply(accepted=len(entries), position=position)))
