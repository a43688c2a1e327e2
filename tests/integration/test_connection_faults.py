"""Brokers that are away, are none, or go away: told once, tried for ever, nothing lost."""

from __future__ import annotations

import itertools
import random
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.app import Running, Up, data_plane
from support.broker import Broker, free_port
from support.certificates import Authority
from support.client import Plant
from support.poll import until
from support.proxy import Impostor, Proxy, Server
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
NO_BROKER = "is it an MQTT broker, and of this protocol version?"
# CONNACK as a broker sends it that speaks only MQTT 3.1.1.
REFUSAL_OF_MQTT_5 = b"\x20\x02\x00\x01"
# CONNACK, success, MQTT 5, no properties.
CONNACK = b"\x20\x03\x00\x00\x00"
NO_PACKET = b"\x32\x05\x00\x7f\xff\xff\xff" * 3


def _noise() -> Callable[[], bytes]:
    """Other bytes each time; what makes up their length field varies, too."""
    source = random.Random(7)
    return lambda: source.randbytes(source.randrange(1, 400))


def _unresolved(host: str) -> str:
    """What is said of a name that doesn't exist: on a machine without a name server, something
    else than where one says so."""
    try:
        socket.getaddrinfo(host, 1883)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            return f"the name server did not answer (looking up {host})"
    return f"unknown host {host}"


# Who listens at the address where a broker should be, and what a user reads of it.
PLACES = {
    "refused": "connection refused (is a broker listening there?)",
    "unknown": "",  # as the machine's own name server has it
    "old": "the broker refused: Unsupported protocol version (client id pyboot-old-1); "
    "set `protocol: 3.1.1`",
    "http": f"closed before it answered CONNECT: {NO_BROKER}",
    "ssh": f"no answer to CONNECT within 10 s: {NO_BROKER}",
    "silent": f"no answer to CONNECT within 10 s: {NO_BROKER}",
}


