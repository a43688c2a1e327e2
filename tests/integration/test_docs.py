"""What the README and the documentation show works as they say."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from support.app import Up, run_pyboot
from support.broker import Broker, free_port
from support.client import Plant
from support.pages import ROOT, Block, blocks_of
from support.poll import until

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILE = re.compile(r"# ([\w.]+)\n")  # the first line of a block that is a file
ROUND_TRIP = re.compile(r"^mosquitto_rr (?:-q \d )?-t (\S+) -e (\S+) -m '(.*)'$", re.MULTILINE)


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
CONFIGURATIONS = [b for b in BLOCKS if b.language == "yaml" and re.search("^edge:", b.text, re.M)]


def _block(page: str, language: str, containing: str) -> str:
    [found] = [
        block.text
        for block in BLOCKS
        if (block.page, block.language) == (page, language) and containing in block.text
    ]
    return found


RELOADED = "reloaded: all instances are as configured"


def _save(file: Path, text: str, running: Up | None) -> None:
    """What is running takes it on, if it is about the models."""
    if running is None or file.name not in ("config.yaml", "my_models.py"):
        file.write_text(text)
        return
    before = running.log.count(RELOADED)
    file.write_text(text)
    until(lambda: running.log.count(RELOADED) > before, f"{file.name} is taken on", 20)


def _with_port(config: str, port: int) -> str:
    parsed = yaml.safe_load(config)
    for broker in parsed["brokers"].values():
        broker["port"] = port
    return yaml.safe_dump(parsed)


def test_the_files_of_the_first_60_seconds_are_those_of_the_example() -> None:
    for language, name in (("python", "my_models.py"), ("yaml", "config.yaml")):
        shown = _block("README.md", language, f"# {name}\n").removeprefix(f"# {name}\n")
        assert shown == (ROOT / "examples" / "mean" / name).read_text()
    [sent] = ROUND_TRIP.findall(_block("README.md", "sh", "mosquitto_rr"))
    answer = _block("README.md", "json", '{"mean"')
    messages = f"{sent[0]} {sent[2]}\n-> {sent[1]} {answer}"
    assert messages == (ROOT / "examples" / "mean" / "messages.txt").read_text()


def test_the_tutorial_gets_the_answers_that_it_shows(
    tmp_path: Path, broker: Broker, up: Callable[..., Up]
) -> None:
    """By one `pyboot up`, which takes on what the tutorial has one save."""
    assert "--reload" in _block("docs/tutorial.md", "sh", "pyboot up")
    running: Up | None = None
    answers = 0
    blocks = [block for block in BLOCKS if block.page == "docs/tutorial.md"]
    for block, following in zip(blocks, [*blocks[1:], blocks[0]], strict=True):
        name = FILE.match(block.text)
        if name is not None:
            text = block.text
            is_config = name[1] == "config.yaml"
            file = tmp_path / name[1]
            _save(file, _with_port(text, broker.port) if is_config else text, running)
        for source, target, payload in ROUND_TRIP.findall(block.text):
            running = running or up(tmp_path / "config.yaml", "--reload")
            with Plant(broker.port) as plant:
                plant.subscribe(target)
                plant.publish(source, payload.encode(), 1)
                until(lambda: plant.received, f"an answer to {payload}")
                assert plant.received == [(target, following.text.strip().encode())]
            answers += 1
    assert answers == 3


class Phone:
    """What `mosquitto_sub` of the tutorial shows, as its user, at an address of this host."""

    def __init__(self, port: int, password: str) -> None:
        line = _block("docs/tutorial.md", "sh", "mosquitto_sub").replace("PASSWORD", password)
        command = shlex.split(line.replace("1884", str(port)).replace("192.168.1.10", _address()))
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._reader = Thread(target=self._read)
        self._reader.start()

    def wait(self, text: str) -> None:
        until(lambda: any(text in line for line in self.lines), f"{text!r} on the phone")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            self.lines.extend(line.rstrip("\n") for line in output)


def _address() -> str:
    """Where others reach this host; the loopback one where it is in no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # which sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@pytest.fixture
