"""The command line: usage, help, and the addresses and numbers that it takes."""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from support.app import PYBOOT, run_pyboot
from support.broker import free_port

from pyboot_svc import __version__
from pyboot_svc.cli import main
from pyboot_svc.cli.arguments import address, seconds
from pyboot_svc.cli.commands import GROUPS, NAMES, load_command
from pyboot_svc.cli.main import command_parser
from pyboot_svc.config.compiled import write_compiled
from pyboot_svc.config.loader import load_config
from pyboot_svc.config.settings import WebAddress

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
        "help",
        "dead",
        "dead nonsense",
        "render",
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
    assert "seconds value" not in last
    assert "rate value" not in last


def test_wrong_usage_of_the_process() -> None:
    done = run_pyboot("nonsense")
    assert (done.returncode, done.stdout) == (64, "")
    assert "there is no command 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_as_good_as_empty_ones(config: str, closed: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def same(payload): return payload")
    Path(config).write_text(CONFIG.replace("m.f", "model.same"))
    options = ["-c", config, "--model-path", str(tmp_path), "-"]
    command = shlex.join([*PYBOOT, "try", "a", *options])
    done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, text=True)
    assert done.returncode == 64
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("buffered", ["", "1"])
def test_output_that_can_not_be_written_is_said(config: str, buffered: str) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": buffered}
    with open("/dev/full", "w") as full:
        command = [*PYBOOT, "check", "-c", config]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=env)
    said = "pyboot: the output can't be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (69, said)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"pyboot {__version__}\n"


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("check my.yaml", "pyboot check -c my.yaml"),
        ("check my.yml --models", "pyboot check --models -c my.yml"),
        ("check 'my plant.yaml'", "pyboot check -c 'my plant.yaml'"),
        ("up my.yaml", "pyboot up -c my.yaml"),
        ("worker a-1 my.yaml", "pyboot worker a-1 -c my.yaml"),
        ("render kubernetes my.yaml", "pyboot render kubernetes -c my.yaml"),
        ("my.yaml", "pyboot up -c my.yaml"),
        ("-c my.yaml", "pyboot up -c my.yaml"),
        ("--config my.yaml check", "pyboot up --config my.yaml"),
        ("chek", "check"),
    ],
)
def test_wrong_usage_says_what_to_type(
    capsys: pytest.CaptureFixture[str], line: str, right: str
) -> None:
    assert main(shlex.split(line)) == 64
    assert f"`{right}`" in capsys.readouterr().err.splitlines()[-1]


def test_the_configuration_is_named_by_option_environment_or_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYBOOT_CONFIG", str(tmp_path / "of environment.yaml"))
    assert main(["check", "-c", config]) == 0
    assert main(["check"]) == 78
    monkeypatch.setenv("PYBOOT_CONFIG", "")
    main(["check"])
    by_option, by_environment, by_default, *_ = capsys.readouterr().out.splitlines()
    assert by_option == f"{config}: ok, models: 1, instances: 1"
    assert by_environment.startswith(f"{tmp_path}/of environment.yaml: can't be read: No such file")
    assert by_default.startswith("/etc/pyboot/config.yaml")


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
    for word in (*COMMANDS[command], "-c FILE, --config FILE", "/etc/pyboot/config.yaml"):
        assert word.lower() in text


def test_help_lists_the_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys)
    for command, (what, *_) in COMMANDS.items():
        assert f" {command} " in text
        assert what.lower() in text
    for code in ("0 ", "64 ", "69 ", "70 ", "78 ", "130 "):
        assert code in text.partition("exit codes:")[2]


def test_help_groups_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys)
    places = [text.index(f"{group.purpose.lower()}: ") for group in GROUPS]
    assert places == sorted(places)
    assert text.count("pyboot check -c config.yaml") == 1


def test_each_command_is_a_module_and_each_module_a_command() -> None:
    folder = Path(__file__).parents[3] / "pyboot_svc" / "cli" / "commands"
    assert {file.stem for file in folder.glob("[a-z]*.py")} == set(NAMES)


@pytest.mark.parametrize("command", NAMES)
def test_help_has_examples_and_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 90
    for line, what in load_command(command).EXAMPLES:
        assert line in shown
        assert f"# {what}" in shown


@pytest.mark.parametrize("command", NAMES)
def test_examples_are_right_usage(command: str) -> None:
    for line, _ in load_command(command).EXAMPLES:
        words = shlex.split(line.partition(" |")[0])
        words = words[words.index("pyboot") + 1 :]
        assert words[0] == command
        command_parser(command).parse_args(words[1:])


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("try m - -c c.yaml", {"name": "m", "stdin": "-"}),
        ("try m -c c.yaml -", {"name": "m", "stdin": "-"}),
        ("try -c c.yaml m --json -", {"name": "m", "stdin": "-"}),
        ("test a -c c.yaml b", {"files": [Path("a"), Path("b")]}),
        ("worker -c c.yaml m-1", {"instance": "m-1"}),
    ],
)
def test_options_and_other_arguments_come_in_any_order(
    command: str, found: dict[str, object]
) -> None:
    name, *arguments = command.split()
    options = vars(command_parser(name).parse_args(arguments))
    assert options == {**options, **found, "config": Path("c.yaml")}


