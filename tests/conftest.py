from __future__ import annotations

import os

import pytest
from support.app import DATA_PLANE


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data-plane",
        choices=("bulk", "plain"),
        default=os.environ.get(DATA_PLANE, "bulk"),
        help="which data plane workers have in the integration and chaos tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ[DATA_PLANE] = config.getoption("--data-plane")


def pytest_report_header(config: pytest.Config) -> str:
    return f"data plane: {config.getoption('--data-plane')}"
