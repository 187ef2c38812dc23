"""What an operator may set about learning and deciding. Settings travel in the log's first record, so that the fold
needs no environment: the same log is folded under the same settings anywhere.
"""

import msgspec

from online.pricing.settings import Settings as PricingSettings
from online.recommendation.settings import Settings as RecommendationSettings

CONTEXT_FEATURES_MAX = 8
CAPS_MAX = 4
SLATE_MAX = 50


class SettingsInvalid(ValueError):
    """A setting that cannot be; the message says which, and what could be."""


class EventRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an event of one type means.

    The reward of a decided item is `reward + reward_per_value * value`, clipped to [0, 1]; None carries no reward.
    `taken` is the weight with which the item counts as chosen by the user, if the value reaches `taken_from`.
    """

    reward: float | None = None
    reward_per_value: float = 0.0
    taken: float = 0.0
    taken_from: float | None = None


def _event_rules() -> dict[str, EventRule]:
    return {
        "click": EventRule(reward=1.0, taken=1.0),
        "view": EventRule(reward=1.0, taken=1.0),
        "play": EventRule(taken=1.0),
        "watch": EventRule(reward=0.0, reward_per_value=1.0, taken=1.0, taken_from=0.25),
        "like": EventRule(reward=1.0, taken=1.0),
        "dislike": EventRule(reward=0.0),
        "skip": EventRule(reward=0.0),
        "rating": EventRule(reward=0.0, reward_per_value=0.2, taken=1.0, taken_from=4.0),
        "search": EventRule(),
        "purchase": EventRule(reward=1.0, taken=1.0),
    }


class Cap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `most` items of a slate share a value of this feature ("genre")."""

    feature: str
    most: int


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the fold and the decisions depend on beside artifact and log. Units stand in the names."""

    seed: int = 0
    champion_share: float = 0.05  # of users, by hash: answered by the frozen artifact
    exploration: float = 0.05  # P(a position is explored); 0 is greedy
    attribution_window_s: int = 1_800  # silence becomes reward 0 after it, in event time
    late_weight: float = 0.5  # of an outcome whose decision is closed or unknown
    user_budget_per_hour: float = 240.0  # events of one user that move shared parameters at full weight
    events: dict[str, EventRule] = msgspec.field(default_factory=_event_rules)
    caps: tuple[Cap, ...] = ()
    users_max: int = 1_000_000
    items_max: int = 1_000_000
    decisions_max: int = 65_536  # pending at a time
    slots_max: int = 786_432  # their positions
    event_ids_max: int = 262_144  # deduplication reaches back this many events
    recommendation: RecommendationSettings = msgspec.field(default_factory=RecommendationSettings)
    pricing: PricingSettings = msgspec.field(default_factory=PricingSettings)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("champion_share", 0.0, 1.0),
            ("exploration", 0.0, 1.0),
            ("late_weight", 0.0, 1.0),
            ("user_budget_per_hour", 1.0, 1e9),
            ("attribution_window_s", 1, 366 * 86_400),
            ("users_max", 16, 1 << 30),
            ("items_max", 4 * SLATE_MAX, 1 << 30),
            ("decisions_max", 16, 1 << 26),
            ("slots_max", 16 * SLATE_MAX, 1 << 30),
            ("event_ids_max", 16, 1 << 30),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsInvalid(f"{name} must be in [{low}, {high}], got {value}")
        if len(self.caps) > CAPS_MAX:
            raise SettingsInvalid(f"caps: at most {CAPS_MAX} features, got {len(self.caps)}")
        if not self.events:
            raise SettingsInvalid("events: at least one event type must be known")


def settings_text(settings: Settings) -> str:
    """Canonical JSON, as it stands in the log."""
    return msgspec.json.encode(settings, order="sorted").decode()


def read_settings(text: str | bytes) -> Settings:
    """Settings out of JSON. Raises SettingsInvalid."""
    try:
        return msgspec.json.decode(text, type=Settings)
    except (msgspec.MsgspecError, SettingsInvalid) as error:
        raise SettingsInvalid(str(error)) from error
