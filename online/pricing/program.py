"""What a seat is worth: a dynamic program per flight, backwards from departure over time and seats.

    V_t(n) = V_{t+1}(n) + lambda_t G_t(V_{t+1}(n) - V_{t+1}(n-1)) + (C - n) c_t (V_{t+1}(n+1) - V_{t+1}(n))

G_t(mu) = E_x max_p pi_t(p | x) (p - mu) is what a request is worth when a seat costs mu: tabulated once for a dozen
days before departure and a grid of mu, over the requests that the market remembers of that window. Steps are so
short that a quarter of a request is expected in each. Gallego and van Ryzin (1994), with a ladder of fares.

Bid prices V(n) - V(n-1) are kept for a few moments and numbers of seats; between them lines are drawn.
"""

import numpy as np
from numba import njit

from online.pricing.arrivals import (
    cancellations_per_day,
    expected_requests,
    flight_factor,
    flight_weight,
    market_level,
    window_of,
    window_requests,
)
from online.pricing.demand import days_between, ladder_probabilities, set_input, set_theta, situation
from online.pricing.layout import (
    CONTEXTS,
    FEATURES_MAX,
    GAINS,
    NODE_DAYS,
    NODES,
    SEATS_MAX,
    TABLE_SEATS,
    TABLE_TIMES,
    WINDOW_DAYS,
    WINDOWS,
    Pricing,
)
from online.tables import Array

_NODE = np.array(NODE_DAYS)
_WINDOW = np.array(WINDOW_DAYS)
REQUESTS_PER_STEP = 0.25
REQUESTS_PER_STEP_AND_SEAT = 0.004  # where seats are few each request moves what they are worth
REQUESTS_PER_STEP_MOST = 0.8  # for flights of thousands of requests, where single ones matter less
STEPS = 1_000  # from how many on steps grow longer
STEPS_MAX = 4_000
DEVIATIONS = 6.0  # demand beyond so many standard deviations does not come


@njit(cache=True)
def seat_node(k: int) -> int:
    """Seats left at place k of a table: each up to 16, then every second up to 32, every fourth up to 64, and so on."""
    if k < 16:
        return k + 1
    octave = (k - 16) // 8
    return (16 << octave) + (((k - 16) % 8 + 1) << (octave + 1))


@njit(cache=True)
def seat_place(seats: int) -> tuple[int, float]:
    """(place, share of the next place) of a number of seats, the inverse of seat_node."""
    if seats <= 16:
        return max(seats, 1) - 1, 0.0
    k = 15
    while k + 1 < TABLE_SEATS and seat_node(k + 1) <= seats:
        k += 1
    if k + 1 >= TABLE_SEATS:
        return TABLE_SEATS - 1, 0.0
    low = seat_node(k)
    return k, (seats - low) / (seat_node(k + 1) - low)


@njit(cache=True)
def nodes_until(days: float) -> int:
    """How many of NODE_DAYS it takes to reach so many days before departure."""
    count = 1
    while count < NODES and _NODE[count - 1] < days:
        count += 1
    return count


@njit(cache=True)
def nearest_window(p: Pricing, market: int, w: int) -> int:
    """The nearest window in which the market remembers a request, the later one of two; -1 where it knows none."""
    for apart in range(WINDOWS):
        if w - apart >= 0 and p.markets.contexts[market, w - apart] > 0:
            return w - apart
        if w + apart < WINDOWS and p.markets.contexts[market, w + apart] > 0:
            return w + apart
    return -1


