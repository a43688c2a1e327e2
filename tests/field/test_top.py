"""`pyboot top` and `status` into a pipe: they show their table, and end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.app import Up, run_pyboot

MODELS = "def same(payload): return payload\n"


def test_top_into_a_pipe_ends(
    write_config: Callable[..., Path], up: Callable[..., Up], topic: str
) -> None:
    edge = f"{{name: m, edge_mode: my_models.same, pre_topic: {topic}, post_topic: {topic}/out}}"
    master = up(write_config(edge, models=MODELS))
    address = ("--listen", master.url.removeprefix("http://"))
    top, status = run_pyboot("top", *address), run_pyboot("status", *address)
    assert top.returncode == status.returncode == 0
    assert "\x1b" not in top.stdout
    assert top.stdout.splitlines()[0].split() == status.stdout.splitlines()[0].split()
    assert len(top.stdout.splitlines()) == 2


def test_why_an_instance_is_absent(
    write_config: Callable[..., Path], up: Callable[..., Up], topic: str
) -> None:
    edge = f"{{name: m, edge_mode: my_models.none, pre_topic: {topic}, post_topic: {topic}/out}}"
    master = up(write_config(edge, models=MODELS), ready=False)
    master.wait_log("not restarting")
    address = ("--listen", master.url.removeprefix("http://"))
    why = "m-1: absent: not connected; failed, ended with exit code 78"
    for command in ("status", "top"):
        assert run_pyboot(command, *address).stdout.splitlines()[2:] == [why]
