"""A crash while a packet is made of a row is counted against that row."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.store import running

from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.poison import MOST_CRASHES, PoisonTracker
from pyboot_svc.worker.execution.stored_in_hand import StoredInHand
from pyboot_svc.worker.messages import Message, StoredMessage
from pyboot_svc.worker.storage.writer import DATABASE_NAME

ROWS = [StoredMessage("out", b"%d" % number, 1, {}, row=number) for number in range(10)]
SLOT, MOST = 1, 4


def after_a_crash(folder: Path) -> tuple[PoisonTracker, StoredInHand]:
    """What the next process makes of the files that one left; a lock is no matter within one."""
    journal = CrashJournal(folder / "in-hand", 2, MOST)
    with running(folder / DATABASE_NAME) as store:
        suspects = PoisonTracker(store)
        suspects.load(journal)
    return suspects, StoredInHand(journal, SLOT, MOST, suspects)


@pytest.mark.parametrize("bad", [0, 3, 4, 9])
def test_the_row_at_which_the_process_dies_is_known_after_three_times(
    tmp_path: Path, bad: int
) -> None:
    for life in range(MOST_CRASHES + 1):
        _, rows = after_a_crash(tmp_path)
        guilty = [row.row for row in ROWS if rows.crashes(row)]
        assert guilty == ([bad] if life == MOST_CRASHES else [])
        for row in rows.each(ROWS):
            if row.row == bad:
                break


def test_what_is_through_is_in_hand_no_more(tmp_path: Path) -> None:
    _, rows = after_a_crash(tmp_path)
    assert list(rows.each(ROWS)) == ROWS
    assert CrashJournal(tmp_path / "in-hand", 2, MOST).left_in_hand == []


def test_what_gets_through_is_no_suspect_any_more(tmp_path: Path) -> None:
    next(iter(after_a_crash(tmp_path)[1].each(ROWS)))
    suspects, rows = after_a_crash(tmp_path)
    first = Message(ROWS[0].topic, ROWS[0].payload)
    assert suspects.crashes(first) == 1
    list(rows.each(ROWS))
    assert suspects.crashes(first) == 0