@njit(cache=True)
def set_gains(p: Pricing, market: int, flight: int, days: float) -> float:
    """scratch.gain [nodes, GAINS] for all days up to `days`; returns the step of the grid of bid prices, in cents."""
    s = p.scratch
    ladder = p.flights.ladder_cents[flight]
    fares = p.flights.fares[flight]
    reference = p.markets.reference_cents[market]
    top = float(ladder[fares - 1])
    step = top / (GAINS - 1)
    set_theta(p, market)
    for node in range(nodes_until(days)):
        for g in range(GAINS):
            s.gain[node, g] = 0.0
        at = _NODE[node]
        w = nearest_window(p, market, window_of(at))
        remembered = min(p.markets.contexts[market, w], CONTEXTS) if w >= 0 else 0
        for c in range(max(remembered, 1)):
            for j in range(FEATURES_MAX):
                own = p.flights.feature[flight, j]
                if own == own or remembered == 0:
                    s.raw[j] = own
                else:
                    s.raw[j] = np.float64(p.markets.context[market, w, c, j])
            set_input(p, market, flight, at)
            share, utility = situation(p.trunk, s.theta, s.input)
            ladder_probabilities(s.theta, share, utility, reference, ladder, fares, s.probability)
            # The upper envelope of pi (p - mu): the best rung only climbs as mu does.
            best = 0
            for g in range(GAINS):
                mu = g * step
                value = s.probability[best] * (ladder[best] - mu)
                for k in range(best + 1, fares):
                    other = s.probability[k] * (ladder[k] - mu)
                    if other > value:
                        value = other
                        best = k
                if value > 0.0:
                    s.gain[node, g] += value
        for g in range(GAINS):
            s.gain[node, g] /= max(remembered, 1)
    return step


@njit(cache=True)
def set_line(p: Pricing, days: float, nodes: int) -> None:
    """scratch.line: the gains at this moment, between the two nearest days."""
    s = p.scratch
    high = 0
    while high + 1 < nodes and _NODE[high] < days:
        high += 1
    low = max(high - 1, 0)
    share = 0.0 if high == low else min(max((days - _NODE[low]) / (_NODE[high] - _NODE[low]), 0.0), 1.0)
    for g in range(GAINS):
        s.line[g] = s.gain[low, g] + share * (s.gain[high, g] - s.gain[low, g])


@njit(cache=True)
def gain_at(line: Array, mu: float, step: float) -> float:
    """G(mu) between two points of its grid."""
    at = mu / step
    g = int(at)
    if g < 0:
        result: float = line[0]
        return result
    if g >= GAINS - 1:
        result = line[GAINS - 1]
        return result
    result = line[g] + (at - g) * (line[g + 1] - line[g])
    return result


@njit(cache=True)
def table_days(days: float, i: int) -> float:
    """Days before departure of the i-th moment of a table solved `days` before: nearly now, then wider apart."""
    share = i / (TABLE_TIMES - 1)
    return days * (1.0 - share * share)


@njit(cache=True)
def solve_flight(p: Pricing, flight: int, at_ms: int) -> None:
    """Bid prices of a flight from now until it leaves, into its row, out of what is known of its market now.

    While learning is on, `advance_flight` goes before it.
    """
    f = p.flights
    s = p.scratch
    market = f.market[flight]
    f.solved_ms[flight] = at_ms
    f.solved_seats[flight] = f.seats_left[flight]
    days = days_between(at_ms, f.departs_ms[flight])
    table = f.bid_price[flight]
    for i in range(TABLE_TIMES):
        for k in range(TABLE_SEATS):
            table[i, k] = 0.0
    f.value_cents[flight] = 0.0
    fares = f.fares[flight]
    if fares == 0 or days <= 0.0:
        return
    step = set_gains(p, market, flight, days)
    nodes = nodes_until(days)
    requests = expected_requests(p, flight, days)
    # Seats that demand cannot reach are worth nothing, and need no row.
    most = min(f.capacity[flight], SEATS_MAX - 1)
    most = min(most, int(requests + DEVIATIONS * np.sqrt(requests) + 8.0))
    cancels = cancellations_per_day(p, market)
    per_day = flight_weight(p, flight) * market_level(p, market) * flight_factor(p, flight)
    per_step = min(REQUESTS_PER_STEP, REQUESTS_PER_STEP_AND_SEAT * most)
    per_step = min(max(requests / STEPS, per_step), REQUESTS_PER_STEP_MOST)
    v = s.value
    d = s.step  # v(n) - v(n-1)
    for n in range(most + 2):
        v[n] = 0.0
        d[n] = 0.0
    later = 0.0  # days before departure up to which v is known
    for i in range(TABLE_TIMES - 1, -1, -1):
        earlier = table_days(days, i)
        while earlier - later > 1e-12:
            # To the end of the window, of the table's interval, of what one step may expect: whichever comes first.
            w = window_of(later + 1e-9)
            rate = window_requests(p, market, w) * per_day
            span = earlier - later
            if w + 1 < WINDOWS:
                span = min(span, max(window_end(w) - later, 1e-6))
            steps = max(int(np.ceil(rate * span / per_step)), int(np.ceil(span)))
            steps = min(max(steps, 1), STEPS_MAX)
            width = span / steps
            expected = rate * width
            back = cancels * width
            for q in range(steps):
                set_line(p, later + (q + 0.5) * width, nodes)
                for n in range(1, most + 1):
                    v[n] += expected * gain_at(s.line, d[n], step)
                    if back > 0.0 and n < most:
                        v[n] += (f.capacity[flight] - n) * back * d[n + 1]
                if back > 0.0:
                    v[0] += f.capacity[flight] * back * d[1]
                for n in range(1, most + 1):
                    d[n] = max(v[n] - v[n - 1], 0.0)
            later += span
        for k in range(TABLE_SEATS):
            n = seat_node(k)
            if n > most:
                # A number of seats between two places is read off both: the line goes on through the last row.
                low = seat_node(k - 1) if k > 0 else 0
                slope = (d[most] - d[low]) / (most - low) if 0 < low < most else 0.0
                table[i, k] = np.float32(max(d[most] + slope * (n - most), 0.0))
                break
            table[i, k] = np.float32(d[n])
    f.value_cents[flight] = v[min(max(f.seats_left[flight], 0), most)]


