"""`pyboot check`: what it prints, what it ends with."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from support.app import complaints, run_pyboot

from pyboot_svc.cli import main
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ConfigError

EDGE = "pre_broker: h, pre_topic: i, post_broker: h, post_topic: o"
FINE = f"edge:\n- {{name: a, {EDGE}, edge_mode: given.f, instance: 2}}\n"
WRONG = f"""\
zzz: 1
edge:
- {{name: a, {EDGE}, edge_mode: given.f, pre_qos: 3}}
- {{name: a, {EDGE}, edge_mode: given, treads: 2}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def check(file: Path, *more: str) -> int:
    return main(["check", "--config", str(file), *more])


def test_nothing_is_wrong(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FINE)
    assert check(file) == 0
    assert capsys.readouterr().out == f"{file}: ok, models: 1, instances: 2\n"


def test_every_error_is_printed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(WRONG)
    assert check(file) == 78
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{file}:1:1", "zzz"],
        [f"{file}:3:102", "edge[0].pre_qos"],
        [f"{file}:4:10", "edge[1].name"],
        [f"{file}:4:84", "edge[1].edge_mode"],
        [f"{file}:4:91", "edge[1].treads"],
    ]
    assert lines[-1].endswith("unknown key `treads` (did you mean `threads`?)")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert lines == [str(problem) for problem in caught.value.problems]


