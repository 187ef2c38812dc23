"""Laws of training: a resumed run is the uninterrupted one, what comes later leaves no trace, tuning keeps rows."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from batch.catalogue import read_catalogue  # noqa: E402
from batch.checkpoint import CheckpointForeign  # noqa: E402
from batch.configuration import TrainingConfig, as_json, configuration_for, from_json, what_decides  # noqa: E402
from batch.network import Network, NetworkConfig, exported  # noqa: E402
from batch.progress import TrainingProgress  # noqa: E402
from batch.ranking import Scores  # noqa: E402
from batch.sequences import Sequences  # noqa: E402
from batch.train import TooFewInteractions, fit, pretrain, tail  # noqa: E402
from online.artifact import item_ids, item_vectors, read_artifact  # noqa: E402
from online.interactions import InteractionsMalformed  # noqa: E402
from online.recommendation.feeding import warm_up  # noqa: E402

SMALL = NetworkConfig(dimension=16, channels=16, hidden=16)
QUICK = {"network": SMALL, "epochs": 4, "warmup_steps": 5, "validation_users": 20}


def shop(path: Path, *, users: int = 60, items: int = 30, length: int = 12, seed: int = 0, prefix: str = "i") -> Path:
    """Each user walks a ring of items from a random place: what comes next is known."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp"])
        for user in range(users):
            first, moment = generator.integers(items), int(generator.integers(1_600_000_000, 1_600_100_000))
            for step in range(length):
                writer.writerow([f"u{user}", f"{prefix}{(first + step) % items}", moment + 60 * step])
    return path


def ring(users: int, items: int, length: int) -> Sequences:
    item = np.concatenate([(np.arange(length) + 7 * user) % items for user in range(users)])
    return Sequences(item, np.arange(len(item)), np.arange(users + 1) * length)


class Interrupted(Exception):
    """What a pulled plug looks like from inside."""


def run(checkpoint: Path | None, *, fail_at_validation: int | None = None) -> tuple[dict, list]:
    config = TrainingConfig(
        network=SMALL, epochs=5, row_tokens=16, step_tokens=64, warmup_steps=5, dropout=0.2, negatives=10
    )
    torch.manual_seed(config.seed)
    network = Network(config.network, items=40, dropout=config.dropout)
    sequences, calls = ring(30, 40, 20), []

    def validate(trained: Network) -> Scores:
        calls.append(None)
        if len(calls) == fail_at_validation:
            raise Interrupted
        norm = float(trained.items.weight.detach().norm())
        return Scores(n=1, hr_at_10=0.0, ndcg_at_10=norm, mrr=0.0)

    with TrainingProgress("test", quiet=True) as progress:
        fitted = fit(
            network,
            stable=sequences.without_last(2),
            decay=sequences,
            validate=validate,
            config=config,
            checkpoint=checkpoint,
            identity=as_json(config),
            progress=progress,
            checkpoint_every_s=0.0,
        )
    return exported(network) | {"items": network.items.weight.detach().numpy()}, fitted.metrics["history"]


def test_a_resumed_run_gives_the_weights_and_the_curve_of_the_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    weights, history = run(None)
    with pytest.raises(Interrupted):
        run(tmp_path / "run.safetensors", fail_at_validation=2)
    resumed_weights, resumed_history = run(tmp_path / "run.safetensors")
    assert resumed_history == history
    for name in weights:
        np.testing.assert_array_equal(resumed_weights[name], weights[name], err_msg=name)


def test_a_checkpoint_of_other_data_is_refused_by_name(tmp_path: Path) -> None:
    path = shop(tmp_path / "shop.csv")
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        run(out / "training.safetensors", fail_at_validation=2)
    with pytest.raises(CheckpointForeign, match=r"training\.safetensors"):
        pretrain(path, out, device="cpu", quiet=True, **QUICK)


def test_training_learns_what_comes_next_and_leaves_an_artifact_and_nothing_else(tmp_path: Path) -> None:
    path = shop(tmp_path / "shop.csv", users=200)
    written = pretrain(path, tmp_path / "out", device="cpu", quiet=True, **{**QUICK, "epochs": 20})
    read = read_artifact(tmp_path / "out")
    assert read.id == written.id and read.manifest["kind"] == "recommendation"
    assert read.manifest["metrics"]["validation"]["ndcg@10"] > 0.9
    assert from_json(read.manifest["configuration"]).network == SMALL
    assert item_vectors(read).shape == (30, 16) and sorted(item_ids(read)) == sorted(f"i{n}" for n in range(30))
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_the_same_data_and_seed_give_the_same_artifact_id(tmp_path: Path) -> None:
    path = shop(tmp_path / "shop.csv")
    one = pretrain(path, tmp_path / "one", device="cpu", quiet=True, **QUICK)
    two = pretrain(path, tmp_path / "two", device="cpu", quiet=True, **QUICK)
    other = pretrain(path, tmp_path / "other", device="cpu", quiet=True, seed=1, **QUICK)
    assert one.id == two.id != other.id


