"""What Prometheus reads: the calls this service answered, and where the fold stands.

Several workers share counters through files (prometheus_client's multiprocess mode); the fold's own figures
are the same for all workers and are read when asked. No id is ever a label.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from online.records import ARMS

if TYPE_CHECKING:
    from online.live import LiveModel

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_VERDICTS = ("granted", "again", "none_left", "expired", "unknown", "in_use", "taken", "given_back")


class Metrics:
    """Counters of one worker. prometheus_client picks files or memory by PROMETHEUS_MULTIPROC_DIR at its import."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "perennial_http_requests", "Requests answered.", ("call", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "perennial_http_request_seconds",
            "Seconds from the request's first byte read to its answer, the log's fsync included.",
            ("call",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._unrecorded = Counter(
            "perennial_decisions_unrecorded",
            "Decisions answered from memory while the log was unavailable.",
            registry=self._registry,
        )
        self._claims = Counter(
            "perennial_seat_claims",
            "Claims on seats (holds, bookings, cancellations, capacities), by the log's verdict on them.",
            ("outcome",),
            registry=self._registry,
        )
        for verdict in _VERDICTS:  # each is there from the start, so that a first one is a rise
            self._claims.labels(verdict)
        self._answered: dict[tuple[str, int], Callable[[], None]] = {}
        self._took: dict[str, Callable[[float], None]] = {}

    def answered(self, call: str, status: int, seconds: float) -> None:
        """One request more."""
        count = self._answered.get((call, status))
        if count is None:
            count = self._answered[call, status] = self._calls.labels(call, str(status)).inc
            self._took.setdefault(call, self._seconds.labels(call).observe)
        count()
        self._took[call](seconds)

    def unrecorded(self) -> None:
        """One decision more that the log does not know."""
        self._unrecorded.inc()

    def claimed(self, verdict: str) -> None:
        """One verdict more on a claim of a seat."""
        self._claims.labels(verdict).inc()

    def exposition(self, model: "LiveModel | None", log_head: int, snapshot_age_s: float | None = None) -> bytes:
        """The text that Prometheus scrapes."""
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))
        text: bytes = generate_latest(registry)
        fold = CollectorRegistry()
        fold.register(_Fold(model, log_head, snapshot_age_s))
        return text + generate_latest(fold)


