"""The figures in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_GAUGES = {
    "pre_queue": ("pre_queue_messages", "Messages that wait for the model."),
    "post_queue": ("post_queue_messages", "Results that wait to be published."),
    "in_flight": ("in_flight_messages", "Results that the post broker has not acknowledged."),
    "rss_bytes": ("resident_memory_bytes", "Resident memory of the worker."),
    "uptime_s": ("uptime_seconds", "Seconds since the worker started."),
}
_COUNTERS = {
    "received": "Messages that arrived.",
    "processed": "Messages that the model was called for.",
    "published": "Results that were published.",
    "nothing_to_publish": "Messages for which the model returned None.",
    "dropped": "Messages of QoS 0 that found the pre_queue full.",
}
_LABELS = ["model", "instance"]

__all__ = ["CONTENT_TYPE", "render_metrics"]


def render_metrics(document: dict[str, Any]) -> bytes:
    """`document` is what /api/instances gives."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Instances(document["instances"]))
    return generate_latest(registry)


class _Instances(Collector):
    def __init__(self, instances: list[dict[str, Any]]) -> None:
        self._instances = instances
        self._answering = [i for i in instances if i["error"] is None]

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("pyboot_up", "1 when the instance answers.", labels=_LABELS)
        ready = GaugeMetricFamily("pyboot_ready", "1 when it can do its work.", labels=_LABELS)
        for instance in self._instances:
            up.add_metric(_labels(instance), float(instance["error"] is None))
            ready.add_metric(_labels(instance), float(instance["state"] == "ready"))
        yield up
        yield ready
        for key, (name, text) in _GAUGES.items():
            yield self._family(GaugeMetricFamily(f"pyboot_{name}", text, labels=_LABELS), key)
        for key, text in _COUNTERS.items():
            counter = CounterMetricFamily(f"pyboot_{key}_messages", text, labels=_LABELS)
            for instance in self._answering:
                counter.add_metric(_labels(instance), instance.get("counters", {}).get(key, 0))
            yield counter
        cpu = CounterMetricFamily("pyboot_cpu_seconds", "CPU time used.", labels=_LABELS)
        yield self._family(cpu, "cpu_s")
        yield self._errors()
        yield self._latency()

    def _family(self, family: Any, key: str) -> Metric:
        for instance in self._answering:
            if instance.get(key) is not None:
                family.add_metric(_labels(instance), instance[key])
        return family  # type: ignore[no-any-return]

    def _errors(self) -> Metric:
        errors = CounterMetricFamily(
            "pyboot_errors", "Messages that failed, by kind.", labels=[*_LABELS, "kind"]
        )
        for instance in self._answering:
            for kind, count in instance.get("errors", {}).items():
                errors.add_metric([*_labels(instance), kind], count)
        return errors

    def _latency(self) -> Metric:
        latency = GaugeMetricFamily(
            "pyboot_latency_seconds",
            "From a message's arrival to its result's being published, over the last 10 s.",
            labels=[*_LABELS, "quantile"],
        )
        for instance in self._answering:
            for quantile, label in (("p50", "0.5"), ("p99", "0.99")):
                value = instance.get("latency_ms", {}).get(quantile)
                if value is not None:
                    latency.add_metric([*_labels(instance), label], value / 1000)
        return latency


def _labels(instance: dict[str, Any]) -> list[str]:
    return [instance["model"], str(instance["number"])]
