"""The programs that show logs: what they are asked, and what becomes of their trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.log_programs import Asked, pod_lines, show_journal

ONE = InstanceId("telm_temperature", 2)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def write(program: Path, name: str, script: str) -> None:
    (program / name).write_text(f"#!/bin/sh\n{script}\n")
    (program / name).chmod(0o755)


JOURNALCTL = """
case $* in
    *--field=*) printf '%s.service\\n' edge-model@mean-10 edge-model@mean-max-1 edge-model@mean-2 \\
        edge-model@mean-x mean-3 ;;
    *) printf '%s\\n' "$@" ;;
esac
"""


def test_the_journal_of_one_instance(program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By fields that nobody can forge: _SYSTEMD_UNIT is journald's, and _PID=1 systemd."""
    write(program, "journalctl", JOURNALCTL)
    show_journal(Asked(ONE.model, ONE, 7, errors=True))
    unit = "edge-model@telm_temperature-2.service"
    assert capfd.readouterr().out.split() == [
        *("--no-pager", "--output=short-iso", "--lines=7", "--priority=err"),
        *(f"_SYSTEMD_UNIT={unit}", "+", "_PID=1", f"UNIT={unit}"),
    ]


def test_the_journal_of_a_model_is_that_of_no_other(
    program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`edge-model@mean-*` would be that of a model `mean-max`, too."""
    write(program, "journalctl", JOURNALCTL)
    show_journal(Asked("mean", None, 100, follow=True))
    units = [f"edge-model@mean-{number}.service" for number in (10, 2)]
    assert capfd.readouterr().out.split() == [
        *("--no-pager", "--output=with-unit", "--lines=100", "--follow"),
        *(f"_SYSTEMD_UNIT={unit}" for unit in units),
        *("+", "_PID=1", *(f"UNIT={unit}" for unit in units)),
    ]


def test_a_model_that_has_logged_nothing_has_an_empty_journal(
    program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(program, "journalctl", JOURNALCTL)
    show_journal(Asked("median", None, 100))
    assert "_SYSTEMD_UNIT=edge-model@median-1.service" in capfd.readouterr().out


def test_pods_are_found_by_the_labels_of_the_manifests(program: Path) -> None:
    write(program, "kubectl", 'printf "%s\\n" "$@"')
    assert list(pod_lines(Asked(ONE.model, None, 100), "plant")) == [
        *("logs", "--namespace=plant", "--tail=100"),
        "--selector=app.kubernetes.io/component=worker,"
        "app.kubernetes.io/instance=edge-model-telm--temperature",
        *("--prefix", "--max-log-requests=100"),
    ]
    found = list(pod_lines(Asked(ONE.model, ONE, 100, follow=True), "plant"))
    assert found[-2:] == ["--follow", "edge-model-telm--temperature-1"]


def test_errors_of_pods_are_the_last_among_all(program: Path) -> None:
    error = "2026-11-28T09:00:00 ERROR bad"
    write(program, "kubectl", f'echo "$3"; echo "{error} 1"; echo well; echo "{error} 2"')
    assert list(pod_lines(Asked("mean", None, 1, errors=True), "plant")) == [f"{error} 2"]
    write(program, "kubectl", '[ "$3" = --tail=-1 ] && echo "pyboot: all"')
    assert list(pod_lines(Asked("mean", None, 1, errors=True), "plant")) == ["pyboot: all"]


def test_who_has_seen_enough_ends_it(program: Path) -> None:
    write(program, "kubectl", "while :; do echo line; done")
    lines = pod_lines(Asked("mean", None, 1, follow=True), "plant")
    assert next(lines) == "line"
    lines.close()  # type: ignore[attr-defined]


def test_trouble_is_told(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(program, "kubectl", "exit 3")
    with pytest.raises(UnavailableError, match="kubectl ended with exit code 3"):
        list(pod_lines(Asked("mean", None, 1), "plant"))
    write(program, "journalctl", "exit 1")
    with pytest.raises(UnavailableError, match="journalctl ended with exit code 1"):
        show_journal(Asked("mean", None, 1))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnavailableError, match=r"journalctl can't be run: .*; is it installed?"):
        show_journal(Asked("mean", None, 1))
    with pytest.raises(UnavailableError, match="kubectl can't be run"):
        list(pod_lines(Asked("mean", None, 1), "plant"))
