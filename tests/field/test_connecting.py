"""An attempt to connect has one deadline, whatever its peer is silent about, or slow at.

Reported of others: keep-alives that timed handshakes, retries that began anew with each byte, and
look-ups that held a process up until its watchdog ended it.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.app import Running, Up, data_plane
from support.broker import Broker, free_port
from support.certificates import Authority
from support.names import NameServer, asking, need_names
from support.poll import until
from support.proxy import Impostor, Server

MODELS = """
def same(payload):
    return payload
"""
# What each peer does, the settings of its broker, and what the user reads.
CONNECT = "no answer to CONNECT within 10 s: is it an MQTT broker, and of this protocol version?"
TLS = "no answer to the TLS handshake within 10 s: does this port speak TLS?"
WEBSOCKET = "no answer to the WebSocket handshake within 10 s: does this port speak WebSockets?"
TCP = (
    "no answer to the TCP connection within 10 s: is the host up, "
    "and does a firewall let it through?"
)
NO_WEBSOCKET = (
    "no WebSocket was opened (HTTP status 404): does this port speak WebSockets, "
    "and is `path` right?"
)
ENCRYPTED, WEB = "tls: {ca: %s}", "transport: websockets"
PLACES = {
    "full": ("", TCP),
    "silent_tcp": ("", CONNECT),
    "silent_311": ("protocol: '3.1.1'", CONNECT),
    "silent_tls": (ENCRYPTED, TLS),
    "silent_ws": (WEB, WEBSOCKET),
    "silent_wss": (f"{ENCRYPTED}, {WEB}", TLS),
    "silent_within_tls": (ENCRYPTED, CONNECT),
    "silent_within_wss": (f"{ENCRYPTED}, {WEB}", WEBSOCKET),
    "slow_tcp": ("", CONNECT),
    "slow_tls": (ENCRYPTED, TLS),
    "slow_ws": (WEB, WEBSOCKET),
    "slow_within_wss": (f"{ENCRYPTED}, {WEB}", WEBSOCKET),
    "other_path": (WEB, NO_WEBSOCKET),
}


class Dripping(Server):
    """Says something that never comes to an end, a few bytes a second."""

    def __init__(self, begin: bytes, tls: ssl.SSLContext | None = None) -> None:
        self._begin = begin
        super().__init__(tls)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in itertools.chain(self._begin, itertools.repeat(0x2D)):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.3)


class SilentWithin(Server):
    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()


def full_listener(stack: ExitStack) -> int:
    """Whoever connects is not even answered: as behind a firewall that drops packets."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(4):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
    return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, dict[str, str]]]:
    """One `pyboot up`, with an instance for each place and role, all tried side by side."""
    folder = tmp_path_factory.mktemp("places")
    authority = Authority(folder, "authority")
    own = authority.issue("broker", "IP:127.0.0.1")
    secret = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secret.load_cert_chain(own.cert, own.key)
    with ExitStack() as stack:
        broker = Broker(folder / "broker").start()
        stack.callback(broker.stop)
        silent = stack.enter_context(Impostor(lambda: b""))
        nothing_there = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        servers: dict[str, Server] = {
            "silent_within_tls": SilentWithin(secret),
            "silent_within_wss": SilentWithin(secret),
            "slow_tcp": Dripping(b"\x20\x7f\x00\x00\x7c\x26"),
            "slow_tls": Dripping(b"\x16\x03\x03\x3f\xff\x02"),
            "slow_ws": Dripping(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: "),
            "slow_within_wss": Dripping(b"HTTP/1.1 101 Switching Protocols\r\nA: ", secret),
            "other_path": Impostor(lambda: nothing_there),
        }
        for server in servers.values():
            stack.enter_context(server)
        ports = {name: servers.get(name, silent).port for name in PLACES}
        ports["full"] = full_listener(stack)
        brokers = f"  usual: {{host: 127.0.0.1, port: {broker.port}}}\n"
        for name, (settings, _) in PLACES.items():
            keys = f"host: 127.0.0.1, port: {ports[name]}, keepalive: 120, "
            brokers += f"  {name}: {{{keys}{settings.replace('%s', str(authority.ca))}}}\n"
        roles = {name: "post" if number % 3 == 2 else "pre" for number, name in enumerate(PLACES)}
        edges = "".join(
            f"  - {{name: {name}, {role}_broker: {name}, pre_topic: bad/{name}}}\n"
            for name, role in roles.items()
        )
        (folder / "my_models.py").write_text(MODELS)
        config = folder / "config.yaml"
        config.write_text(
            f"model_path: .\nbrokers:\n{brokers}defaults: {{edge_mode: my_models.same, "
            f"data_plane: {data_plane()}, pre_broker: usual, post_broker: usual, "
            f"post_topic: bad/out}}\nedge:\n{edges}"
        )
        master = Up(folder / "up", config, ready=False)
        stack.callback(master.close)
        yield master, roles


@pytest.mark.parametrize("place", PLACES)
def test_a_peer_that_is_silent_or_slow_is_left_and_tried_again(
    place: str, places: tuple[Up, dict[str, str]]
) -> None:
    master, roles = places

    def link() -> dict[str, Any]:
        found: dict[str, Any] = (
            master.instance(f"{place}-1").get("brokers", {}).get(roles[place], {})
        )
        return found

    reason = PLACES[place][1]
    until(lambda: link().get("reason") == reason and link()["attempts"] >= 1, reason, 50)
    assert master.instance(f"{place}-1")["service"]["restarts"] == 0
    master.wait_log(f"{reason}; retrying")


NAMED = (
    "model_path: .\ndefaults: {{data_plane: {plane}}}\nedge:\n  - {{name: m, "
    "edge_mode: my_models.same, pre_broker: plant.example, pre_port: {port}, pre_topic: t/in, "
    "post_broker: 127.0.0.1, post_port: {port}, post_topic: t/out}}\n"
)


@pytest.fixture
def worker(
    tmp_path: Path, broker: Broker, track: Callable[[Running], Running]
) -> Callable[[str], Running]:
    """Runs a worker whose pre broker has a name, which the name server at an address is asked."""

    def start(name_server: str) -> Running:
        (tmp_path / "my_models.py").write_text(MODELS)
        config = tmp_path / "config.yaml"
        config.write_text(NAMED.format(plane=data_plane(), port=broker.port))
        return track(
            Running(
                tmp_path / "worker",
                *("worker", "m-1", "--config", str(config)),
                *("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")),
                within=asking(tmp_path / "names", name_server),
            )
        )

    return start