@dataclass(frozen=True)
class BadPlaces:
    """`dark` is the way to the real `broker`, by which nothing passes any more."""

    master: Up
    broker: Broker
    dark: Proxy


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One of each test's own: a session that a test breaks must not reach the next."""
    running = Broker(tmp_path / "broker").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def bad_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BadPlaces]:
    """One `pyboot up` with an instance for each kind of wrong address, all tried side by side."""
    folder = tmp_path_factory.mktemp("bad-places")
    with ExitStack() as stack:
        broker = Broker(folder / "broker").start()
        stack.callback(broker.stop)
        http = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
        proxy = Proxy(broker.port)
        servers: dict[str, Server] = {
            "old": Impostor(lambda: REFUSAL_OF_MQTT_5, hangs_up=True),
            "http": Impostor(lambda: http, hangs_up=True),
            "ssh": Impostor(lambda: b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
            "silent": Impostor(lambda: b""),
            "noise": Impostor(_noise()),
            "noise_after_connack": Impostor(lambda: CONNACK + NO_PACKET),
            "dark": proxy,
        }
        for server in servers.values():
            stack.enter_context(server)
        ports = {name: server.port for name, server in servers.items()}
        hosts = {"unknown": "no-such-host.invalid"}
        names = [*servers, "refused", "unknown"]
        brokers = "".join(
            f"  {name}: {{host: {hosts.get(name, '127.0.0.1')}, "
            f"port: {ports.get(name) or free_port()}, keepalive: 5}}\n"
            for name in names
        )
        edges = "".join(
            f"  - {{name: {name}, pre_broker: {name}, pre_topic: bad/{name}}}\n" for name in names
        )
        (folder / "my_models.py").write_text(MODELS)
        config = folder / "config.yaml"
        config.write_text(
            f"model_path: .\nbrokers:\n{brokers}"
            f"defaults: {{edge_mode: my_models.same, data_plane: {data_plane()}, "
            f"post_broker: 127.0.0.1, post_port: {broker.port}, post_topic: bad/out}}\n"
            f"edge:\n{edges}"
        )
        master = Up(folder / "up", config, ready=False)
        stack.callback(master.close)
        until(lambda: master.instance("dark-1")["state"] == "ready", "one is connected at first")
        proxy.hold()
        yield BadPlaces(master, broker, proxy)


def link(master: Up | Workers, instance: str, role: str) -> dict[str, Any]:
    """What the instance says of its link to a broker; nothing while it doesn't answer."""
    found: dict[str, Any] = master.instance(instance).get("brokers", {}).get(role, {})
    return found


def wait_state(master: Up | Workers, instance: str, role: str, state: str) -> None:
    until(
        lambda: link(master, instance, role).get("state") == state,
        f"{instance}: the {role} broker is {state}",
        60,
    )


def warnings(master: Up | Workers, instance: str) -> list[str]:
    """Of an instance, and of all where nobody puts their names in front."""
    lines = re.findall(rf"^(?:{instance} \| )?\S+ WARNING (.*)$", master.log, re.MULTILINE)
    return [line for line in lines if "broker" in line]


@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_address_is_told_once_and_tried_again(place: str, bad_places: BadPlaces) -> None:
    master = bad_places.master
    reason = PLACES[place] or _unresolved("no-such-host.invalid")
    retries = 1 if "answer" in reason else 3

    def tried() -> bool:
        found = link(master, f"{place}-1", "pre")
        return found.get("reason") == reason and found["attempts"] >= retries

    until(tried, f"the reason is known, and {retries} more attempts were made", 60)
    (line,) = warnings(master, f"{place}-1")
    assert line.startswith("pre broker ")
    assert reason in line
    status, document = master.get("/readyz")
    assert status == 503
    assert any(
        line.startswith(f"{place}-1: pre broker ") and line.endswith(reason)
        for line in document["reasons"]
    )
    assert master.instance(f"{place}-1")["service"]["restarts"] == 0


@pytest.mark.parametrize("place", ["noise", "noise_after_connack"])
def test_noise_in_place_of_mqtt_harms_nothing(place: str, bad_places: BadPlaces) -> None:
    master = bad_places.master

    def tried_again() -> bool:
        found = link(master, f"{place}-1", "pre")
        return bool(found) and found["attempts"] + found["connects"] >= 2

    until(tried_again, "it is tried again", 60)
    row = master.instance(f"{place}-1")
    assert row["service"]["restarts"] == 0
    assert row["counters"]["received"] == 0
    assert "internal error" not in master.log
    assert "Traceback" not in master.log


def test_noise_is_told_once_for_each_way_it_fails(bad_places: BadPlaces) -> None:
    master = bad_places.master
    until(lambda: link(master, "noise-1", "pre").get("attempts", 0) >= 2, "tried again", 60)
    said = warnings(master, "noise-1")
    assert said
    assert said
    assert len(said) == len(set(said))


def test_a_network_that_goes_dark_is_noticed_and_its_return_too(bad_places: BadPlaces) -> None:
    master = bad_places.master
    until(lambda: "connection lost" in " ".join(warnings(master, "dark-1")), "it is noticed", 60)
    assert any(
        line.startswith("dark-1: pre broker ") for line in master.get("/readyz")[1]["reasons"]
    )
    bad_places.dark.resume()
    until(lambda: master.instance("dark-1")["state"] == "ready", "it is connected again", 60)
    with Plant(bad_places.broker.port).subscribe("bad/out") as plant:
        plant.publish("bad/dark", "light")
        assert plant.wait_for(1) == ["light"]


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    with Proxy(broker.port) as running:
        yield running


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that isn't running yet, at the port that it will have."""
    broker = Broker(tmp_path / "own-broker")
    yield broker
    broker.stop()


@pytest.fixture
def edge(topic: str) -> Callable[..., str]:
    """The edge `same-1`, with more or other keys."""

    def make(**keys: object) -> str:
        usual = {
            "name": "same",
            "edge_mode": "my_models.same",
            "pre_topic": f"{topic}/in",
            "post_topic": f"{topic}/out",
        }
        return ", ".join(f"{key}: {value}" for key, value in (usual | keys).items()).join("{}")

    return make


@pytest.fixture
def run(
    write_config: Callable[..., Path], workers: Callable[..., Workers]
) -> Callable[..., Workers]:
    def start(edge: str, ready: bool = True) -> Workers:
        return workers(write_config(edge, models=MODELS), ready=ready)

    return start


@pytest.mark.parametrize("first", ["nobody", "impostor"])
def test_a_broker_that_comes_late_is_found(
    own_broker: Broker,
    first: str,
    run: Callable[..., Workers],
    edge: Callable[..., str],
    plant: Plant,
    topic: str,
) -> None:
    with ExitStack() as stack:
        if first == "impostor":
            server = stack.enter_context(Impostor(lambda: b"220 mail ready\r\n", hangs_up=True))
            own_broker.port = server.port
        app = run(edge(pre_port=own_broker.port), ready=False)
        wait_state(app, "same-1", "pre", "unreachable")
        assert app.reasons
    port = own_broker.port
    own_broker.start()
    assert own_broker.port == port
    app.wait_ready()
    app.wait_log("subscribed to")
    assert app.log.count("subscribed to") == 1
    plant.subscribe(f"{topic}/out")
    with Plant(own_broker.port) as source:
        source.publish(f"{topic}/in", 1)
        assert plant.wait_for(1) == [1]


def test_messages_flow_again_after_a_restart_of_the_broker(
    own_broker: Broker, run: Callable[..., Workers], edge: Callable[..., str], topic: str
) -> None:
    own_broker.start()
    port = own_broker.port
    app = run(edge(pre_port=port, post_port=port, pre_qos=1, post_qos=1))
    own_broker.stop()
    for role in ("pre", "post"):
        wait_state(app, "same-1", role, "unreachable")
    own_broker.start()
    assert own_broker.port == port
    app.wait_ready()
    with Plant(own_broker.port).subscribe(f"{topic}/out") as plant:
        plant.publish(f"{topic}/in", "again", qos=1)
        assert plant.wait_for(1) == ["again"]
    assert link(app, "same-1", "pre")["connects"] == 2
    said = warnings(app, "same-1")
    assert said
    assert len(said) == len(set(said))


@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_lost_that_was_published_while_the_pre_broker_was_cut_off(
    proxy: Proxy,
    qos: int,
    run: Callable[..., Workers],
    edge: Callable[..., str],
    plant: Plant,
    topic: str,
) -> None:
    app = run(edge(pre_port=proxy.port, pre_qos=qos, post_qos=qos))
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", -1, qos=qos)
    plant.wait_for(1)
    proxy.cut()
    wait_state(app, "same-1", "pre", "unreachable")
    plant.publish_all(f"{topic}/in", list(range(300)), qos=qos)
    proxy.resume()
    until(lambda: plant.payloads()[-1] == 299, "the last one", 60)
    expected = list(range(-1, 300))
    # The first one's acknowledgement may have been lost with the connection.
    assert plant.payloads() in (expected, [-1, *expected])


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_results_wait_for_the_post_broker_and_keep_their_order(
    proxy: Proxy,
    qos: int,
    run: Callable[..., Workers],
    edge: Callable[..., str],
    plant: Plant,
    topic: str,
) -> None:
    app = run(edge(post_port=proxy.port, pre_qos=qos, post_qos=qos))
    plant.subscribe(f"{topic}/out")
    proxy.cut()
    wait_state(app, "same-1", "post", "unreachable")
    plant.publish_all(f"{topic}/in", list(range(300)), qos=qos)
    until(lambda: app.instance("same-1")["spooled"] == 300, "all results wait on disk")
    until(lambda: app.instance("same-1")["unacknowledged"] == 0, "they are acknowledged")
    proxy.resume()
    assert plant.wait_for(300) == list(range(300))
    until(lambda: app.instance("same-1")["spooled"] == 0, "nothing is left on disk")


def test_results_of_qos_0_that_were_not_sent_yet_are_sent_after_the_return(
    proxy: Proxy,
    run: Callable[..., Workers],
    edge: Callable[..., str],
    plant: Plant,
    topic: str,
) -> None:
    app = run(edge(post_port=proxy.port))
    plant.subscribe(f"{topic}/out")
    proxy.hold()
    plant.publish_all(f"{topic}/in", [[number, "x" * 1_000_000] for number in range(30)])
    until(lambda: app.instance("same-1")["counters"]["processed"] == 30, "all are processed")
    row = app.instance("same-1")
    assert row["in_flight"] > 0
    proxy.cut()
    wait_state(app, "same-1", "post", "unreachable")
    proxy.resume()
    until(lambda: [number for number, _ in plant.payloads()][-1:] == [29], "the last arrived")
    numbers = [number for number, _ in plant.payloads()]
    assert numbers == sorted(set(numbers))
    # What the network had taken is gone, as it may be at QoS 0; nothing else is.
    assert len(numbers) >= row["in_flight"]
    until(lambda: app.instance("same-1")["in_flight"] == 0, "nothing is stuck")


@pytest.mark.parametrize("role", ["pre", "post"])
def test_a_link_that_breaks_in_the_middle_of_packets_loses_nothing(
    proxy: Proxy,
    role: str,
    run: Callable[..., Workers],
    edge: Callable[..., str],
    plant: Plant,
    topic: str,
) -> None:
    app = run(edge(**{f"{role}_port": proxy.port}, pre_qos=1, post_qos=1))
    plant.subscribe(f"{topic}/out")
    numbers = itertools.count()
    for cut_after in (3_000, 20_001, 50_002):
        proxy.cut_after(cut_after)
        batch = [[next(numbers), "x" * 1_000] for _ in range(100)]
        plant.publish_all(f"{topic}/in", batch, qos=1)
        wait_state(app, "same-1", role, "unreachable")
        proxy.resume()
        wait_state(app, "same-1", role, "connected")
    until(lambda: len({number for number, _ in plant.payloads()}) == 300, "all arrived", 60)
    firsts = list(dict.fromkeys(number for number, _ in plant.payloads()))
    assert firsts == list(range(300))


@pytest.fixture
def worker(tmp_path: Path, track: Callable[[Running], Running]) -> Callable[..., Running]:
    """Runs `pyboot worker same-1` on a configuration, without any master."""

    def start(config: Path, *more: str) -> Running:
        folders = ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
        return track(
            Running(
                tmp_path / "worker", "worker", "same-1", "--config", str(config), *folders, *more
            )
        )

    return start


@pytest.mark.parametrize("role", ["pre", "post"])
@pytest.mark.parametrize(
    "keys",
    [
        pytest.param("host: 127.0.0.1, port: {closed}", id="refused"),
        pytest.param("host: no-such-host.invalid", id="unknown"),
        pytest.param("host: 127.0.0.1, port: {silent}", id="silent"),
        pytest.param("host: 127.0.0.1, port: {silent}, tls: {{ca: {ca}}}", id="silent-tls"),
        pytest.param("host: 127.0.0.1, port: {silent}, transport: websockets", id="silent-ws"),
    ],
)
def test_sigterm_ends_a_worker_whose_broker_is_unreachable(
    keys: str,
    role: str,
    tmp_path: Path,
    broker: Broker,
    edge: Callable[..., str],
    worker: Callable[..., Running],
) -> None:
    reached = threading.Event()

    def keep_silent() -> bytes:
        reached.set()
        return b""

    with Impostor(keep_silent) as silent:
        settings = keys.format(
            closed=free_port(), silent=silent.port, ca=Authority(tmp_path, "authority").ca
        )
        brokers = {"pre_broker": "good", "post_broker": "good", f"{role}_broker": "away"}
        (tmp_path / "my_models.py").write_text(MODELS)
        config = tmp_path / "config.yaml"
        config.write_text(
            f"model_path: .\nbrokers:\n  good: {{host: 127.0.0.1, port: {broker.port}}}\n"
            f"  away: {{{settings}}}\n"
            f"defaults: {{data_plane: {data_plane()}}}\nedge:\n  - {edge(**brokers)}\n"
        )
        process = worker(config)
        if "silent" in keys:
            assert reached.wait(20)
        else:
            process.wait_log("retrying")
        # Far less than the 20 s that it has to finish what is in hand: there is nothing.
        assert process.stop(signal.SIGTERM, timeout=10) == 0
        assert "stopped" in process.log


def test_what_a_stop_leaves_unpublished_goes_out_at_the_next_start(
    proxy: Proxy,
    write_config: Callable[..., Path],
    edge: Callable[..., str],
    worker: Callable[..., Running],
    plant: Plant,
    topic: str,
) -> None:
    config = write_config(edge(pre_qos=1, post_qos=1, post_port=proxy.port), models=MODELS)
    plant.subscribe(f"{topic}/out")
    proxy.cut()
    first = worker(config, "--drain-seconds", "10")
    first.wait_log("subscribed")
    plant.publish_all(f"{topic}/in", list(range(50)), qos=1)
    assert first.stop() == 0
    assert "unfinished" not in first.log
    assert plant.received == []
    proxy.resume()
    worker(config)
    assert plant.wait_for(50) == list(range(50))
