"""Pricing's arrays: every number that it keeps, declared once; and the kernels' views of them.

`markets` and `flights` grow with the frame's tables; `fare_features`, `trunk` and `pool` have fixed rows. A fare enters
the model as P = fare / reference - 1, with the market's own reference, so that one prior serves every market.

theta [DIMENSION], a market's parameters, in this order: utility of leisure and business travellers at the reference
fare (THETA_LEISURE, THETA_BUSINESS), the logarithms of what P costs them (THETA_STEEP_LEISURE, THETA_STEEP_BUSINESS),
the share of business as a logit (THETA_MIX, then BASIS numbers of its path towards departure), what the last weeks do
to everybody's utility (THETA_LATE), the departure's weekday (two harmonics), and two for each feature: on the share, on
the utility. Features that are not in use have a zero there, and their parameters stay with their prior.
"""

from typing import NamedTuple

from online.pricing.settings import Knobs
from online.tables import Array, Column

FEATURES_MAX = 12  # named numbers of a request or a flight
BASIS = 3  # decays of the days before departure
BASIS_DAYS = (4.0, 14.0, 45.0)
INPUTS = BASIS + 2 + FEATURES_MAX  # of the trunk: basis, two weekday harmonics, features
FIRST_FEATURE_INPUT = BASIS + 2
HIDDEN = 12  # units of the trunk

THETA_LEISURE = 0
THETA_BUSINESS = 1
THETA_STEEP_LEISURE = 2
THETA_STEEP_BUSINESS = 3
THETA_MIX = 4
THETA_LATE = THETA_MIX + 1 + BASIS
THETA_WEEKDAY = THETA_LATE + 1
THETA_FEATURES = THETA_WEEKDAY + 2  # feature j: THETA_FEATURES + 2 j on the share, + 1 on the utility
DIMENSION = THETA_FEATURES + 2 * FEATURES_MAX
LATE_BASIS = 1  # the decay that THETA_LATE multiplies

WINDOWS = 10  # of days before departure, for arrivals
WINDOW_DAYS = (0.0, 3.0, 7.0, 14.0, 21.0, 30.0, 45.0, 60.0, 90.0, 150.0)  # where each begins
CONTEXTS = 12  # recent requests that each window remembers: who comes next looks like them
CLIENTS = 32  # that a market holds against each other, see `online.pricing.clients`
FARES_MAX = 48  # of a ladder
TABLE_TIMES = 16  # moments for which a flight keeps bid prices, closer together near the moment of solving
TABLE_SEATS = 56  # seats left for which it keeps them, see `seat_node`
NODE_DAYS = (0.0, 1.0, 2.0, 4.0, 7.0, 10.0, 14.0, 18.0, 22.0, 30.0, 40.0, 60.0, 90.0, 180.0, 365.0)
NODES = 15  # days before departure at which demand is evaluated for the program
GAINS = 32  # bid prices at which the gain of a request is tabulated
SEATS_MAX = 1_024
DAY_MS = 86_400_000

# What a feature is. A logarithm is taken relative to the market's reference fare, which a market's own constant absorbs
# where the feature is no fare.
FREE, WATCHED, LINEAR, LOGARITHM = 0, 1, 2, 3
WATCH_REQUESTS = 50  # requests before a feature without history has a scale and counts
FEATURE_CLIP = 4.0  # standard deviations


class MarketArrays(NamedTuple):
    """Per market: what its travellers want, how many they are, and how sure that is."""

    reference_cents: Array  # f8 [markets] the fare at which P = 0; 0 marks a market that has not begun
    mean: Array  # f8 [markets, DIMENSION]
    covariance: Array  # f8 [markets, DIMENSION, DIMENSION]
    precision: Array  # f8 [markets, DIMENSION, DIMENSION]
    floor: Array  # f8 [markets, DIMENSION, DIMENSION] precision below which nothing is forgotten
    offset: Array  # f8 [markets, DIMENSION] today's draw less the mean
    day: Array  # i8 [markets] days since 1970 of the last roll; -1 none
    drift: Array  # f8 [markets, 4] decayed: residuals, their variance, outcomes, breaks so far (not decayed)
    dispersion: Array  # f8 [markets, 4] of fares learned from: weight, mean P, information about the slope, outcomes
    window_shape: Array  # f8 [markets, WINDOWS] requests, prior included
    window_rate: Array  # f8 [markets, WINDOWS] flight-days, prior included
    window_prior: Array  # f8 [markets, WINDOWS] the prior's requests
    level: Array  # f8 [markets, 2] decayed: requests that came, that were expected
    cancel: Array  # f8 [markets, 2] cancellations, seat-days
    context: Array  # f4 [markets, WINDOWS, CONTEXTS, FEATURES_MAX] as they came; NaN not given
    contexts: Array  # i8 [markets, WINDOWS] requests ever remembered
    client: Array  # u8 [markets, CLIENTS] hash64 of its name, 0 free
    client_expected: Array  # f8 [markets, CLIENTS] decayed: bookings expected of its quotes whose outcome is known
    client_kept: Array  # f8 [markets, CLIENTS] decayed: its bookings, less those given back


