"""What a fare must keep to, whatever the model says (law 8): integer cents in, integer cents out.

A rule holds for all flights, for a market's, or for one, and may have a time. Operators write rules as acts in the log;
what stands here reads them, checks them, and applies them to one fare:

    an override in force sets the fare, within floor and ceiling; else, in this order,
    step       not further than this from the fare of the day before
    fence      not below this for a request that does not meet its condition
    floor, ceiling       of the flight and of rules
    rounding   to the nearest fare that ends as asked
    ladder     to the nearest filed fare

Each later one has the last word: where no filed fare lies within floor and ceiling, floor and ceiling hold. Every rule
that moved the fare is told, with the fare after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from online.pricing.records import Step

FARE_MAX_CENTS = 100_000_000
RULES_BYTES_MAX = 65_536  # of the whole set as JSON
DAY_MS = 86_400_000
KINDS = ("floor", "ceiling", "ladder", "rounding", "step", "fence", "override", "without_model")


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule. Which fields it has depends on its kind; `rule_problem` says what is wrong with one."""

    rule_id: str
    kind: Literal["floor", "ceiling", "ladder", "rounding", "step", "fence", "override", "without_model"]
    market: str | None = None
    flight_id: str | None = None
    from_ms: int | None = None  # in force from then on, in event time
    until_ms: int | None = None  # and before then
    fare_cents: int | None = None  # floor, ceiling, fence, override
    ladder_cents: tuple[int, ...] = ()
    multiple_cents: int | None = None  # rounding: fares are a multiple of it
    ending_cents: int = 0  # plus this
    most_cents: int | None = None  # step
    most_percent: float | None = None
    days_before: int | None = None  # fence: met so many days before departure, or earlier
    feature: str | None = None  # fence: met where this feature of the request
    at_least: float | None = None  # reaches this
    author: str = ""
    reason: str = ""


class Asked(NamedTuple):
    """What rules may look at: the flight and the request."""

    market: str
    flight_id: str
    floor_cents: int
    ceiling_cents: int
    filed_cents: Sequence[int]  # ascending; empty is any
    departs_ms: int
    at_ms: int
    day_fare_cents: int  # the last fare of the day before; 0 is none
    features: Mapping[str, float]  # of the request, and of its flight where it says nothing


def rule_problem(rule: Rule) -> tuple[str, str] | None:
    """(field, what is wrong with it), or None for a rule that can be applied."""
    if not rule.rule_id or len(rule.rule_id) > 64:
        return "rule_id", "A rule's id has 1 to 64 characters."
    if rule.market is not None and rule.flight_id is not None:
        return "flight_id", "A rule is for a market or for a flight, not for both."
    if rule.from_ms is not None and rule.until_ms is not None and rule.until_ms <= rule.from_ms:
        return "until", "It ends before it begins."
    needs: dict[str, tuple[str, ...]] = {
        "floor": ("fare_cents",),
        "ceiling": ("fare_cents",),
        "override": ("fare_cents", "from_ms", "until_ms"),
        "fence": ("fare_cents",),
        "rounding": ("multiple_cents",),
    }
    for field in needs.get(rule.kind, ()):
        if getattr(rule, field) is None:
            return field.removesuffix("_ms"), f"A rule of kind {rule.kind} needs it."
    if rule.fare_cents is not None and not 0 < rule.fare_cents <= FARE_MAX_CENTS:
        return "fare_cents", f"A fare is 1 to {FARE_MAX_CENTS} cents."
    match rule.kind:
        case "ladder":
            climbs = all(low < high for low, high in zip(rule.ladder_cents, rule.ladder_cents[1:], strict=False))
            inside = all(0 < fare <= FARE_MAX_CENTS for fare in rule.ladder_cents)
            if not (rule.ladder_cents and climbs and inside and len(rule.ladder_cents) <= 1_000):
                return "ladder_cents", "1 to 1,000 fares, each above the one before."
        case "rounding":
            assert rule.multiple_cents is not None
            if not 0 < rule.multiple_cents <= FARE_MAX_CENTS:
                return "multiple_cents", "It is 1 or more."
            if not 0 <= rule.ending_cents < rule.multiple_cents:
                return "ending_cents", "It lies between 0 and the multiple."
        case "step":
            if (rule.most_cents is None) == (rule.most_percent is None):
                return "most_cents", "A step is limited in cents or in percent."
            if rule.most_cents is not None and not 0 <= rule.most_cents <= FARE_MAX_CENTS:
                return "most_cents", "It is 0 or more."
            if rule.most_percent is not None and not 0.0 <= rule.most_percent <= 1_000.0:
                return "most_percent", "It lies between 0 and 1,000."
        case "fence":
            by_days = rule.days_before is not None
            by_feature = rule.feature is not None and rule.at_least is not None
            if by_days == by_feature:
                return "days_before", "A fence asks for days before departure, or for a feature and its least value."
            if rule.at_least is not None and rule.at_least != rule.at_least:
                return "at_least", "It is a number."
        case "override" if not rule.reason or not rule.author:
            return "reason", "An override says who decided it, and why."
    return None