def tutorial(tmp_path: Path) -> Iterator[tuple[Broker, int]]:
    """A broker with the tutorial's two listeners, and the port of the one for phones; beside the
    files of the tutorial as they are by then, made for this broker."""
    page = "docs/tutorial.md"
    setup = _block(page, "sh", "mosquitto_passwd -c")
    [make] = re.findall(r"^sudo (mosquitto_passwd .*?) +#", setup, re.MULTILINE)
    make = make.replace("/etc/mosquitto", str(tmp_path)).replace("-c", "-b -c")
    subprocess.run([*shlex.split(make), "a good one"], check=True)
    (tmp_path / "phones.acl").write_text(_block(page, "", "# phones.acl"))
    port = free_port()
    lines = _block(page, "", "# lan.conf").replace("/etc/mosquitto", str(tmp_path))
    broker = Broker(tmp_path, lines.replace("1884", str(port)).replace("1883", "{port}"))
    broker.start()
    try:
        model = _block(page, "python", "context.state[tank]")
        (tmp_path / "my_models.py").write_text(model)
        config = _with_port(_block(page, "yaml", "too_full"), broker.port)
        (tmp_path / "config.yaml").write_text(config)
        yield broker, port
    finally:
        broker.stop()


def test_the_tutorials_alarm_reaches_the_phone(
    tmp_path: Path, tutorial: tuple[Broker, int], up: Callable[..., Up]
) -> None:
    broker, port = tutorial
    up(tmp_path / "config.yaml")
    phone, stranger = Phone(port, "'a good one'"), Phone(port, "guessed")
    try:
        stranger.wait("not authorised")
        until(lambda: "u'phone'" in broker.log.read_text(), "the phone is connected")
        publish = shlex.split(_block("docs/tutorial.md", "sh", "tanks/t4/level"))
        subprocess.run([*publish, "-p", str(broker.port)], check=True, timeout=20)
        phone.wait(_block("docs/tutorial.md", "", "alarms/t4").strip())
    finally:
        phone.close()
        stranger.close()
    late = Phone(port, "'a good one'")
    try:
        late.wait('"state":"high"')
    finally:
        late.close()


def test_the_tutorials_phone_may_only_read_alarms(
    tmp_path: Path, tutorial: tuple[Broker, int]
) -> None:
    broker, port = tutorial
    login = ["-h", _address(), "-p", str(port), "-u", "phone", "-P", "a good one"]
    with Plant(broker.port) as plant:
        plant.subscribe("#")
        message = ["-V", "5", "-q", "1", "-t", "tanks/t4/level", "-m", "{}", "-d"]
        done = subprocess.run(
            ["mosquitto_pub", *login, *message],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert "(Mid: 1, RC:135)" in done.stdout
        plant.publish("the/end", 1)
        plant.wait_for(1)
        assert [topic for topic, _ in plant.received] == ["the/end"]


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}))
def test_every_python_block_is_python(page: str) -> None:
    for block in BLOCKS:
        if (block.page, block.language) == (page, "python"):
            compile(block.text, page, "exec")


def test_the_tutorials_test_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    exec(compile(_block("docs/tutorial.md", "python", "context.state[tank]"), "", "exec"), names)
    test = _block("docs/tutorial.md", "python", "def test_").replace(
        "from my_models import fill\n", ""
    )
    exec(compile(test, "tutorial.md", "exec"), names)
    names["test_a_full_tank"]()


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=lambda block: block.page)
def test_every_configuration_in_the_documentation_is_valid(tmp_path: Path, block: Block) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(block.text)
    ended = run_pyboot("check", "--config", str(file))
    assert ended.returncode == 0, ended.stdout


def test_the_model_of_batches_is_one() -> None:
    names: dict[str, Any] = {}
    exec(compile(_block("docs/models.md", "python", "numpy"), "models.md", "exec"), names)
    assert names["model"]([{"samples": [1, 2, 6]}, {"samples": [0, 0, 3]}]) == [
        {"mean": 3.0},
        {"mean": 1.0},
    ]


def test_the_bundled_model_of_batches_can_be_loaded(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(_block("docs/models.md", "yaml", "models.samples"))
    ended = run_pyboot("check", "--config", str(file), "--models")
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("name", ["config.yaml", "kubeedge.yaml"])
def test_the_examples_for_kubernetes_are_valid(name: str) -> None:
    file = ROOT / "packaging" / "kubernetes" / name
    ended = run_pyboot("check", "--config", str(file))
    assert ended.returncode == 0, ended.stdout


def test_the_shipped_configuration_is_valid_with_its_models() -> None:
    ended = run_pyboot("check", "--models", "--config", str(ROOT / "etc" / "config.yaml"))
    assert ended.returncode == 0, ended.stdout


def test_the_starter_is_one() -> None:
    names: dict[str, Any] = {}
    exec(compile(_block("docs/starters.md", "python", "Starter"), "starters.md", "exec"), names)
    assert names["AuditStarter"]().priority == 150
