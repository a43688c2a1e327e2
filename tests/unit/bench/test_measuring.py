"""The measurement, on models of every kind: what is counted, never how long it took."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.poll import until

from pyboot_svc.bench.stages import STAGES, measure_stages
from pyboot_svc.bench.subject import Subject, load_subject
from pyboot_svc.bench.threads import measure_threads
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ModelError

MODELS = """
import threading

SEEN = []

def same(payload, context):
    SEEN.append((threading.current_thread().name, context.topic, context.state_dir))
    return payload

def odd(payload):
    if payload % 2:
        raise ValueError("odd")
    return None if payload == 0 else payload

def never(payload):
    raise ValueError("always")

def leave(payload):
    raise SystemExit(3)

def double_all(payloads, context):
    SEEN.append((len(payloads), context.topics))
    return [payload * 2 for payload in payloads]

def too_few(payloads, context):
    return payloads[1:]
"""


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Subject]]:
    """Makes one of a model's name, more keys of its edge, and its payloads."""
    monkeypatch.chdir(Path.cwd())  # and back again: to load a subject changes it
    name = f"bench_models_{id(tmp_path)}"
    (tmp_path / f"{name}.py").write_text(MODELS)
    path = list(sys.path)

    def make(model: str, more: str = "", payloads: tuple[bytes, ...] = (b"1", b"2")) -> Subject:
        file = tmp_path / "config.yaml"
        file.write_text(
            f"model_path: .\nedge:\n- {{name: m, edge_mode: {name}.{model}, pre_broker: h, "
            f"pre_topic: in/+/of/#, post_broker: h, post_topic: o{more}}}\n"
        )
        config = next(load_config(file).instances())
        return load_subject(config, payloads, tmp_path)

    yield make
    sys.path[:] = path
    sys.modules.pop(name, None)


def seen(subject: Subject) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = sys.modules[subject.model.function.__module__].SEEN
    return found


def ignore(done: float) -> None:
    assert 0 <= done <= 1


def test_every_stage_has_its_cost(subject: Callable[..., Subject], tmp_path: Path) -> None:
    measured = subject("same", ", pre_qos: 1, post_qos: 1")
    costs = measure_stages(measured, 0, ignore)
    assert set(costs.cpu_us) == set(STAGES)
    assert all(spent > 0 for spent in costs.cpu_us.values())
    assert costs.calls == costs.messages > 0
    assert costs.call_us[0] <= costs.call_us[1]
    assert (costs.failed, costs.first_error) == ({}, "")
    assert set(seen(measured)) == {("MainThread", "in/x/of/x", tmp_path)}


def test_errors_are_counted_by_kind(subject: Callable[..., Subject]) -> None:
    costs = measure_stages(subject("odd", "", (b"0", b"1", b"2", b"{")), 0.05, ignore)
    assert set(costs.failed) == {"model", "not_json"}
    assert 0 < sum(costs.failed.values()) < costs.messages
    assert costs.first_error


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("never", "", "ValueError: always"),
        ("leave", "", "SystemExit: 3"),
        ("too_few", ", batch: {max_size: 4}", "1 results"),
        ("same", ", batch: {max_size: 4}", ""),
    ],
)
def test_nothing_to_measure(
    subject: Callable[..., Subject], model: str, more: str, said: str
) -> None:
    payloads = (b"1", b"2") if said else (b"{",)
    if model == "too_few":
        said = "3 results for a batch of 4"
    with pytest.raises(ModelError, match=said or "not JSON"):
        measure_stages(subject(model, more, payloads), 0, ignore)


def test_a_model_of_batches_gets_batches(subject: Callable[..., Subject]) -> None:
    measured = subject("double_all", ", batch: {max_size: 8}")
    costs = measure_stages(measured, 0, ignore)
    assert costs.calls * 8 == costs.messages
    assert {count for count, _ in seen(measured)} == {8}
    assert {topics for _, topics in seen(measured)} == {("in/x/of/x",) * 8}


@pytest.mark.parametrize("model", ["same", "never"])
def test_threads_really_run_it(subject: Callable[..., Subject], model: str) -> None:
    measured = subject(model, ", threads: 3")
    names = {f"model-{number}" for number in range(4)} if model == "same" else set()

    def all_of_them_did() -> bool:
        rates = measure_threads(measured, 0.05, ignore)
        assert {1, 2, 3, 4} <= set(rates)
        assert all(rate > 0 for rate in rates.values())
        return not names or names <= {row[0] for row in seen(measured)}

    # On a busy host a thread may get nothing of so short a time.
    until(all_of_them_did, "each thread has called the model", 60)
    until(
        lambda: not [t for t in threading.enumerate() if t.name.startswith(("model-", "post"))],
        "its threads have ended",
    )
