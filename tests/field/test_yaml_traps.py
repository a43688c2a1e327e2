"""What YAML 1.1 silently makes of plain scalars: `check` asks for quotes, and takes the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.app import run_pyboot

from pyboot_svc.config.loader import load_config

HEAD = "pre_broker: a, pre_topic: in, edge_mode: m.f, post_broker: a, post_topic: out"


def checked(tmp_path: Path, more: str, data: bytes = b"") -> list[dict[str, Any]]:
    file = tmp_path / "config.yaml"
    file.write_bytes(data + f"edge:\n  - {{name: m, {HEAD}, {more}}}\n".encode())
    ended = run_pyboot("check", "--json", "--config", str(file))
    document = json.loads(ended.stdout)
    assert document["valid"] == (ended.returncode == 0)
    problems: list[dict[str, Any]] = document["problems"]
    return problems


NUMBERS = (
    *("22:30", "1:30", "-1:30", "190:20:30", "1:30.5", "0123", "007", "00", "-017", "0128"),
    *("1_000", "0x_1F", "-0x1F", "0b11", "0o17", "1_0.5"),
)
WORDS = ("yes", "no", "on", "off", "Yes", "NO", "On", "OFF", "2026-01-01", "2026-01-01T10:00:00Z")


FINE = {
    **{text: json.loads(text) for text in ("5", "-5", "0", "1.5", "-0.5", "true", "false", "null")},
    "1e3": 1000.0,
    "-.5": -0.5,
    "+.5": 0.5,
    "1.5e3": 1500.0,
    "1.5e+3": 1500.0,
    ".5": 0.5,
    "+5": 5,
    "0x1F": 31,
    "True": True,
    "~": None,
    "y": "y",
    "n": "n",
    "08:30": "08:30",
    "1.2.3": "1.2.3",
    **{f"'{text}'": text for text in ("22:30", "0123", "no", "1_000", "2026-01-01", "1e3")},
    '"007"': "007",
}


@pytest.mark.parametrize("text", [*NUMBERS, *WORDS])
def test_in_options_quotes_are_asked_for(tmp_path: Path, text: str) -> None:
    for options, path in (
        (f"{{a: {text}}}", "a"),
        (f"{{a: [1, {text}]}}", "a[1]"),
        (f"{{a: {{b: {text}}}}}", "a.b"),
    ):
        [problem] = checked(tmp_path, f"options: {options}")
        assert problem["path"] == f"edge[0].options.{path}"
        assert text in problem["message"]
        assert "quotes" in problem["hint"]
        line = (tmp_path / "config.yaml").read_text().splitlines()[problem["line"] - 1]
        assert line[problem["column"] - 1 :].startswith(text)


def test_in_options_the_rest_is_what_it_looks_like(tmp_path: Path) -> None:
    items = ", ".join(f"k{number}: {text}" for number, text in enumerate(FINE))
    assert checked(tmp_path, f"options: {{{items}}}") == []
    [edge] = load_config(tmp_path / "config.yaml").edges
    assert list(edge.options.values()) == list(FINE.values())


@pytest.mark.parametrize("options", ["{window:60}", "{a: {window:60}}", "{a: [{window:60, b: 1}]}"])
def test_in_options_a_colon_without_a_space_is_found(tmp_path: Path, options: str) -> None:
    [problem] = checked(tmp_path, f"options: {options}")
    assert "`window:60` has no value" in problem["message"]
    assert "a space after the colon" in problem["hint"]


def test_in_options_a_key_may_have_a_colon(tmp_path: Path) -> None:
    assert checked(tmp_path, 'options: {"a:b": null, c:d: 1, "e:f": }') == []


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ("pre_port: 01750", "pre_port"),
        ("pre_port: 22:30", "pre_port"),
        ("post_port: 1_883", "post_port"),
        ("limits: {cpus: 010}", "limits.cpus"),
        ("limits: {memory: 1_000_000}", "limits.memory"),
        ("spool: {max_bytes: 0100000}", "spool.max_bytes"),
        ("on_error: {backoff: 1:30}", "on_error.backoff"),
        ("model_timeout: 01:30", "model_timeout"),
        ("threads: 0b10", "threads"),
        ("sandbox: {groups: [no]}", "sandbox.groups[0]"),
        ("codec: no", "codec"),
        ("dead_letter: {topic: 22:30}", "dead_letter.topic"),
    ],
)
def test_everywhere_else_it_is_refused(tmp_path: Path, more: str, path: str) -> None:
    [problem] = checked(tmp_path, more)
    assert problem["path"] == f"edge[0].{path}"


def test_a_key_of_true_and_false_takes_yes_and_no(tmp_path: Path) -> None:
    assert checked(tmp_path, "share: no, sandbox: {jit: yes, network: off}") == []


def test_numbers_in_the_environment_are_as_they_are_written(tmp_path: Path) -> None:
    assert checked(tmp_path, "environment: {UMASK: 0022, AT: 22:30}") == []
    [problem] = checked(tmp_path, "environment: {DEBUG: no}")
    assert (problem["path"], problem["hint"]) == ("edge[0].environment.DEBUG", "put it in quotes")


def test_a_trap_in_defaults_is_told_once(tmp_path: Path) -> None:
    edge = f"{{name: m, {HEAD}}}"
    file = tmp_path / "config.yaml"
    file.write_text(f"defaults: {{pre_port: 01750}}\nedge:\n  - {edge}\n")
    ended = run_pyboot("check", "--config", str(file))
    assert ended.returncode == 78
    assert len(ended.stdout.splitlines()) == 1
    assert f"{file}:1:22" in ended.stdout


def test_a_byte_order_mark_in_front_is_no_problem(tmp_path: Path) -> None:
    assert checked(tmp_path, "threads: 2", data=b"\xef\xbb\xbf") == []
