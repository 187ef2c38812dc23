"""Commands on files of the past: pretrain, evaluate, replay. No service is needed, and none is disturbed."""

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from api.console import MISSING, USAGE, Json, give, refuse

Interactions = Annotated[
    Path,
    typer.Option(
        help="CSV or Parquet: user_id, item_id, timestamp, optional event_type, value, session_id, context_*."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Minutes = Annotated[float | None, typer.Option(help="A time budget for training.", min=0.01)]
Seed = Annotated[int | None, typer.Option(help="Of all chance in the run.")]


def pretrain_recommendation(
    interactions: Interactions,
    out: Annotated[Path, typer.Option(help="Folder of the artifact; an interrupted run goes on from it.")],
    items: Annotated[Path | None, typer.Option(help="Catalogue with item_id: items nobody took yet.")] = None,
    device: Device = "auto",
    until: Annotated[str | None, typer.Option(help="Leave out what is not before: 2017-10-09, or Unix time.")] = None,
    artifact: Annotated[Path | None, typer.Option(help="Fine-tune from this artifact.")] = None,
    minutes: Minutes = None,
    epochs: Annotated[int | None, typer.Option(help="At most this many.", min=1)] = None,
    seed: Seed = None,
    int8: Annotated[bool, typer.Option("--int8", help="Item vectors in a quarter of the bytes.")] = False,
    warm: Annotated[bool, typer.Option(help="Also what the live learners make of the same past.")] = True,
    as_json: Json = False,
) -> None:
    """Train on past interactions and write an artifact; with --artifact, fine-tune from one.

    Example: perennial pretrain recommendation --interactions past.csv --out ./artifact
    """
    with _batch_errors():
        from batch.train import pretrain
        from online.recommendation.feeding import warm_up

        changes: dict[str, Any] = {"minutes": minutes, "epochs": epochs, "seed": seed}
        written = pretrain(
            interactions,
            out,
            device=device,
            until_ms=None if until is None else moment_ms(until),
            artifact=artifact,
            items_path=items,
            int8=int8,
            warm_up=warm_up if warm else None,
            **{name: value for name, value in changes.items() if value is not None},
        )
    result = {"artifact": written.id, "folder": str(out), "metrics": written.manifest["metrics"]}
    give(result, as_json=as_json, text=f"artifact {written.id} in {out}")


def evaluate_recommendation(
    interactions: Interactions,
    protocol: Annotated[str, typer.Option(help="leave-one-out is the only one.")] = "leave-one-out",
    device: Device = "auto",
    minutes: Minutes = None,
    epochs: Annotated[int | None, typer.Option(help="At most this many.", min=1)] = None,
    seed: Seed = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A file to keep the run in, to go on from.")] = None,
    as_json: Json = False,
) -> None:
    """Train on all but each user's last two items, then rank the last one over the full catalogue.

    Example: perennial evaluate recommendation --interactions past.csv --protocol leave-one-out
    """
    if protocol != "leave-one-out":
        refuse(f"unknown protocol {protocol!r}; there is leave-one-out", USAGE)
    with _batch_errors():
        from batch.evaluate import evaluate_leave_one_out

        changes: dict[str, Any] = {"minutes": minutes, "epochs": epochs, "seed": seed}
        found = evaluate_leave_one_out(
            interactions,
            device=device,
            checkpoint=checkpoint,
            **{name: value for name, value in changes.items() if value is not None},
        ).as_json()
    lines = [f"leave-one-out, ranked over the full catalogue ({found['steps']:,} steps, {found['seconds']} s)"]
    for part in ("validation", "test"):
        figures = "  ".join(
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value:,}"
            for name, value in found[part].items()
        )
        lines.append(f"{part:10} {figures}")
    give(found, as_json=as_json, text="\n".join(lines))


class Ties(StrEnum):
    """Events of one user at one timestamp: scored before any of them is learned, or one after the other."""

    TOGETHER = "together"
    FILE_ORDER = "file-order"


def replay_recommendation(
    interactions: Interactions,
    artifact: Annotated[Path | None, typer.Option(help="Without: trained on the batch part first.")] = None,
    pretrain_share: Annotated[float, typer.Option(help="Batch part by events.", min=0.0, max=1.0)] = 0.8,
    stream_from: Annotated[str | None, typer.Option(help="Batch part by time: 2017-10-09, or Unix time.")] = None,
    seed: Annotated[int, typer.Option(help="Of all chance in the run.")] = 0,
    score_every: Annotated[int, typer.Option(help="Score every K-th event; all are learned.", min=1)] = 1,
    refresh_every: Annotated[
        float, typer.Option(help="Learn in batches of so many seconds; 0 is at once.", min=0.0)
    ] = 0,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Rank what the user took already, too.")] = False,
    ties: Annotated[Ties, typer.Option(help="Events of one user at one timestamp.")] = Ties.TOGETHER,
    results: Annotated[Path | None, typer.Option(help="Write every scored event's rank to this Parquet file.")] = None,
    as_json: Json = False,
) -> None:
    """Test, then learn, over the later events: the frozen model against the one that goes on learning.

    Example: perennial replay recommendation --interactions past.csv --stream-from 2017-10-09 --score-every 50
    """
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.interactions import InteractionsMalformed
    from online.recommendation.arrays import ArtifactUnsuitable
    from simulations.protocol import NothingToReplay
    from simulations.replay import replay_recommendation as replayed

    try:
        found = replayed(
            interactions,
            artifact=artifact,
            pretrain_share=pretrain_share,
            stream_from_ms=None if stream_from is None else moment_ms(stream_from),
            seed=seed,
            score_every=score_every,
            refresh_every_s=refresh_every,
            include_seen=include_seen,
            ties=ties.value,
            results=results,
        )
    except (NothingToReplay, InteractionsMalformed, ArtifactUnsuitable) as error:
        refuse(str(error), USAGE)
    except (ArtifactCorrupt, ArtifactMissing, FileNotFoundError, ModuleNotFoundError) as error:
        refuse(str(error), MISSING)
    give(found, as_json=as_json, text=_replay_table(found))


Bookings = Annotated[
    Path,
    typer.Option(
        help="CSV or Parquet: flight_id, market, departs_at, asked_at, fare_cents, booked, seats_left, capacity, "
        "feature_*."
    ),
]


def pretrain_pricing(
    bookings: Bookings,
    out: Annotated[Path, typer.Option(help="Folder of the artifact.")],
    device: Device = "auto",
    until: Annotated[str | None, typer.Option(help="Leave out what is not before: 2026-01-31, or Unix time.")] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Learn demand from past quotes and bookings and write an artifact; an empty file starts from published estimates.

    Example: perennial pretrain pricing --bookings bookings.csv --out ./pricing-artifact
    """
    with _batch_errors():
        from batch.pricing.train import pretrain_pricing as pretrained

        changes: dict[str, Any] = {} if seed is None else {"seed": seed}
        until_ms = None if until is None else moment_ms(until)
        written = pretrained(bookings, out, device=device, until_ms=until_ms, **changes)
    metrics = {name: value for name, value in written.manifest["metrics"].items() if name != "history"}
    result = {"artifact": written.id, "folder": str(out), "metrics": metrics}
    give(result, as_json=as_json, text=f"artifact {written.id} in {out}")


def replay_pricing(
    bookings: Bookings,
    artifact: Annotated[Path | None, typer.Option(help="Without: trained on the batch part first.")] = None,
    pretrain_share: Annotated[float, typer.Option(help="Batch part by requests.", min=0.0, max=1.0)] = 0.8,
    stream_from: Annotated[str | None, typer.Option(help="Batch part by time: 2026-01-31, or Unix time.")] = None,
    seed: Annotated[int, typer.Option(help="Of all chance in the run.")] = 0,
    as_json: Json = False,
) -> None:
    """Predict each booking, then learn from it: the frozen purchase model against the one that goes on learning.

    Example: perennial replay pricing --bookings bookings.csv --stream-from 2026-01-31
    """
    with _batch_errors():
        from simulations.replay_pricing import replay_pricing as replayed

        found = replayed(
            bookings,
            artifact=artifact,
            pretrain_share=pretrain_share,
            stream_from_ms=None if stream_from is None else moment_ms(stream_from),
            seed=seed,
        )
    lines = [f"{'':14}{'n':>10}{'log loss':>12}{'share alone':>14}{'calibration error':>20}"]
    for variant, row in found["variants"].items():
        lines.append(
            f"{variant:14}{row['n']:>10,}{row['log_loss']:>12.4f}{row['base_log_loss']:>14.4f}"
            f"{row['calibration_error']:>20.4f}"
        )
    lines.append(
        f"{found['requests']:,} requests after {found['pretrain_requests']:,}; "
        f"{found['requests_per_second']:,} requests/s; state {found['state_digest']}"
    )
    give(found, as_json=as_json, text="\n".join(lines))


def _replay_table(found: dict[str, Any]) -> str:
    slices = ("all", "returning_users", "new_users", "known_items", "new_items")
    lines = [f"{'':14}{'slice':18}{'n':>10}{'HR@10':>10}{'NDCG@10':>10}{'MRR':>10}"]
    for variant, figures in found["variants"].items():
        for part in slices:
            if part in figures:
                row = figures[part]
                shown = "".join(
                    f"{row[name]:>10.4f}" if row[name] is not None else f"{'':>10}"
                    for name in ("hr@10", "ndcg@10", "mrr")
                )
                lines.append(f"{variant if part == 'all' else '':14}{part:18}{row['n']:>10,}{shown}")
        lines.append(f"{'':14}{'coverage':18}{figures['coverage']:>20.4f}   gini {figures['gini']:.4f}")
    rate = found["events_per_second"]
    lines.append(
        f"{found['events']:,} events after {found['pretrain_events']:,}; "
        f"{f'{rate:,.0f} events/s; ' if rate else ''}state {found['state_digest']}"
    )
    return "\n".join(lines)


@contextlib.contextmanager
def _batch_errors() -> Iterator[None]:
    """What a run can end with, said in one line and not as a traceback."""
    try:
        import torch  # noqa: F401
    except ImportError:
        refuse("this command needs torch: pip install 'perennial[batch]'", MISSING)
    from batch.checkpoint import CheckpointForeign
    from batch.pricing.bookings import BookingsMalformed
    from batch.train import TooFewInteractions
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.interactions import InteractionsMalformed

    try:
        yield
    except (InteractionsMalformed, BookingsMalformed, TooFewInteractions, CheckpointForeign) as error:
        refuse(str(error), USAGE)
    except (ArtifactCorrupt, ArtifactMissing, FileNotFoundError) as error:
        refuse(str(error), MISSING)
    except ValueError as error:
        refuse(str(error), USAGE)


def moment_ms(text: str) -> int:
    """Unix milliseconds of a time on the command line: a date, RFC 3339 (UTC without an offset), or Unix time."""
    from datetime import UTC, datetime

    if text.isdigit():
        number = int(text)
        return number if number >= 100_000_000_000 else number * 1_000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        refuse(f"cannot read the time {text!r}: write 2017-10-09, 2017-10-09T12:00:00Z, or Unix time", USAGE)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)
