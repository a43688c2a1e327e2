"""Who is compared: pyboot in its variants, and what a user would pick instead."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.toolbox import PEERS, Toolbox, node, pyboot

BOTH_WORKS = ("identity", "compute")
BOTH_QOS = (0, 1)


@dataclass(frozen=True)
class Launch:
    """What is done by whom: `port` of the broker, `qos` in and out, `work`."""

    port: int
    qos: int
    work: str


class Contestant(Protocol):
    """`acks` says when an input of QoS 1 is acknowledged, `settings` how it is set up."""

    @property
    def name(self) -> str: ...
    @property
    def acks(self) -> str: ...
    @property
    def settings(self) -> str: ...
    def takes(self, work: str, qos: int) -> bool: ...
    def missing(self, tools: Toolbox) -> str | None:
        """Why it can't be measured here, if so."""

    def version(self, tools: Toolbox) -> str: ...
    def command(self, launch: Launch, folder: Path, tools: Toolbox) -> list[str]: ...
    def environment(self, tools: Toolbox) -> dict[str, str]: ...


@dataclass(frozen=True)
class PythonPeer:
    name: str
    script: str
    package: str
    acks: str
    settings: str
    qos: tuple[int, ...] = BOTH_QOS
    works: tuple[str, ...] = BOTH_WORKS
    arguments: tuple[str, ...] = ()

    def takes(self, work: str, qos: int) -> bool:
        return work in self.works and qos in self.qos

    def missing(self, tools: Toolbox) -> str | None:
        try:
            importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return f"{self.package} could not be installed"
        return None

    def version(self, tools: Toolbox) -> str:
        return f"{self.package} {importlib.metadata.version(self.package)}"

    def command(self, launch: Launch, folder: Path, tools: Toolbox) -> list[str]:
        script = str(PEERS / self.script)
        asked = [str(launch.port), str(launch.qos), launch.work, *self.arguments]
        return [sys.executable, script, *asked]

    def environment(self, tools: Toolbox) -> dict[str, str]:
        return tools.environment()


@dataclass(frozen=True)
class OldPahoPeer(PythonPeer):
    """On paho-mqtt 1.5, which lies in a folder of its own beside today's."""

    def missing(self, tools: Toolbox) -> str | None:
        if (tools.paho_1_5 / "paho").is_dir():
            return None
        return "paho-mqtt 1.5 could not be installed"

    def version(self, tools: Toolbox) -> str:
        return "paho-mqtt 1.5.1"

    def environment(self, tools: Toolbox) -> dict[str, str]:
        return {**tools.environment(), "PYTHONPATH": str(tools.paho_1_5)}


@dataclass(frozen=True)
class NodePeer:
    name: str
    script: str
    package: str
    acks: str
    settings: str

    def takes(self, work: str, qos: int) -> bool:
        return True

    def missing(self, tools: Toolbox) -> str | None:
        if node() is None:
            return "Node.js could not be installed"
        if not (tools.node_modules / self.package).is_dir():
            return f"{self.package} could not be installed"
        return None

    def version(self, tools: Toolbox) -> str:
        document = json.loads((tools.node_modules / self.package / "package.json").read_text())
        return f"{self.package} {document['version']}"

    def command(self, launch: Launch, folder: Path, tools: Toolbox) -> list[str]:
        program = node()
        assert program is not None
        script = str(PEERS / self.script)
        return [program, script, str(launch.port), str(launch.qos), launch.work]

    def environment(self, tools: Toolbox) -> dict[str, str]:
        return tools.environment()


@dataclass(frozen=True)
class CPeer:
    name: str = "C client"
    acks: str = "on arrival"
    settings: str = (
        "libmosquitto; TCP_NODELAY, no limit of its own on what is in flight; identity only"
    )

    def takes(self, work: str, qos: int) -> bool:
        return work == "identity"

    def missing(self, tools: Toolbox) -> str | None:
        return None if (tools.programs / "mosq").exists() else "it could not be compiled"

    def version(self, tools: Toolbox) -> str:
        asked = ["pkg-config", "--modversion", "libmosquitto"]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return "libmosquitto"
        return f"libmosquitto {done.stdout.strip()}"

    def command(self, launch: Launch, folder: Path, tools: Toolbox) -> list[str]:
        return [str(tools.programs / "mosq"), str(launch.port), str(launch.qos), launch.work]

    def environment(self, tools: Toolbox) -> dict[str, str]:
        return tools.environment()