def in_force(rule: Rule, asked: Asked) -> bool:
    """Whether the rule is about this flight and this moment."""
    return (
        (rule.market is None or rule.market == asked.market)
        and (rule.flight_id is None or rule.flight_id == asked.flight_id)
        and (rule.from_ms is None or rule.from_ms <= asked.at_ms)
        and (rule.until_ms is None or asked.at_ms < rule.until_ms)
    )


def meets(rule: Rule, asked: Asked) -> bool:
    """Whether a request meets a fence's condition. A feature that nobody gave meets none."""
    if rule.days_before is not None:
        return asked.departs_ms - asked.at_ms >= rule.days_before * DAY_MS
    assert rule.feature is not None and rule.at_least is not None
    return asked.features.get(rule.feature, float("-inf")) >= rule.at_least


def bounds(rules: Iterable[Rule], asked: Asked) -> tuple[int, int]:
    """(least, most) that floors and ceilings leave; where they contradict each other the flight's own count."""
    low, high = asked.floor_cents, asked.ceiling_cents
    for rule in rules:
        if rule.fare_cents is not None and rule.kind == "floor":
            low = max(low, rule.fare_cents)
        elif rule.fare_cents is not None and rule.kind == "ceiling":
            high = min(high, rule.fare_cents)
    return (low, high) if low <= high else (asked.floor_cents, asked.ceiling_cents)


def nearest(fares: Sequence[int], fare: int) -> int:
    """The nearest of some fares; the lower one of two."""
    return min(fares, key=lambda other: (abs(other - fare), other))


def rounded(fare: int, multiple: int, ending: int, low: int, high: int) -> int | None:
    """The nearest fare of the form k * multiple + ending within [low, high], the lower of two; None without one."""
    first = low + (ending - low) % multiple
    if first > high:
        return None
    last = high - (high - ending) % multiple
    below = fare - (fare - ending) % multiple
    near = below if fare - below <= below + multiple - fare else below + multiple
    return min(max(near, first), last)


