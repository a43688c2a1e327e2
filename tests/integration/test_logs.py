"""`pyboot logs` of a running `pyboot up`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

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

    follow = subprocess.Popen(
        [*PYBOOT, "logs", "one", "-f", "-n", "1"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
    try:
        assert follow.stdout is not None
        follow.stdout.readline()
        plant.publish(f"{topic}/one", "new", 1)
        assert "got new" in follow.stdout.readline()
        follow.send_signal(signal.SIGINT)
        assert follow.wait(20) == 0
    finally:
        follow.kill()
        follow.wait()
        assert follow.stdout is not None
        follow.stdout.close()
