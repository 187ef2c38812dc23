"""What operators read: where the model is, and whether learning helps."""

import math
from typing import TYPE_CHECKING, Literal

from api.schemas import ArmReply, Difference, ExperimentReply, Percentiles, StateReply
from api.service import Service

if TYPE_CHECKING:
    from online.live import LiveModel

_DIGEST_WAIT_S = 5.0
_ALPHA = 0.05
# The sample size at which the interval is tightest; it holds at all others too.
_TIGHTEST_AT = 1_000.0

Verdict = Literal["live is better", "champion is better", "undecided", "no data"]


async def state(service: Service) -> StateReply:
    """Position, digest and accounting. The digest is the learner's, at a position that it names."""
    model = service.model
    found = await service.digest(_DIGEST_WAIT_S)
    position, digest = found if found is not None else (model.position, None)
    counters = model.counters()
    p50, p99 = model.freshness_ms()
    return StateReply(
        position=position,
        digest=digest,
        artifact=model.artifact_id,
        learning=model.learning,
        received=counters["received"],
        applied=counters["applied"],
        duplicate=counters["duplicate"],
        late=counters["late"],
        rejected=counters["rejected"],
        freshness_ms=Percentiles(p50=_number(p50), p99=_number(p99)),
        learned_position=model.position,
        log_head=max(service.writer.head, model.position),
        users=counters["users"],
        items=counters["items"],
        decisions=counters["decisions"],
    )


def experiment(model: "LiveModel") -> ExperimentReply:
    """live minus champion over closed decisions."""
    arms = {arm.arm: arm for arm in model.arms()}
    replies = [ArmReply(arm=arm.arm, n=arm.n, mean_reward=arm.mean_reward if arm.n else None) for arm in arms.values()]
    live, champion = arms.get("live"), arms.get("champion")
    method = "normal mixture, rewards in [0, 1], 95 % at every moment at once"
    if live is None or champion is None or not live.n or not champion.n:
        return ExperimentReply(replies, Difference(mean=None, low=None, high=None, method=method), "no data")
    mean = live.mean_reward - champion.mean_reward
    radius = mixture_radius(live.n, alpha=_ALPHA / 2) + mixture_radius(champion.n, alpha=_ALPHA / 2)
    low, high = max(-1.0, mean - radius), min(1.0, mean + radius)
    verdict: Verdict = "undecided"
    if low > 0.0:
        verdict = "live is better"
    elif high < 0.0:
        verdict = "champion is better"
    return ExperimentReply(replies, Difference(mean=mean, low=low, high=high, method=method), verdict)


def mixture_radius(n: int, *, alpha: float) -> float:
    """Half the width of a two-sided confidence sequence for a mean of n values in [0, 1], valid at all n at once.

    Robbins' normal mixture for 1/2-sub-Gaussian values; Howard, Ramdas, McAuliffe, Sekhon (2021), eq. 14:
    sigma * sqrt((n + r) / n^2 * log((n + r) / (r alpha^2))).
    """
    sigma = 0.5
    rho = _TIGHTEST_AT / (2.0 * math.log(1.0 / alpha) + math.log(1.0 + 2.0 * math.log(1.0 / alpha)))
    return sigma * math.sqrt((n + rho) / (n * n) * math.log((n + rho) / (rho * alpha * alpha)))


def _number(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
