"""Brokers that demand something: passwords, certificates, WebSockets, a version of MQTT."""

from __future__ import annotations

import random
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.app import Up, data_plane
from support.broker import Broker
from support.certificates import Authority, Certificate
from support.client import Plant
from support.poll import until
from support.proxy import WebSocketGateway
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
PASSWORD = "correct-horse-battery-staple"
WRONG_PASSWORD = "tr0ub4dor-and-3"
# How many messages are sent, how many of them are large, how many at a time, and how many may be
# under way before more are.
MANY, LARGE = 3000, 60
STRIDE, WINDOW = 100, 400


@dataclass(frozen=True)
class Certificates:
    """All that the tests present to each other. `elsewhere` is good for another host."""

    ca: Path
    other_ca: Path
    server: Certificate
    elsewhere: Certificate
    client: Certificate
    stranger: Certificate


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = Authority(folder, "authority"), Authority(folder, "other-authority")
    return Certificates(
        ca=authority.ca,
        other_ca=other.ca,
        server=authority.issue("server", "IP:127.0.0.1"),
        elsewhere=authority.issue("elsewhere", "DNS:elsewhere.example"),
        client=authority.issue("client", "DNS:client.example"),
        stranger=other.issue("stranger", "DNS:stranger.example"),
    )


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    """Starts a broker with these lines of configuration."""
    started: list[Broker] = []

    def start(lines: str) -> Broker:
        broker = Broker(
            tmp_path / f"broker-{len(started)}", f"listener {{port}} 127.0.0.1\n{lines}"
        )
        started.append(broker)
        return broker.start()

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def password_broker(tmp_path: Path, start_broker: Callable[[str], Broker]) -> Broker:
    file = tmp_path / "passwords"
    program = shutil.which("mosquitto_passwd")
    assert program, "mosquitto_passwd comes with mosquitto"
    subprocess.run([program, "-b", "-c", str(file), "sensor", PASSWORD], check=True)
    return start_broker(f"allow_anonymous false\npassword_file {file}\n")


@pytest.fixture
def tls_broker(
    start_broker: Callable[[str], Broker], certificates: Certificates
) -> Callable[[Certificate], Broker]:
    """Starts a broker that shows `server` and demands a client's certificate."""

    def start(server: Certificate) -> Broker:
        return start_broker(
            f"allow_anonymous true\ncafile {certificates.ca}\ncertfile {server.cert}\n"
            f"keyfile {server.key}\nrequire_certificate true\n"
        )

    return start


@pytest.fixture
def route(tmp_path: Path, broker: Broker, topic: str) -> Callable[..., Path]:
    """Configures a passage of messages through the broker `guarded`, both ways.

    One instance publishes there what comes from the open broker, another brings it back.
    """

    def write(
        guarded: str, *, codec: str = "json", open_qos: int = 0, guarded_qos: int = 1
    ) -> Path:
        (tmp_path / "my_models.py").write_text(MODELS)
        config = tmp_path / "config.yaml"
        config.write_text(f"""
model_path: .
brokers:
  open: {{host: 127.0.0.1, port: {broker.port}}}
  guarded: {guarded}
defaults: {{edge_mode: my_models.same, codec: {codec}, max_message: 10M,
    data_plane: {data_plane()}}}
edge:
  - {{name: there, pre_broker: open, pre_topic: {topic}/in, pre_qos: {open_qos},
      post_broker: guarded, post_topic: {topic}/guarded, post_qos: {guarded_qos}}}
  - {{name: back, pre_broker: guarded, pre_topic: {topic}/guarded, pre_qos: {guarded_qos},
      post_broker: open, post_topic: {topic}/out, post_qos: {open_qos}}}
""")
        return config

    return write


@pytest.fixture
def passage(route: Callable[..., Path], workers: Callable[..., Workers]) -> Callable[..., Workers]:
    def start(guarded: str, *, ready: bool = True, **more: Any) -> Workers:
        return workers(route(guarded, **more), ready=ready)

    return start


@pytest.fixture
def results(plant: Plant, topic: str) -> Plant:
    return plant.subscribe(f"{topic}/out")


def wait_reason(app: Workers, instance: str, role: str, said: str) -> None:
    """Wait until the instance says so about its broker."""

    def reason() -> str:
        row = app.instance(instance)
        return str(row["brokers"][role]["reason"]) if "brokers" in row else ""

    until(lambda: said in reason().lower(), f"{instance} says of its {role} broker: {said}")


def wait_arrived(plant: Plant, count: int) -> None:
    until(lambda: len(plant.received) >= count, f"{count} messages", 60)