@njit(cache=True)
def window_end(w: int) -> float:
    """Days before departure at which a window ends, the last aside."""
    result: float = _WINDOW[w + 1]
    return result


@njit(cache=True)
def bid_price_cents(p: Pricing, flight: int, at_ms: int, seats_left: int) -> float:
    """What the last of so many seats is worth now, from the flight's table; NaN where there is none."""
    f = p.flights
    if f.solved_ms[flight] == 0:
        return np.nan
    whole = days_between(f.solved_ms[flight], f.departs_ms[flight])
    days = min(days_between(at_ms, f.departs_ms[flight]), whole)
    i = 0
    while i + 1 < TABLE_TIMES - 1 and table_days(whole, i + 1) > days:
        i += 1
    early = table_days(whole, i)
    late = table_days(whole, i + 1)
    share = 0.0 if early <= late else min(max((early - days) / (early - late), 0.0), 1.0)
    k, part = seat_place(seats_left)
    table = f.bid_price[flight]
    now = table[i, k] + share * (table[i + 1, k] - table[i, k])
    if part > 0.0:
        beyond = table[i, k + 1] + share * (table[i + 1, k + 1] - table[i, k + 1])
        now += part * (beyond - now)
    return float(now)


@njit(cache=True)
def fluid_bid_price_cents(p: Pricing, flight: int, at_ms: int, seats_left: int) -> float:
    """The bid price where demand is its mean: argmin over mu >= 0 of mu n + sum_t lambda_t G_t(mu).

    For flights whose table is missing or out of date: it looks at all that is left to come as one stream.
    """
    f = p.flights
    s = p.scratch
    market = f.market[flight]
    days = days_between(at_ms, f.departs_ms[flight])
    if f.fares[flight] == 0 or days <= 0.0:
        return 0.0
    step = set_gains(p, market, flight, days)
    nodes = nodes_until(days)
    per_day = flight_weight(p, flight) * market_level(p, market) * flight_factor(p, flight)
    for g in range(GAINS):
        s.step[g] = 0.0
    later = 0.0
    while days - later > 1e-12:
        w = window_of(later + 1e-9)
        span = min(days - later, 1.0)
        if w + 1 < WINDOWS:
            span = min(span, max(window_end(w) - later, 1e-6))
        set_line(p, later + 0.5 * span, nodes)
        for g in range(GAINS):
            s.step[g] += span * window_requests(p, market, w) * per_day * s.line[g]
        later += span
    best = 0
    for g in range(1, GAINS):
        if g * step * seats_left + s.step[g] < best * step * seats_left + s.step[best]:
            best = g
    return best * step
