"""A market of flights whose travellers nobody knows, but the market: for sellers of seats to be measured on.

Built on published estimates, around which each route is drawn: leisure and business travellers with a logit each, a
share of business that rises towards departure and arrivals in four windows (Williams 2022, Econometrica 90(2), medians
over 22 US routes); Saturday stays of 51 / 25 / 13 % of shoppers at > 21 / 8-21 / <= 7 days (an itinerary choice
data set shipped with larch). On top of that, what makes it hard: each flight's own hidden level of demand, a rival
whose fare moves from day to day and shifts everybody's utility, peak departures, bookings that are cancelled, and
drift: a jump, a boom, a trend.

Customers are drawn before anybody sells: each arrival, its kind, what it would pay and how long it keeps its seat
are functions of the seed, so that sellers meet the same ones and their takings compare in pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

DAYS = 60  # on sale before departure
SLOTS = 8  # of a day; at most one arrival in each
DAY_MS = 86_400_000
START_MS = 1_767_225_600_000  # 1 January 2026, UTC
WINDOW_EDGES = (7, 14, 21)  # days before departure at which arrivals change

# The rival's fare over the reference, as a chain from day to day.
RIVAL_LEVELS = np.exp(np.array([-0.30, -0.15, 0.0, 0.15, 0.30]))
RIVAL_STAYS = 0.7
FEATURES = ("saturday_stay", "competitor_fare", "peak")


@dataclass(frozen=True, slots=True)
class Route:
    """The truth about one market. Utilities are at the reference fare; steepness is per reference fare."""

    market: str
    reference_cents: float
    ladder_cents: np.ndarray  # int64 [k], ascending
    capacity: int
    utility: np.ndarray  # [2] leisure, business
    steepness: np.ndarray  # [2]
    share: np.ndarray  # [3] logit of business: constant, per day before departure, per its square
    arrivals: np.ndarray  # [4] per day: < 7, < 14, < 21, before
    saturday: np.ndarray  # [2] how much likelier than its average leisure (business) stays a Saturday night
    rival: float  # utility per unit of ln(rival's fare / reference)
    peak_utility: float
    peak_arrivals: float
    weekday: np.ndarray  # [7] utility by the departure's weekday
    cancels: float  # of a booked seat, per day
    shock: float  # coefficient of variation of a flight's own level
    jump: np.ndarray  # [2] factors on what everybody would pay and on arrivals, after a jump


@dataclass(frozen=True, slots=True)
class Flight:
    """One departure with the customers who will come. Day d of its sale is DAYS - d days before it leaves."""

    flight_id: str
    route: int
    departure_day: int  # of the calendar
    peak: float  # 0 or 1
    level: float  # hidden, mean 1
    rival: np.ndarray  # [DAYS] into RIVAL_LEVELS
    arrive: np.ndarray  # [DAYS, SLOTS] uniform
    kind: np.ndarray
    saturday: np.ndarray
    buy: np.ndarray
    life: np.ndarray  # standard exponential

    @property
    def departs_ms(self) -> int:
        return START_MS + self.departure_day * DAY_MS


class Seller(Protocol):
    """Who answers the customers. `play` tells it of every flight, request, outcome and cancellation, in time order."""

    def open(self, market: Market, flight: int) -> None: ...

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        """A fare in cents; None sells nothing."""
        ...

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None: ...

    def cancelled(self, flight: int, at_ms: int) -> None: ...


@dataclass(slots=True)
class Market:
    """Routes, flights and how the truth moves over the calendar."""

    routes: list[Route]
    flights: list[Flight]
    drift: str
    drift_day: int  # of the calendar: when a jump comes, or a boom or trend begins
    days: int  # of the calendar
    truths: dict[int, Truth] = field(default_factory=dict)

    def truth(self, flight: int) -> Truth:
        """What is true for one flight, kept while it is for sale."""
        if flight not in self.truths:
            self.truths[flight] = truth_of(self, self.flights[flight])
        return self.truths[flight]


@dataclass(frozen=True, slots=True)
class Truth:
    """Of one flight, by day of its sale: what its optimum needs."""

    arrive: np.ndarray  # [DAYS] chance of an arrival in one slot
    stays: np.ndarray  # [DAYS, 2] chance of a Saturday night, by kind
    business: np.ndarray  # [DAYS] share
    utility: np.ndarray  # [DAYS, rivals, 2] at the reference fare
    steepness: np.ndarray  # [DAYS, 2]
    probability: np.ndarray  # [DAYS, 2 (stay), rivals, k] of a purchase at each rung
    stay: np.ndarray  # [DAYS] chance of a Saturday night


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1.0 / (1.0 + np.exp(-x))


def draw_routes(count: int, seed: int) -> list[Route]:
    """Routes around the published medians."""
    rng = np.random.default_rng([seed, 1])
    routes = []
    for r in range(count):
        reference = 21_500.0 * np.exp(rng.normal(0.0, 0.25))
        spread = rng.uniform(1.6, 2.2)
        rungs = int(rng.integers(8, 25))
        ladder = np.unique(np.round(np.geomspace(reference / spread, reference * spread, rungs) / 100.0) * 100.0)
        steep_business = 1.24 * 2.15 * np.exp(rng.normal(0.0, 0.3))
        steep_leisure = steep_business * rng.uniform(1.5, 2.5)
        volume = np.exp(rng.normal(0.0, 0.3))
        rates = np.array([1.07, 1.08, 1.42, 1.34]) * volume * np.exp(rng.normal(0.0, 0.12, 4))
        early = rng.normal(0.0, 0.6)
        late = rng.normal(0.0, 0.6)
        # Through 3 % at 60 days, 22 % at 20, 87 % at 1.
        at = np.array([[1.0, d, d * d] for d in (60.0, 20.0, 1.0)])
        share = np.linalg.solve(at, np.array([-3.48 + early, -1.27 + 0.5 * (early + late), 1.9 + late]))
        requests = float(rates @ np.array([7.0, 7.0, 7.0, 39.0]))
        routes.append(
            Route(
                market=f"R{r:02d}",
                reference_cents=reference,
                ladder_cents=ladder.astype(np.int64),
                capacity=int(np.clip(requests * rng.uniform(0.35, 0.75), 18, 180)),
                utility=np.array([rng.normal(-0.8, 0.7), rng.normal(1.8, 0.6)]),
                steepness=np.array([steep_leisure, steep_business]),
                share=share,
                arrivals=rates,
                saturday=np.array([1.0, rng.uniform(0.1, 0.35)]),
                rival=rng.uniform(0.6, 1.8),
                peak_utility=rng.uniform(0.1, 0.5),
                peak_arrivals=rng.uniform(1.15, 1.5),
                weekday=rng.normal(0.0, 0.2, 7),
                cancels=rng.uniform(0.0, 0.004),
                shock=rng.uniform(0.12, 0.3),
                jump=np.exp(rng.choice([-1.0, 1.0]) * np.array([0.3, 0.3])),
            )
        )
    return routes


def draw_flights(routes: list[Route], per_route: int, first_day: int, last_day: int, seed: int) -> list[Flight]:
    """Departures spread over the days of the calendar, each with its customers."""
    flights = []
    for r, route in enumerate(routes):
        rng = np.random.default_rng([seed, 2, r])
        departures = np.sort(rng.integers(first_day, last_day + 1, per_route))
        for number, day in enumerate(departures):
            chain = np.empty(DAYS, np.int64)
            chain[0] = rng.integers(0, len(RIVAL_LEVELS))
            for d in range(1, DAYS):
                if rng.random() < RIVAL_STAYS:
                    chain[d] = chain[d - 1]
                else:
                    chain[d] = np.clip(chain[d - 1] + rng.choice([-1, 1]), 0, len(RIVAL_LEVELS) - 1)
            shape = 1.0 / route.shock**2
            flights.append(
                Flight(
                    flight_id=f"{route.market}-{int(day):04d}-{number:03d}",
                    route=r,
                    departure_day=int(day),
                    peak=float(rng.random() < 0.3),
                    level=float(rng.gamma(shape) / shape),
                    rival=chain,
                    arrive=rng.random((DAYS, SLOTS)),
                    kind=rng.random((DAYS, SLOTS)),
                    saturday=rng.random((DAYS, SLOTS)),
                    buy=rng.random((DAYS, SLOTS)),
                    life=rng.exponential(size=(DAYS, SLOTS)),
                )
            )
    return flights


def drifted(market: Market, route: Route, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(factor on what everybody would pay, factor on arrivals) by calendar day."""
    since = np.maximum(day - market.drift_day, 0).astype(float)
    after = (day >= market.drift_day).astype(float)
    match market.drift:
        case "jump":
            return route.jump[0] ** after, route.jump[1] ** after
        case "boom":
            return 1.15**after, 1.5**after
        case "trend":
            return np.exp(np.sign(np.log(route.jump[0])) * 0.003 * since), np.exp(0.003 * since)
    return np.ones(len(day)), np.ones(len(day))


