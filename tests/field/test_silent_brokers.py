"""Brokers that keep the connection, answer pings, and leave what matters unanswered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import data_plane
from support.poll import until
from support.stub import PUBLISH, SUBSCRIBE, Packet, StubBroker, puback, publish, suback
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""


class Silent:
    """Answers no SUBSCRIBE, or no PUBLISH, until it is told to."""

    def __init__(self) -> None:
        self.answers = False

    def suback(self, packet: Packet) -> bytes | None:
        return suback(packet.mid) if self.answers else None

    def suback_of_the_first(self, packet: Packet) -> bytes | None:
        return suback(packet.mid) if self.answers or b"choosy/in" in packet.body else None

    def puback(self, packet: Packet) -> bytes | None:
        return puback(packet.mid) if self.answers else None


def write(folder: Path, edges: dict[str, dict[str, int]]) -> Path:
    """One edge for each name; with `pre` and `post` ports."""
    (folder / "my_models.py").write_text(MODELS)
    lines = "".join(
        f"- {{name: {name}, pre_port: {ports['pre']}, post_port: {ports['post']}, "
        f"post_qos: {ports.get('qos', 1)}, pre_topic: [{name}/in, more/{name}], "
        f"post_topic: {name}/out}}\n"
        for name, ports in edges.items()
    )
    config = folder / "config.yaml"
    config.write_text(
        f"model_path: .\nbrokers:\n  plant: {{host: 127.0.0.1, keepalive: 5}}\n"
        f"defaults: {{edge_mode: my_models.same, data_plane: {data_plane()}, pre_qos: 1, "
        f"pre_broker: plant, post_broker: plant}}\nedge:\n{lines}"
    )
    return config


def reasons(app: Workers, instance: str) -> list[str]:
    return [reason for reason in app.reasons if reason.startswith(f"{instance}: ")]


@pytest.mark.timeout(200)
def test_no_answer_to_subscribe_or_publish_is_told_and_ends_the_connection(
    tmp_path: Path, workers: Callable[..., Workers]
) -> None:
    silent = Silent()
    with (
        StubBroker() as good,
        StubBroker(subscribe=silent.suback) as pre,
        StubBroker(subscribe=silent.suback_of_the_first) as choosy,
        StubBroker(publish=silent.puback) as post,
        StubBroker(publish=lambda packet: b"\x50\x02" + packet.mid.to_bytes(2)) as half,
    ):
        edges = {
            "deaf": {"pre": pre.port, "post": good.port},
            # It answers for one topic of two.
            "choosy": {"pre": choosy.port, "post": good.port},
            "mute": {"pre": good.port, "post": post.port},
            # It takes a message of QoS 2, and never lets it go.
            "half": {"pre": good.port, "post": half.port, "qos": 2},
        }
        app = workers(write(tmp_path, edges), ready=False)
        for name in ("mute", "half"):
            until(lambda name=name: not reasons(app, f"{name}-1"), f"{name} is ready", 60)  # type: ignore[misc]
            asked = [packet for packet in good.of_kind(SUBSCRIBE) if name.encode() in packet.body]
            for mid in range(1, 21):
                message = publish(f"{name}/in", b"%d" % mid, 1, mid)
                good.send(message, asked[0].connection)
        until(lambda: len(post.of_kind(PUBLISH)) >= 20, "20 are in flight", 60)
        for instance, packet in (
            ("deaf-1", "SUBSCRIBE"),
            ("choosy-1", "SUBSCRIBE"),
            ("mute-1", "PUBLISH"),
            ("half-1", "PUBLISH"),
        ):
            text = f"no answer to {packet} within 25 s"
            until(
                lambda instance=instance, text=text: text in " ".join(reasons(app, instance)),  # type: ignore[misc]
                f"{instance} is not ready, and says why",
                90,
            )
            app.wait_log(text)
        until(lambda: len(pre.of_kind(SUBSCRIBE)) >= 4, "it is asked anew", 60)
        until(lambda: len(choosy.of_kind(SUBSCRIBE)) >= 4, "for both topics", 60)
        until(lambda: len(post.of_kind(PUBLISH)) >= 21, "what was in flight goes again", 60)
        # Connected again, and not ready before an answer has come.
        assert "no answer to PUBLISH" in " ".join(reasons(app, "mute-1"))
        silent.answers = True
        pre.hang_up(pre.connections)
        choosy.hang_up(choosy.connections)
        post.hang_up(post.connections)
        for instance in ("deaf-1", "choosy-1", "mute-1"):
            until(lambda instance=instance: not reasons(app, instance), "it is ready", 120)  # type: ignore[misc]

        def published() -> bool:
            row = app.instance("mute-1")
            return bool(row["counters"]["published"] == 20 and row["in_flight"] == 0)

        until(published, "all are safe", 60)
        last = {bytes(packet.rest[-2:]) for packet in post.of_kind(PUBLISH)}
        assert {b"%d" % number for number in range(10, 21)} <= last


@pytest.mark.timeout(100)
def test_no_answer_to_subscribe_beside_a_flow_of_messages_is_told_and_waited_for(
    tmp_path: Path, workers: Callable[..., Workers]
) -> None:
    """A session's backlog may come first, which another connection would only begin again."""
    with StubBroker() as good, StubBroker(subscribe=lambda packet: None) as busy:
        app = workers(write(tmp_path, {"busy": {"pre": busy.port, "post": good.port}}), ready=False)
        until(lambda: len(busy.of_kind(SUBSCRIBE)) == 2, "it subscribes")
        asked = busy.of_kind(SUBSCRIBE)
        connections = busy.connections

        def told() -> bool:
            busy.send(publish("busy/in", b'"%s"' % (b"x" * 3000)), asked[0].connection)
            return "no answer to SUBSCRIBE within 25 s" in app.log

        until(told, "it is in the log", 60)
        until(lambda: "no answer to SUBSCRIBE" in " ".join(reasons(app, "busy-1")), "not ready")
        assert busy.connections == connections
        for packet in asked:
            busy.send(suback(packet.mid), packet.connection)
        until(lambda: not reasons(app, "busy-1"), "it is ready", 20)
        assert busy.connections == connections
