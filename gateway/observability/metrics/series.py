"""Metrics with bounded cardinality: labels take values from closed lists, and every series exists from the start.

Owns the registry, the lists of label values and the exemplars. Must not know what is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

from gateway.observability.metrics.words import OTHER

M = TypeVar("M", bound=MetricWrapperBase)
# Label → its values.
Lists = Mapping[str, Iterable[str]]


class MetricFactory:
    """Creates metrics in one registry. A label value outside its list is recorded as ``other``."""

    def __init__(self) -> None:
        # The _created series would double the number of series, and Prometheus does not use them. The library has this
        # setting for the whole process only.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._lists: dict[MetricWrapperBase, dict[str, frozenset[str]]] = {}
        # Cache of series by metric and labels: the library looks them up under a lock on each call. Only listed values
        # are cached, so the cache is bounded.
        self._found: dict[tuple[object, ...], Any] = {}
        self._unlisted = self.counter("unlisted_label_values", "Label values that are not on their closed list.")

    def counter(self, name: str, documentation: str, labels: Sequence[str] = (), **lists: Iterable[str]) -> Counter:
        """A counter. Its labels are the keys of ``lists``, or ``labels``, whose values ``present`` sets later."""
        made = Counter(f"gateway_{name}", documentation, [*labels, *lists], registry=self.registry)
        return self._filled(made, lists)

    def gauge(self, name: str, documentation: str, **lists: Iterable[str]) -> Gauge:
        return self._filled(Gauge(f"gateway_{name}", documentation, list(lists), registry=self.registry), lists)

    def histogram(self, name: str, documentation: str, buckets: Sequence[float], **lists: Iterable[str]) -> Histogram:
        made = Histogram(f"gateway_{name}", documentation, list(lists), buckets=buckets, registry=self.registry)
        return self._filled(made, lists)

    def _filled(self, metric: M, lists: Lists) -> M:
        if lists:
            self.present(metric, **lists)
        return metric

    def present(self, metric: MetricWrapperBase, **labels: Iterable[str]) -> None:
        """Create every series of these closed lists at zero, and add the values to the lists."""
        values = {label: [str(value) for value in listed] for label, listed in labels.items()}
        lists = self._lists.setdefault(metric, {})
        for label, listed in values.items():
            lists[label] = lists.get(label, frozenset()) | frozenset(listed)
        for combination in product(*values.values()):
            metric.labels(**dict(zip(values, combination, strict=True)))

    def count(self, counter: Counter, times: int = 1, **labels: str) -> None:
        self._series(counter, labels).inc(times)

    def set(self, gauge: Gauge, value: float, **labels: str) -> None:
        self._series(gauge, labels).set(value)

    def observe(self, histogram: Histogram, value: float, trace_id: str = "", **labels: str) -> None:
        """Observe a value; ``trace_id``, if any, becomes its exemplar."""
        series = self._series(histogram, labels) if labels else histogram
        series.observe(max(0.0, value), {"trace_id": trace_id} if trace_id else None)

    def _series(self, metric: MetricWrapperBase, labels: Mapping[str, str]) -> Any:
        """The series with these label values; unlisted values are counted and replaced by ``other``."""
        key = (metric, *labels.items())
        if (known := self._found.get(key)) is not None:
            return known
        lists = self._lists[metric]
        listed = {label: str(value) if value in lists[label] else OTHER for label, value in labels.items()}
        found = metric.labels(**listed)
        if listed == labels:
            self._found[key] = found
        self._unlisted.inc(sum(listed[label] != value for label, value in labels.items()))
        return found
