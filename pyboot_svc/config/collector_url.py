"""Where OpenTelemetry's spans go: the URL of a collector that takes OTLP over HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pyboot_svc.address import Address
from pyboot_svc.config.document import Node, Problems
from pyboot_svc.config.types import Host, Invalid, Text, shown

_URL = re.compile(r"https?://(?:\[([^\]/?#]*)\]|([^:/?#\[\]]*))(?::([0-9]{1,5}))?(?:/[^?#]*)?")
_MOST_PORT = 65_535
_GRPC_PORT = 4317


class CollectorUrl(Text):
    """`http://host:port` or `https://`, to which the path `/v1/traces` is added."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        text = super().read(node, path, problems)
        if "@" in text:
            # Not shown: what stands before the @ is likely a password.
            hint = "a collector on this host can log in elsewhere"
            raise Invalid("must be a URL without user name and password", hint)
        found = _URL.fullmatch(text)
        if not found or not 0 < int(found[3] or 1) <= _MOST_PORT:
            raise Invalid(f"must be a URL as in http://127.0.0.1:4318, not {shown(text)}")
        if int(found[3] or 0) == _GRPC_PORT:
            hint = "OTLP over HTTP has port 4318"
            raise Invalid(f"must not have port {_GRPC_PORT}, which is gRPC's", hint)
        host = Node(found[1] or found[2], node.line, node.column)
        try:
            Host().read(host, path, problems)
        except Invalid as error:
            raise Invalid(f"has a host that {error.message}", error.hint) from None
        return text

    def json_schema(self) -> dict[str, object]:
        return {"type": "string", "pattern": "^https?://"}


def traces_url(otlp: str | None, variables: Mapping[str, str]) -> str:
    """Where spans are sent: to `otlp`, or where OpenTelemetry's own `variables` say, or to a
    collector on this host."""
    own = variables.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if otlp is None and own:
        return own
    base = otlp or variables.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318"
    return base.rstrip("/") + "/v1/traces"


def collector_address(otlp: str | None, variables: Mapping[str, str]) -> Address:
    """Host and port of the same; an empty host where a variable has no URL."""
    url = traces_url(otlp, variables)
    found = _URL.fullmatch(url)
    if not found:
        return "", 0
    return found[1] or found[2], int(found[3] or (443 if url.startswith("https") else 80))
