"""Where the metrics socket is."""

from __future__ import annotations

from pathlib import Path

from pyboot_svc.metrics.protocol import socket_path


def test_the_socket_is_in_the_run_dir() -> None:
    assert socket_path(Path("/run/pyboot")) == Path("/run/pyboot/metrics.sock")
