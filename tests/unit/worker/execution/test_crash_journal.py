"""What was in hand survives the process, whatever ended it, and nothing else does."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.columns import chunk_of
from support.locked import locked

from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.messages import Message

MESSAGES = [
    ("in", b"1"),
    ("", b""),
    ("plant/温度", b"\x00\xff" * 96),
    ("t" * 65_535, b"x" * 193),
    ("t" * 304, b"payload"),
    ("t" * 305, b"begin" + b"x" * 10_000_000 + b"end"),
]

CHUNK = 4

CHILD = """
import os, sys
from pathlib import Path
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.messages import Message
journal = CrashJournal(Path(sys.argv[1]), 3, 4)
for thread, payload in enumerate([b"zero", b"one", b"two"]):
    journal.begin(thread, [Message("in", payload).digest])
journal.end(1)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "in-hand"


def digest(topic: str, payload: bytes) -> bytes:
    """As a chunk has it, whose messages are digested together."""
    [found] = chunk_of([payload], topics=topic).digests
    return found


def name(topic: str, payload: bytes) -> str:
    return Message(topic, payload).id


def left(file: Path, threads: int = 1, chunk: int = CHUNK) -> list[str]:
    return CrashJournal(file, threads, chunk).left_in_hand


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
    assert left(file) == [name("in", b"zero"), name("in", b"two")]


@pytest.mark.parametrize(("topic", "payload"), MESSAGES, ids=range(len(MESSAGES)))
def test_a_message_is_named_the_same_when_it_comes_again(
    file: Path, topic: str, payload: bytes
) -> None:
    CrashJournal(file, 1, CHUNK).begin(0, [digest(topic, payload)])
    assert left(file) == [name(topic, payload)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=200), st.binary(max_size=400)), max_size=8))
def test_any_messages_are_named_the_same(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[str, bytes]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any-in-hand"
    journal = CrashJournal(file, 8, CHUNK)
    for thread, (topic, payload) in enumerate(messages):
        journal.begin(thread, [digest(topic, payload)])
    assert left(file) == [name(topic, payload) for topic, payload in messages]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b", "温"]), st.binary(max_size=9)), min_size=1)
)
def test_in_a_chunk_of_mixed_topics_each_has_the_name_it_has_alone(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[str, bytes]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "mixed-in-hand"
    topics, payloads = zip(*messages, strict=True)
    chunk = chunk_of(payloads, topics=topics)
    CrashJournal(file, 1, len(messages)).begin(0, chunk.digests, as_one_call=True)
    assert left(file) == [name(topic, payload) for topic, payload in messages]


def test_other_messages_have_other_names() -> None:
    names = {name(topic, payload) for topic, payload in MESSAGES}
    names.add(name("i", b"n1"))
    names.add(name("in", b"1" * 193))
    names.add(name("in", b"1" * 194))
    # The middle of a payload counts, and so does where the topic ends.
    names.add(name("t" * 305, b"begin" + b"x" * 5_000_000 + b"y" + b"x" * 4_999_999 + b"end"))
    names.add(name("i", b"\x00n1"))
    assert len(names) == len(MESSAGES) + 5


def test_nothing_in_hand_is_nothing_left(file: Path) -> None:
    journal = CrashJournal(file, 2, CHUNK)
    journal.begin(0, [digest("in", b"1")])
    journal.begin(1, [digest("in", b"2")])
    journal.end(0)
    journal.end(1)
    assert left(file) == []


def test_what_is_left_is_told_once(file: Path) -> None:
    CrashJournal(file, 1, CHUNK).begin(0, [digest("in", b"1")])
    assert len(left(file)) == 1
    assert left(file) == []


def test_the_last_message_of_a_thread_counts(file: Path) -> None:
    journal = CrashJournal(file, 1, CHUNK)
    journal.begin(0, [digest("a long topic", b"a long payload")])
    journal.end(0)
    journal.begin(0, [digest("t", b"p")])
    assert left(file) == [name("t", b"p")]


@pytest.mark.parametrize(("before", "after"), [(16, 1), (1, 16)])
def test_another_number_of_threads(file: Path, before: int, after: int) -> None:
    journal = CrashJournal(file, before, CHUNK)
    for thread in range(before):
        journal.begin(thread, [digest("in", b"%d" % thread)])
    assert left(file, after) == [name("in", b"%d" % thread) for thread in range(before)]
    journal = CrashJournal(file, after, CHUNK)
    journal.begin(after - 1, [digest("in", b"last")])
    assert left(file) == [name("in", b"last")]


def test_what_is_in_hand_at_a_clean_end_is_not_left(file: Path) -> None:
    journal = CrashJournal(file, 2, CHUNK)
    journal.begin(1, [digest("in", b"1")])
    journal.close()
    journal.begin(0, [digest("in", b"a chunk's next one")])
    assert left(file) == []


def test_what_a_thread_died_of_is_left_by_a_clean_end(file: Path) -> None:
    journal = CrashJournal(file, 2, CHUNK)
    journal.begin(0, [digest("in", b"innocent")])
    journal.begin(1, [digest("in", b"culprit")])
    journal.die(1)
    journal.close()
    assert left(file) == [name("in", b"culprit")]


@pytest.mark.usefixtures("busy_switching")
def test_many_threads_keep_to_their_slots(file: Path) -> None:
    journal = CrashJournal(file, 16, CHUNK)

    def work(thread: int) -> None:
        for number in range(300):
            journal.begin(thread, [digest(f"in/{thread}", b"%d" % number * thread)])
            if number < 299 or thread % 2:
                journal.end(thread)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = [name(f"in/{n}", b"299" * n) for n in range(0, 16, 2)]
    assert left(file) == expected


def test_a_file_that_is_cut_off_anywhere(file: Path) -> None:
    journal = CrashJournal(file, 2, CHUNK)
    journal.begin(0, [digest("in", b"0")])
    journal.begin(1, [digest("in", b"1")])
    whole = file.read_bytes()
    names = [name("in", b"0"), name("in", b"1")]
    for length in range(0, len(whole), 8):
        file.write_bytes(whole[:length])
        found = left(file)
        assert found == names[: len(found)]
        assert len(found) == max(length - 32, 0) // (16 + CHUNK * 16)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\x00" * 4096, b"\xff" * 4096, b"SQLite format 3\x00" * 100],
    ids=lambda content: repr(content[:4]),
)
def test_a_foreign_file(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    journal = CrashJournal(file, 1, CHUNK)
    assert journal.left_in_hand == []
    journal.begin(0, [digest("in", b"1")])
    assert left(file) == [name("in", b"1")]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1) | st.sampled_from([16, 32, 80]), st.binary(max_size=1536))
