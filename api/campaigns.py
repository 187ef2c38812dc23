"""What looks like a campaign in the newest records: users or clients who report as nobody else does, and about what.

Everything is held against the rest of the same records, by counts and robust means; nothing is learned, nothing is
blocked. Who is named may be innocent (a script that tests, a shared screen): surgery with a preview is what follows,
and it can be undone.
"""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from online.pricing.records import BOOKED, Cancellation, Quote, QuoteOutcome
from online.records import Decision, Event, Record
from online.settings import Settings

REPORTS_MIN = 30  # fewer than that of one user are never many
REPEATS_MIN = 6  # fewer than that of one item are never a push: watched, liked, watched again
TIMES_OTHERS = 10.0  # what three of four users stay below, or the median client sends, so many times over
POSITIONS_MIN = 20  # of slates that somebody was shown, before their taste is held against others'
SCORE_MAX = 8.0  # robust standard deviations
CLIENT_MIN = 30  # quotes, or bookings, before a client's share of something is a share
SURE = 4.5  # standard errors between a client's share and that of all others
RATIO = 2.0  # and how many times one must be the other


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. who: "users" or "clients"; subject: the item or market that it is about, "" is none."""

    how: str
    who: str
    names: tuple[str, ...]
    reports: int
    share: float  # of all reports in what was looked at
    subject: str = ""
    why: str = ""


def campaigns(records: Iterable[Record], settings: Settings) -> list[Campaign]:
    """Those of both domains, the largest first. settings: which say what an event is worth."""
    events: list[Event] = []
    decisions: dict[str, Decision] = {}
    fares: list[Quote | QuoteOutcome | Cancellation] = []
    for record in records:
        match record:
            case Event():
                events.append(record)
            case Decision():
                decisions[record.decision_id] = record
            case Quote() | QuoteOutcome() | Cancellation():
                fares.append(record)
    found = [*_of_users(events, decisions, settings), *_of_clients(fares)]
    return sorted(found, key=lambda one: -one.reports)


# Users, and what they say of items -----------------------------------------------------------------------------------


def _of_users(events: Sequence[Event], decisions: dict[str, Decision], settings: Settings) -> Iterable[Campaign]:
    reports = Counter(event.user_id for event in events)
    if len(reports) < 10:
        return
    pairs = Counter((event.user_id, event.item_id) for event in events)
    most: dict[str, tuple[int, str]] = {}
    for (user, item), count in pairs.items():
        most[user] = max(most.get(user, (0, "")), (count, item))
    repeats_max = max(REPEATS_MIN, 3 * _most([count for count, _ in most.values()]))
    pushed: dict[str, list[str]] = defaultdict(list)
    for user, (count, item) in most.items():
        if count >= repeats_max:
            pushed[item].append(user)
    named: set[str] = set()
    for item, users in pushed.items():
        count = sum(pairs[user, item] for user in users)
        if len(users) < 3 and count < 5 * repeats_max:
            continue
        of_item = sum(event.item_id == item for event in events)
        named.update(users)
        why = f"{count:,} of its {of_item:,} reports come from {len(users)} users, {count / len(users):.0f} each"
        yield _by_users("one item", users, count, len(events), why, subject=item)
    usual = _most(list(reports.values()))
    many_from = max(REPORTS_MIN, TIMES_OTHERS * usual)
    many = {user for user, count in reports.items() if count >= many_from} - named
    if many:
        named |= many
        count = sum(reports[user] for user in many)
        why = f"{count / len(many):.0f} reports each, where three of four users send {usual} at most"
        yield _by_users("many reports", many, count, len(events), why)
    odd = _against_others(events, decisions, settings)
    against = {user for user, score in odd.items() if abs(score) > SCORE_MAX} - named
    if against:
        count = sum(reports[user] for user in against)
        typical = statistics.median(abs(odd[user]) for user in against)
        why = f"they take what others leave, or leave what others take: {typical:.0f} standard deviations apart"
        yield _by_users("against everybody", against, count, len(events), why)


def _by_users(how: str, users: Iterable[str], reports: int, of: int, why: str, *, subject: str = "") -> Campaign:
    names = tuple(sorted(users))
    return Campaign(how=how, who="users", names=names, reports=reports, share=reports / of, subject=subject, why=why)


def _against_others(events: Sequence[Event], decisions: dict[str, Decision], settings: Settings) -> dict[str, float]:
    """Per user how far their rewards are from what all gave for the same items, in robust standard deviations."""
    earned: dict[tuple[str, str], float] = {}
    for event in events:
        if event.decision_id in decisions and (value := _reward(settings, event)) is not None:
            earned[event.decision_id or "", event.item_id] = value  # the last one stands, as in the fold
    answered = {decision_id for decision_id, _ in earned}
    shown: dict[str, list[float]] = defaultdict(list)
    of: list[tuple[str, str, float]] = []
    for decision_id in answered:
        decision = decisions[decision_id]
        for item in decision.item_ids:
            value = earned.get((decision_id, item), 0.0)
            shown[item].append(value)
            of.append((decision.user_id, item, value))
    typical = {item: statistics.fmean(values) for item, values in shown.items()}
    apart: dict[str, list[float]] = defaultdict(list)
    for user, item, value in of:
        apart[user].append(value - typical[item])
    means = {user: statistics.fmean(values) for user, values in apart.items() if len(values) >= POSITIONS_MIN}
    if len(means) < 10:
        return {}
    middle = statistics.median(means.values())
    spread = 1.4826 * statistics.median(abs(mean - middle) for mean in means.values())
    return {user: (mean - middle) / max(spread, 1e-9) for user, mean in means.items()}


def _reward(settings: Settings, event: Event) -> float | None:
    """What an event says of the item that was shown, in [0, 1]; None says nothing."""
    rule = settings.events.get(event.event_type)
    if rule is None or rule.reward is None:
        return None
    return min(1.0, max(0.0, rule.reward + rule.reward_per_value * (event.value or 0.0)))


def _most(counts: list[int]) -> int:
    """What three of four stay at or below: those who lie may be many of those who report at all."""
    return sorted(counts)[math.ceil(0.75 * len(counts)) - 1]


# Clients, and what becomes of their quotes ---------------------------------------------------------------------------


def _of_clients(fares: Sequence[Quote | QuoteOutcome | Cancellation]) -> Iterable[Campaign]:
    asked: Counter[str] = Counter()
    booked: Counter[str] = Counter()
    cancelled: Counter[str] = Counter()
    flights: dict[str, Counter[str]] = defaultdict(Counter)
    for record in fares:
        match record:
            case Quote():
                asked[record.client] += 1
                flights[record.client][record.flight_id] += 1
            case QuoteOutcome():
                booked[record.client] += record.outcome == BOOKED
            case Cancellation():
                cancelled[record.client] += 1
    # The one that differs most first; it is no measure for the others then.
    others = set(asked)
    while len(others) >= 3:
        told = {client: _unlike(client, others, asked, booked, cancelled) for client in others}
        client = max(sorted(others), key=lambda one: (len(told[one]), asked[one]))
        if not told[client]:
            return
        others.remove(client)
        flight, often = flights[client].most_common(1)[0]
        yield Campaign(
            how="a client unlike the others",
            who="clients",
            names=(client,),
            reports=asked[client],
            share=asked[client] / asked.total(),
            subject=flight if often > asked[client] / 2 else "",
            why="; ".join(told[client].values()),
        )


def _unlike(
    client: str, others: set[str], asked: Counter[str], booked: Counter[str], cancelled: Counter[str]
) -> dict[str, str]:
    """In what a client differs from the others, and how much."""
    found = {}
    middle = statistics.median(asked[one] for one in others)
    if asked[client] >= CLIENT_MIN and asked[client] > TIMES_OTHERS * middle:
        found["asked"] = f"asks {asked[client] / middle:.0f} times as often as the median client"
    for what, some, whole in (
        ("of its quotes are booked", booked, asked),
        ("of its bookings are given back", cancelled, booked),
    ):
        n, rest = whole[client], sum(whole[one] for one in others if one != client)
        if n < CLIENT_MIN or rest < CLIENT_MIN:
            continue
        own, theirs = some[client] / n, sum(some[one] for one in others if one != client) / rest
        error = math.sqrt(max(theirs * (1.0 - theirs), 1.0 / rest) * (1.0 / n + 1.0 / rest))
        if abs(own - theirs) > SURE * error and max(own, theirs) > RATIO * min(own, theirs):
            found[what] = f"{100 * own:.0f} % {what}, of the others' {100 * theirs:.0f} %"
    return found
