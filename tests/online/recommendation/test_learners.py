"""Laws of the streaming learners, on a small shop whose users come and go."""

from typing import Any

import numpy as np
import pytest

from online.journal import empty_journal
from online.recommendation import layout, mixing, popularity
from online.recommendation.arrays import learner_capacity, learners, rebuild_derived
from online.recommendation.availability import Open
from online.recommendation.catalogue import NEVER_MS, Catalogue
from online.recommendation.cells import build_cells
from online.recommendation.codes import agreement, encode
from online.recommendation.context import found_or_new
from online.recommendation.front import ANEW, empty_front
from online.recommendation.layout import EXPERTS, LEARNER_COLUMNS, Learners
from online.recommendation.memory import remember
from online.recommendation.observe import TASTE_PROBES, TASTE_RIVALS, _tasted_rivals, introduce, observe
from online.recommendation.ranking import rank
from online.recommendation.rescoring import correct, learn_network, set_network
from online.recommendation.residuals import move_item
from online.recommendation.response import learn_slate
from online.recommendation.score import explain_few, score_few
from online.recommendation.settings import Settings
from online.tables import allocate

USERS, ITEMS, START_MS = 40, 120, 1_600_000_000_000


def fresh(*, items: int = ITEMS, **changes: Any) -> tuple[dict[str, np.ndarray], Learners]:
    """Learners of nothing, with vectors and queries as if something had been trained."""
    settings = Settings(**changes)
    arrays = allocate(LEARNER_COLUMNS, {**learner_capacity(settings), "users": USERS, "items": items})
    chance = np.random.default_rng(5)
    for name in ("items.vector", "items.anchor"):
        arrays[name][:] = np.random.default_rng(6).normal(0, 0.3, arrays[name].shape)
    arrays["items.trained"][:] = 1
    arrays["users.query"][:] = chance.normal(0, 0.5, arrays["users.query"].shape)
    bound = learners(arrays, settings)
    rebuild_derived(bound)
    return arrays, bound


def live(bound: Learners, events: int, *, seed: int = 1, learning: bool = True) -> None:
    """A stream in which some items are popular, sessions are short, and two contexts differ."""
    chance = np.random.default_rng(seed)
    journal = empty_journal()
    context = np.zeros(8, np.uint64)
    at_ms = START_MS
    for _ in range(events):
        at_ms += int(chance.integers(200, 20_000))
        context[:2] = chance.integers(1, 4), 10 + chance.integers(2)
        item = int(min(chance.zipf(1.4), ITEMS) - 1)
        observe(bound, journal, int(chance.integers(USERS)), item, at_ms, context, 1.0, 1.0, learning)


@pytest.fixture(scope="module")
def grown() -> tuple[dict[str, np.ndarray], Learners]:
    arrays, bound = fresh()
    live(bound, 1_500)
    return arrays, bound


CONTEXT = np.array([1, 11, 0, 0, 0, 0, 0, 0], np.uint64)
NOW_MS = START_MS + 20_000_000


def ranked(
    bound: Learners, user: int, *, out: Any = (), given: Any = None, most: int = 64, described: Any = ()
) -> tuple[Any, Any]:
    """(scores, rows of the best, best first). out: rows that may not be shown; given: the only candidates; described:
    rows that the catalogue says something about."""
    rows = len(bound.items.bias)
    stamps = np.zeros(rows, np.int64)
    stamps[list(out)] = 9
    catalogue = Catalogue(
        np.full(rows, -NEVER_MS, np.int64),
        np.full(rows, NEVER_MS, np.int64),
        np.zeros((rows, 1, 1), np.uint64),
        np.array([row in described for row in range(rows)], np.int32),
    )
    key = np.arange(1, rows + 1).astype(np.uint64)
    scores, pool = np.zeros(rows, np.float32), np.zeros(layout.CANDIDATES_MAX, np.int64)
    some = np.array([] if given is None else given, np.int64)
    pooled = rank(
        bound, Open(catalogue, key, key, stamps), empty_front(rows), ANEW, 9, some, given is not None, user, NOW_MS,
        CONTEXT, rows, scores, pool, most,
    )  # fmt: skip
    return scores, pool[:pooled]