class FlightArrays(NamedTuple):
    """Per flight: what is for sale, what came, and what a seat is worth."""

    market: Array  # i4 [flights] row of its market
    departs_ms: Array  # i8 [flights]
    capacity: Array  # i4 [flights]
    seats_left: Array  # i4 [flights] capacity less bookings and holds
    fares: Array  # i4 [flights] rungs in use
    ladder_cents: Array  # i4 [flights, FARES_MAX] ascending
    feature: Array  # f8 [flights, FEATURES_MAX] as it came; NaN not given
    arrived: Array  # f8 [flights] requests
    expected: Array  # f8 [flights] requests expected since it is on sale
    advanced_ms: Array  # i8 [flights] up to when `expected` counts; 0 not begun
    solved_ms: Array  # i8 [flights] when the table was solved; 0 never
    solved_seats: Array  # i4 [flights] seats left then
    bid_price: Array  # f4 [flights, TABLE_TIMES, TABLE_SEATS] cents
    value_cents: Array  # f8 [flights] what the program expects to take from the solving on


class FeatureArrays(NamedTuple):
    """Per feature: its name's key and its scale."""

    key: Array  # u8 [FEATURES_MAX] hash64 of the name, 0 free
    kind: Array  # u1 [FEATURES_MAX] FREE, WATCHED, LINEAR, LOGARITHM
    shift: Array  # f8 [FEATURES_MAX]
    scale: Array  # f8 [FEATURES_MAX]
    watched: Array  # f8 [FEATURES_MAX, 7] requests, mean, squares, mean and squares of the logarithm, least, most
    arrival_weight: Array  # f8 [FEATURES_MAX] of a flight's own features on the logarithm of arrivals


class Trunk(NamedTuple):
    """The batch-trained net's hidden layer: what a request adds to the share of business and to the utility."""

    input: Array  # f8 [HIDDEN, INPUTS]
    bias: Array  # f8 [HIDDEN]
    mix: Array  # f8 [HIDDEN]
    utility: Array  # f8 [HIDDEN]


class PoolArrays(NamedTuple):
    """What a market without a past begins from (one row)."""

    mean: Array  # f8 [1, DIMENSION]
    precision: Array  # f8 [1, DIMENSION, DIMENSION]
    window_shape: Array  # f8 [1, WINDOWS]
    window_rate: Array  # f8 [1, WINDOWS]
    weekday: Array  # f8 [1, 7] factor on arrivals by the departure's weekday, Monday first
    cancel: Array  # f8 [1, 2]


class PricingScratch(NamedTuple):
    """Room to work in; no part of the state."""

    input: Array  # f8 [INPUTS]
    raw: Array  # f8 [FEATURES_MAX] of the request at hand
    theta: Array  # f8 [DIMENSION]
    slope: Array  # f8 [DIMENSION] the logit's gradient
    spread: Array  # f8 [DIMENSION] covariance times slope
    factor: Array  # f8 [DIMENSION, DIMENSION] Cholesky's
    inverse: Array  # f8 [DIMENSION, DIMENSION]
    probability: Array  # f8 [FARES_MAX] of a purchase at each rung
    deviation: Array  # f8 [FARES_MAX] of the logit at each rung, where it was asked for
    rise: Array  # f8 [2, FARES_MAX] e to the steepness times P, leisure and business
    hull: Array  # i8 [FARES_MAX] rungs that are best for some bid price
    gain: Array  # f8 [NODES, GAINS] cents that a request is worth, by days before departure and bid price
    value: Array  # f8 [SEATS_MAX + 1]
    step: Array  # f8 [SEATS_MAX + 1]
    line: Array  # f8 [GAINS]


class Pricing(NamedTuple):
    """Everything that the pricing kernels read and write."""

    knobs: Knobs
    markets: MarketArrays
    flights: FlightArrays
    features: FeatureArrays
    trunk: Trunk
    pool: PoolArrays
    scratch: PricingScratch


