"""The age of what is on disk: by the host's uptime, over restarts, damages and strange clocks."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pyboot_svc.worker.storage import clock
from pyboot_svc.worker.storage.clock import AgeClock, uptime
from pyboot_svc.worker.storage.database import check, checksum, open_database


class Host:
    """Its uptime and its boot, as the test has them."""

    def __init__(self) -> None:
        self.uptime = 1000.0
        self.boot = "first"

    def reboot(self, uptime: float) -> None:
        self.boot += " again"
        self.uptime = uptime


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    monkeypatch.setattr(clock, "uptime", lambda: host.uptime)
    monkeypatch.setattr(clock, "boot_id", lambda: host.boot)
    return host


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], sqlite3.Connection]:
    return lambda: open_database(tmp_path / "worker.sqlite")


@contextmanager
def process(opened: Callable[[], sqlite3.Connection]) -> Iterator[AgeClock]:
    """A process that opens the database, and notes its clock at the end."""
    with closing(opened()) as connection:
        found = AgeClock()
        found.meet(connection)
        yield found
        found.note(connection)


def test_uptime_goes_on_and_is_the_hosts() -> None:
    first = uptime()
    assert abs(first - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1
    assert uptime() >= first


def test_where_proc_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    before = uptime()
    monkeypatch.setattr(clock, "UPTIME", Path("/nowhere"))
    monkeypatch.setattr(clock, "BOOT_ID", Path("/nowhere"))
    assert -1 < uptime() - before < 60
    assert clock.boot_id() == ""


def test_it_begins_at_nothing_and_goes_on_with_the_host(
    host: Host, opened: Callable[[], sqlite3.Connection]
) -> None:
    with process(opened) as first:
        assert first.now() == 0
        host.uptime += 5
        assert (first.now(), first.at(1002.0)) == (5, 2)


def test_between_two_processes_of_one_boot_it_goes_on(
    host: Host, opened: Callable[[], sqlite3.Connection]
) -> None:
    with process(opened):
        host.uptime += 5
    host.uptime += 100
    with process(opened) as second:
        assert second.now() == 105


@pytest.mark.parametrize("later", [3.0, 1_000_000.0])
def test_while_the_host_is_off_it_stands_still(
    later: float, host: Host, opened: Callable[[], sqlite3.Connection]
) -> None:
    """Also when another host, which is up for long, has the file now."""
    with process(opened):
        host.uptime += 5
    host.reboot(later)
    with process(opened) as second:
        assert second.now() == 5
        host.uptime += 2
        assert second.now() == 7


def test_where_the_boot_is_not_known_a_new_one_shows_by_its_uptime(
    host: Host, opened: Callable[[], sqlite3.Connection]
) -> None:
    host.boot = ""
    with process(opened):
        host.uptime += 5
    host.uptime = 3.0
    with process(opened) as second:
        assert second.now() == 5
    host.uptime = 10.0
    with process(opened) as third:
        assert third.now() == 12


def test_a_database_of_an_earlier_version_begins_where_its_rows_are(
    host: Host, opened: Callable[[], sqlite3.Connection]
) -> None:
    """Those were stamped by the wall clock, whatever it was then."""
    with closing(opened()) as connection:
        values = (0, "out", b"1", 1, "{}", 1.7e9)
        connection.execute(
            "INSERT INTO spool (lane, topic, payload, qos, properties, created, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*values, checksum(*values)),
        )
        connection.execute("DROP TABLE clock")
    with process(opened) as found:
        assert found.now() == 1.7e9


def test_it_never_goes_back_when_a_damaged_file_is_replaced(
    host: Host, opened: Callable[[], sqlite3.Connection], tmp_path: Path
) -> None:
    with closing(opened()) as connection, closing(open_database(tmp_path / "other")) as other:
        found = AgeClock()
        found.meet(connection)
        host.uptime += 50
        found.meet(other)
        assert found.now() == 50


def test_a_flipped_bit_in_the_count_is_a_damage(
    host: Host, opened: Callable[[], sqlite3.Connection], tmp_path: Path
) -> None:
    with process(opened):
        host.uptime += 5
    with closing(sqlite3.connect(tmp_path / "worker.sqlite")) as other, other:
        other.execute("UPDATE clock SET seconds = 1e12")
        with pytest.raises(sqlite3.DatabaseError, match="not what was written"):
            check(other)
    with process(opened) as again:
        assert again.now() == 0
