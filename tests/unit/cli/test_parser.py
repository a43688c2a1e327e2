"""The command line: usage, help, and the addresses and numbers that it takes."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from support.app import run_pyboot

from pyboot_svc import __version__
from pyboot_svc.cli import main
from pyboot_svc.cli.parser import _address, _seconds

CONFIG = """
edge:
- {name: a, pre_broker: h, pre_topic: i, edge_mode: m.f, post_broker: h, post_topic: o}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    return str(file)


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "nonsense",
        "--nonsense",
        "check --nonsense",
        "check unexpected",
        "check --config",
        "worker",
        "worker a-1 b-1",
        "worker a-1 --drain-seconds soon",
        "worker a-1 --drain-seconds=-1",
        "worker a-1 --drain-seconds nan",
        "worker a-1 --drain-seconds inf",
        "up --listen 5888",
        "up --listen",
        "master --model-path x",
        "status --listen h:port",
        "status --interval 1",
        "top --interval=-1",
        "top --json",
        "health a-1 b-1",
        "health --timeout soon",
        "bench",
        "bench a --rate 0",
        "bench a --rate nan",
        "bench a --rate many",
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    assert main(arguments.split()) == 64
    output = capsys.readouterr()
    assert output.out == ""
    usage, *_, last = output.err.splitlines()
    assert usage.startswith("usage: pyboot")
    assert last.startswith("pyboot: ")
    assert last.endswith(" --help")
    assert "_seconds" not in last
    assert "_rate" not in last


def test_wrong_usage_of_the_process() -> None:
    done = run_pyboot("nonsense")
    assert (done.returncode, done.stdout) == (64, "")
    assert "invalid choice: 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"pyboot {__version__}\n"


COMMANDS = {
    "up": ["foreground", "Ctrl-C", "--listen", "--run-dir", "--state-dir", "--model-path"],
    "check": ["validate the configuration", "--models", "--json", "--model-path"],
    "worker": ["run one instance", "NAME-INSTANCE", "--run-dir", "--drain-seconds", "--state-dir"],
    "master": ["run the master", "pyboot.service", "--listen", "--run-dir"],
    "status": ["all instances in one table", "--listen", "--json"],
    "bench": ["measure a model", "--payload", "--lines", "--rate", "--seconds", "--json"],
    "top": ["kept live", "--interval", "--listen"],
}


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split()).lower()


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_of_a_command(capsys: pytest.CaptureFixture[str], command: str) -> None:
    text = help_of(capsys, command)
    for word in (*COMMANDS[command], "--config", "/etc/pyboot/config.yaml"):
        assert word.lower() in text


def test_help_lists_the_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys)
    for command, (what, *_) in COMMANDS.items():
        assert f" {command} " in text
        assert what.lower() in text
    for code in ("0 ", "64 ", "69 ", "70 ", "78 "):
        assert code in text.partition("exit codes:")[2]


@pytest.mark.parametrize(
    "instance", ["b-1", "a-2", "a", "a-0", "a-1-1", "../a-1", "", "a-1.service"]
)
def test_unknown_instance(capsys: pytest.CaptureFixture[str], config: str, instance: str) -> None:
    assert main(["worker", instance, "--config", config]) == 64
    text = capsys.readouterr().err
    assert "configured: a-1" in text or "write NAME-NUMBER" in text


@pytest.mark.parametrize("command", ["up", "master", "worker a-1", "status", "top", "check"])
def test_a_configuration_that_is_absent(command: str, tmp_path: Path) -> None:
    done = run_pyboot(*command.split(), "--config", str(tmp_path / "absent.yaml"))
    assert done.returncode == 78
    assert "absent.yaml: can't be read: No such file" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5888", ("127.0.0.1", 5888)),
        ("h:0", ("h", 0)),
        ("localhost:65535", ("localhost", 65_535)),
        ("[::1]:80", ("::1", 80)),
        ("::1:80", ("::1", 80)),
    ],
)
def test_listen(text: str, address: tuple[str, int]) -> None:
    assert _address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "5888", "h", "h:", ":5888", "[]:5888", "h:-1", "h:65536", "h:5888 ", "h:1.5"),
        *("h:port", "h:\u0665", "h:\u00b2", "h:5888\n", "h:" + "9" * 5000),
    ],
    ids=lambda text: repr(text)[:12],
)
def test_listen_at_nothing(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not HOST:PORT"):
        _address(text)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("2.5", 2.5), ("1e3", 1000.0)])
def test_seconds(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1e10"])
def test_no_seconds(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of seconds"):
        _seconds(text)


def test_status_needs_to_know_the_port(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("web: {port: 0}\nedge: []")
    assert main(["status", "--config", str(file)]) == 64
    assert "give --listen HOST:PORT" in capsys.readouterr().err


def test_a_master_that_nobody_can_be_asked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--listen", "no\x1bhost here:1"]) == 69
    assert "no master answers at http://no\\x1bhost here:1: " in capsys.readouterr().err
