"""What may be set about the recommender's learners. Times are event time; half-lives say after how long a count
weighs half.

Chosen on the last tenth of two batch parts (a news portal's clicks, a film catalogue's ratings); they travel in the
log's first record with all other settings, so a replay needs no environment.
"""

from typing import NamedTuple

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hyperparameters of the learners. Units stand in the names."""

    next_fast_half_life_s: float = 2 * 3_600.0  # what is taken after what, of today
    next_slow_half_life_s: float = 60 * 86_400.0  # and of the season
    around_half_life_s: float = 365 * 86_400.0  # what is taken near what, both ways
    around_window: int = 10  # items of a user's past that count as near
    context_half_life_s: float = 600.0  # what is taken in which context
    session_gap_s: float = 1_800.0  # a longer pause ends a session
    around_fade: float = 0.3  # the item before the last counts 1 / (1 + fade), the one before that 1 / (1 + 2 fade), …
    next_prior: float = 2.0  # takes of nothing that every memory holds: a thin one says little
    around_prior: float = 5.0
    context_prior: float = 10.0
    slate_weight: float = 0.02  # in popularity, of a take out of a slate: what is shown is taken, for being shown
    mixing_rate: float = 0.1  # AdaGrad's step of the weights
    rescoring_rate: float = 0.05  # and of the rescoring network
    trust_rate: float = 0.002  # step of the trust in each expert, per event
    mixing_every: int = 4  # after `mixing_all_until` events the weights learn from every such event
    mixing_all_until: int = 50_000
    mixes_taste: bool = True  # False while the events pass by that trained the backbone: they flatter it
    candidates: int = 64  # hardest rivals that a taken item is compared with
    vector_rate: float = 0.01  # AdaGrad's step of the items' vectors; 0 leaves them as trained
    bias_rate: float = 0.002
    anchor: float = 1e-4  # pull of vectors and biases towards what was trained, each time they move


class Knobs(NamedTuple):
    """The settings as the kernels take them; times in ms."""

    next_fast_ms: float
    next_slow_ms: float
    around_ms: float
    around_window: int
    context_ms: float
    session_gap_ms: float
    around_fade: float
    next_prior: float
    around_prior: float
    context_prior: float
    slate_weight: float
    mixing_rate: float
    rescoring_rate: float
    trust_rate: float
    mixing_every: int
    mixing_all_until: int
    mixes_taste: bool
    candidates: int
    vector_rate: float
    bias_rate: float
    anchor: float


def knobs(settings: Settings) -> Knobs:
    """Settings for the kernels.

    >>> knobs(Settings()).session_gap_ms
    1800000.0
    """
    s = settings
    return Knobs(
        next_fast_ms=s.next_fast_half_life_s * 1000.0,
        next_slow_ms=s.next_slow_half_life_s * 1000.0,
        around_ms=s.around_half_life_s * 1000.0,
        around_window=int(s.around_window),
        context_ms=s.context_half_life_s * 1000.0,
        session_gap_ms=s.session_gap_s * 1000.0,
        around_fade=s.around_fade,
        next_prior=s.next_prior,
        around_prior=s.around_prior,
        context_prior=s.context_prior,
        slate_weight=s.slate_weight,
        mixing_rate=s.mixing_rate,
        rescoring_rate=s.rescoring_rate,
        trust_rate=s.trust_rate,
        mixing_every=int(s.mixing_every),
        mixing_all_until=int(s.mixing_all_until),
        mixes_taste=bool(s.mixes_taste),
        candidates=int(s.candidates),
        vector_rate=s.vector_rate,
        bias_rate=s.bias_rate,
        anchor=s.anchor,
    )
