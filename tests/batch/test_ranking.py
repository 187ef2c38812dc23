"""Laws of measuring: ranks and losses that can be worked out by hand come out so."""

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from batch.evaluate import evaluate_leave_one_out  # noqa: E402
from batch.loss import full_softmax, sampled_softmax  # noqa: E402
from batch.network import Network, NetworkConfig  # noqa: E402
from batch.quantize import quantize, restored  # noqa: E402
from batch.ranking import scores_of, target_ranks  # noqa: E402
from batch.sequences import Sequences, pack, read_sequences, token_count  # noqa: E402
from online.interactions import read_interactions  # noqa: E402

SMALL = NetworkConfig(dimension=16, channels=16, hidden=16)


def test_scores_of_known_ranks_are_the_published_formulas() -> None:
    scores = scores_of(np.array([1.0, 3.0, 10.0, 11.0, math.inf]))
    assert scores.n == 5 and scores.hr_at_10 == 3 / 5
    assert scores.ndcg_at_10 == pytest.approx((1 + 1 / 2 + 1 / math.log2(11)) / 5)
    assert scores.mrr == pytest.approx((1 + 1 / 3 + 1 / 10 + 1 / 11) / 5)


def sequences_of(*sequences: list[int]) -> Sequences:
    start = np.concatenate([[0], np.cumsum([len(s) for s in sequences])])
    return Sequences(np.concatenate(sequences).astype(np.int64), np.arange(start[-1]), start)


def test_ties_and_nan_go_against_the_target_and_items_taken_before_do_not_count() -> None:
    network = Network(SMALL, items=20)
    network.output_gain.data.zero_()  # every score is 0: all items tie
    sequences = sequences_of([3, 4, 5], [0, 1, 2, 0], [7, 8])
    users, targets = np.array([0, 1, 1, 2]), np.array([2, 2, 3, 1])
    # 20 items less those taken before; the third target is a repeat, which is left out of the ranking: a miss.
    assert target_ranks(network, sequences, users, targets).tolist() == [18.0, 18.0, math.inf, 19.0]
    network.output_gain.data.fill_(math.nan)
    assert target_ranks(network, sequences, users, targets).tolist() == [18.0, 18.0, math.inf, 19.0]


def test_ranks_are_those_of_a_plain_sort_of_each_past_alone() -> None:
    torch.manual_seed(0)
    network = Network(SMALL, items=50).eval()
    generator = np.random.Generator(np.random.Philox(key=0))
    sequences = sequences_of(*(generator.permutation(50)[: generator.integers(2, 40)].tolist() for _ in range(12)))
    users = np.arange(12)
    targets = sequences.lengths - 1
    ranks = target_ranks(network, sequences, users, targets)
    for user in users:
        past = torch.from_numpy(sequences.item[sequences.start[user] : sequences.start[user + 1] - 1])
        with torch.no_grad():
            query = network(past[:, None], torch.arange(len(past))[:, None])[-1, 0]
            score = network.items.weight @ query
        score[past] = -math.inf
        target = sequences.item[sequences.start[user + 1] - 1]
        assert ranks[user] == int((score >= score[target]).sum())


def test_leave_one_out_on_a_ring_finds_the_item_that_follows(tmp_path: Path) -> None:
    lines = [" ".join(str((7 * u + k) % 25) for k in range(8)) for u in range(200)]
    (tmp_path / "ring.txt").write_text("\n".join(f"{u} {line}" for u, line in enumerate(lines)))
    found = evaluate_leave_one_out(
        tmp_path / "ring.txt", device="cpu", quiet=True, network=SMALL, epochs=30, learning_rate=0.01
    )
    assert found.test.n == 200
    assert found.test.hr_at_10 == 1.0 and found.test.ndcg_at_10 > 0.95
    assert found.as_json()["test"]["hr@10"] == 1.0


def test_the_full_softmax_and_its_gradient_are_torch_s_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    query, vectors = (torch.randn(n, 8, generator=generator, requires_grad=True) for n in (300, 40))
    target = torch.randint(0, 40, (300,), generator=generator)
    plain = torch.nn.functional.cross_entropy(query @ vectors.T, target)
    ours = full_softmax(query, vectors, target, precision=torch.float32)
    expected, found = (torch.autograd.grad(loss, (query, vectors)) for loss in (plain, ours))
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(found, expected)


def test_the_sampled_softmax_and_its_gradient_are_those_of_weighted_negatives() -> None:
    generator = torch.Generator().manual_seed(1)
    query, vectors = (torch.randn(n, 8, generator=generator, requires_grad=True) for n in (70, 40))
    target = torch.randint(0, 40, (70,), generator=generator)
    negative = torch.randint(0, 40, (15,), generator=generator)
    logits = query @ vectors[negative].T + math.log(39 / 15)
    logits = logits.masked_fill(target[:, None] == negative, -math.inf)
    own = (query * vectors[target]).sum(1, keepdim=True)
    plain = torch.nn.functional.cross_entropy(torch.cat([own, logits], 1), torch.zeros(70, dtype=torch.int64))
    ours = sampled_softmax(query, vectors, target, negative, precision=torch.float32)
    expected, found = (torch.autograd.grad(loss, (query, vectors)) for loss in (plain, ours))
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(found, expected)


def test_packed_rows_hold_each_step_once_with_its_true_successor_and_age() -> None:
    lengths = [2, 9, 1, 30, 5, 17]
    sequences = sequences_of(*(list(range(100 * u, 100 * u + n)) for u, n in enumerate(lengths)))
    rows = pack(sequences, length=6, seed=3, epoch=1)
    assert (rows.target == rows.item + 1).all()  # by construction the next item is the next number
    assert len(np.unique(rows.item)) == rows.item.size > token_count(sequences) - 6
    for row, ages in zip(rows.item, rows.age, strict=True):
        for column in range(6):
            expected = min(row[column] % 100, column)
            assert ages[column] == expected
    again, other = pack(sequences, length=6, seed=3, epoch=1), pack(sequences, length=6, seed=3, epoch=2)
    np.testing.assert_array_equal(rows.item, again.item)
    assert not np.array_equal(rows.item, other.item)


def test_only_what_was_chosen_makes_a_sequence_and_a_repeat_at_once_counts_once(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(
        "user_id,item_id,timestamp,event_type,value\n"
        "a,x,1,play,\na,x,2,like,\na,y,3,skip,\na,z,4,rating,2\na,w,5,rating,5\na,v,6,dislike,\nb,x,7,poked,\n"
    )
    interactions = read_interactions(tmp_path / "shop.csv")
    sequences = read_sequences(interactions)
    assert [interactions.item_ids[i] for i in sequences.item] == ["x", "w", "x"]
    assert sequences.start.tolist() == [0, 2, 3]


def test_int8_vectors_are_off_by_half_a_scale_at_most() -> None:
    vectors = np.random.Generator(np.random.Philox(key=0)).normal(size=(100, 64)).astype(np.float32)
    vectors[7] = 0.0
    small, scale = quantize(vectors)
    assert small.dtype == np.int8 and scale[7] == 0.0
    assert (np.abs(restored(small, scale) - vectors) <= scale[:, None] * 0.5001).all()
