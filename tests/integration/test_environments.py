"""Models in Python environments of their own, which have an old paho and a stand-in library."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

import pytest
from support.app import PYBOOT, Running, Up, run_pyboot
from support.client import Plant
from support.environment import add_package, make_environment, packages_folder
from support.poll import until
from support.workers import Workers

from pyboot_svc.environments.interpreter import EnvironmentUnusable, find_interpreter

MODELS = """
import multiprocessing
import os
import shutil
import sys

import paho.mqtt
import stand_in
from paho.mqtt.client import Client
from pyboot_svc import Retry

def tells(payload):
    return {"stand_in": stand_in.__version__, "paho": paho.mqtt.__version__, "client": Client,
            "python": sys.prefix, "payload": payload}

def twice(number):
    return 2 * number

def spawns(payload):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(twice, [payload])

def active(payload):
    return [os.environ["VIRTUAL_ENV"], shutil.which("python"), "PYBOOT_GUEST" in os.environ]
"""
PLAIN = """
def tells(payload):
    return payload
"""

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_environment(tmp_path_factory.mktemp("environments") / "venv")
    packages = packages_folder(folder)
    add_package(packages, "stand_in", "4.2")
    add_package(packages, "paho.mqtt", "1.6.1")
    (packages / "paho" / "mqtt" / "client.py").write_text("Client = 'the old one'\n")
    return folder


@pytest.fixture
def config(write_config: Write, environment: Path, topic: str) -> Path:
    return write_config(
        f"{{name: tells, edge_mode: my_models.tells, python: {environment}, {ends(topic)}}}",
        models=MODELS,
    )


def ends(topic: str) -> str:
    return f"pre_topic: {topic}/in, post_topic: {topic}/out, pre_qos: 1, post_qos: 1"


def told(environment: Path, payload: object) -> dict[str, Any]:
    versions = {"stand_in": "4.2", "paho": "1.6.1", "client": "the old one"}
    return {**versions, "python": str(environment), "payload": payload}


def attempt(config: Path, name: str, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYBOOT, "try", name, "-", "--json", "-c", str(config)],
        input=line,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def answers(plant: Plant, topic: str, payload: object) -> Any:
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", payload, qos=1)
    until(lambda: plant.received, "a result")
    return plant.payloads()[-1]


def test_up(
    up: Callable[..., Up], config: Path, environment: Path, plant: Plant, topic: str
) -> None:
    running = up(config)
    assert answers(plant, topic, 7) == told(environment, 7)
    pid = running.instance("tells-1")["service"]["pid"]
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"edge-model: tells-1 [")
    assert running.stop() == 0
    assert "stopped with" not in running.log


def test_a_worker_by_itself(
    config: Path,
    environment: Path,
    plant: Plant,
    topic: str,
    tmp_path: Path,
    track: Callable[[Running], Running],
) -> None:
    folders = ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    worker = track(Running(tmp_path, "worker", "tells-1", "-c", str(config), *folders))
    worker.wait_log("subscribed to")
    assert answers(plant, topic, [1]) == told(environment, [1])
    assert worker.stop() == 0


def test_try(config: Path, environment: Path) -> None:
    done = attempt(config, "tells", "5\n")
    assert json.loads(json.loads(done.stdout)["result"]) == told(environment, 5)
    assert done.returncode == 0


def test_what_multiprocessing_spawns_is_the_same(
    write_config: Write, environment: Path, topic: str
) -> None:
    edge = f"{{name: spawns, edge_mode: my_models.spawns, python: {environment}, {ends(topic)}}}"
    done = attempt(write_config(edge, models=MODELS), "spawns", "21\n")
    assert json.loads(done.stdout)["result"] == "[42]", done.stderr


def test_variables_of_the_edge_reach_its_interpreter(
    write_config: Write, environment: Path, topic: str, tmp_path: Path
) -> None:
    """PYTHONPATH, too, while pyboot's own is for its own Python."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "further.py").write_text("def place(payload): return __file__\n")
    edge = (
        f"{{name: further, edge_mode: further.place, python: {environment}, {ends(topic)}, "
        f"environment: {{PYTHONPATH: {tmp_path}/more}}}}"
    )
    done = attempt(write_config(edge), "further", "1\n")
    assert json.loads(done.stdout)["result"] == f'"{tmp_path}/more/further.py"', done.stderr


