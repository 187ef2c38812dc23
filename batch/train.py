"""`perennial pretrain recommendation`: interactions in, artifact out. Reads top to bottom.

The learning rate is warmed up, held, and at last let down to zero ("warmup, stable, decay"). While it is
held, the last tenth of the events by time is held out and validates; when that stops improving, or most of
the budget is spent, the decay begins and learns from everything: what is served has seen the latest events
too.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import torch
from torch import nn

from batch.catalogue import read_catalogue
from batch.checkpoint import load_checkpoint, save_checkpoint
from batch.configuration import TrainingConfig, as_json, configuration_for, what_decides
from batch.loss import full_softmax, sampled_softmax
from batch.network import Network, NetworkConfig, exported, import_weights
from batch.progress import TrainingProgress, duration
from batch.quantize import quantized
from batch.ranking import Scores, scores_of, target_ranks
from batch.sequences import Sequences, pack, read_sequences, token_count
from online.artifact import Artifact, item_ids, item_vectors, pack_ids, read_artifact, write_artifact
from online.interactions import Interactions, read_interactions

CHECKPOINT = "training.safetensors"
CHECKPOINT_EVERY_S = 60.0

WarmUp = Callable[[Artifact, Interactions, Mapping[str, Mapping[str, str]]], Mapping[str, np.ndarray]]
Validate = Callable[[Network], Scores]


class TooFewInteractions(Exception):
    """Less to learn from than one step needs."""


def pretrain(
    interactions_path: Path,
    out: Path,
    *,
    device: str = "auto",
    until_ms: int | None = None,
    artifact: Path | None = None,
    items_path: Path | None = None,
    int8: bool = False,
    warm_up: WarmUp | None = None,
    quiet: bool = False,
    **changes: Any,
) -> Artifact:
    """Train the backbone on the interactions before until_ms and write the artifact into the folder out.

    device: auto, cpu or cuda. artifact: a folder to fine-tune from; its items keep their rows, new ones
    follow. items_path: a catalogue (`item_id`, and text columns that say
    what kind of item it is), whose items get vectors although nobody took them yet. int8:
    item vectors in a quarter of the bytes. warm_up: makes the live learners' first state out of the same
    interactions; its arrays join the artifact. changes: any field of TrainingConfig, e.g. minutes=5.
    A run that was interrupted goes on from its last checkpoint in out.
    Raises InteractionsMalformed, TooFewInteractions, ArtifactMissing, ArtifactCorrupt, CheckpointForeign.
    """
    out, device = Path(out), chosen_device(device)

    # The data: what each user took, in order, and the catalogue.
    interactions = read_interactions(Path(interactions_path), until_ms=until_ms)
    sequences = read_sequences(interactions)
    base = read_artifact(artifact) if artifact is not None else None
    old_ids = item_ids(base) if base is not None else []
    catalogue = read_catalogue(items_path)
    ids = list(dict.fromkeys([*old_ids, *interactions.item_ids, *catalogue]))
    row_of = {item_id: row for row, item_id in enumerate(ids)}
    rows = np.array([row_of[i] for i in interactions.item_ids], np.int64)
    sequences = replace(sequences, item=rows[sequences.item])
    tokens = token_count(sequences)
    if tokens < 1:
        raise TooFewInteractions(f"{interactions_path}: nobody took two items, so nothing comes next.")

    # The last tenth by time is the judge of when to stop. The configuration follows the size of the rest, or, in
    # fine-tuning, the artifact that we start from.
    held = tail(sequences, share=changes.get("validation_share", TrainingConfig().validation_share))
    if base is not None:
        known = base.manifest["configuration"]
        changes = {"learning_rate": known["learning_rate"] / 4.0, "epochs": 8, "warmup_steps": 20, **changes}
        changes["network"] = NetworkConfig(**known["network"])
    config = configuration_for(tokens=token_count(sequences.keep(~held)), items=len(ids), device=device, **changes)
    torch.set_num_threads(config.threads)
    data = {
        "interactions": len(sequences.item),
        "users": len(sequences),
        "items": len(ids),
        "first_at_ms": int(sequences.at_ms.min()),
        "last_at_ms": int(sequences.at_ms.max()),
        "until_ms": until_ms,
        "digest": data_digest(sequences, ids),
    }

    # The network.
    torch.manual_seed(config.seed)
    network = Network(config.network, items=len(ids), dropout=config.dropout).to(device)
    if base is not None:
        import_weights(network, base.tensors)
        vectors = torch.from_numpy(item_vectors(base))
        network.items.weight.data[: len(vectors)] = vectors.to(device)

    # Training.
    validation = TailValidation(sequences, held, config)
    with TrainingProgress("pretrain", quiet=quiet) as progress:
        events, users = data["interactions"], data["users"]
        progress.say(f"{events:,} interactions · {users:,} users · {len(ids):,} items · {device}")
        progress.say(f"{config}")
        result = fit(
            network,
            stable=sequences.keep(~held),
            decay=sequences,
            validate=validation if len(validation) else None,
            config=config,
            checkpoint=out / CHECKPOINT,
            identity={
                "configuration": what_decides(config),
                "data": data["digest"],
                "base": base.id if base else None,
            },
            progress=progress,
        )

        # The artifact: weights, vectors, ids; then what the live learners make of the same past.
        blob, starts = pack_ids(ids)
        tensors = {**exported(network), "items.ids": blob, "items.id_starts": starts}
        vectors = network.items.weight.detach().float().cpu().numpy()
        best = result.best.as_json() if result.best is not None else None
        metrics: dict[str, Any] = {"validation": best, **result.metrics}
        if int8:
            small, cost = quantized(vectors, lambda v: validation(network, v))
            tensors |= small
            metrics["int8"] = cost
            was, now = cost["ndcg@10_float32"], cost["ndcg@10"]
            progress.say(f"int8 item vectors cost {was - now:+.4f} NDCG@10: {was:.4f} -> {now:.4f}")
        else:
            tensors["items.vectors"] = vectors
        fields = {
            "kind": "recommendation",
            "data": data,
            "configuration": as_json(config),
            "metrics": metrics,
            "base": base.id if base else None,
            "environment": environment(device),
            "created": {"at": datetime.now(UTC).isoformat(timespec="seconds"), "training_s": round(result.seconds, 1)},
        }
        written = write_artifact(out, tensors, fields)
        if warm_up is not None:
            progress.say("the live learners' first state, out of the same interactions")
            written = write_artifact(out, {**tensors, **warm_up(written, interactions, catalogue)}, fields)
        (out / CHECKPOINT).unlink(missing_ok=True)
        progress.say(f"artifact {written.id} in {out} · {result.steps:,} steps in {duration(result.seconds)}")
    return written


@dataclass(frozen=True, slots=True)
class Fitted:
    """best: of the validations, which end where the decay begins; None without one. seconds: interruptions aside."""

    steps: int
    seconds: float
    best: Scores | None
    metrics: dict[str, Any]


def fit(
    network: Network,
    *,
    stable: Sequences,
    decay: Sequences,
    validate: Validate | None,
    config: TrainingConfig,
    checkpoint: Path | None,
    identity: dict[str, Any],
    progress: TrainingProgress,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> Fitted:
    """Train in place. stable: learned while the rate is held; decay: learned while it falls to zero.

    Goes on from checkpoint where there is one with the same identity. Raises CheckpointForeign,
    TooFewInteractions.
    """
    device = network.items.weight.device
    precision = getattr(torch, config.precision)
    optimizer = optimizer_for(network, config)
    state: dict[str, Any] = {"step": 0, "decay_from": None, "end": None, "history": []}
    state |= {"seconds": 0.0, "loss": None}
    resumed = None
    if checkpoint is not None:
        resumed = load_checkpoint(checkpoint, network, optimizer, identity)
    if resumed is not None:
        state = resumed
        progress.say(f"going on from step {state['step']:,} of {checkpoint}")
    begun_s, before_s = time.monotonic(), state["seconds"]
    saved_s = begun_s
    budget_s = config.minutes * 60.0 if config.minutes is not None else float("inf")

    def elapsed_s() -> float:
        return before_s + time.monotonic() - begun_s

    # An epoch of the stable part and one of the decay differ in length; each part counts its own.
    rows_per_step = max(config.step_tokens // config.row_tokens, 1)
    epoch_steps = {}
    for name, part in (("stable", stable), ("decay", decay)):
        if token_count(part) < config.row_tokens:
            raise TooFewInteractions(
                f"{token_count(part)} steps to learn from, {config.row_tokens} are needed: "
                "give more interactions, or a smaller row_tokens."
            )
        epoch_steps[name] = max(token_count(part) // config.row_tokens // rows_per_step, 1)
    stable_limit = max(round(config.epochs * (1.0 - config.decay_share)), 1) * epoch_steps["stable"]
    loaded: tuple[str, int] | None = None
    window: list[float] = []
    network.train()
    while state["end"] is None or state["step"] < state["end"]:
        step = state["step"]

        # Which part, which rows. The decay takes its share of all steps, however many were stable, if time allows.
        if state["decay_from"] is None:
            if step >= stable_limit or elapsed_s() > budget_s * (1.0 - config.decay_share):
                begin_decay(state, config)
                continue
        elif config.minutes is not None:
            affordable = max(round((budget_s - elapsed_s()) * step / elapsed_s()), 1)
            state["end"] = min(planned_end(state["decay_from"], config), step + affordable)
        stable_now = state["decay_from"] is None
        part, within = ("stable", step) if stable_now else ("decay", step - state["decay_from"])
        epoch, index = divmod(within, epoch_steps[part])
        if loaded != (part, epoch):
            number = epoch if stable_now else 1_000_000 + epoch  # the decay's packings are no repetition
            source = stable if stable_now else decay
            rows = pack(source, length=config.row_tokens, seed=config.seed, epoch=number)
            loaded = (part, epoch)
        taken = slice(index * rows_per_step, (index + 1) * rows_per_step)
        item, target, age = (
            torch.from_numpy(np.ascontiguousarray(column[taken].T)).to(device)  # [row_tokens, rows]
            for column in (rows.item, rows.target, rows.age)
        )

        # One step. Chance is a function of seed and step: nothing else has to be remembered to resume.
        torch.manual_seed(config.seed * 1_000_003 + step)
        rate = learning_rate(step, state, config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            query = network(item, age)
        query, target = query.float().flatten(0, 1), target.flatten()  # [T, d], [T]
        vectors = network.items.weight
        if config.negatives == 0:
            loss = full_softmax(query, vectors, target, precision=precision)
        else:
            negative = torch.randint(len(vectors), (config.negatives,), device=device)
            loss = sampled_softmax(query, vectors, target, negative, precision=precision)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm)
        optimizer.step()
        value = loss.item()
        if not np.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} at step {step}; a smaller learning_rate than {rate} may help"
            )
        state["step"] = step + 1
        state["loss"] = value if state["loss"] is None else state["loss"] + 0.02 * (value - state["loss"])

        # Validation, after each epoch of the stable part; when it stops improving, the decay begins.
        if stable_now and index + 1 == epoch_steps["stable"] and validate is not None:
            scores = validate(network)
            network.train()
            state["history"].append({"step": state["step"], "loss": state["loss"], **scores.as_json()})
            best = max(range(len(state["history"])), key=lambda i: state["history"][i]["ndcg@10"])
            if len(state["history"]) - 1 - best >= config.patience:
                begin_decay(state, config)

        # What it looks like from outside.
        window = [*window[-20:], time.monotonic()]
        pace = (len(window) - 1) / (window[-1] - window[0]) if len(window) > 1 else 1.0
        end = state["end"] or round(stable_limit / (1.0 - config.decay_share))
        left_s = min((end - state["step"]) / pace, max(budget_s - elapsed_s(), 0.0))
        ndcg = state["history"][-1]["ndcg@10"] if state["history"] else None
        progress.show(
            share=elapsed_s() / (elapsed_s() + left_s),
            epoch=state["step"] // epoch_steps["stable"] + 1,
            tokens_per_s=pace * rows_per_step * config.row_tokens,
            loss=state["loss"],
            ndcg=ndcg,
            left_s=left_s,
        )
        if checkpoint is not None and time.monotonic() - saved_s > checkpoint_every_s:
            state["seconds"] = elapsed_s()
            save_checkpoint(checkpoint, network, optimizer, state, identity)
            saved_s = time.monotonic()

    network.eval()
    history = state["history"]
    top = max(history, key=lambda h: h["ndcg@10"]) if history else None
    best_scores = Scores(top["n"], top["hr@10"], top["ndcg@10"], top["mrr"]) if top else None
    metrics = {key: state[key] for key in ("step", "decay_from", "loss", "history")}
    return Fitted(state["step"], elapsed_s(), best_scores, metrics)


def begin_decay(state: dict[str, Any], config: TrainingConfig) -> None:
    """From here on the learning rate falls."""
    state["decay_from"] = state["step"]
    state["end"] = planned_end(state["step"], config)


def planned_end(decay_from: int, config: TrainingConfig) -> int:
    """Where a decay that begins at this step ends: it takes decay_share of all steps."""
    return decay_from + max(round(decay_from * config.decay_share / (1.0 - config.decay_share)), 1)


def learning_rate(step: int, state: dict[str, Any], config: TrainingConfig) -> float:
    """Warm-up, hold, linear decay to zero."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if state["decay_from"] is not None:
        rate *= max(state["end"] - step, 0) / (state["end"] - state["decay_from"])
    return rate


