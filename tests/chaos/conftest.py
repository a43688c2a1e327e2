from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaos.rig import Rig

_SEED = pytest.StashKey[str]()
_COUNTED = "counted"
_TIMEOUT_SECONDS = {"ci": 180, "full": 1800}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chaos",
        choices=("ci", "full"),
        default=os.environ.get("CHAOS", "ci"),
        help="how much: a part for CI, or everything (also by the variable CHAOS)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Also for the processes that xdist starts.
    seed = os.environ.setdefault("CHAOS_SEED", str(random.SystemRandom().getrandbits(32)))
    config.stash[_SEED] = seed


def pytest_report_header(config: pytest.Config) -> str:
    return f"chaos: {config.getoption('--chaos')}, CHAOS_SEED={config.stash[_SEED]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_SECONDS[config.getoption("--chaos")]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    if report.failed and "chance" in getattr(item, "fixturenames", ()):
        seed = item.config.stash[_SEED]
        report.sections.append(("repeat it", f"CHAOS_SEED={seed} pytest '{item.nodeid}'"))
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reports = [report for each in terminalreporter.stats.values() for report in each]
    lines = [
        text
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, text in report.user_properties
        if name == _COUNTED
    ]
    if lines:
        terminalreporter.section("counted")
        for line in lines:
            terminalreporter.write_line(line)


@dataclass(frozen=True)
class Sizes:
    """How much a test does."""

    messages: int
    kills: int
    broker_restarts: int
    cuts: int


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    if request.config.getoption("--chaos") == "full":
        return Sizes(messages=20_000, kills=30, broker_restarts=10, cuts=10)
    return Sizes(messages=3000, kills=5, broker_restarts=3, cuts=4)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random as it looks, the same for the same seed and test."""
    return random.Random(f"{request.config.stash[_SEED]} {request.node.nodeid}")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Puts a line of figures into the summary at the end."""

    def add(text: object) -> None:
        request.node.user_properties.append((_COUNTED, f"{request.node.name}: {text}"))

    return add


@pytest.fixture
def make_rig(tmp_path: Path, chance: random.Random) -> Iterator[Callable[..., Rig]]:
    """Builds a rig; all of it is gone after the test."""
    with ExitStack() as stack:

        def make(model: str, **settings: Any) -> Rig:
            return Rig(
                tmp_path / f"rig{len(list(tmp_path.iterdir()))}", stack, chance, model, **settings
            )

        yield make