def test_an_item_gets_the_same_bits_whoever_else_is_on_the_shortlist(grown: tuple[dict, Learners]) -> None:
    _, bound = grown
    for user in (-1, 0, 7):
        scores, every = ranked(bound, user, most=ITEMS)
        few = [5, 0, 99, -1, 17, 3]
        again, some = ranked(bound, user, given=few)
        assert scores[some].tobytes() == again[some].tobytes()
        assert sorted(some.tolist()) == [0, 3, 5, 17, 99]
        assert some.tolist() == [row for row in every.tolist() if row in few]
        assert len(np.unique(scores)) > 20


def test_what_is_excluded_is_never_ranked(grown: tuple[dict, Learners]) -> None:
    _, bound = grown
    _, best = ranked(bound, 3)
    _, rest = ranked(bound, 3, out=best[:10].tolist())
    assert not set(best[:10].tolist()) & set(rest.tolist())
    assert set(best[10:].tolist()) <= set(rest.tolist())


def test_the_first_look_finds_what_the_exact_scores_put_first(grown: tuple[dict, Learners]) -> None:
    _, bound = grown
    found = [
        len({*ranked(bound, user, most=30)[1][:5]} & {*ranked(bound, user, most=ITEMS)[1][:5]}) for user in range(USERS)
    ]
    assert np.mean(found) > 4.5


def test_the_experts_best_hold_nearly_all_of_what_is_best_in_a_large_catalogue() -> None:
    """Recall of the candidates against all items, HR@10's own measure."""
    items, chance = 6_000, np.random.default_rng(8)
    kinds = chance.normal(0, 0.6, (40, layout.DIMENSION))
    arrays, bound = fresh(items=items)
    vectors = (kinds[chance.integers(40, size=items)] + chance.normal(0, 0.3, (items, layout.DIMENSION))).astype("f4")
    arrays["items.vector"][:] = arrays["items.anchor"][:] = vectors
    arrays["users.query"][:] = kinds[chance.integers(40, size=USERS)] * 1.5
    arrays.update(build_cells(vectors))
    bound = learners(arrays, Settings())
    rebuild_derived(bound)
    liked = np.argsort(-arrays["users.query"] @ vectors.T, axis=1)
    for event in range(1_000):
        item = int(liked[event % USERS, chance.integers(100)])
        observe(bound, empty_journal(), event % USERS, item, START_MS + 5_000 * event, CONTEXT, 1.0, 1.0, True)
    recall = []
    for user in range(USERS):
        _, found = ranked(bound, user)
        exact = np.array([], np.int64)
        for start in range(0, items, 250):  # all of them exactly, 250 at a time
            scores, some = ranked(bound, user, given=[*range(start, start + 250), *exact.tolist()][:256], most=256)
            both = np.unique(np.r_[some, exact])
            exact = both[np.argsort(-scores[both], kind="stable")][:6] if start else some[:6]
        recall.append(len({*found[:6].tolist()} & {*exact.tolist()}) / 6)
    assert np.mean(recall) > 0.9


def test_the_contributions_of_the_experts_sum_up_to_the_score(grown: tuple[dict, Learners]) -> None:
    _, bound = grown
    scores, rows = ranked(bound, 3, most=20)
    score_few(bound, 3, rows, len(rows), scores)
    terms = np.zeros((len(rows), len(EXPERTS)), np.float32)
    explain_few(bound, rows, len(rows), terms)
    assert terms.sum(axis=1) == pytest.approx(scores[rows], abs=1e-4)


def test_asking_for_scores_changes_nothing(grown: tuple[dict, Learners]) -> None:
    arrays, bound = grown
    before = {name: array.copy() for name, array in arrays.items()}
    ranked(bound, 3)
    assert all(np.array_equal(before[name], array) for name, array in arrays.items())


def test_the_same_stream_gives_the_same_bits() -> None:
    states = []
    for _ in range(2):
        arrays, bound = fresh()
        live(bound, 400)
        states.append({name: array.tobytes() for name, array in arrays.items()})
    assert states[0] == states[1]