def truth_of(market: Market, flight: Flight) -> Truth:
    """What is true for a flight on each day of its sale."""
    route = market.routes[flight.route]
    before = DAYS - np.arange(DAYS, dtype=float) - 0.5  # days before departure, in the middle of each day
    calendar = flight.departure_day - DAYS + np.arange(DAYS)
    richer, more = drifted(market, route, calendar)
    window = np.searchsorted(WINDOW_EDGES, before, side="right")
    rate = route.arrivals[window] * flight.level * more * (route.peak_arrivals if flight.peak else 1.0)
    business = sigmoid(route.share[0] + route.share[1] * before + route.share[2] * before**2)
    average = np.where(before > 21.0, 0.51, np.where(before > 7.0, 0.25, 0.13))
    leisure_stays = np.clip(average / (business * route.saturday[1] + (1.0 - business)), 0.0, 0.95)
    stays = np.stack([leisure_stays, leisure_stays * route.saturday[1]], axis=1)
    added = route.peak_utility * flight.peak + route.weekday[(flight.departure_day + 3) % 7]
    utility = route.utility[None, None, :] + added + route.rival * np.log(RIVAL_LEVELS)[None, :, None]
    utility = np.broadcast_to(utility, (DAYS, len(RIVAL_LEVELS), 2)).copy()
    # Who would pay g times as much has the utility that it had at a g-th of the fare.
    steepness = route.steepness[None, :] / richer[:, None]
    utility += (route.steepness * (1.0 - 1.0 / richer[:, None]))[:, None, :]
    ratio = route.ladder_cents / route.reference_cents - 1.0
    buys = sigmoid(utility[:, :, :, None] - steepness[:, None, :, None] * ratio)  # [DAYS, rivals, 2, k]
    probability = np.empty((DAYS, 2, len(RIVAL_LEVELS), len(ratio)))
    stay = business * stays[:, 1] + (1.0 - business) * stays[:, 0]
    for s in range(2):
        like = stays if s == 1 else 1.0 - stays  # [DAYS, 2]
        share = business * like[:, 1] / (business * like[:, 1] + (1.0 - business) * like[:, 0])
        probability[:, s] = share[:, None, None] * buys[:, :, 1] + (1.0 - share)[:, None, None] * buys[:, :, 0]
    return Truth(
        arrive=np.minimum(rate / SLOTS, 0.98),
        stays=stays,
        business=business,
        utility=utility,
        steepness=steepness,
        probability=probability,
        stay=stay,
    )


