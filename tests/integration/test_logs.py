"""`pyboot logs` of a running `pyboot up`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import PYBOOT, Running, Up, run_pyboot
from support.client import Plant
from support.poll import until

EDGE = (
    "{{name: {name}, instance: {count}, edge_mode: my_models.some, pre_topic: {topic}/{name}, "
    "post_topic: {topic}/out, pre_qos: 1}}"
)
MODELS = """
def some(payload):
    print("got", payload)
    if payload == "bad":
        raise ValueError("it is bad")
"""


class Following:
    """`pyboot logs -f` at work; what it says is read by `wait`, with a deadline."""

    def __init__(self, env: dict[str, str], *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*PYBOOT, "logs", *arguments], stdout=subprocess.PIPE, env={**os.environ, **env}
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._said = b""

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        self._output.close()

    def wait(self, text: str) -> None:
        def said() -> bool:
            self._said += self._output.read() or b""
            return text.encode() in self._said

        until(said, text)


def test_logs(
    write_config: Callable[..., Path],
    track: Callable[[Running], Running],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    edges = [EDGE.format(name=n, count=c, topic=topic) for n, c in (("one", 1), ("more", 2))]
    up = Up(tmp_path, write_config(*edges, models=MODELS))
    track(up)
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}

    def logs(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_pyboot("logs", *arguments, env=env)

    for payload in ("well", "bad"):
        plant.publish(f"{topic}/one", payload, 1)
    until(lambda: "got bad" in logs("one-1").stdout, "what the model prints")
    until(lambda: "it is bad" in logs("one-1", "--errors").stdout, "its error")
    assert "got" not in logs("one-1", "--errors").stdout
    both = logs("more").stdout.splitlines()
    assert {line.split(" | ")[0] for line in both} == {"more-1", "more-2"}
    assert len(logs("more", "-n", "1").stdout.splitlines()) == 1
    # Those of a model with that name in front are another's.
    wrong = logs("mor")
    assert (wrong.returncode in (0, 64, 69), "more-1 |" in wrong.stdout) == (True, False)
    assert logs("../etc").returncode == 64
    plant.publish(f"{topic}/one", "größer", 1)
    until(lambda: "größer" in logs("one-1").stdout, "all that there is")
    few = run_pyboot("logs", "one-1", env={**env, "PYTHONIOENCODING": "ascii"})
    assert (few.returncode, "gr\\xf6\\xdfer" in few.stdout) == (0, True), few.stderr

    with Following(env, "one", "-f", "-n", "1") as follow:
        follow.wait("\n")
        plant.publish(f"{topic}/one", "new", 1)
        follow.wait("got new")
        follow.process.send_signal(signal.SIGINT)
        assert follow.process.wait(20) == 0


def test_kubectl_ends_with_it(tmp_path: Path) -> None:
    """Else it went on writing to the terminal."""
    program, note = tmp_path / "kubectl", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\necho $$ >{note}\necho line\nexec sleep 600\n")
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    with Following(env, "mean", "-f", "--namespace", "plant") as follow:
        follow.wait("line")
        follow.process.terminate()
        assert follow.process.wait(20) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