def apply(rules: Sequence[Rule], asked: Asked, fare_cents: int) -> tuple[int, tuple[Step, ...]]:
    """The fare that may be shown, and the steps from the model's to it. fare_cents: any integer."""
    active = [rule for rule in rules if in_force(rule, asked)]
    low, high = bounds(active, asked)
    steps: list[Step] = []
    fare = fare_cents

    def move(kind: str, to: int, note: str) -> None:
        nonlocal fare
        if to != fare:
            fare = to
            steps.append(Step(kind, to, note))

    override = next((rule for rule in reversed(active) if rule.kind == "override"), None)
    if override is not None:
        assert override.fare_cents is not None
        fare = override.fare_cents
        steps.append(Step("override", fare, f"{override.rule_id} by {override.author}: {override.reason}"))
        move("floor", max(fare, asked.floor_cents), "the flight's")
        move("ceiling", min(fare, asked.ceiling_cents), "the flight's")
        return fare, tuple(steps)

    low_step, high_step = low, high
    for rule in active:
        if rule.kind == "step" and asked.day_fare_cents > 0:
            most = step_cents(rule, asked.day_fare_cents)
            low_step = max(low_step, asked.day_fare_cents - most)
            high_step = min(high_step, asked.day_fare_cents + most)
            to = min(max(fare, asked.day_fare_cents - most), asked.day_fare_cents + most)
            move("step", to, f"{rule.rule_id}: {most} cents a day from {asked.day_fare_cents}")
    for rule in active:
        if rule.kind == "fence" and rule.fare_cents is not None and not meets(rule, asked):
            move("fence", max(fare, rule.fare_cents), rule.rule_id)
            low_step = max(low_step, min(rule.fare_cents, high))
            low = max(low, min(rule.fare_cents, high))
    move("floor", max(fare, low), "")
    move("ceiling", min(fare, high), "")
    within = (low_step, high_step) if low_step <= high_step else (low, high)
    for rule in active:
        if rule.kind == "rounding" and rule.multiple_cents is not None:
            found = rounded(fare, rule.multiple_cents, rule.ending_cents, *within)
            if found is None:
                found = rounded(fare, rule.multiple_cents, rule.ending_cents, low, high)
            if found is not None:
                move("rounding", found, rule.rule_id)
    filed, note = list(asked.filed_cents), "the flight's"
    for rule in active:
        if rule.kind == "ladder":
            filed, note = list(rule.ladder_cents), rule.rule_id
    for some in (within, (low, high)):
        rungs = [rung for rung in filed if some[0] <= rung <= some[1]]
        if rungs:
            move("ladder", nearest(rungs, fare), note)
            break
    return fare, tuple(steps)


def step_cents(rule: Rule, day_fare_cents: int) -> int:
    """The largest change of a day, in whole cents, rounded down."""
    if rule.most_cents is not None:
        return rule.most_cents
    assert rule.most_percent is not None
    return int(day_fare_cents * rule.most_percent / 100.0)


def without_model(rules: Iterable[Rule], asked: Asked) -> Rule | None:
    """The rule that takes the model out of use here, if there is one."""
    return next((rule for rule in rules if rule.kind == "without_model" and in_force(rule, asked)), None)


# Days before departure from which a share of the way from floor to ceiling is asked for, the seats being half sold.
ADVANCE = ((21, 10), (14, 25), (7, 45), (3, 65), (0, 85))


def ladder_of_rules_cents(asked: Asked, seats_left: int, capacity: int) -> int:
    """The fare where no model may be used: dearer as departure comes near, and as seats go; whole cents.

    percent of the way = by days before departure (ADVANCE), and 30 more or less as the flight is full or empty.
    """
    days = (asked.departs_ms - asked.at_ms) // DAY_MS
    percent = next((share for least, share in ADVANCE if days >= least), ADVANCE[-1][1])
    sold = max(0, capacity - seats_left)
    percent = min(100, max(0, percent + (60 * sold) // max(1, capacity) - 30))
    return asked.floor_cents + (asked.ceiling_cents - asked.floor_cents) * percent // 100


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All rules of a workspace, in the order in which they were first written."""

    rules: tuple[Rule, ...] = ()


def changed(rules: RuleSet, *, put: Iterable[Rule] = (), remove: Iterable[str] = ()) -> RuleSet:
    """The set with some rules written (one of the same id is replaced in its place) and some removed."""
    kept = {rule.rule_id: rule for rule in rules.rules}
    for name in remove:
        kept.pop(name, None)
    for rule in put:
        kept[rule.rule_id] = rule
    return RuleSet(tuple(kept.values()))


def encode_rules(rules: RuleSet) -> bytes:
    """Canonical JSON."""
    return msgspec.json.encode(rules, order="sorted")


def decode_rules(content: bytes) -> RuleSet:
    """The inverse; an empty text is the empty set."""
    return _decoder.decode(content) if content else RuleSet()


class RulesChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of the act `rules`."""

    put: tuple[Rule, ...] = ()
    remove: tuple[str, ...] = ()


_decoder = msgspec.json.Decoder(RuleSet)