def test_a_name_server_that_is_silent_is_left_and_heard_when_it_speaks(
    worker: Callable[[str], Running],
) -> None:
    need_names()
    with NameServer(silent=True) as names:
        running = worker(names.address)
        said = "no answer to the look-up of plant.example within 10 s: does its name server work?"
        running.wait_log(f"{said}; retrying", 50)
        assert "stalled" not in running.log
        names.speak()
        running.wait_log("subscribed to", 60)


def test_a_worker_whose_name_server_is_silent_can_be_stopped(
    worker: Callable[[str], Running],
) -> None:
    need_names()
    with NameServer(silent=True) as names:
        running = worker(names.address)
        until(lambda: names.asked, "it is asked")
        assert running.stop(timeout=20) == 0


def test_a_name_server_that_cannot_be_asked_makes_no_host_unknown(
    worker: Callable[[str], Running],
) -> None:
    need_names()
    with NameServer() as names:
        address = names.address
    running = worker(address)  # nobody listens there any more
    running.wait_log("the name server did not answer (looking up plant.example); retrying", 50)
    assert "unknown host" not in running.log


def test_a_name_that_the_name_server_does_not_know_is_unknown(
    worker: Callable[[str], Running],
) -> None:
    need_names()
    with NameServer(knows=False) as names:
        worker(names.address).wait_log("unknown host plant.example; retrying", 50)


def test_a_broker_that_is_away_is_looked_for_every_few_seconds(
    write_config: Callable[..., Path], up: Callable[..., Up]
) -> None:
    """Others, and this one once, doubled their pauses to half a minute from the first on."""
    edge = (
        f"{{name: m, edge_mode: my_models.same, pre_port: {free_port()}, pre_topic: t/in, "
        f"post_topic: t/out}}"
    )
    master = up(write_config(edge, models=MODELS), ready=False)
    until(lambda: master.instance("m-1").get("brokers"), "it answers")
    # With pauses up to half a minute, so many would take three times as long at the least.
    until(lambda: master.instance("m-1")["brokers"]["pre"]["attempts"] >= 12, "attempts", 60)
    assert master.log.count("retrying") == 1