def test_those_of_an_action_too() -> None:
    options = command_parser("dead").parse_args(["show", "m-1", "--state-dir", "s", "3", "4"])
    assert (options.action, options.instance, options.id) == ("show", "m-1", [3, 4])
    assert options.state_dir == Path("s")


@pytest.mark.parametrize(
    "instance", ["b-1", "a-2", "a", "a-0", "a-1-1", "../a-1", "", "a-1.service"]
)
def test_unknown_instance(capsys: pytest.CaptureFixture[str], config: str, instance: str) -> None:
    assert main(["worker", instance, "--config", config]) == 64
    text = capsys.readouterr().err
    assert "configured: a-1" in text or "write NAME-NUMBER" in text
    assert gc.isenabled()  # which it isn't while the worker is being imported


@pytest.mark.parametrize("command", ["up", "master", "worker a-1", "check"])
def test_a_configuration_that_is_absent(command: str, tmp_path: Path) -> None:
    done = run_pyboot(*command.split(), "--config", str(tmp_path / "absent.yaml"))
    assert done.returncode == 78
    assert "absent.yaml: can't be read: No such file" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["status", "top"])
def test_a_configuration_that_is_absent_while_no_master_runs(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # One may run where a master listens by default: this host may have other uses.
    monkeypatch.setattr(
        "pyboot_svc.cli.master_address.WebAddress", lambda: WebAddress("127.0.0.1", free_port())
    )
    assert main([command, "--config", str(tmp_path / "absent.yaml")]) == 78
    assert "absent.yaml: can't be read: No such file" in capsys.readouterr().err


def test_a_worker_goes_by_what_was_applied_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str
) -> None:
    monkeypatch.setenv("PYBOOT_CONFIG", str(tmp_path / "absent.yaml"))
    command = ("worker", "a-1", "--run-dir", str(tmp_path), "--state-dir", str(tmp_path))
    assert "absent.yaml: can't be read" in run_pyboot(*command).stderr
    write_compiled(next(load_config(Path(config)).instances()), tmp_path)
    done = run_pyboot(*command)
    assert done.returncode == 78
    assert "there is no module 'm'" in done.stderr
    assert "absent.yaml" not in done.stderr


def test_from_a_working_directory_that_was_removed(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "edge: [{name: a, edge_mode: pyboot_svc.models.alarm.threshold_alarm, options: {high: 1},"
        " pre_broker: h, pre_topic: a, post_broker: h, post_topic: b}]"
    )

    def check(config: str) -> subprocess.CompletedProcess[str]:
        command = shlex.join([*PYBOOT, "check", "--models", "-c", config])
        script = f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone; {command}"
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)

    assert check(str(file)).returncode == 0
    refused = check("config.yaml")
    assert refused.returncode == 69
    assert "config.yaml is in the working directory, which was removed" in refused.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:5888", ("127.0.0.1", 5888)),
        ("h:0", ("h", 0)),
        ("localhost:65535", ("localhost", 65_535)),
        ("[::1]:80", ("::1", 80)),
        ("::1:80", ("::1", 80)),
        ("http://127.0.0.1:5888", ("127.0.0.1", 5888)),
        ("http://[::1]:5888/", ("::1", 5888)),
    ],
)
def test_listen(text: str, found: tuple[str, int]) -> None:
    assert address(text) == found


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
        address(text)


@pytest.mark.parametrize(
    "text", ["*:0", "a..b:1", "h" * 300 + ":1", "https://h:1", "http://:1", "-h:1", "no\x1bhost:1"]
)
def test_listen_at_what_is_no_host(text: str) -> None:
    with pytest.raises(
        argparse.ArgumentTypeError, match=r"is (neither a host name nor|not HOST:PORT).*0\.0\.0\.0"
    ):
        address(text)


@pytest.mark.parametrize(("command", "things"), [("logs", "lines"), ("trace", "messages")])
def test_how_many(command: str, things: str, capsys: pytest.CaptureFixture[str]) -> None:
    for number in ("0", "-1", "x"):
        assert main([command, "a", f"-n={number}"]) == 64
        assert f"'{number}' is not a number of {things}" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "found"), [("0", 0.0), ("2.5", 2.5), ("1e3", 1000.0)])
def test_seconds(text: str, found: float) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1e10"])
def test_no_seconds(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of seconds"):
        seconds(text)


def test_status_needs_to_know_the_port(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("web: {port: 0}\nedge: []")
    assert main(["status", "--config", str(file)]) == 64
    assert "give --listen HOST:PORT" in capsys.readouterr().err


def test_a_master_that_nobody_can_be_asked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--listen", "nohost.invalid:1"]) == 69
    assert "no master answers at http://nohost.invalid:1: " in capsys.readouterr().err
