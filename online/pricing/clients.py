"""What a client (the name of an API key) teaches a market: no more than the bookings that it keeps vouch for.

To ask costs nothing, and to decline costs nothing. A booking that is not given back takes a seat, so that is what the
rest is held against. Of each client a market remembers, fading as its posterior does, how many bookings the model
expected of its quotes, and how many there were and still are. Where the first run away from the second as they do of
nobody else, the client's outcomes and questions weigh less:

    weight = min(1, ((free + doubt kept max(1, others' expected / others' kept)) / expected) ^ 2)

So whoever keeps no booking teaches, beyond its first `free` expected ones, less than as many again, however often it
asks; one that books as others do weighs 1, whatever its share of the traffic; and so does one that is alone, or whose
others keep no bookings either: nobody is there to hold it against. A market in which everybody books less (a jump) is
no client's fault, hence the others' ratio; that others book more is none either.
"""

import numpy as np
from numba import njit

from online.pricing.layout import CLIENTS, Pricing

VOUCHED = 0.5  # of the free bookings: as many the others must keep before anybody is held against them


@njit(cache=True)
def client_weight(p: Pricing, market: int, client: np.uint64) -> float:
    """What an outcome or a question of this client counts in this market now, in (0, 1]. client: hash64 of its name."""
    m = p.markets
    expected = kept = 0.0
    others_expected = others_kept = 0.0
    for k in range(CLIENTS):
        if m.client[market, k] == client:
            expected = m.client_expected[market, k]
            kept = m.client_kept[market, k]
        else:
            others_expected += m.client_expected[market, k]
            others_kept += m.client_kept[market, k]
    free = p.knobs.client_free_bookings
    if expected <= free or others_kept < VOUCHED * free:
        return 1.0
    vouched = free + p.knobs.client_doubt * kept * max(1.0, others_expected / others_kept)
    if expected <= vouched:
        return 1.0
    share: float = vouched / expected
    return share * share


@njit(cache=True)
def client_place(p: Pricing, market: int, client: np.uint64) -> int:
    """Where the market remembers this client; where there is no room, instead of the one of whom least was expected."""
    m = p.markets
    least = 0
    for k in range(CLIENTS):
        if m.client[market, k] == client:
            return k
        if m.client_expected[market, k] < m.client_expected[market, least]:
            least = k
    m.client[market, least] = client
    m.client_expected[market, least] = 0.0
    m.client_kept[market, least] = 0.0
    return least


@njit(cache=True)
def count_client(p: Pricing, market: int, client: np.uint64, expected: float, kept: float) -> None:
    """So many bookings were to be expected of it, and so many more (or fewer, where they are given back) are kept."""
    m = p.markets
    k = client_place(p, market, client)
    m.client_expected[market, k] += expected
    m.client_kept[market, k] = max(0.0, m.client_kept[market, k] + kept)


@njit(cache=True)
def fade_clients(p: Pricing, market: int, keep: float) -> None:
    """Days pass."""
    for k in range(CLIENTS):
        p.markets.client_expected[market, k] *= keep
        p.markets.client_kept[market, k] *= keep
