"""Where the programs of the benchmark are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PEERS = HERE / "peers"


@dataclass(frozen=True)
class Toolbox:
    """`programs` holds what was compiled, `node_modules` and `paho_1_5` the peers' libraries."""

    programs: Path
    node_modules: Path
    paho_1_5: Path

    @property
    def load(self) -> str:
        return str(self.programs / "load")

    @property
    def stub(self) -> str:
        return str(self.programs / "stub")

    def environment(self) -> dict[str, str]:
        return {**os.environ, "NODE_PATH": str(self.node_modules), "PYTHONWARNINGS": "ignore"}


def compile_programs(programs: Path, *, peer: bool) -> None:
    """Compile the load and the stub, and the C `peer` where libmosquitto can be had.

    Raises CalledProcessError.
    """
    build = f"BUILD={programs.absolute()}"
    for check, target in ((True, "tools"), (False, "peer"))[: 1 + peer]:
        make = ["make", "--silent", "-C", str(HERE / "load"), build, target]
        subprocess.run(make, check=check, stdin=subprocess.DEVNULL)


def pyboot() -> list[str]:
    return [sys.executable, "-P", "-m", "pyboot_svc"]


def node() -> str | None:
    return shutil.which("node") or shutil.which("nodejs")