def optimizer_for(network: Network, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices and item vectors, none on gains, biases and rates."""
    matrices = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def tail(sequences: Sequences, *, share: float) -> np.ndarray:
    """The last share of the events by time: bool [n], aligned with sequences.item. Equal times stay together."""
    at_ms = sequences.at_ms
    if share <= 0.0 or len(at_ms) == 0:
        return np.zeros(len(at_ms), dtype=bool)
    border = np.partition(at_ms, int(len(at_ms) * (1.0 - share)))[int(len(at_ms) * (1.0 - share))]
    held = at_ms >= border
    return held if held.mean() <= 0.5 else at_ms > border  # nearly all at one time: better little held out than much


class TailValidation:
    """Ranks a sample of the held-out events, each with all that its user did before as the past."""

    def __init__(self, sequences: Sequences, held: np.ndarray, config: TrainingConfig) -> None:
        generator = np.random.Generator(np.random.Philox(key=[config.seed, 2**40]))
        position = np.arange(len(sequences.item)) - np.repeat(sequences.start[:-1], sequences.lengths)
        user = np.repeat(np.arange(len(sequences)), sequences.lengths)
        rankable = np.flatnonzero(held & (position > 0))
        some = generator.permutation(np.unique(user[rankable]))[: config.validation_users]
        rankable = rankable[np.isin(user[rankable], some)]
        # At most five events of a user: a heavy user's fiftieth tells less than another user's first.
        shuffled = generator.permutation(rankable)
        shuffled = shuffled[np.argsort(user[shuffled], kind="stable")]
        counts = np.bincount(user[shuffled], minlength=len(sequences))
        nth = np.arange(len(shuffled)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = shuffled[nth < 5]
        self.sequences = sequences
        self.users, self.targets = user[chosen], position[chosen]

    def __len__(self) -> int:
        return len(self.users)

    def __call__(self, network: Network, vectors: np.ndarray | None = None) -> Scores:
        scored = None if vectors is None else torch.from_numpy(vectors).to(network.items.weight.device)
        return scores_of(target_ranks(network, self.sequences, self.users, self.targets, vectors=scored))


def chosen_device(device: str) -> str:
    """auto -> cuda where there is one. Raises ValueError for an unknown device or an absent GPU."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, and torch sees no GPU; use --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def data_digest(sequences: Sequences, ids: list[str]) -> str:
    """BLAKE3 over what is learned from: ids, items, times, users."""
    hasher = blake3.blake3()
    for array in (*pack_ids(ids), sequences.item, sequences.at_ms, sequences.start):
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()


def environment(device: str) -> dict[str, Any]:
    """What the numbers may depend on besides data and configuration."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "platform": sys.platform,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
