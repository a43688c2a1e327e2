"""The post broker is away and worse comes: nothing that was acknowledged disappears silently."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from support.poll import until

from chaos.conftest import Sizes
from chaos.rig import Rig, StateDisk

KILOBYTE = 1000


def test_killed_while_the_spool_fills(
    make_rig: Callable[..., Rig], sizes: Sizes, note: Callable[[object], None]
) -> None:
    rig = make_rig("same", threads=4)
    rig.start()
    rig.post.stop()
    rig.feed.start(sizes.messages)
    for point in rig.moments(sizes.messages, sizes.kills):
        rig.until_figure("spooled", lambda depth, point=point: depth >= point)
        rig.pause()
        rig.worker.kill()
    rig.feed.finish()
    rig.until_figure("spooled", lambda depth: depth >= sizes.messages)
    rig.post.start()
    found = rig.collect()
    note(f"{rig.worker.crashes} kills, {found}")
    found.expect_all(in_order=True)


def test_killed_while_the_spool_drains(
    make_rig: Callable[..., Rig], sizes: Sizes, note: Callable[[object], None]
) -> None:
    rig = make_rig("same")
    rig.start()
    rig.post.stop()
    rig.feed.send(sizes.messages)
    rig.until_figure("spooled", sizes.messages)
    rig.post.start()
    rig.feed.start(sizes.messages // 4)  # newer ones have to wait behind it
    for point in rig.moments(sizes.messages, sizes.kills):
        rig.wait_distinct(point)
        rig.worker.kill()
    found = rig.collect()
    note(f"{rig.worker.crashes} kills, {found}")
    found.expect_all(in_order=True)
    rig.until_figure("spooled", 0)


# Of the larger ones a page holds two, and one, and is then not full.
@pytest.mark.parametrize("pad", [KILOBYTE, 1500, 2500])
def test_full_disk_stops_the_intake_until_there_is_room(
    make_rig: Callable[..., Rig], pad: int
) -> None:
    rig = make_rig("same", queue={"pre": 500})
    disk = StateDisk(rig, 1024)
    rig.start(pad=pad)
    rig.post.stop()
    rig.feed.send(2000)
    rig.worker.wait_log("the disk is nearly full")
    assert "disk is full" not in rig.worker.log, rig.logs  # what is left of it is left to others
    assert rig.figures()["unacknowledged"] > 0
    assert rig.figures()["spooled"] < 2000
    disk.resize(64 * 1024)
    rig.until_figure("unacknowledged", 0)
    rig.post.start()
    found = rig.collect()
    found.expect_all(in_order=True)
    assert rig.worker.crashes == 0


def test_full_disk_is_no_obstacle_once_the_broker_is_back(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same", queue={"pre": 500})
    StateDisk(rig, 1024)
    rig.start(pad=KILOBYTE)
    rig.post.stop()
    rig.feed.send(2000)
    rig.worker.wait_log("the disk is nearly full")
    rig.post.start()
    found = rig.collect()
    found.expect_all(in_order=True)
    assert rig.worker.crashes == 0


def test_killed_while_the_disk_is_full(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same", queue={"pre": 500})
    disk = StateDisk(rig, 1024)
    rig.start(pad=KILOBYTE)
    rig.post.stop()
    rig.feed.send(2000)
    rig.worker.wait_log("the disk is nearly full")
    disk.fill()
    rig.worker.kill()
    until(lambda: rig.figures().get("pid") == rig.worker.pid, "the next one runs")
    rig.post.start()
    disk.resize(64 * 1024)
    found = rig.collect()
    found.expect_all(in_order=True)
    assert rig.worker.crashes == 1


def test_read_only_disk_is_no_obstacle_while_the_broker_is_there(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig("same")
    disk = StateDisk(rig, 1024)
    disk.make_read_only()
    rig.start()
    rig.feed.send(100)
    found = rig.collect()
    found.expect_all(in_order=True)
    assert "can't be kept: Read-only file system" in rig.worker.log
    rig.post.stop()
    rig.feed.send(100)
    rig.worker.wait_log("unable to open database file; retrying")
    rig.post.start()
    found = rig.collect()
    found.expect_all(in_order=True)
    assert rig.worker.crashes == 0


def test_disk_that_becomes_read_only(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same")
    disk = StateDisk(rig, 8 * 1024)
    rig.start()
    rig.post.stop()
    rig.feed.send(500)
    rig.until_figure("spooled", 500)
    rig.worker.kill_for_good()
    disk.make_read_only()
    rig.worker.start()
    rig.post.start()
    rig.feed.send(100)
    rig.wait_distinct(600)
    disk.make_writable()
    found = rig.collect()
    found.expect_all(in_order=True)
    rig.until_figure("spooled", 0)


def fill(rig: Rig, messages: int) -> None:
    """Fill the spool while the broker is away, and end the worker as it should end."""
    rig.start(pad=100)
    rig.post.stop()
    rig.feed.send(messages)
    rig.until_figure("spooled", messages)
    assert rig.worker.stop() == 0
    # A clean end leaves all in the one file.
    assert not rig.database.with_name("worker.sqlite-wal").exists()


def carried_over(rig: Rig) -> int:
    """How many rows of the spool the worker says it could read."""
    rig.worker.wait_log("carried over what could be read")
    found = re.search(r"carried over what could be read: spool (\d+)", rig.worker.log)
    assert found, rig.worker.log
    return int(found[1])


def test_truncated_database(make_rig: Callable[..., Rig], note: Callable[[object], None]) -> None:
    rig = make_rig("same")
    fill(rig, 2000)
    size = rig.database.stat().st_size
    with rig.database.open("r+b") as file:
        file.truncate(size * rig.chance.randrange(40, 80) // 100)
    rig.worker.start()
    saved = carried_over(rig)
    rig.post.start()
    rig.feed.send(500)
    rig.wait_distinct(saved + 500)
    found = {arrival.number for arrival in rig.results}
    note(f"2000 in the spool, {saved} carried over")
    assert 0 < saved < 2000
    assert found >= set(range(2000, 2500)), "processing goes on"
    assert "damaged: " in rig.worker.log
    assert len(list(rig.instance_dir.glob("worker.sqlite.damaged-*"))) >= 1
    rig.until_figure("spooled", 0)


def flip(rig: Rig, count: int, start: int = 0) -> None:
    """Flip bits of the database, from the byte `start` on."""
    content = bytearray(rig.database.read_bytes())
    for _ in range(count):
        content[rig.chance.randrange(start, len(content))] ^= 1 << rig.chance.randrange(8)
    rig.database.write_bytes(content)


@pytest.mark.parametrize("where", ["everywhere", "data", "data again", "data once more"])
def test_bits_flipped_in_the_database(
    where: str, make_rig: Callable[..., Rig], note: Callable[[object], None]
) -> None:
    rig = make_rig("same")
    fill(rig, 1000)
    # The first page says where all others are: without it, little can be read.
    flip(rig, 20, start=0 if where == "everywhere" else 4096)
    rig.worker.start()
    saved = carried_over(rig)
    rig.post.start()
    rig.feed.send(200)
    until(lambda: numbers(rig) >= set(range(1000, 1200)), "processing goes on", 60)
    rig.until_figure("spooled", 0)
    # Not in order all of them: the number of a row may have been hit, too.
    survivors = {arrival.number for arrival in rig.results if arrival.number < 1000}
    note(f"of 1000 in the spool {saved} were carried over")
    assert len(survivors) == saved, "what was carried over comes out whole"
    assert saved < 1000
    assert saved >= 500 or where == "everywhere"
    assert "damaged: " in rig.worker.log
    assert rig.worker.crashes == 0


def numbers(rig: Rig) -> set[int]:
    return {arrival.number for arrival in rig.results}


def test_full_spool_blocks_and_the_broker_keeps_the_rest(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same", spool={"max_bytes": "200K"}, queue={"pre": 100, "post": 100})
    rig.start(pad=KILOBYTE)
    rig.post.stop()
    rig.feed.send(3000)
    rig.worker.wait_log("no more input is taken in until the post broker is back")
    rig.until_figure("unacknowledged", lambda count: count >= 100)
    row = rig.figures()
    assert row["counters"]["received"] < 1500
    rig.post.start()
    found = rig.collect()
    found.expect_all(in_order=True)
    assert rig.figures()["counters"]["spool_overflowed"] == 0


def test_full_spool_drops_the_oldest_and_counts_them(
    make_rig: Callable[..., Rig], note: Callable[[object], None]
) -> None:
    rig = make_rig("same", spool={"max_bytes": "200K", "on_full": "drop_oldest"})
    rig.start(pad=KILOBYTE)
    rig.post.stop()
    rig.feed.send(3000)
    rig.until_figure("unacknowledged", 0)
    row = rig.until_figure("counters", lambda counters: counters["received"] == 3000)
    rig.post.start()
    rig.until_figure("spooled", 0)
    dropped = rig.figures()["counters"]["spool_overflowed"]
    rig.wait_distinct(3000 - dropped)
    kept = [arrival.number for arrival in rig.results]
    note(f"3000 in, {dropped} dropped, {len(set(kept))} out, spooled {row['spooled']}")
    assert sorted(set(kept)) == list(range(3000))[dropped:]
    assert kept == sorted(kept)
    assert 0 < dropped < 3000
    assert "the spool is full" in rig.worker.log
    # What is left of the account is right, too: a worker at rest, and results go straight out.
    rig.feed.send(10)
    rig.wait_distinct(3000 - dropped + 10)
    cpu = rig.figures()["cpu_s"]
    before = rig.figures()["uptime_s"]
    row = rig.until_figure("uptime_s", lambda uptime: uptime >= before + 1)
    assert row["cpu_s"] - cpu < 0.5, "it spins"


def test_results_too_old_are_dropped_and_counted(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same", spool={"max_age": 1})
    rig.start()
    rig.post.stop()
    rig.feed.send(2000)
    rig.until_figure("counters", lambda counters: counters["spool_expired"] == 2000)
    rig.until_figure("spooled", 0)
    assert "older than 1 s" in rig.worker.log
    rig.post.start()
    rig.until_figure("brokers", lambda links: links["post"]["state"] == "connected")
    rig.feed.send(50)
    rig.wait_distinct(50)
    assert {arrival.number for arrival in rig.results} == set(range(2000, 2050))
