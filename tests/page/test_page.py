"""What a person sees: with real workers and messages, and with many that are simulated."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app import Up
from support.broker import Broker
from support.chromium import Chromium
from support.client import Plant
from support.poll import until
from support.simulated import Simulated

AXE = Path(__file__).parents[2] / "build" / "page" / "node_modules" / "axe-core" / "axe.min.js"
MODELS = "def double(payload):\n    return payload * 2\n"
STRICT = """def double(payload):
    if isinstance(payload, dict):
        raise ValueError("no number")
    return payload * 2 if payload != [1] else 1 / 0
"""
DEAD = ("#/dead", "#/dead/model_01-1", "#/dead/model_01-1/1")
VIEWS = ("#/", "#/instances", *DEAD, "#/model/model_01")
Write = Callable[..., Path]
Start = Callable[..., tuple[Up, Simulated]]


def edge(topic: str, **more: Any) -> str:
    usual = {"name": "double", "edge_mode": "my_models.double", "pre_topic": topic}
    return json.dumps({**usual, "post_topic": f"{topic}/out", **more})


def tile(browser: Chromium, title: str) -> str:
    found: str = browser.run(
        "[...document.querySelectorAll('.tile')].find((tile) => "
        f"tile.querySelector('dt').textContent === {json.dumps(title)})"
        "?.querySelector('dd').textContent ?? ''"
    )
    return found


def picture(browser: Chromium) -> str:
    """All texts of the plant's picture."""
    found: str = browser.run("document.querySelector('.plant')?.textContent ?? ''")
    return found


def wait_picture(browser: Chromium, text: str) -> None:
    until(lambda: text in picture(browser), f"{text!r} in the picture")


