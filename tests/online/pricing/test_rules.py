"""Rules hold whatever the model says. PERENNIAL_FUZZ_FARES=1000000 asks for the long form."""

import os
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from online.fold import Fold
from online.pricing.quote import FareDecider, Request
from online.pricing.records import CLOSED, FlightUpsert
from online.pricing.rules import (
    FARE_MAX_CENTS,
    Asked,
    Rule,
    RuleSet,
    apply,
    bounds,
    changed,
    decode_rules,
    encode_rules,
    in_force,
    ladder_of_rules_cents,
    meets,
    rule_problem,
    step_cents,
)
from online.pricing.solving import solve_next
from online.records import Begin
from online.settings import Settings, settings_text
from online.state import State

FARES = int(os.environ.get("PERENNIAL_FUZZ_FARES", "40000"))
FARES_EACH = 200  # model outputs tried under one set of rules
EXAMPLES = max(1, FARES // FARES_EACH)
DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000

cents = some.integers(1, 60_000)
wide_cents = some.one_of(cents, some.integers(1, FARE_MAX_CENTS))
moments = some.integers(NOW_MS - 3 * DAY_MS, NOW_MS + 3 * DAY_MS)
ladders = some.lists(wide_cents, min_size=1, max_size=12, unique=True).map(lambda fares: tuple(sorted(fares)))
scopes = some.sampled_from(({}, {"market": "m"}, {"market": "n"}, {"flight_id": "f"}, {"flight_id": "g"}))
shapes: Any = some.one_of(
    some.fixed_dictionaries({"kind": some.sampled_from(("floor", "ceiling")), "fare_cents": wide_cents}),
    some.fixed_dictionaries({"kind": some.just("ladder"), "ladder_cents": ladders}),
    some.integers(1, 5_000).flatmap(
        lambda multiple: some.fixed_dictionaries(
            {
                "kind": some.just("rounding"),
                "multiple_cents": some.just(multiple),
                "ending_cents": some.integers(0, multiple - 1),
            }
        )
    ),
    some.fixed_dictionaries({"kind": some.just("step"), "most_cents": some.integers(0, 20_000)}),
    some.fixed_dictionaries({"kind": some.just("step"), "most_percent": some.floats(0.0, 1_000.0)}),
    some.fixed_dictionaries(
        {"kind": some.just("fence"), "fare_cents": wide_cents, "days_before": some.integers(0, 60)}
    ),
    some.fixed_dictionaries(
        {
            "kind": some.just("fence"),
            "fare_cents": wide_cents,
            "feature": some.sampled_from(("saturday_stay", "refundable")),
            "at_least": some.sampled_from((0.5, 1.0, 2.0)),
        }
    ),
    some.fixed_dictionaries(
        {
            "kind": some.just("override"),
            "fare_cents": wide_cents,
            "from_ms": moments,
            "until_ms": moments,
            "author": some.just("ada"),
            "reason": some.just("a test"),
        }
    ),
    some.fixed_dictionaries({"kind": some.just("without_model")}),
)
rules = some.lists(some.tuples(shapes, scopes), max_size=8).map(
    lambda found: [
        rule
        for k, (shape, scope) in enumerate(found)
        if rule_problem(rule := Rule(rule_id=f"r{k}", **shape, **scope)) is None
    ]
)
bands = some.tuples(cents, cents).map(sorted)
asked_of: Any = some.builds(
    lambda band, filed, days, day_fare, features: Asked(
        market="m",
        flight_id="f",
        floor_cents=band[0],
        ceiling_cents=band[1],
        filed_cents=[fare for fare in filed if band[0] <= fare <= band[1]],
        departs_ms=NOW_MS + days * DAY_MS,
        at_ms=NOW_MS,
        day_fare_cents=day_fare,
        features=features,
    ),
    bands,
    some.one_of(some.just(()), ladders),
    some.integers(0, 90),
    some.one_of(some.just(0), cents),
    some.dictionaries(some.sampled_from(("saturday_stay", "refundable")), some.floats(0.0, 2.0), max_size=2),
)
EXTREME = (-(10**18), -1, 0, 1, 10**9, 10**18)


def check(rules: list[Rule], asked: Asked, fare: int, told: tuple[Any, ...]) -> None:
    """Everything that a fare must keep to."""
    active = [rule for rule in rules if in_force(rule, asked)]
    assert isinstance(fare, int)
    assert asked.floor_cents <= fare <= asked.ceiling_cents
    if told:
        assert told[-1].fare_cents == fare
    override = [rule for rule in active if rule.kind == "override"]
    if override:
        wanted = override[-1].fare_cents or 0
        assert fare == min(max(wanted, asked.floor_cents), asked.ceiling_cents)
        return
    low, high = bounds(active, asked)
    assert low <= fare <= high
    for rule in active:
        if rule.kind == "fence" and not meets(rule, asked):
            assert fare >= min(rule.fare_cents or 0, high)
            low = max(low, min(rule.fare_cents or 0, high))
    filed: list[int] = list(asked.filed_cents)
    for rule in active:
        if rule.kind == "ladder":
            filed = list(rule.ladder_cents)
    within = [rung for rung in filed if low <= rung <= high]
    if within:
        assert fare in within
    steps = [rule for rule in active if rule.kind == "step"] if asked.day_fare_cents else []
    if steps and not filed:
        most = min(step_cents(rule, asked.day_fare_cents) for rule in steps)
        if max(low, asked.day_fare_cents - most) <= min(high, asked.day_fare_cents + most):
            roundings = [rule for rule in active if rule.kind == "rounding"]
            if not roundings:
                assert abs(fare - asked.day_fare_cents) <= most
    roundings = [rule for rule in active if rule.kind == "rounding"]
    if len(roundings) == 1 and not filed:
        multiple, ending = roundings[0].multiple_cents or 1, roundings[0].ending_cents
        if low + (ending - low) % multiple <= high:
            assert fare % multiple == ending


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(rules, asked_of, some.integers(0, 2**32))
def test_no_fare_is_outside_the_rules(rules: list[Rule], asked: Asked, seed: int) -> None:
    chance = random.Random(seed)
    around = (asked.floor_cents, asked.ceiling_cents, asked.day_fare_cents, *asked.filed_cents)
    for k in range(FARES_EACH):
        near = chance.choice(around) + chance.randint(-300, 300)
        named = EXTREME[k] if k < len(EXTREME) else chance.choice((near, chance.randint(-1_000, 70_000)))
        fare, told = apply(rules, asked, named)
        check(rules, asked, fare, told)
    by_rules = ladder_of_rules_cents(asked, 3, 10)
    assert asked.floor_cents <= by_rules <= asked.ceiling_cents


@settings(max_examples=max(50, EXAMPLES // 2), database=None, derandomize=True)
@given(rules, some.lists(some.sampled_from(("r0", "r1", "r2")), max_size=2))
def test_a_set_of_rules_is_what_was_put_and_not_removed(rules: list[Rule], gone: list[str]) -> None:
    kept = changed(changed(RuleSet(), put=rules), remove=gone)
    assert [rule.rule_id for rule in kept.rules] == [rule.rule_id for rule in rules if rule.rule_id not in gone]
    assert decode_rules(encode_rules(kept)) == kept


STATE_SETTINGS = Settings(decisions_max=16, slots_max=800, event_ids_max=16)
BAD = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, -1.0, 0.0, 1e18)


@pytest.fixture(scope="module")
def one_flight() -> State:
    """A state with one flight, a market and a solved table."""
    state = State(STATE_SETTINGS, None)
    records = [
        Begin(1, "", 0, settings_text(STATE_SETTINGS), 0),
        FlightUpsert("f", 0, "m", NOW_MS + 30 * DAY_MS, 9, "EUR", 5_000, 40_000, (5_000, 9_900, 19_900, 40_000)),
    ]
    Fold(state).entries(enumerate(records, start=1))
    state.views.selling.market_clock_ms[0] = NOW_MS
    assert solve_next(state)
    return state


@settings(max_examples=max(100, EXAMPLES), suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(
    rules,
    some.sampled_from(("mean", "offset", "bid_price", "covariance", "reference_cents", "window_shape", "shift")),
    some.sampled_from(BAD),
    some.integers(0, 9),
    some.integers(-40, 400),
    some.dictionaries(some.sampled_from(("saturday_stay", "refundable")), some.sampled_from(BAD), max_size=2),
)
def test_whatever_stands_in_the_model_the_fare_is_within_the_rules(
    one_flight: State, rules: list[Rule], where: str, value: float, left: int, hours: int, features: dict[str, float]
) -> None:
    state, p = one_flight, one_flight.views.pricing
    arrays = [
        *(getattr(p.markets, name) for name in ("mean", "offset", "covariance", "reference_cents", "window_shape")),
        p.flights.bid_price,
        p.features.shift,
        p.flights.seats_left,
    ]
    before = [array.copy() for array in arrays]
    target = {"bid_price": p.flights.bid_price, "shift": p.features.shift}.get(where)
    with np.errstate(all="ignore"):
        (getattr(p.markets, where) if target is None else target)[...] = value
    p.flights.seats_left[0] = left
    try:
        at_ms = NOW_MS + hours * 3_600_000
        request = Request("f", at_ms, features)
        fare = FareDecider(STATE_SETTINGS.pricing).decide(p, state.views.selling, RuleSet(tuple(rules)), request)
    finally:
        for array, kept in zip(arrays, before, strict=True):
            array[...] = kept
    if left == 0:
        assert (fare.fare_cents, fare.source) == (-1, CLOSED)
        return
    asked = Asked("m", "f", 5_000, 40_000, (5_000, 9_900, 19_900, 40_000), NOW_MS + 30 * DAY_MS, at_ms, 0, features)
    check(rules, asked, fare.fare_cents, fare.because)
    assert fare.because[-1].fare_cents == fare.fare_cents