def test_what_comes_at_until_or_later_leaves_no_trace(tmp_path: Path) -> None:
    whole = shop(tmp_path / "whole.csv")
    rows = whole.read_text().splitlines()
    border = 1_600_050_000
    early = [rows[0], *(row for row in rows[1:] if int(row.rsplit(",", 1)[1]) < border)]
    (tmp_path / "early.csv").write_text("\n".join(early) + "\n")
    cut = pretrain(whole, tmp_path / "a", device="cpu", quiet=True, until_ms=border * 1000, **QUICK)
    alone = pretrain(tmp_path / "early.csv", tmp_path / "b", device="cpu", quiet=True, **QUICK)
    assert cut.manifest["data"]["digest"] == alone.manifest["data"]["digest"]
    np.testing.assert_array_equal(item_vectors(cut), item_vectors(alone))


def test_fine_tuning_keeps_the_rows_of_known_items_and_appends_the_new_ones(tmp_path: Path) -> None:
    base = pretrain(shop(tmp_path / "old.csv"), tmp_path / "base", device="cpu", quiet=True, **QUICK)
    newer = shop(tmp_path / "new.csv", items=40, seed=1)
    tuned = pretrain(newer, tmp_path / "tuned", device="cpu", quiet=True, artifact=tmp_path / "base", epochs=1)
    assert item_ids(tuned)[:30] == item_ids(base) and len(item_ids(tuned)) == 40
    assert tuned.manifest["base"] == base.id
    assert tuned.manifest["configuration"]["network"] == base.manifest["configuration"]["network"]
    moved = np.abs(item_vectors(tuned)[:30] - item_vectors(base))
    assert 0.0 < moved.max() < 0.3


def test_items_of_the_catalogue_get_vectors_before_anybody_took_them(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\ni3,Known\nnever,Taken\n")
    path = shop(tmp_path / "shop.csv")
    written = pretrain(path, tmp_path / "out", device="cpu", quiet=True, items_path=tmp_path / "items.csv", **QUICK)
    assert item_ids(written)[-1] == "never" and len(item_ids(written)) == 31


def test_texts_of_the_catalogue_reach_the_learners_as_kinds(tmp_path: Path) -> None:
    lines = ["item_id,title,genre,minutes", "i3,Known,film,90", "i4,Also,film,95", "never,Taken,,12"]
    (tmp_path / "items.csv").write_text("\n".join(lines) + "\n")
    catalogue = read_catalogue(tmp_path / "items.csv")
    assert catalogue == {"i3": {"genre": "film"}, "i4": {"genre": "film"}, "never": {}}
    path, written = shop(tmp_path / "shop.csv"), tmp_path / "out"
    artifact = pretrain(
        path, written, device="cpu", quiet=True, items_path=tmp_path / "items.csv", warm_up=warm_up, **QUICK
    )
    kind = artifact.tensors["learners.items.kind"][:, 0]
    of = dict(zip(item_ids(artifact), kind.tolist(), strict=True))
    assert of["i3"] == of["i4"] == 0 and of["never"] == of["i5"] == -1
    assert artifact.tensors["learners.kinds.taken"][0] > 0


def test_the_live_learners_first_state_joins_the_artifact(tmp_path: Path) -> None:
    def counted(artifact, interactions, catalogue):
        return {"learners.counts": np.bincount(interactions.item, minlength=len(item_ids(artifact)))}

    path = shop(tmp_path / "shop.csv")
    written = pretrain(path, tmp_path / "out", device="cpu", quiet=True, warm_up=counted, **QUICK)
    assert read_artifact(tmp_path / "out").id == written.id
    assert written.tensors["learners.counts"].sum() == 60 * 12


def test_a_malformed_file_and_too_few_interactions_stop_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("user_id,item_id,timestamp\na,x,1\nb,y,never\n")
    (tmp_path / "few.csv").write_text("user_id,item_id,timestamp\na,x,1\nb,y,2\n")
    with pytest.raises(InteractionsMalformed, match=r"bad\.csv: line 3, column timestamp"):
        pretrain(tmp_path / "bad.csv", tmp_path / "out", quiet=True)
    with pytest.raises(TooFewInteractions, match=r"few\.csv"):
        pretrain(tmp_path / "few.csv", tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_configuration_survives_json_and_refuses_what_cannot_be() -> None:
    config = configuration_for(tokens=30_000, items=600, device="cpu", minutes=0.5)
    assert from_json(as_json(config)) == config
    assert configuration_for(tokens=10**6, items=46_000, device="cpu").negatives > 0
    # Steps too small to share take one thread: threads that wait for a core spin.
    assert configuration_for(tokens=30_000, items=600, device="cpu").threads == 1
    assert what_decides(replace(config, minutes=9.0, threads=3)) == what_decides(config)
    with pytest.raises(ValueError, match="no such setting: learning_rat"):
        configuration_for(tokens=1, items=1, device="cpu", learning_rat=1.0)
    with pytest.raises(ValueError, match="dropout"):
        TrainingConfig(dropout=1.5)


def test_the_held_out_tail_is_the_last_share_by_time_and_never_most_of_the_data() -> None:
    sequences = ring(10, 40, 10)  # a hundred events at a hundred times
    assert np.flatnonzero(tail(sequences, share=0.1)).tolist() == list(range(90, 100))
    assert not tail(sequences, share=0.0).any()
    at_once = Sequences(sequences.item, np.zeros(100, np.int64), sequences.start)
    assert not tail(at_once, share=0.1).any()
