"""The counts of a server in the formats of Prometheus. `prometheus_client` is imported at the first use."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import psutil

from hybrid_batch.inference.serving.monitoring.metric_layout import BUCKETS_S, Gauge, Stage, Total
from hybrid_batch.inference.serving.monitoring.metric_values import MetricValues

if TYPE_CHECKING:
    from prometheus_client import Metric

_PREFIX = "hybrid_batch"
_GAUGES = {
    Gauge.PENDING: ("pending_requests", "Requests in the server, in progress or waiting."),
    Gauge.HELD_BYTES: ("held_bytes", "Bytes that these requests have reserved."),
    Gauge.CONNECTIONS: ("connections", "Open connections."),
    Gauge.COMPILED_CUTS: ("compiled_cuts", "Cuts whose tail is compiled."),
    Gauge.COMPILED_BYTES: ("compiled_bytes", "Estimated memory of the compiled tails."),
}
_TOTALS = {
    Total.COMPILATIONS: ("compilations", "Compilations of tails."),
    Total.EVICTIONS: ("evictions", "Compiled tails that were removed."),
    Total.RECEIVED_BYTES: ("received_bytes", "Bytes of request bodies."),
    Total.SENT_BYTES: ("sent_bytes", "Bytes of reply bodies."),
}


def render(values: MetricValues, accept: str | None) -> tuple[bytes, str]:
    """The document and its content type: OpenMetrics for a client that accepts it, else Prometheus' text."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(values))
    encode, content_type = choose_encoder(accept or "")
    document: bytes = encode(registry)
    return document, content_type


class _Collector:
    """One scrape of prometheus_client."""

    def __init__(self, values: MetricValues) -> None:
        self._values = values

    def collect(self) -> "Iterator[Metric]":
        """All metrics."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        values = self._values
        requests = CounterMetricFamily(f"{_PREFIX}_requests", "Replies.", labels=("operation", "status"))
        for (operation, status), count in values.requests().items():
            requests.add_metric((operation, str(status or "other")), count)
        yield requests
        refusals = CounterMetricFamily(f"{_PREFIX}_refusals", "Refused requests and connections.", labels=("reason",))
        for reason, count in values.refusals().items():
            refusals.add_metric((reason,), count)
        yield refusals
        stages = HistogramMetricFamily(f"{_PREFIX}_stage_seconds", "Stages of inference requests.", labels=("stage",))
        for stage in Stage:
            counts, total_s = values.stage(stage)
            stages.add_metric((stage,), _cumulative(counts), total_s)
        yield stages
        for total, (name, text) in _TOTALS.items():
            yield CounterMetricFamily(f"{_PREFIX}_{name}", text, values.total(total))
        for gauge, (name, text) in _GAUGES.items():
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", text, values.gauge(gauge))
        yield GaugeMetricFamily(f"{_PREFIX}_processes", "Processes of the server.", len(values.processes))
        resident = sum(map(_resident_bytes, values.processes))
        yield GaugeMetricFamily(f"{_PREFIX}_resident_bytes", "Resident memory of the processes.", resident)


def _cumulative(counts: Sequence[float]) -> list[tuple[str, float]]:
    """The buckets of a histogram as Prometheus counts them: each contains those below."""
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    return [(bound, sum(counts[: index + 1])) for index, bound in enumerate(bounds)]


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