def write_password(folder: Path, password: str) -> Path:
    file = folder / "password"
    file.write_text(f"{password}\n")
    return file


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_demands_a_password(
    protocol: str,
    password_broker: Broker,
    passage: Callable[..., Workers],
    results: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    file = write_password(tmp_path, PASSWORD)
    passage(
        f"{{host: 127.0.0.1, port: {password_broker.port}, username: sensor, "
        f"password_file: {file}, protocol: {protocol}}}"
    )
    results.publish(f"{topic}/in", {"celsius": 21.5})
    assert results.wait_for(1) == [{"celsius": 21.5}]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_is_told_and_its_correction_is_noticed(
    protocol: str,
    password_broker: Broker,
    passage: Callable[..., Workers],
    results: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    file = write_password(tmp_path, WRONG_PASSWORD)
    app = passage(
        f"{{host: 127.0.0.1, port: {password_broker.port}, username: sensor, "
        f"password_file: {file}, protocol: {protocol}}}",
        ready=False,
    )
    wait_reason(app, "there-1", "post", "the broker refused: not authorized")
    wait_reason(app, "back-1", "pre", "the broker refused: not authorized")
    write_password(tmp_path, PASSWORD)
    app.wait_ready()
    results.publish(f"{topic}/in", 1)
    assert results.wait_for(1) == [1]


def test_a_password_file_that_is_missing_ends_the_instance_for_good(
    password_broker: Broker, route: Callable[..., Path], up: Callable[..., Up], tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    config = route(
        f"{{host: 127.0.0.1, port: {password_broker.port}, username: sensor, "
        f"password_file: {absent}}}"
    )
    master = up(config, ready=False)
    until(lambda: master.instance("back-1")["service"]["state"] == "failed", "it is given up")
    assert "78" in master.instance("back-1")["service"]["exit"]
    master.wait_log(f"{absent}: the password_file can't be read: No such file or directory")
    status, document = master.get("/readyz")
    assert status == 503
    assert any("back-1" in line and "78" in line for line in document["reasons"])


@pytest.mark.parametrize("password", [PASSWORD, WRONG_PASSWORD])
def test_the_password_stays_in_its_file(
    password: str,
    password_broker: Broker,
    route: Callable[..., Path],
    up: Callable[..., Up],
    tmp_path: Path,
) -> None:
    file = write_password(tmp_path, password)
    config = route(
        f"{{host: 127.0.0.1, port: {password_broker.port}, username: sensor, "
        f"password_file: {file}}}"
    )
    master = up(config, "--run-dir", str(tmp_path / "run"), ready=False)
    outcome = {PASSWORD: "connected", WRONG_PASSWORD: "unreachable"}[password]

    names = ("there-1", "back-1")

    def attempted(name: str, role: str) -> bool:
        row = master.instance(name)
        return "brokers" in row and row["brokers"][role]["state"] == outcome

    until(lambda: attempted("there-1", "post") and attempted("back-1", "pre"), outcome)
    pids = [master.pid, *(master.instance(name)["pid"] for name in names)]
    compiled = list((tmp_path / "run" / "instances").glob("*.json"))
    places = {
        **{f"/proc/{pid}/cmdline": Path(f"/proc/{pid}/cmdline").read_text() for pid in pids},
        **{str(path): path.read_text() for path in compiled},
        **{
            path: str(master.get(path)[1])
            for path in ("/api/instances", "/metrics", "/readyz", "/")
        },
        "the log": master.log,
    }
    assert len(compiled) == 2
    assert all(str(file) in path.read_text() for path in compiled)
    assert [place for place, text in places.items() if not text] == []
    assert [place for place, text in places.items() if password in text] == []


def tls_settings(port: int, ca: Path, client: Certificate | None) -> str:
    shown = f", cert: {client.cert}, key: {client.key}" if client else ""
    return f"host: 127.0.0.1, port: {port}, tls: {{ca: {ca}{shown}}}"


@dataclass(frozen=True)
class BadTls:
    """Which of the certificates are not as they should be, and what a user reads."""

    said: str
    ca: str = "ca"
    server: str = "server"
    client: str | None = "client"


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(BadTls("certificate is not trusted", ca="other_ca"), id="untrusted-ca"),
        pytest.param(BadTls("not valid for '127.0.0.1'", server="elsewhere"), id="other-host"),
        pytest.param(BadTls("certificate required", client=None), id="no-client-certificate"),
        pytest.param(BadTls("unknown ca", client="stranger"), id="client-of-another-authority"),
    ],
)
def test_bad_certificates_give_a_clear_reason(
    case: BadTls,
    certificates: Certificates,
    tls_broker: Callable[[Certificate], Broker],
    passage: Callable[..., Workers],
) -> None:
    broker = tls_broker(getattr(certificates, case.server))
    client = getattr(certificates, case.client) if case.client else None
    settings = tls_settings(broker.port, getattr(certificates, case.ca), client)
    app = passage(f"{{{settings}}}", ready=False)
    wait_reason(app, "there-1", "post", case.said)
    wait_reason(app, "back-1", "pre", case.said)


def test_plain_mqtt_to_a_port_that_expects_tls(
    certificates: Certificates,
    tls_broker: Callable[[Certificate], Broker],
    passage: Callable[..., Workers],
) -> None:
    port = tls_broker(certificates.server).port
    app = passage(f"{{host: 127.0.0.1, port: {port}}}", ready=False)
    wait_reason(app, "back-1", "pre", "is it an mqtt broker")


def test_tls_to_a_port_that_expects_plain_mqtt(
    broker: Broker, certificates: Certificates, passage: Callable[..., Workers]
) -> None:
    settings = tls_settings(broker.port, certificates.ca, certificates.client)
    app = passage(f"{{{settings}}}", ready=False)
    wait_reason(app, "back-1", "pre", "does this port speak tls")


@pytest.fixture
def web_gateway(broker: Broker) -> Iterator[WebSocketGateway]:
    with WebSocketGateway(broker.port) as gateway:
        yield gateway


@pytest.fixture
def secure_web_gateway(broker: Broker, certificates: Certificates) -> Iterator[WebSocketGateway]:
    """Demands a client's certificate, too."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    context.load_cert_chain(certificates.server.cert, certificates.server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    with WebSocketGateway(broker.port, context) as gateway:
        yield gateway


@pytest.fixture
def way(request: pytest.FixtureRequest, certificates: Certificates) -> str:
    """The settings of a broker that is reached in the way which a test's parameter names."""
    if request.param == "websockets":
        port = request.getfixturevalue("web_gateway").port
        return f"host: 127.0.0.1, port: {port}, transport: websockets"
    if request.param == "websockets+tls":
        port = request.getfixturevalue("secure_web_gateway").port
        secure = tls_settings(port, certificates.ca, certificates.client)
        return f"{secure}, transport: websockets"
    port = request.getfixturevalue("tls_broker")(certificates.server).port
    return tls_settings(port, certificates.ca, certificates.client)


@pytest.mark.parametrize("way", ["tls", "websockets", "websockets+tls"], indirect=True)
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_small_and_large_messages_arrive_whole(
    way: str, protocol: str, passage: Callable[..., Workers], results: Plant, topic: str
) -> None:
    passage(f"{{{way}, protocol: {protocol}}}")
    large = random.Random(1).randbytes(5_000_000).hex()
    for payload in ("small", large, "another"):
        results.publish(f"{topic}/in", payload, qos=1)
    arrived = results.wait_for(3)
    assert [len(payload) for payload in arrived] == [5, 10_000_000, 7]
    assert arrived[1] == large


@pytest.fixture(scope="module")
def mixed() -> list[bytes]:
    """Payloads of all sizes, most of them small, in any order."""
    chance = random.Random(1)
    small = (int(2000 ** chance.random()) for _ in range(MANY - LARGE))
    # Around where the lengths of packets and frames take more bytes, and what TLS cuts.
    large = (
        chance.choice((125, 126, 16_383, 16_384, 65_535, 65_536, 200_000)) for _ in range(LARGE)
    )
    sizes = [*small, *large]
    chance.shuffle(sizes)
    return [chance.randbytes(size) for size in sizes]


@pytest.mark.parametrize("way", ["tls", "websockets", "websockets+tls"], indirect=True)
@pytest.mark.parametrize("qos", [0, 1])
def test_many_messages_of_all_sizes_arrive_in_order_and_unharmed(
    way: str,
    qos: int,
    mixed: list[bytes],
    passage: Callable[..., Workers],
    results: Plant,
    topic: str,
) -> None:
    app = passage(f"{{{way}}}", codec="raw", open_qos=qos, guarded_qos=qos)
    for first in range(0, MANY, STRIDE):
        if qos == 0:  # nobody holds up a sender but itself
            wait_arrived(results, first - WINDOW)
        results.publish_all(f"{topic}/in", mixed[first : first + STRIDE], qos)
    wait_arrived(results, MANY)
    arrived = [payload for _, payload in results.received]
    harmed = [at for at, pair in enumerate(zip(mixed, arrived, strict=True)) if pair[0] != pair[1]]
    assert harmed == []
    for instance in ("there-1", "back-1"):
        counters = app.instance(instance)["counters"]
        assert (counters["received"], counters["dropped"]) == (MANY, 0)


def test_a_websocket_path_that_is_not_there(
    web_gateway: WebSocketGateway, passage: Callable[..., Workers]
) -> None:
    app = passage(
        f"{{host: 127.0.0.1, port: {web_gateway.port}, transport: websockets, path: /elsewhere}}",
        ready=False,
    )
    wait_reason(app, "back-1", "pre", "no websocket was opened (http status 404)")
