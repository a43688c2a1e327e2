"""OpenTelemetry, where a model's edge asks for it: the libraries, and what makes spans of them."""

from __future__ import annotations

import importlib
import importlib.util
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyboot_svc import __version__
from pyboot_svc.config import Tracing
from pyboot_svc.config.collector_url import traces_url
from pyboot_svc.errors import ModelError
from pyboot_svc.identity import InstanceId

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from pyboot_svc.tracing.span_queue import SpanQueue

_MODULES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
_PACKAGES = "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"


def import_libraries() -> None:
    """Raises ModelError that names what is to be installed, and how."""
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ModelError(
                f"`tracing` needs {error.name or name}: {sys.executable} -m pip install "
                f"{_PACKAGES}; where pip may not, as beside Debian's packages, give the model an "
                "environment with them, by `python:`"
            ) from error


@dataclass(frozen=True)
class Telemetry:
    """Makes spans by `tracer`, which go to the collector by `queue`."""

    tracer: Tracer
    queue: SpanQueue


def open_telemetry(
    tracing: Tracing,
    identity: InstanceId,
    version: str,
    variables: Mapping[str, str],
    dropped: Callable[[int], None],
) -> Telemetry:
    """For an instance whose model has that `version`, if any; `variables` are the process's.

    `dropped` is told how many spans never reach the collector.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import DEFAULT_ON

    from pyboot_svc.tracing.span_queue import QueueBounds, SpanQueue

    own = {
        "service.name": identity.model,
        "service.namespace": "pyboot",
        "service.instance.id": str(identity),
        "service.version": version or __version__,
        "host.name": socket.gethostname(),
    }
    # The variables have the last word.
    resource = Resource.create(own).merge(OTELResourceDetector().detect())
    # With a rate of ours, messages without a trace are drawn before they get here.
    sampler = None if tracing.sample is None else DEFAULT_ON
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
    url = traces_url(tracing.otlp, variables)
    queue = SpanQueue(OTLPSpanExporter(endpoint=url), url, QueueBounds.of(variables), dropped)
    provider.add_span_processor(queue)
    return Telemetry(provider.get_tracer("pyboot", __version__), queue)