PRICING_COLUMNS: tuple[Column, ...] = (
    Column(name="markets.reference_cents", dtype="f8", served=True),
    Column(name="markets.mean", dtype="f8", shape=(DIMENSION,), served=True),
    Column(name="markets.covariance", dtype="f8", shape=(DIMENSION, DIMENSION), served=True),
    Column(name="markets.precision", dtype="f8", shape=(DIMENSION, DIMENSION)),
    Column(name="markets.floor", dtype="f8", shape=(DIMENSION, DIMENSION)),
    Column(name="markets.offset", dtype="f8", shape=(DIMENSION,), served=True),
    Column(name="markets.day", dtype="i8", fill=-1),
    Column(name="markets.drift", dtype="f8", shape=(4,), served=True),
    Column(name="markets.dispersion", dtype="f8", shape=(4,), served=True),
    Column(name="markets.window_shape", dtype="f8", shape=(WINDOWS,), served=True),
    Column(name="markets.window_rate", dtype="f8", shape=(WINDOWS,), served=True),
    Column(name="markets.window_prior", dtype="f8", shape=(WINDOWS,)),
    Column(name="markets.level", dtype="f8", shape=(2,), served=True),
    Column(name="markets.cancel", dtype="f8", shape=(2,), served=True),
    Column(name="markets.context", dtype="f4", shape=(WINDOWS, CONTEXTS, FEATURES_MAX), served=True),
    Column(name="markets.contexts", dtype="i8", shape=(WINDOWS,), served=True),
    Column(name="markets.client", dtype="u8", shape=(CLIENTS,), served=True),
    Column(name="markets.client_expected", dtype="f8", shape=(CLIENTS,), served=True),
    Column(name="markets.client_kept", dtype="f8", shape=(CLIENTS,), served=True),
    Column(name="flights.market", dtype="i4", fill=-1, refers="markets", served=True),
    Column(name="flights.departs_ms", dtype="i8", served=True),
    Column(name="flights.capacity", dtype="i4", served=True),
    Column(name="flights.seats_left", dtype="i4", served=True),
    Column(name="flights.fares", dtype="i4", served=True),
    Column(name="flights.ladder_cents", dtype="i4", shape=(FARES_MAX,), served=True),
    Column(name="flights.feature", dtype="f8", shape=(FEATURES_MAX,), fill=float("nan"), served=True),
    Column(name="flights.arrived", dtype="f8", served=True),
    Column(name="flights.expected", dtype="f8", served=True),
    Column(name="flights.advanced_ms", dtype="i8", served=True),
    Column(name="flights.solved_ms", dtype="i8", served=True),
    Column(name="flights.solved_seats", dtype="i4", served=True),
    Column(name="flights.bid_price", dtype="f4", shape=(TABLE_TIMES, TABLE_SEATS), served=True),
    Column(name="flights.value_cents", dtype="f8", served=True),
    Column(name="fare_features.key", dtype="u8", served=True),
    Column(name="fare_features.kind", dtype="u1", served=True),
    Column(name="fare_features.shift", dtype="f8", served=True),
    Column(name="fare_features.scale", dtype="f8", fill=1.0, served=True),
    Column(name="fare_features.watched", dtype="f8", shape=(7,), served=True),
    Column(name="fare_features.arrival_weight", dtype="f8", served=True),
    # The trunk is part of the artifact, so neither in the digest nor in a snapshot.
    Column(name="trunk.input", dtype="f8", shape=(INPUTS,), derived=True, served=True),
    Column(name="trunk.bias", dtype="f8", derived=True, served=True),
    Column(name="trunk.mix", dtype="f8", derived=True, served=True),
    Column(name="trunk.utility", dtype="f8", derived=True, served=True),
    Column(name="pool.mean", dtype="f8", shape=(DIMENSION,), served=True),
    Column(name="pool.precision", dtype="f8", shape=(DIMENSION, DIMENSION), served=True),
    Column(name="pool.window_shape", dtype="f8", shape=(WINDOWS,), served=True),
    Column(name="pool.window_rate", dtype="f8", shape=(WINDOWS,), served=True),
    Column(name="pool.weekday", dtype="f8", shape=(7,), fill=1.0, served=True),
    Column(name="pool.cancel", dtype="f8", shape=(2,), served=True),
)


def pricing_capacity() -> dict[str, int]:
    """Rows of the fixed tables; `markets` and `flights` grow and are the caller's to size."""
    return {"fare_features": FEATURES_MAX, "trunk": HIDDEN, "pool": 1}