@dataclass(frozen=True, slots=True)
class Takings:
    """What a seller took. rows: every request, as a booking log has it."""

    revenue_cents: np.ndarray  # int64 [flights]
    booked: np.ndarray  # int64 [flights] seats sold, the cancelled ones too
    requests: np.ndarray  # int64 [flights]
    rows: list[tuple[int, int, int, int, int, float, float]]  # flight, at_ms, fare, booked, seats_left, stay, rival


def play(market: Market, seller: Seller, *, keep_rows: bool = False) -> Takings:
    """Let the customers come, in time order over all flights. Fares are kept when a booking is cancelled."""
    flights = market.flights
    seats = np.array([market.routes[f.route].capacity for f in flights])
    revenue = np.zeros(len(flights), np.int64)
    booked = np.zeros(len(flights), np.int64)
    requests = np.zeros(len(flights), np.int64)
    rows = []
    returns: dict[tuple[int, int], list[int]] = {}  # (calendar day, slot) -> flights that get a seat back
    opens: dict[int, list[int]] = {}
    for number, flight in enumerate(flights):
        opens.setdefault(flight.departure_day - DAYS, []).append(number)
    first = min(opens)
    last = max(f.departure_day for f in flights)
    open_flights: list[int] = []
    for day in range(first, last):
        for number in opens.get(day, ()):
            seller.open(market, number)
            open_flights.append(number)
        for number in [n for n in open_flights if flights[n].departure_day <= day]:
            open_flights.remove(number)
            market.truths.pop(number, None)
        for slot in range(SLOTS):
            at_ms = START_MS + day * DAY_MS + slot * (DAY_MS // SLOTS) + DAY_MS // (2 * SLOTS)
            for number in returns.pop((day, slot), ()):
                seats[number] += 1
                seller.cancelled(number, at_ms)
            for number in open_flights:
                flight = flights[number]
                d = day - (flight.departure_day - DAYS)
                truth = market.truth(number)
                if flight.arrive[d, slot] >= truth.arrive[d]:
                    continue
                route = market.routes[flight.route]
                kind = int(flight.kind[d, slot] < truth.business[d])
                stay = float(flight.saturday[d, slot] < truth.stays[d, kind])
                rival = float(np.round(RIVAL_LEVELS[flight.rival[d]] * route.reference_cents))
                requests[number] += 1
                features = {"saturday_stay": stay, "competitor_fare": rival, "peak": flight.peak}
                fare = seller.quote(number, at_ms, features, int(seats[number]))
                if fare is None or seats[number] <= 0:
                    continue
                ratio = fare / route.reference_cents - 1.0
                logit = truth.utility[d, flight.rival[d], kind] - truth.steepness[d, kind] * ratio
                buys = bool(flight.buy[d, slot] < 1.0 / (1.0 + np.exp(-logit)))
                if keep_rows:
                    rows.append((number, at_ms, fare, int(buys), int(seats[number]), stay, rival))
                if buys:
                    revenue[number] += fare
                    booked[number] += 1
                    seats[number] -= 1
                    if route.cancels > 0.0:
                        after = int(flight.life[d, slot] / route.cancels * SLOTS) + 1
                        back = (day * SLOTS + slot) + after
                        if back // SLOTS < flight.departure_day:
                            returns.setdefault((back // SLOTS, back % SLOTS), []).append(number)
                seller.outcome(number, at_ms, buys)
    return Takings(revenue_cents=revenue, booked=booked, requests=requests, rows=rows)


def draw_market(
    *,
    routes: list[Route],
    flights_per_route: int,
    seed: int,
    drift: str = "none",
    first_departure_day: int = DAYS + 1,
    calendar_days: int = 160,
) -> Market:
    """A market whose flights leave from first_departure_day on; drift begins in the middle of the departures."""
    last = first_departure_day + calendar_days - 1
    flights = draw_flights(routes, flights_per_route, first_departure_day, last, seed)
    middle = (first_departure_day - DAYS + last) // 2
    return Market(routes=routes, flights=flights, drift=drift, drift_day=middle, days=last)