def test_without_learning_only_the_users_own_state_moves() -> None:
    arrays, bound = fresh()
    live(bound, 200)
    before = {name: array.copy() for name, array in arrays.items()}
    live(bound, 50, seed=2, learning=False)
    moved = {name for name, array in arrays.items() if not np.array_equal(before[name], array)}
    assert moved
    assert {name.partition(".")[0] for name in moved} == {"users"}


def test_the_lists_of_the_most_popular_are_exact(grown: tuple[dict, Learners]) -> None:
    _, bound = grown
    for h in range(layout.POPULARITIES):
        heat = bound.items.heat[:, h]
        known = np.flatnonzero(heat > 0)
        order = known[np.lexsort((known, -heat[known]))][: layout.TOP]
        assert bound.mixing.top[h][: len(order)].tolist() == order.tolist()


def test_popularity_decays_by_its_half_life_without_being_touched() -> None:
    _, bound = fresh()
    popularity.take(bound.items, bound.mixing, 4, START_MS, 1.0)
    popularity.take(bound.items, bound.mixing, 5, START_MS, 1.0)
    h = 1
    later = START_MS + 3 * int(layout.HALF_LIVES_S[h] * 1000.0)
    popularity.take(bound.items, bound.mixing, 6, later, 1.0)
    shares = bound.items.heat[:, h] / bound.mixing.total[h]
    assert shares[4:7].tolist() == pytest.approx([0.1, 0.1, 0.8], rel=1e-6)


def test_popularity_forgets_in_whole_half_lives_and_keeps_its_sums() -> None:
    _, bound = fresh()
    chance = np.random.default_rng(3)
    at_ms, exact = START_MS, np.zeros(ITEMS)
    h, scaled = 0, 0
    for _ in range(400):
        step_ms = int(chance.integers(1, 60_000))
        at_ms += step_ms
        exact *= 0.5 ** (step_ms / (layout.HALF_LIVES_S[h] * 1000.0))
        item = int(chance.integers(ITEMS))
        exact[item] += 1.0
        scaled += popularity.take(bound.items, bound.mixing, item, at_ms, 1.0)
    assert scaled > 2
    assert bound.items.heat[:, h] / bound.mixing.total[h] == pytest.approx(exact / exact.sum(), abs=1e-6)


def test_mixing_learns_and_its_weights_stay_within_their_bounds(grown: tuple[dict, Learners]) -> None:
    arrays, _ = grown
    assert np.abs(arrays["mixing.weight"]).max() > 0.0
    assert np.isfinite(arrays["mixing.weight"]).all()
    assert np.abs(arrays["mixing.weight"]).max() <= mixing.WEIGHT_MAX


def test_trust_is_a_distribution_and_goes_to_the_experts_that_knew(grown: tuple[dict, Learners]) -> None:
    arrays, _ = grown
    assert arrays["mixture.trust"].sum(axis=1) == pytest.approx(1.0, abs=1e-9)
    assert (arrays["mixture.trust"] > 0.0).all()
    trust = np.full((1, layout.SHARES), 1.0 / layout.SHARES)
    shares = np.zeros(layout.SHARES, np.float32)
    shares[3] = 0.2
    for _ in range(200):
        mixing.move_trust(trust, 0, shares, 0.02)
    assert trust[0, 3] > 0.9
    assert trust.sum() == pytest.approx(1.0)


def test_the_network_learns_what_no_weighted_sum_can_say() -> None:
    """Of two shares exactly one speaks for an item: exclusive or."""
    _, bound = fresh()
    scratch, mix = bound.scratch, bound.mixing
    features = scratch.candidate_feature
    features[:, :4] = 0.0
    features[layout.F_MIXTURE, :4] = 8.0
    features[0, 1] = features[0, 3] = features[1, 2] = features[1, 3] = 2.0
    wanted = np.array([0.0, 0.5, 0.5, 0.0])
    for _ in range(8_000):
        set_network(mix.inner, mix.outer, 1, scratch)
        scores = np.zeros(4, np.float32)
        correct(features, scratch.inner, scratch.start, scratch.outer, scratch.units, 4, scores)
        given = np.exp(scores) / np.exp(scores).sum()
        learn_network(mix, scratch, given - wanted, 4, 1, 0.05)
    assert given == pytest.approx(wanted, abs=0.1)


