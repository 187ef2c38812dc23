"""What goes in and out over HTTP: one set of structs that decodes the calls, encodes the answers and makes /docs.

Requests refuse unknown fields, so that a misspelt one is not silently without effect. Ids may be sent as
strings or integers and are strings ever after. Times are RFC 3339 with an offset, or integer Unix
milliseconds.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from online.recommendation.decide import Recommended
from online.records import BATCH_EVENTS_MAX, ID_LENGTH_MAX
from online.settings import CONTEXT_FEATURES_MAX, SLATE_MAX

CANDIDATES_MAX = 10_000
FEATURES_MAX = 64
VALUE_MAX = 1e9
BODY_BYTES_MAX = 4 * 1024 * 1024

# The lengths stand in the documents; what checks them is `api.values.identifier`, which names the fault.
Id = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": ID_LENGTH_MAX})] | int
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})] | int
Context = Annotated[dict[str, str | int], Meta(max_length=CONTEXT_FEATURES_MAX)]
Feature = str | int | float | bool | list[str]


# --- recommendations


class RecommendationRequest(Struct, forbid_unknown_fields=True):
    """A slate of `n` items for one user."""

    user_id: Id
    n: Annotated[int, Meta(ge=1, le=SLATE_MAX)] | UnsetType = UNSET
    context: Context | None = None
    candidates: Annotated[list[Id], Meta(min_length=1, max_length=CANDIDATES_MAX)] | None = None
    exclude: Annotated[list[Id], Meta(max_length=CANDIDATES_MAX)] | None = None
    asked_at: Time | None = None
    decision_id: Id | None = None


class ModelOfDecision(Struct, frozen=True):
    """Which state answered. `recorded` is false where the log was unavailable: such a decision cannot be rewarded."""

    artifact: str
    position: int
    staleness_ms: int
    arm: str
    recorded: bool


class RecommendationReply(Struct, frozen=True):
    """A slate, best first."""

    decision_id: str
    items: list[Recommended]
    model: ModelOfDecision


# --- events


class EventRequest(Struct, forbid_unknown_fields=True):
    """What a user did with an item. Without `event_id` one is made, and a repeated send cannot be recognised."""

    event_type: str
    user_id: str | int
    item_id: str | int
    event_id: str | int | UnsetType | None = UNSET
    occurred_at: str | int | UnsetType | None = UNSET
    value: float | UnsetType | None = UNSET
    decision_id: str | int | UnsetType | None = UNSET
    context: dict[str, str | int] | UnsetType | None = UNSET


class EventsEnvelope(Struct, forbid_unknown_fields=True):
    """The events undecoded: each is read on its own, so that a bad one rejects itself."""

    events: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=BATCH_EVENTS_MAX)]


class EventsRequest(Struct, forbid_unknown_fields=True):
    """A batch of events, in the order in which they happened."""

    events: Annotated[list[EventRequest], Meta(min_length=1, max_length=BATCH_EVENTS_MAX)]


class Rejected(Struct, frozen=True):
    """One entry of a batch that was refused, and why."""

    index: int
    code: str
    detail: str


class EventsReply(Struct, frozen=True):
    """received = accepted + duplicate + len(rejected); `position` is where the batch stands in the log."""

    received: int
    accepted: int
    duplicate: int
    rejected: list[Rejected]
    position: int


# --- items


class ItemBody(Struct, forbid_unknown_fields=True):
    """What is known of an item. The newest send replaces the ones before it, whole."""

    title: Annotated[str, Meta(max_length=1_000)] | None = None
    features: Annotated[dict[str, Feature], Meta(max_length=FEATURES_MAX)] | None = None
    available_from: Time | None = None
    available_until: Time | None = None


class ItemRequest(ItemBody, forbid_unknown_fields=True, kw_only=True):
    """One item of the catalogue."""

    item_id: Id


class ItemsRequest(Struct, forbid_unknown_fields=True):
    """Items of the catalogue; all are taken, or, where one is faulty, none."""

    items: Annotated[list[ItemRequest], Meta(min_length=1, max_length=BATCH_EVENTS_MAX)]


class ItemsReply(Struct, frozen=True):
    """The items are in the log at `position`, and known to every decision from there on."""

    accepted: int
    position: int


# --- operators' acts

REASON_MAX = 1_000


class OperatorsAct(Struct, forbid_unknown_fields=True, kw_only=True, tag_field="act"):
    """What every act says: why, and who decided it."""

    reason: Annotated[str, Meta(min_length=1, max_length=REASON_MAX)]
    author: Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)] | None = None


class Freeze(OperatorsAct, tag="freeze"):
    """Feedback moves no shared parameter any more; decisions, users' states and seats go on."""


class Resume(OperatorsAct, tag="resume"):
    """Feedback moves shared parameters again: from where they stand, or, with `learn`, as if they never had stopped."""

    meanwhile: Literal["skip", "learn"] = "skip"


class Promote(OperatorsAct, tag="promote"):
    """Fold the log on another artifact, an id or a folder of the service's machine; it serves from the act on."""

    artifact: Annotated[str, Meta(min_length=1, max_length=4_096)]
    dry_run: bool = False


class Erase(OperatorsAct, tag="erase"):
    """Forget a user: log, snapshots and state are those of a service that never saw them."""

    user_id: Id
    dry_run: bool = False


ActRequest = Freeze | Resume | Promote | Erase


class ActReply(Struct, frozen=True):
    """The act is in the log at `position`, and in force for every decision from there on."""

    act_id: str
    act: str
    position: int


# --- reading


class DecisionReply(Struct, frozen=True):
    """A decision as it was recorded."""

    decision_id: str
    user_id: str
    decided_at: str
    received_at: str
    n: int
    items: list[Recommended]
    model: ModelOfDecision
    log_position: int
    context: dict[str, str] | None = None
    candidates: list[str] | None = None
    exclude: list[str] | None = None
    client: str = ""  # the name of the key that asked


class Percentiles(Struct, frozen=True):
    """Milliseconds from append to publication, over the last seconds; null before anything was learned."""

    p50: float | None
    p99: float | None


class StateReply(Struct, frozen=True):
    """`digest` is that of the state at `position`; the worker may have learned more since (`learned_position`).

    received = applied + duplicate + late + rejected. The digest is null where the learner did not answer in
    time.
    """

    position: int
    digest: str | None
    artifact: str
    learning: Literal["on", "frozen"]
    received: int
    applied: int
    duplicate: int
    late: int
    rejected: int
    freshness_ms: Percentiles
    learned_position: int
    log_head: int
    users: int
    items: int
    decisions: int


class ArmReply(Struct, frozen=True):
    """One arm of the experiment: closed decisions and their mean reward (0 to 1)."""

    arm: str
    n: int
    mean_reward: float | None


class Difference(Struct, frozen=True):
    """live minus champion. The interval holds at every moment at once (95 %), however often one looks."""

    mean: float | None
    low: float | None
    high: float | None
    method: str


class ExperimentReply(Struct, frozen=True):
    """The champion (frozen artifact) against the model that goes on learning."""

    arms: list[ArmReply]
    difference: Difference
    verdict: Literal["live is better", "champion is better", "undecided", "no data"]


class CheckReply(Struct, frozen=True):
    """One precondition; `cure` says what to do where it is not met."""

    name: str
    ok: bool
    found: str
    cure: str


class ReadyReply(Struct, frozen=True):
    """Ready where every check is."""

    ready: bool
    checks: list[CheckReply]


class LiveReply(Struct, frozen=True):
    """This process answers."""

    live: bool
    pid: int