@dataclass(frozen=True)
class Pyboot:
    """A worker as `pyboot apply` sets it up, with more keys of its edge in `edge`."""

    name: str
    settings: str
    edge: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    acks: str = "end to end"

    def takes(self, work: str, qos: int) -> bool:
        return True

    def missing(self, tools: Toolbox) -> str | None:
        from pyboot_svc.errors import ConfigError

        try:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                self.compile(Launch(1883, 0, "identity"), Path(folder))
        except ConfigError as error:
            return f"this version doesn't take its configuration ({error.problems[0].message})"
        return None

    def version(self, tools: Toolbox) -> str:
        paho = importlib.metadata.version("paho-mqtt")
        return f"pyboot {importlib.metadata.version('pyboot-svc')}, paho-mqtt {paho}"

    def command(self, launch: Launch, folder: Path, tools: Toolbox) -> list[str]:
        self.compile(launch, folder)
        folders = ["--run-dir", str(folder), "--state-dir", str(folder / "state")]
        return [*pyboot(), "worker", "bench-1", *folders]

    def compile(self, launch: Launch, folder: Path, instances: int = 1) -> None:
        """Write the instances' compiled files; raises ConfigError when it knows a key not."""
        from pyboot_svc.config.compiled import write_compiled
        from pyboot_svc.config.loader import load_config

        config = load_config(self.write_config(launch, folder, instances))
        for instance in config.instances():
            write_compiled(instance, folder)

    def write_config(self, launch: Launch, folder: Path, instances: int = 1) -> Path:
        identity = launch.work == "identity"
        edge = {
            "name": "bench",
            "instance": instances,
            "edge_mode": self.model or ("work.unchanged" if identity else "work.statistics_of"),
            "codec": "raw" if identity else "json",
            "pre_broker": "127.0.0.1",
            "pre_port": launch.port,
            "pre_topic": "bench/in/#",
            "pre_qos": launch.qos,
            "post_broker": "127.0.0.1",
            "post_port": launch.port,
            "post_topic": "bench/out",
            "post_qos": launch.qos,
            **self.edge,
        }
        file = folder / "config.yaml"
        # JSON is YAML, too.
        file.write_text(json.dumps({"model_path": str(PEERS), "edge": [edge]}))
        return file

    def environment(self, tools: Toolbox) -> dict[str, str]:
        return tools.environment()


BULK = Pyboot("pyboot", "as configured by default")
PLAIN = Pyboot("pyboot plain", "`data_plane: plain`", {"data_plane": "plain"})
FLOOR = CPeer()
PAHO = PythonPeer(
    "paho-mqtt",
    "paho_plain.py",
    "paho-mqtt",
    "end to end",
    "`on_message` publishes; MQTT 3.1.1, TCP_NODELAY, `loop_forever` in one thread, "
    "`manual_ack`, 20 in flight",
)
ORIGINAL = OldPahoPeer(
    "the original",
    "original.py",
    "paho-mqtt",
    "on arrival",
    "the system that pyboot reimplements, as it was: two clients of paho-mqtt 1.5 that log, no "
    "TCP_NODELAY, two `queue.Queue`, ten threads, `json`",
)
QUEUES = OldPahoPeer(
    "the original, improved",
    "queues.py",
    "paho-mqtt",
    "on arrival",
    "the same design with TCP_NODELAY and orjson, and without logging",
)
GMQTT = PythonPeer(
    "gmqtt",
    "gmqtt_peer.py",
    "gmqtt",
    "on arrival",
    "uvloop; MQTT 3.1.1, a plain function as callback",
)
GMQTT_LATE = PythonPeer(
    "gmqtt",
    "gmqtt_peer.py",
    "gmqtt",
    "when its result is sent",
    "uvloop; MQTT 3.1.1; a plain function as callback at QoS 0, at QoS 1 a coroutine with "
    "`optimistic_acknowledgement=False`, which acknowledges an input when its result is sent",
    arguments=("late",),
)
MQTTOOLS = PythonPeer(
    "mqttools",
    "mqttools_peer.py",
    "mqttools",
    "no QoS 1",
    "uvloop; `on_message` overridden, so that there is no queue",
    qos=(0,),
)
AIOMQTT = PythonPeer(
    "aiomqtt",
    "aiomqtt_peer.py",
    "aiomqtt",
    "on arrival",
    "uvloop; MQTT 3.1.1, TCP_NODELAY, 20 tasks at QoS 1",
)
FASTSTREAM = PythonPeer(
    "FastStream",
    "faststream_peer.py",
    "faststream",
    "end to end",
    "uvloop; no logging, no validation, bytes in and out, 20 workers at QoS 1, `AckPolicy.ACK`",
)
MQTTJS = NodePeer(
    "mqtt.js", "mqttjs.js", "mqtt", "on arrival", "MQTT 3.1.1, TCP_NODELAY, `message` publishes"
)
NODERED = NodePeer(
    "Node-RED",
    "nodered.js",
    "node-red",
    "on arrival",
    "headless, no editor, no logging; `mqtt in`, a function for compute, `mqtt out`; "
    "buffers for identity",
)
EVERYBODY: tuple[Contestant, ...] = (
    BULK,
    PLAIN,
    FLOOR,
    PAHO,
    ORIGINAL,
    QUEUES,
    GMQTT,
    MQTTOOLS,
    AIOMQTT,
    FASTSTREAM,
    MQTTJS,
    NODERED,
)
PEER_NAMES = frozenset(
    peer.name for peer in (PAHO, GMQTT, MQTTOOLS, AIOMQTT, FASTSTREAM, MQTTJS, NODERED)
)


def choose(names: Sequence[str] | None, among: Sequence[Contestant]) -> list[Contestant]:
    """Those whose name begins so, all without names; raises ValueError when none does."""
    if names is None:
        return list(among)
    for name in names:
        if not any(one.name.startswith(name) for one in among):
            raise ValueError(f"{name!r} is none of {', '.join(one.name for one in among)}")
    return [one for one in among if one.name.startswith(tuple(names))]
