"""Messages that the model fails on end as dead letters, whole, and can be tried again."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app import run_pyboot
from support.poll import until

from chaos.rig import Rig

BINARY = bytes(range(256)) * 4


class Dead:
    """`pyboot dead` for one rig."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.instance = f"{rig.name}-1"

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        done = run_pyboot("dead", *arguments, "--state-dir", str(self._rig.state_dir))
        return done.returncode, done.stdout, done.stderr

    def list(self) -> list[dict[str, Any]]:
        code, out, err = self.run("list", self.instance, "--json")
        assert code == 0, err
        letters: list[dict[str, Any]] = json.loads(out)
        return letters

    def ok(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert code == 0, err
        return out


@pytest.fixture
def failing_rig(make_rig: Callable[..., Rig], tmp_path: Path) -> Callable[..., Rig]:
    """A rig whose model fails at some numbers until the file `gate` is there."""

    def make(at: list[int], bad_value: bool = False, **settings: Any) -> Rig:
        options = {"at": at, "gate": str(tmp_path / "gate"), "bad_value": bad_value}
        settings.setdefault("on_error", {"retries": 2, "backoff": 0.01})
        rig = make_rig("failing", options=options, **settings)
        rig.start()
        return rig

    return make


def test_dead_letter_tells_all_by_user_properties(failing_rig: Callable[..., Rig]) -> None:
    rig = failing_rig([3], dead_letter={"traceback": True})
    rig.feed.send(5)
    found = rig.collect()
    found.expect_all(in_order=True)
    assert found.duplicates == 0
    [letter] = rig.letters
    assert json.loads(letter.payload) == {"n": 3, "device": 3, "pad": ""}
    about = letter.user
    assert float(about.pop("time")) > 1.7e9
    assert "OSError: no luck today" in about["error"]
    assert "in failing" in about.pop("error"), "the traceback"
    assert len(about.pop("pyboot-id")) == 32
    assert about.pop("version")
    assert about == {
        "topic": rig.topic_in,
        "kind": "model",
        "attempts": "3",
        "instance": f"{rig.name}-1",
        "model": "chaos.models.failing",
    }


def test_dead_letter_is_an_envelope_by_mqtt_3(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("failing_raw", codec="raw", on_error={"retries": 0})
    rig.brokers = {"old": {"host": "127.0.0.1", "port": rig.post.port, "protocol": "3.1.1"}}
    rig.edge["post_broker"] = "old"
    del rig.edge["post_port"]
    rig.start()
    rig.feed.publish(BINARY)
    [letter] = until(lambda: rig.letters, "the dead letter")
    assert letter.user == {}
    about = json.loads(letter.payload)
    assert base64.b64decode(about["payload_base64"]) == BINARY
    assert "RuntimeError: no bytes, please" in about["error"]
    assert (about["topic"], about["kind"]) == (rig.topic_in, "model")
    assert (about["attempts"], about["model"]) == ("1", "chaos.models.failing_raw")


@pytest.mark.parametrize("payload", [BINARY, b"", b"\xff\xfe", b"{", b"x" * 200_000])
def test_payload_is_untouched(payload: bytes, make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("failing_raw", codec="raw", on_error={"retries": 0})
    rig.start()
    rig.feed.publish(payload)
    [letter] = until(lambda: rig.letters, "the dead letter")
    assert letter.payload == payload


def test_what_is_no_json_is_a_dead_letter_at_once(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same", on_error={"retries": 5, "backoff": 100})
    rig.start()
    rig.feed.publish(b"{")
    [letter] = until(lambda: rig.letters, "the dead letter")
    assert (letter.user["kind"], letter.user["attempts"]) == ("not_json", "1")


def test_dead_letters_go_to_the_configured_topic(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same")
    rig.topic_dead = f"{rig.name}/given-up"
    rig.edge["dead_letter"] = {"topic": rig.topic_dead}
    rig.start()
    rig.feed.publish(b"{")
    [letter] = until(lambda: rig.letters, "the dead letter")
    assert letter.payload == b"{"


def test_bad_value_is_not_tried_again(failing_rig: Callable[..., Rig]) -> None:
    rig = failing_rig([3], bad_value=True, on_error={"retries": 5, "backoff": 100})
    rig.feed.send(5)
    rig.collect()
    [letter] = rig.letters
    assert letter.user["attempts"] == "1"
    assert "ValueError: no such reading" in letter.user["error"]


def test_retries_help_when_the_trouble_passes(
    failing_rig: Callable[..., Rig], tmp_path: Path
) -> None:
    rig = failing_rig([3], on_error={"retries": 100, "backoff": 0.05})
    rig.feed.send(5)
    until((tmp_path / "gate.tried").exists, "it has failed once")
    (tmp_path / "gate").touch()
    found = rig.collect()
    found.expect_all(in_order=True)
    assert rig.letters == []


def test_then_drop_drops_and_counts(failing_rig: Callable[..., Rig]) -> None:
    rig = failing_rig([3, 4], on_error={"retries": 0, "then": "drop"})
    rig.feed.send(10)
    rig.wait_distinct(8)
    row = rig.until_figure("unacknowledged", 0)
    assert row["errors"] == {"model": 2}
    assert {arrival.number for arrival in rig.results} == set(range(10)) - {3, 4}
    assert rig.letters == []
    assert Dead(rig).list() == []


def test_dead_letters_wait_for_the_post_broker(failing_rig: Callable[..., Rig]) -> None:
    rig = failing_rig([3, 4, 5])
    rig.post.stop()
    rig.feed.send(10)
    rig.until_figure("dead_letters_waiting", 3)
    rig.until_figure("unacknowledged", 0)
    rig.worker.kill()
    rig.post.start()
    found = rig.collect()
    found.expect_all(in_order=True)
    assert [letter.number for letter in rig.letters] == [3, 4, 5]


def test_kept_letters_are_listed_and_shown(failing_rig: Callable[..., Rig]) -> None:
    rig = failing_rig([3, 7])
    rig.feed.send(10)
    rig.collect()
    dead = Dead(rig)
    letters = dead.list()
    assert [json.loads(letter["payload"])["n"] for letter in letters] == [3, 7]
    assert {letter["instance"] for letter in letters} == {dead.instance}
    first = letters[0]
    assert (first["kind"], first["attempts"], first["topic"]) == ("model", 3, rig.topic_in)
    table = dead.ok("list")
    assert "OSError: no luck today" in table
    assert table.count(dead.instance) == 2
    text = dead.ok("show", dead.instance, str(first["id"]))
    assert '{"n": 3, "device": 3, "pad": ""}' in text
    assert 'models.py", line' in text
    assert json.loads(dead.ok("show", dead.instance, str(first["id"]), "--json"))["id"] == 1


def test_retry_while_the_worker_runs(failing_rig: Callable[..., Rig], tmp_path: Path) -> None:
    rig = failing_rig([3, 7])
    rig.feed.send(10)
    rig.collect()
    (tmp_path / "gate").touch()
    dead = Dead(rig)
    assert "1 will be retried" in dead.ok("retry", dead.instance, "1")
    until(lambda: 3 in {arrival.number for arrival in rig.results}, "3 is processed")
    until(lambda: [letter["id"] for letter in dead.list()] == [2], "3 is kept no longer")
    assert "1 will be retried" in dead.ok("retry", dead.instance, "--all")
    until(lambda: 7 in {arrival.number for arrival in rig.results}, "7 is processed")
    until(lambda: dead.list() == [], "nothing is kept")
    assert Counter(arrival.number for arrival in rig.results) == Counter(range(10))


def test_retry_that_fails_again_is_kept_again(failing_rig: Callable[..., Rig]) -> None:
    rig = failing_rig([3])
    rig.feed.send(5)
    rig.collect()
    dead = Dead(rig)
    dead.ok("retry", dead.instance, "1")
    until(lambda: [letter["id"] for letter in dead.list()] == [2], "kept anew")
    until(lambda: len(rig.letters) == 2, "published anew")


def test_retry_while_the_worker_is_stopped(failing_rig: Callable[..., Rig], tmp_path: Path) -> None:
    rig = failing_rig([3])
    rig.feed.send(5)
    rig.collect()
    assert rig.worker.stop() == 0
    (tmp_path / "gate").touch()
    dead = Dead(rig)
    dead.ok("retry", dead.instance, "1")
    assert [letter["request"] for letter in dead.list()] == ["retry"]
    rig.worker.start()
    until(lambda: 3 in {arrival.number for arrival in rig.results}, "3 is processed")
    until(lambda: dead.list() == [], "nothing is kept")


def test_retry_survives_a_kill(failing_rig: Callable[..., Rig], tmp_path: Path) -> None:
    rig = failing_rig([3])
    rig.feed.send(5)
    rig.collect()
    rig.post.stop()
    (tmp_path / "gate").touch()
    dead = Dead(rig)
    dead.ok("retry", dead.instance, "1")
    rig.worker.kill()
    rig.post.start()
    until(lambda: 3 in {arrival.number for arrival in rig.results}, "3 is processed")
    until(lambda: dead.list() == [], "nothing is kept")


def test_drop_forgets(failing_rig: Callable[..., Rig]) -> None:
    rig = failing_rig([3, 7])
    rig.feed.send(10)
    rig.collect()
    dead = Dead(rig)
    assert "1 dropped" in dead.ok("drop", dead.instance, "1")
    assert [letter["id"] for letter in dead.list()] == [2]
    dead.ok("drop", dead.instance, "--all")
    assert dead.list() == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["retry", "NAME"], 64, "name the messages by their IDs, or all of them with --all"),
        (["show", "NAME", "99"], 64, "has no message 99; see pyboot dead list"),
        (["drop", "nonsense", "1"], 64, "'nonsense' is not an instance"),
        (["show", "NAME", "one"], 64, "invalid int value: 'one'"),
    ],
)
def test_wrong_use_is_said(
    arguments: list[str], code: int, message: str, make_rig: Callable[..., Rig]
) -> None:
    rig = make_rig("same")
    rig.instance_dir.mkdir(parents=True)  # it has run here
    named = [f"{rig.name}-1" if word == "NAME" else word for word in arguments]
    found, _, error = Dead(rig).run(*named)
    assert (found, message in error) == (code, True), error


def test_only_so_many_are_kept(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same", dead_letter={"keep": 3})
    rig.start()
    for number in range(10):
        rig.feed.publish(b"{" + str(number).encode())
    until(lambda: len(rig.letters) == 10, "all are published")
    assert [letter["payload"] for letter in Dead(rig).list()] == ["{7", "{8", "{9"]