def test_slots_of_any_length_and_content(
    tmp_path_factory: pytest.TempPathFactory, slot_bytes: int, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "torn-in-hand"
    head = b"pyboot-ledger-2\n" + slot_bytes.to_bytes(4, sys.byteorder) + bytes(12)
    file.write_bytes(head + content)
    assert len(left(file)) <= len(content) // 16
    assert left(file) == []


def test_of_a_chunk_the_one_at_hand_is_left(file: Path) -> None:
    journal = CrashJournal(file, 2, CHUNK)
    for thread in range(2):
        journal.begin(thread, [digest(f"in/{thread}", b"%d" % number) for number in range(4)])
    words, at = journal.cursor(1)
    words[at] = 2
    assert left(file, 2) == [name("in/0", b"0"), name("in/1", b"2")]


def test_of_a_batch_all_are_left(file: Path) -> None:
    journal = CrashJournal(file, 1, CHUNK)
    batch = [digest("in", b"%d" % number) for number in range(4)]
    journal.begin(0, batch, as_one_call=True)
    assert left(file) == [name("in", b"%d" % number) for number in range(4)]


def test_what_a_longer_chunk_left_behind_is_no_part_of_the_next(file: Path) -> None:
    journal = CrashJournal(file, 1, CHUNK)
    journal.begin(0, [digest("in", b"%d" % number) for number in range(4)], as_one_call=True)
    journal.begin(0, [digest("in", b"next")], as_one_call=True)
    assert left(file) == [name("in", b"next")]


@pytest.mark.parametrize(("before", "after"), [(1, 256), (256, 1)])
def test_another_length_of_chunks(file: Path, before: int, after: int) -> None:
    journal = CrashJournal(file, 2, before)
    journal.begin(0, [digest("in", b"a")])
    journal.begin(1, [digest("in", b"b")])
    assert left(file, 2, after) == [name("in", b"a"), name("in", b"b")]


def test_the_form_of_an_older_version_is_a_foreign_file(file: Path) -> None:
    file.write_bytes(b"pyboot-ledger-1\n" + b"\x01" * 1024)
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
        usable(CrashJournal(file, 1, CHUNK))
        assert "can't be kept: another process of this instance holds it; is it" in caplog.text
        assert file.read_bytes() == before
        child.kill()
    assert left(file) == [name("in", b"zero"), name("in", b"two")]


def usable(journal: CrashJournal) -> None:
    journal.begin(0, [digest("in", b"1")])
    journal.end(0)
    assert journal.left_in_hand == []


def test_a_folder_that_is_absent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    usable(CrashJournal(tmp_path / "absent" / "in-hand", 1, CHUNK))
    assert "can't be kept: No such file or directory" in caplog.text


def test_a_folder_of_that_name(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.mkdir()
    usable(CrashJournal(file, 1, CHUNK))
    assert "can't be kept: Is a directory" in caplog.text


def test_a_folder_that_may_not_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with locked(tmp_path, 0o500):
        usable(CrashJournal(tmp_path / "in-hand", 1, CHUNK))
    assert "can't be kept: Permission denied" in caplog.text