def test_one_event_moves_no_weight_further_than_a_step() -> None:
    arrays, bound = fresh()
    live(bound, 300)
    before = arrays["mixing.weight"].copy()
    live(bound, 1, seed=9)
    shrunk = mixing.SHRINKAGE * np.abs(before).max()
    assert np.abs(arrays["mixing.weight"] - before).max() <= mixing.STEP_MAX + shrunk


def test_no_stream_of_gradients_carries_a_vector_further_than_its_radius() -> None:
    arrays, bound = fresh()
    for _ in range(5_000):
        move_item(bound.items, 3, bound.users.query, 1, True, -1.0, 5.0, 5.0, 1e-4)
    moved = arrays["items.vector"][3] - arrays["items.anchor"][3]
    length = np.sqrt((moved**2).sum())
    assert 0.1 < length / np.sqrt((arrays["items.anchor"][3] ** 2).sum()) <= 0.5 + 1e-5
    assert abs(arrays["items.bias"][3]) <= 2.0


def _row(slots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.full((1, slots), -1, np.int32), np.zeros((1, slots), np.float32), np.zeros(1, np.float32), np.zeros(1)


def test_a_full_row_forgets_its_smallest_count_and_the_lowest_slot_among_equals() -> None:
    items, counts, total, at_ms = _row(3)
    for item, times in ((7, 3), (8, 1), (9, 1)):
        for _ in range(times):
            remember(items, counts, total, at_ms, 0, item, 1_000.0, 60_000.0, 1.0)
    remember(items, counts, total, at_ms, 0, 10, 1_000.0, 60_000.0, 1.0)
    assert items[0].tolist() == [7, 10, 9]
    assert counts[0].tolist() == [3.0, 1.0, 1.0]
    assert total[0] == counts.sum()


def test_counts_of_a_row_halve_in_a_half_life_and_late_events_count_for_what_is_left() -> None:
    items, counts, total, at_ms = _row(4)
    remember(items, counts, total, at_ms, 0, 7, 60_000.0, 60_000.0, 1.0)
    remember(items, counts, total, at_ms, 0, 8, 120_000.0, 60_000.0, 1.0)
    remember(items, counts, total, at_ms, 0, 9, 60_000.0, 60_000.0, 1.0)  # a minute late
    assert counts[0].tolist() == [0.5, 1.0, 0.5, 0.0]
    assert (at_ms[0], total[0]) == (120_000.0, 2.0)


def test_the_directory_of_contexts_gives_way_to_new_ones_where_it_is_full() -> None:
    arrays, bound = fresh()
    bucket = np.uint64(5)
    rows = [
        found_or_new(bound.contexts, bucket + np.uint64(layout.CONTEXT_ROWS * k), START_MS + k) for k in range(1, 9)
    ]
    assert sorted(rows) == list(range(5, 13))
    found_or_new(bound.contexts, bucket + np.uint64(layout.CONTEXT_ROWS), START_MS + 100)  # used again: the newest now
    newcomer = found_or_new(bound.contexts, bucket + np.uint64(layout.CONTEXT_ROWS * 9), START_MS + 101)
    assert newcomer == rows[1]
    assert (arrays["contexts.key"] != 0).sum() == 8


def test_a_slate_that_is_answered_raises_its_item_and_silence_lowers_the_others() -> None:
    _, bound = fresh()
    live(bound, 100)
    before, _ = ranked(bound, -1, most=ITEMS)
    shown = np.array([60, 61, 62], np.int32)
    for _ in range(20):
        learn_slate(
            bound,
            empty_journal(),
            NOW_MS,
            CONTEXT,
            shown,
            np.array([0.0, 1.0, 0.0], np.float32),
            np.full(3, 0.9, np.float32),
        )
    after, _ = ranked(bound, -1, most=ITEMS)
    assert after[61] > before[61]
    assert after[60] < before[60]
    assert after[70] == before[70]


def test_the_codes_of_vectors_follow_them_and_give_their_products_nearly() -> None:
    arrays, bound = fresh()
    live(bound, 300)
    codes, steps = arrays["items.code"].copy(), arrays["items.code_step"].copy()
    rebuild_derived(bound)
    moved = np.flatnonzero(arrays["items.taken"] > 0)
    assert (codes[moved] == arrays["items.code"][moved]).all()
    assert steps[moved].tobytes() == arrays["items.code_step"][moved].tobytes()
    query, step = np.zeros((1, layout.DIMENSION), np.int8), np.zeros(1, np.float32)
    encode(arrays["users.query"], 2, query, step, 0)
    products = np.array([agreement(query[0], arrays["items.code"], row) for row in range(len(arrays["items.code"]))])
    scores = 2.0 * step[0] * arrays["items.code_step"] * products
    exact = 2.0 * arrays["items.vector"] @ arrays["users.query"][2]
    assert np.abs(scores - exact).max() < 0.02 * np.abs(exact).max()
    assert np.corrcoef(scores, exact)[0, 1] > 0.999


def test_a_vector_of_nothing_has_a_code_of_nothing() -> None:
    codes, steps = np.ones((1, layout.DIMENSION), np.int8), np.ones(1, np.float32)
    encode(np.full((1, layout.DIMENSION), 1e-38, np.float32), 0, codes, steps, 0)
    assert not codes.any()
    assert not steps.any()


def test_a_new_item_is_among_the_newest_until_it_speaks_for_itself() -> None:
    _, bound = fresh()
    live(bound, 400)
    bound.items.trained[110] = bound.items.taken[110] = bound.items.since_ms[110] = 0
    before, _ = ranked(bound, 2, most=ITEMS)
    introduce(bound, 110, START_MS)
    introduce(bound, 110, START_MS + 5)
    after, _ = ranked(bound, 2, most=ITEMS)
    assert (bound.mixing.came[0], bound.items.since_ms[110]) == (1, START_MS)
    assert after[110] > before[110]
    bound.items.taken[110] = 9.0
    later, _ = ranked(bound, 2, most=ITEMS)
    assert later[110] < after[110]


def test_what_the_user_s_taste_points_to_is_among_the_rivals() -> None:
    arrays, bound = fresh()
    arrays.update(build_cells(arrays["items.anchor"]))
    bound = learners(arrays, Settings())
    rebuild_derived(bound)
    scratch, items, user = bound.scratch, bound.items, 3
    encode(bound.users.query, user, scratch.query_code, scratch.query_step, 0)
    stamp = np.zeros(ITEMS, np.int64)
    stamp[:20] = 9  # rivals already, or taken
    held = _tasted_rivals(
        bound.cells, scratch, bound.users.query, user, items.code, items.code_step, stamp, 9, 5
    )  # fmt: skip
    chosen = scratch.candidate[6 : held + 1].tolist()
    assert held == 5 + TASTE_RIVALS and len(set(chosen)) == TASTE_RIVALS and min(chosen) >= 20
    worth = {row: items.code_step[row] * agreement(scratch.query_code[0], items.code, row) for row in range(ITEMS)}
    assert chosen == sorted(chosen, key=lambda row: -worth[row])
    looked_into = scratch.nearest[:TASTE_PROBES]
    members = {int(m) for c in looked_into for m in bound.cells.row[bound.cells.start[c] : bound.cells.start[c + 1]]}
    assert set(chosen) <= members
    assert all(worth[row] <= worth[chosen[-1]] for row in members - set(chosen) if row >= 20)
    assert (stamp[chosen] == 9).all()


def test_what_only_ever_stood_in_a_slate_is_offered_to_those_who_name_it() -> None:
    arrays, bound = fresh()
    live(bound, 300)
    for row in (6, 7, 8):
        arrays["items.trained"][row] = 0
        for name in ("items.vector", "items.anchor", "items.since_ms", "items.taken", "items.heat"):
            arrays[name][row] = 0
    rebuild_derived(bound)
    introduce(bound, 8, NOW_MS - 1)
    for user in (-1, 3):
        _, every = ranked(bound, user, most=ITEMS, described=[6])
        assert {6, 8} < set(every.tolist()) and 7 not in every.tolist()
        _, named = ranked(bound, user, given=[7, 8, 9])
        assert sorted(named.tolist()) == [7, 8, 9]
