"""`pyboot check --brokers`: what brokers take of a configuration, and what their rules refuse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.app import run_pyboot
from support.broker import Broker, free_port
from support.client import Plant
from support.poll import until
from support.stub import SUBSCRIBE, Answer, StubBroker, puback, suback
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
EDGE = "edge_mode: my_models.same"
# MQTT 5, section 3.2.2.3.13.
UNSHARED = b"\x20\x05\x00\x00\x02\x2a\x00"

Audit = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    """Starts a broker that knows one user, `sensor`, and has these lines more."""
    passwords = tmp_path / "passwords"
    program = shutil.which("mosquitto_passwd")
    assert program, "mosquitto_passwd comes with mosquitto"
    subprocess.run([program, "-b", "-c", str(passwords), "sensor", "secret"], check=True)
    (tmp_path / "right").write_text("secret\n")
    (tmp_path / "wrong").write_text("guessed\n")
    started: list[Broker] = []

    def start(lines: str = "") -> Broker:
        head = f"allow_anonymous false\npassword_file {passwords}\nlistener {{port}} 127.0.0.1\n"
        started.append(Broker(tmp_path / f"guarded-{len(started)}", head + lines))
        return started[-1].start()

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def check(tmp_path: Path) -> Audit:
    """Checks one model `m` with a `plant` of these settings at both ends; gives the exit code and
    what was found, without what all lines begin with."""

    def run(
        plant: str,
        edge: str = "",
        *more: str,
        topic: str = "plant/in",
        target: str = "plant/out",
    ) -> tuple[int, list[str]]:
        (tmp_path / "my_models.py").write_text(MODELS)
        file = tmp_path / "checked.yaml"
        file.write_text(
            f"model_path: .\nbrokers:\n  plant: {{host: 127.0.0.1, {plant}}}\nedge:\n"
            f"  - {{name: m, {EDGE}, pre_broker: plant, pre_topic: {topic}, post_broker: plant,\n"
            f"     post_topic: {target}{edge}}}\n"
        )
        done = run_pyboot("check", "-c", str(file), "--brokers", "--json", *more)
        found = json.loads(done.stdout)["brokers"]
        return done.returncode, [f"{f['end']} {f['verdict']}: {f['text']}" for f in found]

    return run


def user(broker: Broker, tmp_path: Path, password: str = "right") -> str:
    return f"port: {broker.port}, username: sensor, password_file: {tmp_path / password}"


def test_what_a_broker_grants(check: Audit, broker: Broker) -> None:
    assert check(f"port: {broker.port}", ", pre_qos: 2", topic="[plant/a, plant/+/b]") == (
        0,
        [
            "pre ok: subscribed to plant/a at QoS 1",
            "pre ok: subscribed to plant/+/b at QoS 1",
            "post ok: connected",
        ],
    )


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password(
    protocol: str, check: Audit, guarded: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = guarded()
    code, found = check(f"{user(broker, tmp_path, 'wrong')}, protocol: {protocol}")
    refused = "failed: the broker refused: Not authorized (client id pyboot-m-1"
    told = [re.sub(r"-[0-9a-f]{8}\)$", "", line) for line in found]
    assert (code, told) == (69, [f"pre {refused}-check", f"post {refused}-post-check"])
    code, found = check(f"{user(broker, tmp_path)}, protocol: {protocol}")
    assert (code, found) == (0, ["pre ok: subscribed to plant/in at QoS 0", "post ok: connected"])


def test_a_password_file_that_is_missing(check: Audit, broker: Broker, tmp_path: Path) -> None:
    code, found = check(user(broker, tmp_path, "absent"))
    said = f"failed: {tmp_path}/absent: the password_file can't be read: No such file or directory"
    assert (code, found) == (69, [f"pre {said}", f"post {said}"])


def test_nobody_listens(check: Audit) -> None:
    code, found = check(f"port: {free_port()}")
    assert code == 69
    assert found[0] == "pre failed: connection refused (is a broker listening there?)"


def test_a_broker_that_limits_qos(
    check: Audit, guarded: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = guarded("max_qos 0\nretain_available false\n")
    edge = ", pre_qos: 1, post_qos: 1, post_retain: true"
    code, found = check(user(broker, tmp_path), edge)
    assert (code, found) == (
        0,
        [
            "pre warning: plant/in was granted at QoS 0, not 1: inputs can get lost; its "
            "configuration or its access rules limit it",
            "post ok: connected",
            "post warning: it takes QoS 0 at most: results are published at that, not at 1",
            "post warning: it keeps no messages: results are published without `retain`",
        ],
    )


def test_rules_about_what_may_be_published_are_told_when_it_is_asked_for(
    check: Audit, guarded: Callable[..., Broker], tmp_path: Path
) -> None:
    rules = tmp_path / "rules"
    rules.write_text("user sensor\ntopic read plant/#\ntopic write plant/out\n")
    broker = guarded(f"acl_file {rules}\n")
    code, found = check(user(broker, tmp_path))
    assert (code, found[1:]) == (0, ["post ok: connected"])
    code, found = check(user(broker, tmp_path), "", "--publish", "a test")
    assert (code, found[2:]) == (
        69,
        [
            "post ok: published to plant/out",
            "post failed: what was published to pyboot/dead/m was refused: Not authorized",
        ],
    )
    # Which can't say so.
    older = f"{user(broker, tmp_path)}, protocol: 3.1.1"
    code, found = check(older, ", on_error: {then: drop}", "--publish", "a test")
    said = "post unknown: published to plant/out: it doesn't tell whether its rules allow that"
    assert (code, found[2:]) == (0, [said])


def test_nothing_is_published_unasked(
    check: Audit, broker: Broker, plant: Plant, topic: str
) -> None:
    plant.subscribe("plant/out").subscribe("pyboot/dead/m").subscribe(topic)
    check(f"port: {broker.port}")
    plant.publish(topic, "the end")
    assert plant.wait_for(1) == ["the end"]
    check(f"port: {broker.port}", "", "--publish", '"a test"')
    assert plant.wait_for(3)[1:] == ["a test", "a test"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("made/{device}", "their topic, made/{device}, is made of each"),
        ("{response}", "each input says where they go"),
    ],
    ids=["template", "response"],
)
def test_topics_that_are_made_of_results_are_not_known(
    target: str, said: str, check: Audit, broker: Broker
) -> None:
    edge = ", on_error: {then: drop}"
    code, found = check(f"port: {broker.port}", edge, "--publish", "a test", target=f"'{target}'")
    assert (code, found[2:]) == (0, [f"post unknown: whether it takes results: {said}"])


def test_workers_miss_nothing(
    write_config: Callable[..., Path], workers: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    """Neither their sessions nor their share of the messages."""
    topics = f"pre_topic: {topic}/in, pre_qos: 1, post_topic: {topic}/out, post_qos: 1"
    config = write_config(f"{{name: m, {EDGE}, instance: 2, {topics}}}", models=MODELS)
    running = workers(config)
    plant.subscribe(f"{topic}/out")
    for number in range(5):
        done = run_pyboot("check", "-c", str(config), "--brokers")
        assert done.returncode == 0, done.stdout
        assert f"m: pre broker 127.0.0.1:{_port(config)}: subscribed to" in done.stdout
        assert "not known: whether results and dead letters may be published" in done.stdout
        plant.publish(f"{topic}/in", number, 1)
    assert sorted(plant.wait_for(5)) == [0, 1, 2, 3, 4]
    for instance in ("m-1", "m-2"):
        row = running.instance(instance)
        assert row["brokers"]["pre"]["connects"] == row["brokers"]["post"]["connects"] == 1


def _port(config: Path) -> str:
    return config.read_text().partition("pre_port: ")[2].partition(",")[0]


def test_a_broker_without_shared_subscriptions(check: Audit) -> None:
    with StubBroker(UNSHARED) as stub:
        code, found = check(f"port: {stub.port}", ", instance: 2")
        assert code == 69
        assert found[0].startswith("pre failed: it has no shared subscriptions: several instances")
        code, found = check(f"port: {stub.port}", ", instance: 2, share: false")
        assert code == 0


def test_of_an_older_protocol_nobody_knows_whether_it_shares(check: Audit, broker: Broker) -> None:
    code, found = check(f"port: {broker.port}, protocol: 3.1.1", ", instance: 2")
    assert code == 0
    said = "pre unknown: whether it has shared subscriptions: MQTT 3.1.1 doesn't tell"
    assert found[:2] == ["pre ok: subscribed to plant/in at QoS 0", said]


@pytest.mark.parametrize(("code", "words"), [(0x87, "Not authorized"), (0x80, "Unspecified error")])
def test_a_subscription_that_is_refused(code: int, words: str, check: Audit) -> None:
    def answer(packet: Any) -> bytes:
        return suback(packet.mid, 1 if len(stub.of_kind(SUBSCRIBE)) % 2 else code)

    with StubBroker(subscribe=answer) as stub:
        ended, found = check(f"port: {stub.port}", ", pre_qos: 1", topic="[plant/a, plant/b]")
    assert (ended, found[:2]) == (
        69,
        [
            "pre ok: subscribed to plant/a at QoS 1",
            f"pre failed: the subscription to plant/b was refused: {words}",
        ],
    )


def test_a_broker_that_hangs_up_instead_of_an_answer(check: Audit) -> None:
    hang_up = Answer(hang_up=True)
    with StubBroker(subscribe=lambda packet: hang_up, publish=lambda packet: hang_up) as stub:
        code, found = check(f"port: {stub.port}", "", "--publish", "a test")
    asked = "connection lost; does a rule of its forbid it?"
    assert (code, found) == (
        69,
        [
            f"pre failed: asked for plant/in: {asked}",
            "post ok: connected",
            f"post failed: published to plant/out: {asked}",
        ],
    )


def test_a_broker_that_never_answers(check: Audit) -> None:
    with StubBroker(subscribe=lambda packet: None) as stub:
        code, found = check(f"port: {stub.port}")
    assert code == 69
    assert "no answer to SUBSCRIBE within 10 s" in found[0]


def test_a_broker_that_takes_one_message_at_a_time(check: Audit) -> None:
    """Receive Maximum 1."""
    with StubBroker(
        b"\x20\x06\x00\x00\x03\x21\x00\x01", publish=lambda packet: puback(packet.mid)
    ) as stub:
        code, found = check(f"port: {stub.port}", "", "--publish", "a test")
    assert code == 0
    assert found[2:] == ["post ok: published to plant/out", "post ok: published to pyboot/dead/m"]


def test_what_goes_together(tmp_path: Path) -> None:
    done = run_pyboot("check", "--publish", "x")
    assert (done.returncode, "--publish goes with --brokers" in done.stderr) == (64, True)
    file = tmp_path / "config.yaml"
    file.write_text("edge: [{name: x}]\n")
    done = run_pyboot("check", "-c", str(file), "--brokers", "--json")
    assert done.returncode == 78
    assert "brokers" not in json.loads(done.stdout)


def test_sessions_are_not_left(check: Audit) -> None:
    with StubBroker() as stub:
        check(f"port: {stub.port}", ", pre_qos: 1")
        until(lambda: len(stub.of_kind(14)) == 2, "both said goodbye")
        names = [packet.body for packet in stub.of_kind(1)]
    assert all(name[7] & 2 for name in names), "a clean start"
    assert any(b"pyboot-m-1-check-" in name for name in names)
    assert any(b"pyboot-m-1-post-check-" in name for name in names)
