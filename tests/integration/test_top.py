"""`pyboot top` in a terminal: alive, by keys, at any size, and the screen is left as it was."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import chain, repeat
from pathlib import Path
from threading import Thread

import pytest
from support.app import PYBOOT, Up, run_pyboot
from support.client import Plant
from support.poll import until
from support.terminal import Terminal

MODELS = "def same(payload): return payload\n"
EDGES = (
    "{{name: alpha, edge_mode: my_models.same, pre_topic: {topic}/a, post_topic: {topic}/out}}",
    "{{name: beta, edge_mode: my_models.same, pre_topic: {topic}/b, post_topic: {topic}/out, "
    "post_port: 9}}",
)

Open = Callable[..., Terminal]


@pytest.fixture
def terminal() -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*arguments: str, **more: object) -> Terminal:
        opened.append(Terminal(*arguments, **more))  # type: ignore[arg-type]
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def master(write_config: Callable[..., Path], up: Callable[..., Up], topic: str) -> list[str]:
    """Of two models, of which one has no broker for its results; how it is asked."""
    edges = [edge.format(topic=topic) for edge in EDGES]
    running = up(write_config(*edges, models=MODELS), ready=False)
    until(lambda: running.instance("alpha-1")["state"] == "ready", "one is ready", 30)
    until(lambda: running.instance("beta-1")["state"] == "waiting", "the other is not", 30)
    return ["--listen", running.url.removeprefix("http://")]


def test_it_is_alive_in_80_by_24(
    master: list[str], terminal: Open, plant: Plant, topic: str
) -> None:
    top = terminal("top", *master, "--interval", "0.1")
    top.wait("instances 2, ready 1")
    screen = top.wait("q quit")
    assert top.screen.alternate
    lines = screen.split("\n")
    assert len(lines) == 24
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:2] == ["INSTANCE", "STATE"]
    assert lines[-1].startswith("q quit  ? help  Enter detail  / filter  r reverse")
    [reason] = [n for n, line in enumerate(lines) if line.startswith("    post broker 127.0.0.1:9")]
    assert lines[reason - 1].startswith("beta-1")
    assert {31, 32, 33} & top.screen.colours == {32, 33}
    for number in range(40):
        plant.publish(f"{topic}/a", number, 1)
    top.wait("█")
    top.press("q")
    assert top.ended() == 0
    assert not top.screen.alternate
    assert top.read().strip() == ""
    assert top.settings() == top.before


def test_keys(master: list[str], terminal: Open) -> None:
    top = terminal("top", *master)
    top.wait("alpha-1")

    def order() -> list[str]:
        lines = top.read().split("\n")
        return [line.split()[0] for line in lines if line.startswith(("alpha-1 ", "beta-1 "))]

    top.press("r")
    until(lambda: order() == ["beta-1", "alpha-1"], "the other way round")
    top.press("n")
    until(lambda: order() == ["alpha-1", "beta-1"], "by name")
    top.press("j\r")
    detail = top.wait("any key: back")
    assert detail.split("\n")[1] == "beta-1  waiting"
    assert "pre broker  127.0.0.1:" in detail
    top.press(" ?")
    top.wait("by name or state")
    top.press(" /BET\r")
    top.wait("filter: BET (Esc ends it)")
    assert order() == ["beta-1"]
    top.press("\x1b")
    top.wait("alpha-1")
    top.press("/nothing")
    top.wait("none of that name")
    top.press("\x7f" * 7 + "\r")
    top.wait("alpha-1")
    assert order() == ["alpha-1", "beta-1"]


def test_another_size(master: list[str], terminal: Open) -> None:
    top = terminal("top", *master)
    top.wait("beta-1")
    assert "LAST OUT" not in top.read()
    top.resize(220, 50)
    top.wait("LAST OUT")
    top.resize(30, 4)
    top.wait("sort: n name")
    top.resize(1, 1)
    top.resize(80, 24)
    top.wait("beta-1")
    top.press("q")
    assert top.ended() == 0


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 0), (signal.SIGHUP, 129)],
    ids=["SIGTERM", "SIGINT", "SIGHUP"],
)
def test_a_signal_puts_the_screen_back(
    number: signal.Signals, code: int, master: list[str], terminal: Open
) -> None:
    top = terminal("top", *master)
    top.wait("beta-1")
    top.signal(number)
    assert top.ended() == code
    assert (top.screen.alternate, top.settings()) == (False, top.before)


def test_ctrl_z_gives_the_screen_to_the_shell(master: list[str], terminal: Open) -> None:
    shell = ("sh", "-mc", '"$@"; for i in 1 2 3; do echo "shell $i"; read line; fg; done', "sh")
    top = terminal("top", *master, within=shell)
    for number in (1, 2, 3):
        top.wait("beta-1")
        assert top.screen.alternate
        top.press("\x1a")
        top.wait(f"shell {number}")
        assert not top.screen.alternate
        top.press("\n")
    top.wait("beta-1")
    assert top.screen.alternate
    top.press("q")
    assert top.ended() == 0
    assert not top.screen.alternate


def test_a_terminal_that_goes_away_ends_it(master: list[str], terminal: Open) -> None:
    """Also where its signal is ignored, as by nohup: it must not read for ever."""
    top = terminal("top", *master)
    top.wait("beta-1")
    top.hang_up()
    top.process.wait(20)


def test_a_master_that_goes_away_is_told(
    write_config: Callable[..., Path], up: Callable[..., Up], topic: str, terminal: Open
) -> None:
    running = up(write_config(EDGES[0].format(topic=topic), models=MODELS))
    address = ("--listen", running.url.removeprefix("http://"))
    top = terminal("top", *address, "--interval", "0.1")
    top.wait("alpha-1")
    running.stop()
    top.wait("the figures are from")
    assert "alpha-1" in top.read()
    top.press("q")
    assert top.ended() == 0


def test_without_colours_and_without_utf_8(master: list[str], terminal: Open) -> None:
    top = terminal("top", *master, env={"NO_COLOR": "1", "LANG": "C"})
    top.wait("_")  # of a rate of 0
    assert top.screen.colours == set()
    assert top.output.isascii()


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_no_locale_but_utf_8_gets_what_it_doesnt_know(
    locale: str, master: list[str], terminal: Open
) -> None:
    """Over ssh: the locale is the one of the other end."""
    top = terminal("top", *master, width=100, env={"LC_ALL": locale, "LANG": "C.UTF-8"})
    top.wait("_")
    top.press("\r")
    top.wait("any key: back")
    assert top.output.isascii()


@pytest.mark.parametrize("size", [(40, 10), (20, 5)], ids=["40x10", "20x5"])
def test_a_tiny_terminal(size: tuple[int, int], master: list[str], terminal: Open) -> None:
    width, height = size
    top = terminal("top", *master, width=width, height=height)
    top.wait("alpha-1")
    top.press("j\r")
    top.wait("any key")
    assert "beta-1" in top.read()
    top.press(" ?")
    top.wait("Up Down")
    lines = top.read().split("\n")
    assert (len(lines), max(map(len, lines)) <= width) == (height, True)
    top.press(" q")
    assert top.ended() == 0
    assert not top.screen.alternate


def test_the_first_keys_are_shown_in_40_columns(master: list[str], terminal: Open) -> None:
    top = terminal("top", *master, width=40, height=10)
    top.wait("q quit  ? help  Enter detail  / filter")


@pytest.mark.parametrize("name", ["dumb", "unknown", "nothing-like-it", ""])
def test_a_terminal_that_cant(name: str, master: list[str], terminal: Open) -> None:
    top = terminal("top", *master, env={"TERM": name})
    assert top.ended() == 69
    assert "try `pyboot status`" in top.read().replace("\n", " ")


class Strange(BaseHTTPRequestHandler):
    """A master that gives its `answers` in turn."""

    def do_GET(self) -> None:
        answers: Iterator[bytes] = self.server.answers  # type: ignore[attr-defined]
        body = next(answers)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *told: object) -> None: ...


def test_a_bug_puts_the_screen_back(terminal: Open) -> None:
    """And is told where it can be read."""
    well = b'{"instances": [{"instance": "alpha-1", "state": "ready"}]}'
    with HTTPServer(("127.0.0.1", 0), Strange) as master:
        master.answers = chain([well, well], repeat(b'{"instances": [{}]}'))  # type: ignore[attr-defined]
        Thread(target=master.serve_forever, daemon=True).start()
        top = terminal("top", "--listen", f"127.0.0.1:{master.server_port}", "--interval", "0.1")
        assert top.ended() == 70
        master.shutdown()
    assert (top.screen.alternate, top.settings()) == (False, top.before)
    assert "KeyError: 'instance'" in top.read()


def test_where_no_keys_can_be_pressed_it_prints_once(master: list[str], tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    try:
        done = subprocess.run(
            [*PYBOOT, "top", *master], stdin=subprocess.DEVNULL, stdout=theirs, timeout=30
        )
        assert (done.returncode, b"\x1b" in os.read(ours, 65536)) == (0, False)
    finally:
        os.close(ours)
        os.close(theirs)


def test_status_on_a_terminal_has_reasons_where_they_belong(
    master: list[str], terminal: Open
) -> None:
    status = terminal("status", *master, width=120)
    assert status.ended() == 0
    lines = status.read().split("\n")
    [at] = [number for number, line in enumerate(lines) if line.startswith("beta-1")]
    assert lines[at + 1].startswith("    post broker 127.0.0.1:9: ")
    assert {31, 32, 33} & status.screen.colours == {32, 33}
    plain = terminal("status", *master, width=120, env={"NO_COLOR": "1"})
    assert plain.ended() == 0
    assert "\x1b" not in plain.output.decode()
    piped = run_pyboot("status", *master).stdout.splitlines()
    assert "\x1b" not in "".join(piped)
    assert any(line.startswith("beta-1: post broker 127.0.0.1:9: ") for line in piped)