def test_messages_are_seen_and_an_instance_that_is_killed(
    browser: Chromium, write_config: Write, up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    running = up(write_config(edge(topic, instance=2), models=MODELS))
    browser.open(running.url + "/")
    until(lambda: tile(browser, "ready") == "2 of 2", "both are ready")
    assert tile(browser, "messages in") == "0/s"
    assert topic in picture(browser)
    for _ in range(300):
        plant.publish(topic, b"1")
    until(lambda: tile(browser, "results out") not in ("", "0/s"), "results are seen")
    # Stopped, it answers nothing; and it is not started again.
    pid = running.instance("double-1")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_picture(browser, "■ stalled · 1 of 2 ready")
        browser.wait_text("double-1: stalled: no answer within 1 s", ".troubles")
        assert tile(browser, "ready") == "▲ 1 of 2"
    finally:
        os.kill(pid, signal.SIGKILL)
    until(lambda: tile(browser, "ready") == "2 of 2", "it is back")
    browser.run("location.hash = '#/instances'")
    restarts = (
        "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[10].textContent).join()"
    )
    until(lambda: browser.run(restarts) == "1,0", "its restart is told")


def test_one_that_cannot_start_is_absent_with_its_reason(
    browser: Chromium, write_config: Write, up: Callable[..., Up], topic: str
) -> None:
    running = up(write_config(edge(topic), models="import nowhere_at_all"), ready=False)
    browser.open(running.url + "/")
    wait_picture(browser, "✕ absent · 0 of 1 ready")
    assert tile(browser, "ready") == "▲ 0 of 1"
    browser.run("location.hash = '#/instances'")
    browser.wait_text("✕ absent")
    browser.wait_text("absent: not connected; failed, ended with exit code 78")


def test_a_broker_that_is_away_is_seen_where_it_is(
    browser: Chromium, tmp_path: Path, write_config: Write, up: Callable[..., Up], topic: str
) -> None:
    own = Broker(tmp_path / "own").start()
    try:
        running = up(write_config(edge(topic, post_port=own.port), models=MODELS))
        browser.open(running.url + "/")
        wait_picture(browser, "1 of 1 ready")
        assert "away" not in picture(browser)
        own.stop()
        wait_picture(browser, "✕ away")
        broker = browser.run("document.querySelector('.plant rect.broker.bad + text').textContent")
        assert str(own.port) in broker
        own.start()
        until(lambda: "away" not in picture(browser), "it is back")
    finally:
        own.stop()


def test_what_failed_is_seen_in_full_with_what_tries_it_again(
    browser: Chromium, write_config: Write, up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    running = up(write_config(edge(topic), models=STRICT))
    evil = b'{"n": "<img src=x>"}'
    for payload in (evil, b"\xff\x00\x01", b"[1]"):
        plant.publish(topic, payload)
    until(lambda: sum(running.instance("double-1")["errors"].values()) == 3, "all have failed")
    browser.open(running.url + "/#/model/double")
    browser.wait_text(f"{topic}, {len(evil)} bytes", ".letters")
    browser.wait_text("model: 2")
    browser.run("location.hash = '#/dead'")
    browser.wait_text("double-1", "tbody")
    browser.run("document.querySelector('tbody a').click()")
    browser.wait_text("3 are kept:")
    assert browser.run("document.querySelectorAll('#main img').length") == 0
    browser.run("[...document.querySelectorAll('tbody a')].at(-1).click()")
    browser.wait_text('{\n  "n": "<img src=x>"\n}', "pre[aria-label=Payload]")
    assert "ValueError: no number" in browser.text("pre[aria-label=Error]")
    browser.run("document.querySelector('input[value=hex]').click()")
    browser.wait_text("000000  7b 22 6e 22 3a 20", "pre[aria-label=Payload]")
    browser.wait_text("pyboot dead retry double-1 1", "code")
    browser.run("location.hash = '#/dead/double-1/2'")
    browser.wait_text("000000  ff 00 01", "pre[aria-label=Payload]")
    assert browser.run("document.querySelector('input[value=JSON]').disabled")


def test_a_backlog_of_a_slow_model_is_seen(
    browser: Chromium, write_config: Write, up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    slow = "import time\ndef double(payload):\n    time.sleep(0.5)\n    return payload\n"
    running = up(write_config(edge(topic), models=slow))
    browser.open(running.url + "/")
    wait_picture(browser, "1 of 1 ready")
    for _ in range(2000):
        plant.publish(topic, b"1")
    wait_picture(browser, "▲ backlog · 1 of 1 ready")
    browser.wait_text("wait for the model", ".troubles")


def test_the_page_says_that_the_master_is_away_and_comes_back(
    browser: Chromium, tmp_path: Path, write_config: Write, up: Callable[..., Up], topic: str
) -> None:
    config = write_config(edge(topic), models=MODELS)
    running = up(config)
    browser.open(running.url + "/")
    until(lambda: tile(browser, "ready") == "1 of 1", "it is ready")
    running.close()
    browser.wait_text("The master has not answered since", "[role=alert]")
    assert tile(browser, "ready") == "1 of 1"  # from before
    again = Up(tmp_path / "again", config, "--listen", running.url.removeprefix("http://"))
    try:
        browser.wait("document.querySelector('.away').hidden", "it has come back")
    finally:
        again.close()
        # What a browser says of a master that is not there.
        assert all("net::ERR_" in one for one in browser.complaints)
        browser.complaints.clear()


def test_a_backlog_and_what_it_needs(browser: Chromium, simulated: Start) -> None:
    master, workers = simulated(2, 1)
    workers.changes["model_02-1"] = {"pre_queue": 1203}
    browser.open(master.url + "/")
    wait_picture(browser, "▲ backlog · 1 of 1 ready")
    assert "1,203 wait" in picture(browser)
    browser.wait_text("model_02-1: 1,203 wait for the model", ".troubles")
    browser.run("document.querySelector('.troubles a').click()")
    browser.wait_text("Model model_02", "h2")
    browser.wait_text("Too few messages in the last minute", ".load")
    assert browser.run("document.activeElement.tagName") == "H2"
    assert "edge_mode" in browser.text(".config")


def test_what_the_file_says_otherwise_is_told(
    browser: Chromium, write_config: Write, up: Callable[..., Up], topic: str
) -> None:
    config = write_config(edge(topic), models=STRICT)
    running = up(config)
    browser.open(running.url + "/#/model/double")
    browser.wait_text(topic, "dl.config")
    config.write_text(config.read_text().replace('"double"', '"double", "threads": 2', 1))
    browser.wait_text(
        "▲ The file says otherwise: threads. pyboot plan tells what a reload would do."
    )
    os.kill(running.pid, signal.SIGHUP)
    browser.wait(
        "!document.body.innerText.includes('The file says otherwise')", "it is applied", 60
    )


def test_latency_is_seen_as_it_spreads(browser: Chromium, simulated: Start) -> None:
    master, workers = simulated(1, 1)
    begun = time.monotonic()

    def work() -> str:
        """Nine of ten messages take up to 5 ms, the others up to 1 s."""
        done = int((time.monotonic() - begun) * 10)
        counts = [0] * 17
        counts[3], counts[10] = 9 * done, done
        workers.changes["model_01-1"] = {"histograms": {"latency_s": {"counts": counts, "sum": 0}}}
        return browser.text(".chart:last-child figcaption")

    browser.open(master.url + "/#/model/model_01")
    until(lambda: "half within 5 ms, 99 % within 1 s" in work(), "it is said", 60)
    assert browser.run("document.querySelector('.h4').getAttribute('d')").startswith("M")
    assert browser.run("document.querySelector('.h2').getAttribute('d')").startswith("M")
    browser.run("document.querySelector('.chart:last-child svg').focus()")
    for _ in range(2):
        browser.press("ArrowLeft")
    browser.wait_text("at ", ".chart:last-child .moment")
    browser.call("Page.reload")
    browser.wait("document.querySelector('.h4')?.getAttribute('d')?.startsWith('M')", "it is kept")


def test_what_a_model_needs_is_reckoned_by_what_it_does(
    browser: Chromium, simulated: Start
) -> None:
    master, workers = simulated(1, 1)
    begun = time.monotonic()

    def work() -> bool:
        """300 messages a second, each of 4.1 ms."""
        seconds = time.monotonic() - begun
        workers.changes["model_01-1"] = {
            "rates": {"in": 300.0, "out": 300.0},
            "cpu_s": seconds * 1.23,
            "counters": {"processed": int(seconds * 300)},
        }
        return "2 instances, with 30 % to spare; ▲ it runs 1" in browser.text(".load")

    browser.open(master.url + "/#/model/model_01")
    until(work, "it says how many", 40)
    # The first sample may be of before.
    assert re.match(r"A message takes (3\.[5-9]|4\.\d) ms of CPU time", browser.text(".load"))
    browser.run("document.querySelector('.chart svg').focus()")
    browser.press("ArrowLeft")
    browser.wait("document.querySelector('.moment').textContent.startsWith('at ')", "a moment")


def test_500_instances_sort_and_filter(browser: Chromium, simulated: Start) -> None:
    master, workers = simulated(20, 25)
    workers.changes["model_07-3"] = {"pre_queue": 9999}
    browser.open(master.url + "/#/instances")
    browser.wait_text("500 of 500 instances", "output", 60)
    first = "document.querySelector('tbody th').textContent"
    assert browser.run(first) == "model_01-1"
    names = "[...document.querySelectorAll('tbody th')].map((cell) => cell.textContent)"
    assert browser.run(f"{names}[9]") == "model_01-10"
    rows = "document.querySelectorAll('tbody tr').length"
    assert browser.run(rows) < 100, "only what can be seen is made"
    browser.run("scrollTo(0, document.body.scrollHeight)")
    last = "[...document.querySelectorAll('tbody th')].at(-1).textContent"
    until(lambda: browser.run(last) == "model_20-25", "the last one is found at the end")
    assert browser.run("document.querySelector('tbody tr:last-child').ariaRowIndex") == "501"
    assert browser.run(rows) < 100
    browser.run("scrollTo(0, 0)")
    browser.run("[...document.querySelectorAll('th button')][4].click()")
    browser.run("[...document.querySelectorAll('th button')][4].click()")
    until(lambda: browser.run(first) == "model_07-3", "the longest queue comes first", 60)
    assert browser.run("document.querySelectorAll('th')[4].ariaSort") == "descending"
    browser.run(
        "((box) => { box.value = 'backlog'; box.dispatchEvent(new Event('input')); })"
        "(document.getElementById('filter'))"
    )
    browser.wait_text("1 of 500 instances", "output", 60)
    assert browser.run(f"{names}.join()") == "model_07-3"
    browser.run("location.hash = '#/'")
    until(lambda: "25 of 25 ready" in picture(browser), "the picture", 60)
    until(lambda: tile(browser, "messages in") == "5,000/s", "all are added up", 60)
    workers.rate = 20.0
    until(lambda: tile(browser, "messages in") == "10,000/s", "it changes", 60)


@pytest.mark.parametrize("width", [320, 390, 800, 2560])
def test_on_any_screen_nothing_is_cut_off(browser: Chromium, simulated: Start, width: int) -> None:
    master, _ = simulated(3, 2)
    browser.size(width, 800)
    browser.open(master.url + "/")
    wait_picture(browser, "2 of 2 ready")
    for view in VIEWS:
        browser.run(f"location.hash = '{view}'")
        browser.wait("document.querySelector('#main h2').textContent !== ''", "it is shown")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), view


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Chromium, simulated: Start, scheme: str) -> None:
    master, workers = simulated(3, 2)
    workers.changes["model_01-1"] = {"pre_queue": 1000, "errors": {"model": 3}}
    workers.changes["model_02-1"] = {"state": "waiting", "reasons": ["pre broker a: no answer"]}
    browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    browser.open(master.url + "/")
    wait_picture(browser, "2 of 2 ready")
    browser.run(AXE.read_text())
    for view in VIEWS:
        browser.run(f"location.hash = '{view}'")
        browser.wait_text("model_01")
        found = browser.run(
            "axe.run().then(({violations}) => violations.map((one) => "
            "[one.impact, one.id, one.nodes[0].html, one.nodes[0].failureSummary]))"
        )
        assert [one for one in found if one[0] in ("serious", "critical")] == [], view


def test_by_keyboard(browser: Chromium, simulated: Start) -> None:
    master, _ = simulated(1, 1)
    browser.open(master.url + "/")
    wait_picture(browser, "1 of 1 ready")
    reached = set()
    for _ in range(8):
        browser.press("Tab")
        reached.add(browser.run("document.activeElement.getAttribute('href')"))
    assert {"#/", "#/instances", "#/dead", "#/model/model_01"} <= reached
    browser.run("document.querySelector('.plant a').focus()")
    browser.press("Enter")
    browser.wait_text("Model model_01", "h2")


def test_without_scripts_there_is_a_table(browser: Chromium, simulated: Start) -> None:
    master, _ = simulated(1, 2)
    browser.run_scripts(False)
    browser.open(master.url + "/")
    browser.wait_text("model_01-2", "table")
    assert browser.run("document.querySelectorAll('tbody tr').length") == 2


def test_history_outlives_the_page(browser: Chromium, simulated: Start) -> None:
    master, _ = simulated(1, 1)
    browser.open(master.url + "/#/model/model_01")
    drawn = "document.querySelector('.chart .line')?.getAttribute('d')?.startsWith('M')"
    browser.wait(drawn, "a line")
    browser.call("Page.reload")
    browser.wait(drawn, "it is there at once")


def test_hostile_texts_are_texts(browser: Chromium, simulated: Start) -> None:
    master, workers = simulated(1, 1)
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    workers.changes["model_01-1"] = {
        "state": "waiting",
        "reasons": [evil],
        "model_version": evil,
        "errors": {"model": 1},
        "last": {"error": evil, "error_time": 1.0, "input": None, "result": None},
    }
    browser.open(master.url + "/")
    for view in VIEWS:
        browser.run(f"location.hash = '{view}'")
        browser.wait_text("model_01")
        assert browser.run("document.querySelectorAll('#main img, #main script').length") == 0
    browser.wait_text(evil, "p > code")
