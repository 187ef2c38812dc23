"""What an operator may set about fares. Part of `online.settings.Settings`, so it stands in the log's first record."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units stand in the names; all times are event time."""

    exploration: float = 0.0  # of the posterior's standard deviation, in the draw of a market and day; 0 is greedy
    quote_ttl_s: int = 900  # a fare is honoured for this long; silence until then is a "no"
    hold_max_s: int = 86_400
    repeat_window_s: int = 60  # the same question again so soon, the first one unanswered, is the same traveller
    solves_per_record: int = 1
    solves_per_tick: int = 8
    flights_max: int = 65_536
    markets_max: int = 1_024
    quotes_max: int = 65_536  # newest quotes that outcomes are matched with
    claims_max: int = 4_194_304  # seats held, booked or cancelled of the flights that are known

    def __post_init__(self) -> None:
        for name, low, high in (
            ("exploration", 0.0, 10.0),
            ("quote_ttl_s", 1, 30 * 86_400),
            ("hold_max_s", 1, 366 * 86_400),
            ("repeat_window_s", 0, 86_400),
            ("solves_per_record", 0, 1_000),
            ("solves_per_tick", 1, 10_000),
            ("flights_max", 16, 1 << 24),
            ("markets_max", 1, 1 << 16),
            ("quotes_max", 16, 1 << 26),
            ("claims_max", 64, 1 << 30),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"pricing.{name} must be in [{low}, {high}], got {value}")