def test_its_commands_are_found(write_config: Write, environment: Path, topic: str) -> None:
    edge = f"{{name: active, edge_mode: my_models.active, python: {environment}, {ends(topic)}}}"
    done = attempt(write_config(edge, models=MODELS), "active", "1\n")
    found = json.loads(json.loads(done.stdout)["result"])
    assert found == [str(environment), f"{environment}/bin/python", False]


def other_python() -> str | None:
    """An interpreter of another version that can be used, if there is one."""
    names = [f"python3.{minor}" for minor in range(11, 20) if minor != sys.version_info.minor]
    places = [shutil.which(name) for name in names]
    pyenv = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
    places += [file for name in names for file in glob(f"{pyenv}/versions/*/bin/{name}")]
    for place in places:
        with suppress(EnvironmentUnusable):
            if place is not None:
                return find_interpreter(place).name
    return None


def test_another_version_of_python(
    write_config: Write,
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """For which neither pyboot's extensions nor its byte code are made."""
    executable = other_python()
    if executable is None:
        pytest.skip("there is no other Python here")
    folder = make_environment(tmp_path / "other", executable)
    add_package(packages_folder(folder), "stand_in", "5.0")
    models = "import sys\ndef f(payload): return [*sys.version_info[:2], stand_in.__version__]\n"
    edge = f"{{name: other, edge_mode: my_models.f, python: {folder}, {ends(topic)}}}"
    config = write_config(edge, models=f"import stand_in\n{models}")
    assert run_pyboot("check", "--models", "-c", str(config), timeout=60).returncode == 0
    workers(config)
    major, minor, version = answers(plant, topic, 1)
    assert (major, minor) != sys.version_info[:2]
    assert version == "5.0"


def test_a_codec_of_the_environment(
    write_config: Write, environment: Path, topic: str, tmp_path: Path
) -> None:
    folder = make_environment(tmp_path / "venv")
    packages = packages_folder(folder)
    code = "def decode(data): return data.decode().upper()\ndef encode(result): return b'!'\n"
    add_package(packages, "loud", "1", code)
    entry = "[pyboot.codecs]\nloud = loud\n"
    (packages / "loud-1.dist-info" / "entry_points.txt").write_text(entry)
    (packages / "loud-1.dist-info" / "METADATA").write_text("Name: loud\nVersion: 1\n")
    models = "def f(payload): return payload"
    config = write_config(
        f"{{name: a, edge_mode: my_models.f, codec: {{in: loud, out: json}}, python: {folder}, "
        f"{ends(topic)}}}",
        f"{{name: b, edge_mode: my_models.f, codec: loud, python: {environment}, "
        f"{ends(f'{topic}/b')}}}",
        models=models,
    )
    assert json.loads(attempt(config, "a", "abc\n").stdout)["result"] == '"ABC"'
    done = run_pyboot("check", "--models", "-c", str(config), timeout=60)
    assert done.stdout.count("edge[1].codec: must be one of ") == 1
    assert done.returncode == 78


def test_bench(config: Path, tmp_path: Path) -> None:
    (tmp_path / "payload").write_text("1")
    done = run_pyboot(
        *("bench", "tells", "-c", str(config), "--payload", str(tmp_path / "payload")),
        *("--seconds", "0.2", "--json"),
        timeout=60,
    )
    assert json.loads(done.stdout)["failed"] == {}, done.stderr


def test_check_imports_each_model_where_it_runs(
    write_config: Write, environment: Path, topic: str
) -> None:
    edges = {
        "right": f"edge_mode: my_models.tells, python: {environment}",
        "wrong": f"edge_mode: my_models.tell, python: {environment}",
        "here": "edge_mode: my_models.tells",
        "nowhere": "edge_mode: my_models.tells, python: /no/such",
        "bundled": "edge_mode: pyboot_svc.models.telemetry.telm_temperature",
    }
    config = write_config(
        *(f"{{name: {name}, {more}, {ends(f'{topic}/{name}')}}}" for name, more in edges.items()),
        models=MODELS,
    )
    done = run_pyboot("check", "--models", "--json", "-c", str(config), timeout=60)
    assert done.returncode == 78
    found = {one["path"]: one["message"] for one in json.loads(done.stdout)["problems"]}
    assert found.keys() == {"edge[1].edge_mode", "edge[2].edge_mode", "edge[3].python"}
    assert "did you mean 'tells'?" in found["edge[1].edge_mode"]
    assert "No module named 'stand_in'" in found["edge[2].edge_mode"]
    assert found["edge[3].python"].startswith("there is no /no/such")


def test_check_survives_a_model_that_ends_its_process(
    write_config: Write, environment: Path, topic: str
) -> None:
    edge = f"{{name: ends, edge_mode: my_models.f, python: {environment}, {ends(topic)}}}"
    config = write_config(edge, models="import os\nos.kill(os.getpid(), 11)\n")
    done = run_pyboot("check", "--models", "-c", str(config), timeout=60)
    assert done.returncode == 78
    assert "edge[0].edge_mode: the model's process was killed by SIGSEGV" in done.stdout


def test_cases_run_where_the_model_does(
    write_config: Write, environment: Path, topic: str, tmp_path: Path
) -> None:
    config = write_config(
        f"{{name: tells, edge_mode: my_models.tells, python: {environment}, {ends(topic)}}}",
        f"{{name: plain, edge_mode: plain.tells, {ends(f'{topic}/plain')}}}",
        models=MODELS,
    )
    (tmp_path / "plain.py").write_text(PLAIN)
    cases = tmp_path / "cases"
    cases.mkdir()
    right = {"model": "tells", "input": 3, "output": told(environment, 3)}
    (cases / "right.json").write_text(json.dumps(right))
    (cases / "wrong.json").write_text(json.dumps({**right, "output": 4}))
    (cases / "plain.json").write_text('{"model": "plain", "input": 1, "output": 1}')
    done = run_pyboot("test", "-c", str(config), timeout=60)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert lines == [
        f"ok  {cases}/plain.json",
        f"ok  {cases}/right.json",
        f"FAILED  {cases}/wrong.json",
        "2 of 3 cases passed",
    ]


def test_a_worker_without_its_environment_says_what_is_wrong(
    write_config: Write, topic: str, tmp_path: Path
) -> None:
    config = write_config(
        f"{{name: tells, edge_mode: my_models.tells, python: gone, {ends(topic)}}}"
    )
    done = run_pyboot("worker", "tells-1", "-c", str(config), "--run-dir", str(tmp_path))
    assert done.returncode == 78
    assert f"pyboot: python: there is no {tmp_path}/gone; `pyboot venv create`" in done.stderr


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with a wheel that was made by hand."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "stand_in-4.2.dist-info"
    files = {
        "stand_in/__init__.py": "__version__ = '4.2'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: stand-in\nVersion: 4.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for name, text in files.items()
    }
    record = "".join(
        f"{name},sha256={digest},{len(files[name])}\n" for name, digest in digests.items()
    )
    with zipfile.ZipFile(folder / "stand_in-4.2-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(name, text)
    return folder


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    file = tmp_path / "requirements.txt"
    file.write_text("stand-in==4.2\n")
    return file


@pytest.fixture
def venv(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        places = [f"--dir={tmp_path}/venvs"]
        if action == "remove":
            places.append(f"--run-dir={tmp_path}/run")
        return run_pyboot("venv", action, *places, *arguments, timeout=90)

    return run


@pytest.mark.timeout(240)
def test_one_is_made_offline_used_listed_and_removed(
    venv: Callable[..., subprocess.CompletedProcess[str]],
    write_config: Write,
    wheels: Path,
    requirements: Path,
    tmp_path: Path,
    topic: str,
) -> None:
    before = os.umask(0o077)
    try:
        offline = (f"--requirements={requirements}", f"--wheels={wheels}")
        made = venv("create", "forecast", *offline, f"--python={sys.prefix}")
    finally:
        os.umask(before)
    folder = tmp_path / "venvs" / "forecast"
    assert made.stdout.splitlines()[-1] == f"python: {folder}", made.stderr
    library = packages_folder(folder) / "stand_in" / "__init__.py"
    for path in (library, *library.parents[: len(folder.parts) - 4]):
        assert path.stat().st_mode & 0o044 == 0o044
    again = venv("create", "forecast", *offline)
    assert (again.returncode, "there is" in again.stderr) == (64, True)

    models = "import stand_in\ndef f(payload): return stand_in.__version__\n"
    edge = f"{{name: tells, edge_mode: my_models.f, python: {folder}, {ends(topic)}}}"
    config = write_config(edge, models=models)
    assert json.loads(attempt(config, "tells", "1\n").stdout)["result"] == '"4.2"'

    (listed,) = json.loads(venv("list", "--json").stdout)
    assert (listed["name"], listed["path"]) == ("forecast", str(folder))
    assert listed["packages"] >= 2  # pip is one
    assert str(folder) in venv("list").stdout

    refused = venv("remove", "forecast", "-c", str(config))
    assert refused.returncode == 64
    assert f"is used by tells, configured in {config}" in refused.stderr
    empty = write_config("{name: plain, edge_mode: a.b, pre_topic: i, post_topic: o}")
    removed = venv("remove", "forecast", "-c", str(empty))
    assert removed.returncode == 0, removed.stderr
    assert list((tmp_path / "venvs").iterdir()) == []


@pytest.mark.timeout(180)
def test_of_one_that_fails_nothing_is_left(
    venv: Callable[..., subprocess.CompletedProcess[str]],
    wheels: Path,
    requirements: Path,
    tmp_path: Path,
) -> None:
    requirements.write_text("no-such-library\n")
    failed = venv("create", "x", f"--requirements={requirements}", f"--wheels={wheels}")
    assert failed.returncode == 69
    assert failed.stderr.splitlines()[1].startswith("pyboot: pip ended with exit code 1:")
    assert "no-such-library" in failed.stderr
    assert list((tmp_path / "venvs").iterdir()) == []


@pytest.mark.timeout(180)
def test_of_one_that_is_interrupted_nothing_is_left(
    wheels: Path, requirements: Path, tmp_path: Path, track: Callable[[Running], Running]
) -> None:
    folder = tmp_path / "venvs" / "x"
    arguments = ("create", "x", f"--requirements={requirements}", f"--wheels={wheels}")
    making = track(Running(tmp_path, "venv", *arguments, f"--dir={folder.parent}"))
    until((folder / "pyvenv.cfg").exists, "it has begun", 60)
    assert making.stop() == 69
    assert "interrupted; nothing is left of it" in making.log
    assert not folder.exists()


def test_the_interpreter_is_looked_at_first(
    venv: Callable[..., subprocess.CompletedProcess[str]], requirements: Path, tmp_path: Path
) -> None:
    (tmp_path / "python2.7").write_bytes(b"\x7fELF")
    (tmp_path / "python2.7").chmod(0o755)
    old = f"--python={tmp_path}/python2.7"
    failed = venv("create", "x", f"--requirements={requirements}", old)
    assert "is Python 2.7; at least 3.11 is needed" in failed.stderr
    assert not (tmp_path / "venvs").exists()
