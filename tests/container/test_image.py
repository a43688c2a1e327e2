"""The container image at work: a real broker, a read-only root, no privileges."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from container import Container
from image import Builder, Image
from support.bills import problems
from support.broker import Broker
from support.client import Plant
from support.poll import until

from pyboot_svc import __version__

# The first of them has the image built, and its base made before that.
pytestmark = pytest.mark.timeout(900)

MODELS = """
import time

def slow(payload):
    time.sleep(0.05)
    return payload

def hang(payload):
    while True:
        pass
"""

Start = Callable[..., Container]


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    builder = Builder(tmp_path_factory.mktemp("image"))
    try:
        yield builder
    finally:
        builder.close()


@pytest.fixture(scope="session")
def base(builder: Builder) -> str:
    return builder.base()


@pytest.fixture(scope="session")
def image(builder: Builder, base: str) -> Image:
    return builder.build(base)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker")
    try:
        yield broker.start()
    finally:
        broker.stop()


@pytest.fixture
def start(image: Image, broker: Broker, tmp_path: Path) -> Iterator[Start]:
    """Starts the container of a configuration with one edge, whose model is one of MODELS."""
    started: list[Container] = []

    def begin(model: str, *command: str) -> Container:
        config, models = tmp_path / "config.yaml", tmp_path / "models"
        broker_keys = {"pre_broker": "127.0.0.1", "pre_port": broker.port, "pre_qos": 1}
        broker_keys |= {"post_broker": "127.0.0.1", "post_port": broker.port, "post_qos": 1}
        edge = {"name": "one", "edge_mode": f"my_models.{model}", **broker_keys}
        edge |= {"pre_topic": "in", "post_topic": "out", "model_timeout": 2}
        config.write_text(json.dumps({"web": {"port": 0}, "edge": [edge]}))
        models.mkdir(exist_ok=True)
        (models / "my_models.py").write_text(MODELS)
        tmp_path.chmod(0o755)
        mounts = {"/etc/pyboot/config.yaml": config, "/etc/pyboot/models": models}
        name = f"pyboot-{secrets.token_hex(4)}"
        started.append(Container(name, image, tmp_path, mounts, *command))
        return started[-1]

    try:
        yield begin
    finally:
        for container in started:
            container.kill()


def wait_ready(container: Container) -> None:
    until(
        lambda: container.run("pyboot", "health", "--ready").returncode == 0,
        "the instance is ready",
        30,
    )


def test_the_image_is_not_root_and_is_small(image: Image) -> None:
    assert image.config["User"] == "10001:10001"
    folders = ("usr/bin", "usr/local/bin")
    for tool in ("pip", "pip3", "gcc"):
        assert not any((image.root / folder / tool).exists() for folder in folders)
    assert image.bytes < 200e6


@pytest.mark.parametrize("command", [(), ("worker", "one-1")], ids=["up", "worker"])
def test_it_processes_and_drains_on_sigterm(
    start: Start, broker: Broker, command: tuple[str, ...]
) -> None:
    container = start("slow", *command)
    wait_ready(container)
    assert container.healthy()
    numbers = list(range(40))
    with Plant(broker.port) as plant:
        plant.subscribe("out")
        plant.publish_all("in", numbers, 1)
        plant.wait_for(1)
        assert container.stop() == 0, container.log
        # What wasn't taken in stays with the broker, for whoever comes next.
        again = start("slow", *command)
        wait_ready(again)
        until(lambda: set(plant.payloads("out")) == set(numbers), "nothing is lost")


def test_the_root_is_read_only_and_the_user_is_nobody_special(start: Start) -> None:
    container = start("slow", "worker", "one-1")
    wait_ready(container)
    for folder in ("/", "/etc/pyboot", "/usr/lib/python3/dist-packages/pyboot_svc"):
        assert container.run("touch", f"{folder}/mine").returncode != 0
    status = container.run("cat", "/proc/1/status").stdout
    assert "\nUid:\t10001\t10001\t10001\t10001\n" in status
    assert "\nCapEff:\t0000000000000000\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    assert (container.state / "one-1").is_dir()


def test_a_model_that_hangs_makes_it_unhealthy(start: Start, broker: Broker) -> None:
    container = start("hang", "worker", "one-1")
    wait_ready(container)
    assert container.healthy()
    with Plant(broker.port) as plant:
        plant.publish("in", 1, 1)
        until(lambda: not container.healthy(), "the health check fails", 30)


def test_a_second_build_on_the_same_base_gives_the_same_layers(
    builder: Builder, base: str, image: Image
) -> None:
    assert "@sha256:" in base
    assert builder.build(base, "again").layers == image.layers


def test_byte_code_is_good_whatever_the_time_of_its_source(image: Image) -> None:
    """An image's files have its time, not that which Python's byte code would name."""
    compiled = list(image.root.glob("usr/lib/python3*/**/*.pyc"))
    # Bit 0 of the flags: it goes by a digest of its source.
    assert [file for file in compiled if not file.read_bytes()[4] & 1] == []
    assert any("pyboot_svc" in file.parts for file in compiled)


def test_the_image_tells_what_it_is_made_of(image: Image) -> None:
    text = (image.root / "usr/share/pyboot/sbom.cdx.json").read_text()
    assert problems(text) == ""
    bill = json.loads(text)
    names = {component["name"] for component in bill["components"]}
    assert {"python3", "python3-paho-mqtt", "tini"} <= names
    assert bill["metadata"]["component"]["version"] == __version__
