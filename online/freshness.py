"""Freshness: how long feedback waits, from its arrival until the parameters that learned from it are shown."""

import time
from collections.abc import Iterable

import numpy as np

from online.pricing.records import Quote, QuoteOutcome
from online.publication import FRESHNESS_P50_US, FRESHNESS_P99_US, HISTOGRAM_BINS, histogram
from online.records import Event, Record
from online.tables import Array

WINDOW = 4096  # events that the percentiles look back on
SHOWN_EVERY_S = 0.1  # they cost as much as folding a few events


class Freshness:
    """The learner's figures of the newest events, written where workers read them."""

    def __init__(self, control: Array) -> None:
        self._control = control
        self._waited_us = np.zeros(WINDOW, np.int64)
        self._seen = 0
        self._shown = 0
        self._shown_s = 0.0

    def published(self, records: Iterable[Record]) -> None:
        """Count what can be seen from now on."""
        now_ms = time.time_ns() / 1e6
        bins = histogram(self._control)
        for record in records:
            if isinstance(record, Event | Quote | QuoteOutcome):
                waited_ms = max(0.0, now_ms - record.received_ms)
                self._waited_us[self._seen % WINDOW] = int(waited_ms * 1e3)
                self._seen += 1
                bins[min(int(waited_ms), HISTOGRAM_BINS - 1)] += 1

    def show(self) -> None:
        """Write the percentiles, if there is anything new and the last ones are old enough."""
        now_s = time.monotonic()
        if self._seen == self._shown or now_s - self._shown_s < SHOWN_EVERY_S:
            return
        self._shown, self._shown_s = self._seen, now_s
        window = self._waited_us[: min(self._seen, WINDOW)]
        self._control[FRESHNESS_P50_US], self._control[FRESHNESS_P99_US] = np.percentile(window, (50, 99))
