"""The benchmark's harness: the load and the stub find what is lost and acknowledged too early."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contest import Invalid, Trial, run
from benchmarks.contestants import BULK, PAHO, Launch, Pyboot
from benchmarks.sweep import FULL_RATE, Sweep, run_sweep, trial_name
from benchmarks.toolbox import HERE, Toolbox, compile_programs


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Toolbox:
    if shutil.which("cc") is None or shutil.which("make") is None:
        pytest.skip("no C compiler, or no make")
    build = tmp_path_factory.mktemp("programs")
    compile_programs(build, peer=False)
    return Toolbox(build, Path("/nowhere"), Path("/nowhere"))


@pytest.mark.parametrize("stub", [False, True], ids=["broker", "stub"])
def test_a_worker_is_measured(tools: Toolbox, stub: bool) -> None:
    found = run(BULK, Trial("compute", 1, stub=stub, seconds=0.3, warmup=0.1, window=50), tools)
    assert found.cpu > 0
    assert found.rate > 0
    assert found.early_acks == 0


def test_plain_paho_acknowledges_end_to_end(tools: Toolbox) -> None:
    trial = Trial("identity", 1, stub=True, seconds=0.3, warmup=0.1, window=50)
    assert run(PAHO, trial, tools).early_acks == 0


def test_a_wrong_result_is_no_result(tools: Toolbox) -> None:
    # Decoded and encoded again, numbers lose their last zeros.
    wrong = Pyboot("wrong", "", model="work.unchanged", edge={"codec": "json"})
    with pytest.raises(Invalid):
        run(wrong, Trial("identity", 0, stub=True, seconds=0.3, warmup=0.1), tools)


def sweep(tools: Toolbox, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "sweep", "--build", str(tools.programs)]
    return subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": "tests"},
    )


def test_a_sweep_says_what_a_message_costs_at_each_rate(tools: Toolbox) -> None:
    short = ("--rounds", "1", "--turns", "1", "--seconds", "0.3")
    both = ("--only", "pyboot", "paho-mqtt")
    done = sweep(tools, *both, "--rates", "200", "full", "--qos", "1", *short)
    assert done.returncode == 0, done.stderr
    rows = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()[1:]]
    assert [(*row[:2], row[-1]) for row in rows] == [
        ("200/s, QoS 1", "pyboot", "0"),
        ("200/s, QoS 1", "paho-mqtt", "0"),
        ("full rate, QoS 1", "pyboot", "0"),
        ("full rate, QoS 1", "paho-mqtt", "0"),
    ]


class Unready(Pyboot):
    def command(self, launch: Launch, folder: Path, tools: Toolbox) -> list[str]:
        raise OSError("no room")


def test_one_that_fails_beside_others_is_invalid_alone(tools: Toolbox) -> None:
    """Whether its worker could be started or not."""
    wrong = Pyboot("wrong", "", model="work.unchanged", edge={"codec": "json"})
    unready = Unready("unready", "", model="work.unchanged")
    rates = (100.0, FULL_RATE)
    sweep = Sweep(rates=rates, qos=(1,), rounds=1, turns=2, seconds=0.3, messages=0)
    found = run_sweep(sweep, [unready, wrong, BULK], tools, print)
    for rate, count in zip(rates, (1, 2), strict=True):
        trial = trial_name(rate, 1)
        assert len(found[BULK.name, trial].figures) == count
        assert found[wrong.name, trial].median is None
        assert len(found[wrong.name, trial].failures) == count
        assert found[unready.name, trial].failures == ["unready can't be set up: no room"]


def test_a_name_that_is_nobodys_is_told(tools: Toolbox) -> None:
    done = sweep(tools, "--only", "nobody")
    assert done.returncode == 64
    assert "'nobody' is none of pyboot, gmqtt" in done.stderr
