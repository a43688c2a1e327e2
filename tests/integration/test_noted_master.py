"""`status` and `top` find the master where the configuration can't be read: by its note."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.app import Running, Up, run_pyboot
from support.certificates import Authority

from pyboot_svc.cli import main, master_address
from pyboot_svc.cli.running import master_note, running_master

EDGE = "{name: one, edge_mode: my_models.same, pre_topic: in, post_topic: out}"
Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_dir() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name, "run")


@pytest.fixture
def config(write_config: Callable[..., Path]) -> Path:
    return write_config(EDGE, models="def same(payload): return payload")


@pytest.fixture
def start(
    config: Path, run_dir: Path, tmp_path: Path, track: Callable[[Running], Running]
) -> Callable[..., Up]:
    """A master at a port that isn't the usual one."""

    def run(listen: bool = True) -> Up:
        where = ("--run-dir", str(run_dir))
        master = Up(tmp_path, config, *where, command="master", ready=False, listen=listen)
        track(master)
        return master

    return run


@pytest.fixture
def ask(
    config: Path,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Ask:
    """A command as if `run_dir` were /run/pyboot: exit code and output."""
    monkeypatch.setattr(master_address, "RUN_DIR", run_dir)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    def run(command: str, *more: str) -> tuple[int, str, str]:
        code = main([command, "-c", str(config), *more])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("edge: [{nmae: one}]", "nmae: unknown key"),
        ("edge: [", "config.yaml:"),
        ("edge:\n  - {name: one, pre_topic: no}", "config.yaml:2:"),
    ],
)
@pytest.mark.parametrize("command", ["status", "top"])
def test_whatever_is_wrong_with_the_configuration(
    command: str, text: str, said: str, start: Callable[..., Up], ask: Ask, config: Path
) -> None:
    master = start()
    config.write_text(text)
    code, out, err = ask(command)
    assert (code, "one-1" in out) == (0, True), err
    assert said in err
    assert err.endswith(f"pyboot: the master that runs is asked, at {master.url}\n")


def test_a_master_at_a_socket(
    start: Callable[..., Up], ask: Ask, config: Path, run_dir: Path
) -> None:
    socket = run_dir / "web.sock"
    config.write_text(f"web: {{socket: {socket}}}\n{config.read_text()}")
    start(listen=False)
    config.write_text("edge: [")
    code, out, err = ask("status", "--json")
    assert code == 0, err
    assert [row["instance"] for row in json.loads(out)["instances"]] == ["one-1"]
    assert f"at unix:{socket}\n" in err


def test_one_that_stopped_takes_its_note_along(
    start: Callable[..., Up], run_dir: Path, ask: Ask, config: Path
) -> None:
    master = start()
    note = master_note(run_dir)
    assert note.stat().st_mode & 0o777 == 0o644
    assert json.loads(note.read_text())["pid"] == master.pid
    assert master.stop() == 0
    assert not note.exists()
    config.write_text("edge: [")
    assert ask("status")[0] == 78


def test_the_note_of_one_that_died_is_none(
    start: Callable[..., Up], run_dir: Path, ask: Ask, config: Path
) -> None:
    master = start()
    master.stop(signal.SIGKILL)
    assert master_note(run_dir).exists()
    text = config.read_text()
    config.write_text("edge: [")
    code, _, err = ask("status")
    assert (code, "is asked" in err) == (78, False)
    config.write_text(text)
    again = start()
    config.write_text("edge: [")
    assert f"at {again.url}\n" in ask("status")[2]


def test_over_tls_one_that_wants_to_know_who_asks(
    start: Callable[..., Up], ask: Ask, config: Path, tmp_path: Path
) -> None:
    made = Authority(tmp_path, "authority").issue("master", "IP:127.0.0.1")
    who, token = tmp_path / "who", tmp_path / "token"
    token.write_text(run_pyboot("web", "password", "--file", str(who)).stdout)
    web = f"{{auth: {{file: {who}}}, tls: {{cert: {made.cert}, key: {made.key}}}}}"
    config.write_text(f"web: {web}\n{config.read_text()}")
    master = start()
    assert master.url.startswith("https:")
    config.write_text("edge: [")
    code, _, err = ask("status")
    assert code == 69
    assert f"the master at {master.url} wants to know who asks" in err
    code, out, err = ask("status", "--token-file", str(token))
    assert (code, "one-1" in out) == (0, True), err


@pytest.mark.parametrize(
    "change",
    [
        {"host": 1},
        {"port": "1"},
        {"began": ""},
        {"cert": "/dev/zero"},
        {"pid": "../.."},
        {"more": 1},
        None,
    ],
)
def test_nonsense_is_no_note(
    change: dict[str, object] | None, start: Callable[..., Up], run_dir: Path
) -> None:
    start()
    assert running_master(run_dir) is not None
    note = master_note(run_dir)
    told = json.loads(note.read_text())
    note.write_text("[" if change is None else json.dumps({**told, **change}))
    assert running_master(run_dir) is None


def test_where_none_can_be_left_the_master_goes_on(start: Callable[..., Up], run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "master").touch()
    master = start()
    assert master.get("/healthz")[0] == 200
    assert master.stop() == 0
