"""What an edge may ask of the host: limits, environment, sandbox."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from pyboot_svc.config import Edge, Limits, Sandbox, document
from pyboot_svc.config.loader import parse_config
from pyboot_svc.errors import ConfigError

EDGE = """\
edge:
  - name: pump
    pre_broker: localhost
    pre_topic: in
    edge_mode: package.module.function
    post_broker: localhost
    post_topic: out
"""


def parse(section: str) -> Edge:
    return parse_config(f"{EDGE}    {section}\n".encode(), "config.yaml").edges[0]


def problem(section: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(section)
    (only,) = caught.value.problems
    assert only.line == 8
    hint = f" ({only.hint})" if only.hint else ""
    return f"{only.path.removeprefix('edge[0].')}: {only.message}{hint}"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("5", 5.0), ("0.5", 0.5), ("5s", 5.0), ("500ms", 0.5), ("1.5 m", 90.0), ("24h", 86_400.0)],
)
def test_how_often_a_model_is_called_by_time(written: str, seconds: float) -> None:
    assert parse(f"every: {written}").every == seconds


@pytest.mark.parametrize("written", ["0", "50ms", "25h", "5 days", "true", "-1", "[1]", ".nan"])
def test_what_is_no_time(written: str) -> None:
    assert problem(f"every: {written}").startswith("every: must be a time from 0.1s to 86400s")


def test_nothing_is_asked_for_by_itself() -> None:
    edge = parse("")
    assert (edge.limits, edge.sandbox, edge.environment) == (Limits(), Sandbox(), {})


@pytest.mark.parametrize("text", ["1", "4096", "512M", "1K", "2G", "1048576T", str(2**60)])
def test_sizes(text: str) -> None:
    assert parse(f"limits: {{memory: {text}}}").limits.memory == text


@pytest.mark.parametrize(
    "text",
    [
        *("0", "-1", "1.5G", "512m", "512MB", "M", "10%", "true", "infinity", "[1]", "'1 G'"),
        '"1G\\n"',
        # Of these, systemd would only say that it ignores them.
        *("1048577T", str(2**60 + 1), "9" * 30),
    ],
)
def test_what_is_no_size(text: str) -> None:
    assert problem(f"limits: {{memory: {text}}}").startswith("limits.memory: must be a size")


@pytest.mark.parametrize("text", ["1%", "80%", "150%", "100000%"])
def test_percentages(text: str) -> None:
    assert parse(f"limits: {{cpu: {text}}}").limits.cpu == text


@pytest.mark.parametrize("text", ["80", "0.5", "0%", "-1%", "1.5%", "100001%", "'80 %'", "~", "%"])
def test_what_is_no_percentage(text: str) -> None:
    assert problem(f'limits: {{cpu: "{text}"}}' if text == "%" else f"limits: {{cpu: {text}}}") == (
        f"limits.cpu: must be a percentage, as in 80%, not {_shown(text)}"
    )


def _shown(text: str) -> str:
    value: Any = yaml.safe_load(f'"{text}"' if text == "%" else text)
    return "nothing" if value is None else repr(value)


@pytest.mark.parametrize(
    ("text", "cpus", "count"),
    [
        ("0", "0", 1),
        ('"0-3"', "0-3", 4),
        ('"0-1,4"', "0-1,4", 3),
        ('"1,1,0-1"', "1,1,0-1", 2),
        ('"4095"', "4095", 1),
    ],
)
def test_cores_and_how_many_threads_they_mean(text: str, cpus: str, count: int) -> None:
    edge = parse(f"limits: {{cpus: {text}}}")
    assert edge.limits.cpus == cpus
    assert edge.variables == {
        "OMP_NUM_THREADS": str(count),
        "OPENBLAS_NUM_THREADS": str(count),
        "MKL_NUM_THREADS": str(count),
        "NUMEXPR_NUM_THREADS": str(count),
    }


@pytest.mark.parametrize(
    "text", ['"3-1"', '"4096"', '"0-4096"', '"0 1"', '"0-"', "-1", '"0,,1"', "all", "true", '"٣"']
)
def test_what_is_no_list_of_cores(text: str) -> None:
    assert problem(f"limits: {{cpus: {text}}}").startswith("limits.cpus: ")


def test_a_variable_that_is_given_wins_over_what_cores_imply() -> None:
    edge = parse("limits: {cpus: 0}\n    environment: {OMP_NUM_THREADS: 8}")
    assert edge.variables["OMP_NUM_THREADS"] == "8"
    assert edge.variables["MKL_NUM_THREADS"] == "1"


@pytest.mark.parametrize("path", ["/srv", "/srv/a b", "/srv/ä\u00a0%\\'x", "/"])
def test_folders_to_write_to(path: str) -> None:
    section = f"sandbox: {{write: [{json.dumps(path, ensure_ascii=False)}]}}"
    assert parse(section).sandbox.write == (path,)


@pytest.mark.parametrize("path", ["srv", "~/x", "-/srv", "/srv/../etc", "..", "", "/a\nb", "/a\0"])
def test_what_is_no_folder_to_write_to(path: str) -> None:
    assert problem(f"sandbox: {{write: [{json.dumps(path)}]}}").startswith("sandbox.write")


def test_folders_stand_in_a_list() -> None:
    assert problem("sandbox: {write: /srv}") == (
        "sandbox.write: must be a list, not '/srv' (write it as [a, b])"
    )


@pytest.mark.parametrize("path", ["/dev/ttyUSB0", "/dev/serial/by-id/usb-1 a"])
def test_devices(path: str) -> None:
    assert parse(f"sandbox: {{devices: ['{path}']}}").sandbox.devices == (path,)


@pytest.mark.parametrize("path", ["ttyUSB0", "/dev", "/etc/passwd", "/dev/../etc/x", "char-rtc"])
def test_what_is_no_device(path: str) -> None:
    assert problem(f"sandbox: {{devices: ['{path}']}}").startswith("sandbox.devices")


@pytest.mark.parametrize("name", ["Dialout", "a b", "-x", "x" * 32, "a\nb", "%i"])
def test_what_is_no_group(name: str) -> None:
    assert problem(f"sandbox: {{groups: [{json.dumps(name)}]}}").startswith("sandbox.groups")


def test_variables_are_taken_as_they_are_written() -> None:
    edge = parse(
        "environment: {WORD: text, EMPTY: '', INT: 42, ZEROS: 007, HEX: 0x10, FLOAT: 1.10, "
        'BLANK: " a ", LINES: "a\\nb", _x1: \'"%h" $HOME \\\', EXP: 1e3, TEN: 1_0}'
    )
    assert edge.environment == {
        "WORD": "text",
        "EMPTY": "",
        "INT": "42",
        "ZEROS": "007",
        "HEX": "0x10",
        "FLOAT": "1.10",
        "BLANK": " a ",
        "LINES": "a\nb",
        "_x1": '"%h" $HOME \\',
        "EXP": "1e3",
        "TEN": "1_0",
    }


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{A: yes}", "environment.A: must be text, not true (put it in quotes)"),
        ("{A: ~}", "environment.A: must be text, not nothing (put it in quotes)"),
        ("{A: [1]}", "environment.A: must be text, not a list (put it in quotes)"),
        ("{A: {b: c}}", "environment.A: must be text, not a mapping (put it in quotes)"),
        ("{A: 2026-11-24}", "environment.A: must be text, not 2026-11-24 (put it in quotes)"),
        ('{A: "\\0"}', "environment.A: must not contain zero bytes or lone surrogates"),
        ("{A-B: c}", "environment.A-B: 'A-B' is not a valid variable name"),
        ("{'': c}", "environment.: '' is not a valid variable name"),
        ("{1A: c}", "environment.1A: '1A' is not a valid variable name"),
        ("{'A=B': c}", "environment.A=B: 'A=B' is not a valid variable name"),
        ("[A, B]", "environment: must be a mapping of variables to values, not a list"),
        ("text", "environment: must be a mapping of variables to values, not 'text'"),
    ],
)
def test_what_is_no_variable(section: str, message: str) -> None:
    assert problem(f"environment: {section}") == message


def test_half_a_character_that_only_yaml_without_libyaml_lets_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(document, "Loader", yaml.SafeLoader)
    assert problem('environment: {A: "\\ud800"}').endswith("lone surrogates")


@pytest.mark.parametrize("end", [" ", "\\"])
def test_a_file_whose_name_no_unit_could_say(end: str) -> None:
    name = json.dumps(f"/etc/password{end}")
    text = f"brokers: {{a: {{host: a.b, username: u, password_file: {name}}}}}\n{EDGE}"
    with pytest.raises(ConfigError) as caught:
        parse_config(text.replace("localhost", "a").encode(), "config.yaml")
    (only,) = caught.value.problems
    assert only.message == "must not end with a space or a backslash"


def test_secrets_are_files_by_name() -> None:
    assert parse("secrets: {API_KEY: /etc/k, b2: /etc/l}").credential_files == {
        "secret.API_KEY": "/etc/k",
        "secret.b2": "/etc/l",
    }
    assert parse("secrets: {}").credential_files == {}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("secrets: [a]", "secrets: must be a mapping of names to files, not a list"),
        ("secrets: {a-b: f}", "secrets: 'a-b' is no name of a secret"),
        (f"secrets: {{{'x' * 65}: f}}", "is no name of a secret: it must be letters, digits"),
        ("secrets: {KEY: 5}", "secrets.KEY: must be text, not 5"),
        ("secrets: {KEY: [f]}", "secrets.KEY: must be text, not a list"),
    ],
    ids=["list", "name", "long", "number", "nested"],
)
def test_what_is_no_secret(section: str, message: str) -> None:
    assert message in problem(section)


@pytest.mark.parametrize("name", ["disk", "docker", "shadow", "sudo", "kmem", "lxd", "root"])
def test_groups_that_are_as_good_as_root_have_to_be_said_so(name: str) -> None:
    said = problem(f"sandbox: {{groups: [dialout, {name}]}}")
    assert said.startswith(f"sandbox.groups: who belongs to {name} can do all that root can")
    assert "`privileged: true`" in said
    edge = parse(f"sandbox: {{groups: [dialout, {name}], privileged: true}}")
    assert edge.sandbox.groups == ("dialout", name)