def test_logins_that_nobody_has_are_warned_of(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    who = tmp_path / "who"
    who.write_text("junk\n")
    file.write_text(f"web: {{auth: {{file: {who}}}}}\n{FINE}")
    assert check(file) == 0
    warning = capsys.readouterr().out.splitlines()[1]
    assert warning == (
        f"warning: web.auth: {who} has no entry of `pyboot web password`: nobody can log in"
    )


def decoded(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_json_of_a_right_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FINE)
    assert check(file, "--json") == 0
    assert decoded(capsys) == {"file": str(file), "valid": True, "problems": [], "warnings": []}


def test_json_of_a_wrong_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(WRONG)
    assert check(file, "--json") == 78
    document = decoded(capsys)
    assert (document["valid"], len(document["problems"])) == (False, 5)
    assert document["problems"][4] == {
        "file": str(file),
        "line": 4,
        "column": 91,
        "path": "edge[1].treads",
        "message": "unknown key `treads`",
        "hint": "did you mean `threads`?",
    }


def test_json_of_an_absent_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(file, "--json") == 78
    document = decoded(capsys)
    assert document["valid"] is False
    assert "No such file" in document["problems"][0]["message"]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_no_password_is_printed(
    file: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    file.write_text("brokers: {p: {host: h, password: hunter2}}\nedge: [{name: b}]")
    assert check(file, *more) == 78
    output = capsys.readouterr()
    assert "unknown key `password`" in output.out
    assert "hunter2" not in output.out + output.err


def test_models_stay_alone_unless_asked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"edge: [{{name: a, {EDGE}, edge_mode: no_such_module.f}}]")
    assert check(file) == 0
    assert capsys.readouterr().err == ""


def test_each_model_is_imported(file: Path) -> None:
    """In a process of its own: what it imports stays there."""
    modes = ["given.f", "given.absent", "broken.f", "no_such.f", "given.number", "leaves.f"]
    modes += ["given.Needy", "given.Ready", "given.pair"]
    edges = "".join(
        f"- {{name: e{index}, {EDGE}, edge_mode: {mode}, options: {{high: 5}}}}\n"
        for index, mode in enumerate(modes)
    )
    edges += f"- {{name: e9, {EDGE}, edge_mode: given.f, every: 5s}}\n"
    edges += f"- {{name: e10, {EDGE}, edge_mode: given.f, concurrency: 5}}\n"
    file.write_text(f"model_path: models\nedge:\n{edges}")
    folder = file.parent / "models"
    folder.mkdir()
    (folder / "given.py").write_text(
        "number = 5\n"
        "def f(payload): ...\n"
        "def pair(event, context): ...\n"
        "class Needy:\n"
        "    def __init__(self, context): context.options['absent']\n"
        "class Ready:\n"
        "    def __init__(self, context): assert context.options['high'] == 5\n"
        "    def __call__(self, payload): ...\n"
    )
    (folder / "broken.py").write_text("import no_such_dependency\n")
    (folder / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    done = run_pyboot("check", "--models", "--json", "--config", str(file))
    assert (done.returncode, complaints(done.stderr)) == (78, "")
    problems = json.loads(done.stdout)["problems"]
    begins = {problem["path"]: problem["message"].splitlines()[0] for problem in problems}
    assert list(begins) == [f"edge[{index}].edge_mode" for index in (1, 2, 3, 4, 5, 6, 9, 10)]
    assert begins["edge[1].edge_mode"].startswith("module given has no 'absent'")
    assert begins["edge[2].edge_mode"].startswith("importing broken failed: ModuleNotFoundError")
    assert begins["edge[3].edge_mode"].startswith("there is no module 'no_such'")
    assert begins["edge[4].edge_mode"].startswith("given.number is an int")
    assert begins["edge[5].edge_mode"] == "importing leaves failed: SystemExit: 0"
    assert begins["edge[9].edge_mode"] == "`every` needs a model with a method `tick(context)`"
    assert begins["edge[10].edge_mode"] == "`concurrency` needs a model that is an `async def`"
    assert begins["edge[6].edge_mode"] == "creating a given.Needy failed: KeyError: 'absent'"


def test_a_module_that_ends_the_process_is_no_model_that_loads(file: Path) -> None:
    (file.parent / "models").mkdir()
    (file.parent / "models/ends.py").write_text("import os\nos._exit(0)\n")
    file.write_text(f"model_path: models\nedge: [{{name: a, {EDGE}, edge_mode: ends.now}}]")
    done = run_pyboot("check", "--models", "--config", str(file))
    assert done.returncode == 78
    assert "edge[0].edge_mode: the model's process ended with exit code 0" in done.stdout


def test_models_are_not_imported_from_a_wrong_file(file: Path) -> None:
    marker = file.parent / "imported"
    (file.parent / "given.py").write_text(f"open({str(marker)!r}, 'w')")
    file.write_text(WRONG)
    done = run_pyboot("check", "--models", "--config", str(file), "--model-path", str(file.parent))
    assert done.returncode == 78
    assert not marker.exists()


def test_the_command_lines_folders_go_first(file: Path) -> None:
    """In their order, before that of the file: the first that has the module is taken."""
    for name in ("first", "second", "own"):
        (file.parent / name).mkdir()
        code = f"print('from {name}')\ndef f(payload): ..."
        (file.parent / name / "given.py").write_text(code)
    file.write_text(f"model_path: own\n{FINE}")
    arguments = ["check", "--models", "--config", str(file)]
    folders = [f"--model-path={file.parent / name}" for name in ("first", "second")]
    assert run_pyboot(*arguments, *folders).stdout.startswith("from first\n")
    assert run_pyboot(*arguments, *reversed(folders)).stdout.startswith("from second\n")
    assert run_pyboot(*arguments).stdout.startswith("from own\n")


def test_the_originals_path_as_namespace_packages(file: Path) -> None:
    module = file.parent / "models/pyboot/modules/gridsum/science/industry/telemetry.py"
    module.parent.mkdir(parents=True)
    module.write_text("def telm_temperature(payload): ...")
    mode = "pyboot.modules.gridsum.science.industry.telemetry.telm_temperature"
    file.write_text(f"model_path: models\nedge: [{{name: a, {EDGE}, edge_mode: {mode}}}]")
    done = run_pyboot("check", "--models", "--config", str(file))
    assert (done.returncode, complaints(done.stderr)) == (0, "")


def test_nothing_is_changed_by_checking(file: Path) -> None:
    file.write_text(FINE)
    before = file.stat()
    assert check(file) == 0
    after = file.stat()
    assert (after.st_mtime_ns, stat.S_IMODE(after.st_mode)) == (
        before.st_mtime_ns,
        stat.S_IMODE(before.st_mode),
    )
    assert list(file.parent.iterdir()) == [file]


def test_names_of_instances_are_alone_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("edge: [")
    assert main(["check", "--config", str(file), "--instances"]) == 78
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{file}:2:1: broken YAML" in printed.err


@pytest.mark.parametrize(
    ("mode", "more", "warned"),
    [
        ("given.keeps", "instance: 2", True),
        ("given.Keeper", "instance: 2", True),
        ("pyboot_svc.models.telemetry.telm_temperature", "instance: 2", True),
        ("given.keeps", "instance: 2, share: {by: device}", False),
        ("given.keeps", "instance: 2, share: false", False),
        ("given.keeps", "instance: 1", False),
        ("other.f", "instance: 2", False),
        ("pyboot_svc.models.samples.sample_statistics", "instance: 2, batch: {}", False),
        ("absent.f", "instance: 2", False),
    ],
)
def test_a_state_that_several_instances_have_each_for_itself(
    file: Path, capsys: pytest.CaptureFixture[str], mode: str, more: str, warned: bool
) -> None:
    file.write_text(
        f"model_path: models\nedge:\n- {{name: a, {EDGE}, edge_mode: {mode}, {more}}}\n"
    )
    folder = file.parent / "models"
    folder.mkdir(exist_ok=True)
    (folder / "given.py").write_text(
        "def keeps(payload, context): context.state['n'] = 1\n"
        "class Keeper:\n    def __init__(self, context): self.ctx = context\n"
        "    def __call__(self, payload): return self.ctx.state.get('n')\n"
    )
    (folder / "other.py").write_text("def f(payload): return payload.state\n")
    assert check(file) == 0
    text = capsys.readouterr().out
    assert ("warning: edge[0].share: " in text) == warned, text
    assert check(file, "--json") == 0
    assert bool(json.loads(capsys.readouterr().out)["warnings"]) == warned


@pytest.mark.parametrize(
    ("more", "warned"),
    [("instance: 2", True), ("instance: 2, share: {by: 'topic[3]'}", False), ("threads: 2", False)],
    ids=["shared", "by edge node", "alone"],
)
def test_births_that_come_to_another_instance(
    file: Path, capsys: pytest.CaptureFixture[str], more: str, warned: bool
) -> None:
    text = f"{{name: a, {EDGE}, edge_mode: absent.f, codec: sparkplug_b, {more}}}"
    file.write_text(f"edge:\n- {text}\n")
    assert check(file) == 0
    assert ("an edge node's births come to one of" in capsys.readouterr().out) == warned


def test_secrets_in_the_configuration_are_warned_of(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(FINE.replace("instance: 2", "options: {token: hunter2}"))
    assert check(file, "--json") == 0
    [warning] = decoded(capsys)["warnings"]
    assert warning.startswith("edge[0].options.token: it looks like a secret")


def test_a_model_may_ask_for_its_secrets(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "given_secret.py").write_text(
        "class Model:\n"
        "    def __init__(self, context): context.secret('KEY')\n"
        "    def __call__(self, payload): return payload\n"
    )
    text = FINE.replace("given.f", "given_secret.Model")
    file.write_text(f"model_path: .\n{text.replace('instance: 2', 'secrets: {KEY: api.key}')}")
    assert check(file, "--models") == 78
    assert "the secret KEY can't be read: No such file or directory" in capsys.readouterr().out
    (file.parent / "api.key").write_text("hunter2\n")
    assert check(file, "--models") == 0
    assert "hunter2" not in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to take care")
def test_root_imports_nothing_that_others_can_write(file: Path) -> None:
    marker = file.parent / "imported"
    (file.parent / "given.py").write_text(f"open({str(marker)!r}, 'w')\ndef f(payload): ...")
    file.write_text(FINE)
    file.parent.chmod(0o1777)
    arguments = ("check", "--config", str(file), "--model-path", str(file.parent))
    refused = run_pyboot(*arguments, "--models")
    assert refused.returncode == 78
    assert f"anybody can make files in {file.parent}; put it elsewhere" in refused.stdout
    assert not marker.exists()
    assert run_pyboot(*arguments).returncode == 0  # nothing is imported
