"""What was in hand survives the process, whatever ended it, and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.worker.ledger import Ledger, content_id

MESSAGES = [
    ("in", b"1"),
    ("", b""),
    ("plant/温度", b"\x00\xff" * 96),
    ("t" * 65_535, b"x" * 193),
    ("t" * 304, b"payload"),
    ("t" * 305, b"begin" + b"x" * 10_000_000 + b"end"),
]

CHILD = """
import os, sys
from pathlib import Path
from pyboot_svc.worker.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), 3)
ledger.begin(0, b"in", b"zero")
ledger.begin(1, b"in", b"one")
ledger.begin(2, b"in", b"two")
ledger.end(1)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "in-hand"


def left(file: Path, threads: int = 1) -> list[str]:
    return Ledger(file, threads).left_in_hand


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_what_a_killed_process_had_in_hand(file: Path, number: signal.Signals) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(number)
        assert child.wait(20) == -number
    assert left(file) == [content_id(b"in", b"zero"), content_id(b"in", b"two")]


@pytest.mark.parametrize(("topic", "payload"), MESSAGES, ids=range(len(MESSAGES)))
def test_a_message_is_named_the_same_when_it_comes_again(
    file: Path, topic: str, payload: bytes
) -> None:
    Ledger(file, 1).begin(0, topic.encode(), payload)
    assert left(file) == [content_id(topic.encode(), payload)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=200), st.binary(max_size=400)), max_size=8))
def test_any_messages_are_named_the_same(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[str, bytes]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any-in-hand"
    ledger = Ledger(file, 8)
    for thread, (topic, payload) in enumerate(messages):
        ledger.begin(thread, topic.encode(), payload)
    assert left(file) == [content_id(topic.encode(), payload) for topic, payload in messages]


def test_other_messages_have_other_names() -> None:
    names = {content_id(topic.encode(), payload) for topic, payload in MESSAGES}
    names.add(content_id(b"i", b"n1"))
    names.add(content_id(b"in", b"1" * 193))
    names.add(content_id(b"in", b"1" * 194))
    assert len(names) == len(MESSAGES) + 3


def test_nothing_in_hand_is_nothing_left(file: Path) -> None:
    ledger = Ledger(file, 2)
    ledger.begin(0, b"in", b"1")
    ledger.begin(1, b"in", b"2")
    ledger.end(0)
    ledger.end(1)
    assert left(file) == []


def test_what_is_left_is_told_once(file: Path) -> None:
    Ledger(file, 1).begin(0, b"in", b"1")
    assert len(left(file)) == 1
    assert left(file) == []


def test_the_last_message_of_a_thread_counts(file: Path) -> None:
    ledger = Ledger(file, 1)
    ledger.begin(0, b"a long topic", b"a long payload")
    ledger.end(0)
    ledger.begin(0, b"t", b"p")
    assert left(file) == [content_id(b"t", b"p")]


@pytest.mark.parametrize(("before", "after"), [(16, 1), (1, 16)])
def test_another_number_of_threads(file: Path, before: int, after: int) -> None:
    ledger = Ledger(file, before)
    for thread in range(before):
        ledger.begin(thread, b"in", b"%d" % thread)
    assert left(file, after) == [content_id(b"in", b"%d" % thread) for thread in range(before)]
    ledger = Ledger(file, after)
    ledger.begin(after - 1, b"in", b"last")
    assert left(file) == [content_id(b"in", b"last")]


def test_what_is_in_hand_at_a_clean_end_is_not_left(file: Path) -> None:
    ledger = Ledger(file, 2)
    ledger.begin(1, b"in", b"1")
    ledger.close()
    ledger.begin(0, b"in", b"a chunk's next one")
    assert left(file) == []


@pytest.mark.usefixtures("busy_switching")
def test_many_threads_keep_to_their_slots(file: Path) -> None:
    ledger = Ledger(file, 16)

    def work(thread: int) -> None:
        for number in range(300):
            ledger.begin(thread, b"in/%d" % thread, b"%d" % number * thread)
            if number < 299 or thread % 2:
                ledger.end(thread)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = [content_id(b"in/%d" % n, b"299" * n) for n in range(0, 16, 2)]
    assert left(file) == expected


def test_a_file_that_is_cut_off_anywhere(file: Path) -> None:
    ledger = Ledger(file, 2)
    ledger.begin(0, b"in", b"0")
    ledger.begin(1, b"in", b"1")
    whole = file.read_bytes()
    names = [content_id(b"in", b"0"), content_id(b"in", b"1")]
    for length in range(0, len(whole), 8):
        file.write_bytes(whole[:length])
        found = left(file)
        assert found == names[: len(found)]
        assert len(found) == max(length - 16, 0) // 512


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\x00" * 4096, b"\xff" * 4096, b"SQLite format 3\x00" * 100],
    ids=lambda content: repr(content[:4]),
)
def test_a_foreign_file(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    ledger = Ledger(file, 1)
    assert ledger.left_in_hand == []
    ledger.begin(0, b"in", b"1")
    assert left(file) == [content_id(b"in", b"1")]


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=512, max_size=1536))
def test_slots_of_any_content(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "torn-in-hand"
    file.write_bytes(b"pyboot-ledger-1\n" + b"\x01" + content)
    assert len(left(file)) <= 3
    assert left(file) == []


def test_another_process_that_has_it_is_left_alone(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        before = file.read_bytes()
        usable(Ledger(file, 1))
        assert "can't be kept: another process of this instance has it, does it" in caplog.text
        assert file.read_bytes() == before
        child.kill()
    assert left(file) == [content_id(b"in", b"zero"), content_id(b"in", b"two")]


def usable(ledger: Ledger) -> None:
    ledger.begin(0, b"in", b"1")
    ledger.end(0)
    assert ledger.left_in_hand == []


def test_a_folder_that_is_absent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    usable(Ledger(tmp_path / "absent" / "in-hand", 1))
    assert "can't be kept: No such file or directory" in caplog.text


def test_a_folder_of_that_name(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.mkdir()
    usable(Ledger(file, 1))
    assert "can't be kept: Is a directory" in caplog.text


def test_a_folder_that_may_not_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65_534)  # not even root, who is somebody else during the test
    try:
        usable(Ledger(tmp_path / "in-hand", 1))
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    assert "can't be kept: Permission denied" in caplog.text