class _Fold(Collector):
    """The learner's figures, as this worker sees them now."""

    def __init__(self, model: "LiveModel | None", log_head: int, snapshot_age_s: float | None) -> None:
        self._snapshot_age_s = snapshot_age_s
        self._model = model
        self._log_head = log_head

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("perennial_log_head", "Last position of the log known here.", self._log_head)
        if self._snapshot_age_s is not None:
            yield GaugeMetricFamily(
                "perennial_snapshot_age_seconds", "Since the newest snapshot was written.", self._snapshot_age_s
            )
        model = self._model
        yield GaugeMetricFamily(
            "perennial_learner_ready", "1 where parameters are published.", float(model is not None)
        )
        if model is None:
            return
        yield GaugeMetricFamily("perennial_learned_position", "Log position of the parameters in use.", model.position)
        lag = max(0, self._log_head - model.position)
        yield GaugeMetricFamily("perennial_learner_lag_records", "Records in the log and not yet learned.", lag)
        yield GaugeMetricFamily(
            "perennial_learning", "1 while learning, 0 while frozen.", float(model.learning == "on")
        )
        yield from self._counters(model)
        yield from self._fares(model)
        yield from self._arms(model)
        yield from self._monitors(model)

    def _counters(self, model: "LiveModel") -> Iterator[Metric]:
        counters = model.counters()
        events = CounterMetricFamily(
            "perennial_events",
            "Events by what became of them; received = applied + duplicate + late + rejected.",
            labels=["outcome"],
        )
        for outcome in ("received", "applied", "duplicate", "late", "rejected"):
            events.add_metric([outcome], counters[outcome])
        yield events
        yield CounterMetricFamily("perennial_decisions", "Decisions recorded.", counters["decisions"])
        yield GaugeMetricFamily("perennial_users", "Users known.", counters["users"])
        yield GaugeMetricFamily("perennial_items", "Items known.", counters["items"])
        p50, p99 = model.freshness_ms()
        freshness = GaugeMetricFamily(
            "perennial_freshness_seconds",
            "From append to publication, over the last seconds.",
            labels=["quantile"],
        )
        freshness.add_metric(["0.5"], p50 / 1_000)
        freshness.add_metric(["0.99"], p99 / 1_000)
        yield freshness

    def _fares(self, model: "LiveModel") -> Iterator[Metric]:
        """What the fold counted of flights, quotes and seats."""
        counts = model.pricing.counters()
        quotes = CounterMetricFamily(
            "perennial_quotes", "Requests for a fare, by whether there was anything to sell.", labels=["outcome"]
        )
        quotes.add_metric(["quoted"], counts["quotes"])
        quotes.add_metric(["not_for_sale"], counts["not_for_sale"])
        yield quotes
        outcomes = CounterMetricFamily(
            "perennial_quote_outcomes",
            "Quotes by what became of them; unmatched: of a quote or flight that is not known any more.",
            labels=["outcome"],
        )
        for name in ("booked", "declined", "expired", "repeated", "cancelled", "closed_early", "unmatched"):
            outcomes.add_metric([name], counts[name])
        yield outcomes
        yield GaugeMetricFamily("perennial_flights", "Flights known, those that have left included.", counts["flights"])
        yield CounterMetricFamily(
            "perennial_flights_refused", "Flights of a market for which there was no room.", counts["flights_refused"]
        )
        seats = GaugeMetricFamily(
            "perennial_seats", "Seats of the flights known, by what they are.", labels=["outcome"]
        )
        for name in ("booked", "held", "free"):
            seats.add_metric([name], counts[f"seats_{name}"])
        yield seats
        yield CounterMetricFamily(
            "perennial_seats_beyond_capacity",
            "Seats booked or held beyond a flight's capacity: never one.",
            counts["seats_beyond_capacity"],
        )
        yield CounterMetricFamily("perennial_bid_price_solves", "Tables of bid prices solved.", counts["solved"])
        yield CounterMetricFamily(
            "perennial_market_breaks", "Markets whose demand broke away from what was learned.", counts["drift_breaks"]
        )

    def _arms(self, model: "LiveModel") -> Iterator[Metric]:
        decisions = CounterMetricFamily("perennial_arm_decisions", "Decisions closed, by arm.", labels=["arm"])
        reward = GaugeMetricFamily("perennial_arm_reward_mean", "Mean reward of closed decisions.", labels=["arm"])
        for arm in model.arms():
            decisions.add_metric([arm.arm], arm.n)
            if arm.n:
                reward.add_metric([arm.arm], arm.mean_reward)
        yield decisions
        yield reward

    def _monitors(self, model: "LiveModel") -> Iterator[Metric]:
        """What river's monitors saw (outside the fold): recent means, and drifts since the learner's start."""
        figures = model.monitors()
        yield GaugeMetricFamily(
            "perennial_prequential_log_loss",
            "Log loss of events before they were learned, recent mean.",
            figures["prequential_loss"],
        )
        recent = GaugeMetricFamily("perennial_arm_reward_recent", "Mean reward lately, by arm.", labels=["arm"])
        drifts = CounterMetricFamily("perennial_drifts", "Drifts that ADWIN has seen.", labels=["stream"])
        drifts.add_metric(["prequential_loss"], figures["prequential_loss_drifts"])
        for arm in ARMS:
            recent.add_metric([arm], figures[f"reward_mean_{arm}"])
            drifts.add_metric([f"reward_{arm}"], figures[f"reward_drifts_{arm}"])
        yield recent
        yield drifts
