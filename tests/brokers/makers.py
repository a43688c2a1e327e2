"""Brokers of different makers, started by themselves on loopback ports; nothing of them is left.

Those of Debian 13 run from its unpacked image by chroot, in a mount namespace of their own, so that
what is mounted goes with the process.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.image import base_image, default_cache_dir, unpacked
from support.broker import Broker, free_port, listens
from support.poll import until

_IMAGE = ("mosquitto", "rabbitmq-server")
_START_SECONDS = 120.0
# $1: the image, $2: where its changes go, $3: a folder of the host's that both see; then a command.
_ENTER = """
set -e
mkdir -p "$2/changed" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/changed,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount -t tmpfs tmpfs "$2/root/dev"
for node in "null 1 3" "zero 1 5" "random 1 8" "urandom 1 9"; do
    (cd "$2/root/dev"; set -- $node; mknod -m 666 "$1" c "$2" "$3")
done
mkdir -p "$2/root$3"
mount --bind "$3" "$2/root$3"
root=$2
shift 3
exec chroot "$root/root" "$@"
"""
_PERSISTENT = """listener {{port}} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 0
"""
_RABBIT = """listeners.tcp = none
distribution.listener.interface = 127.0.0.1
mqtt.allow_anonymous = true
mqtt.listeners.tcp.1 = 127.0.0.1:{port}
mqtt.max_session_expiry_interval_seconds = 604800
"""
# One scheduler that sleeps when there is nothing to do: these machines are small.
_ERLANG = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"


@dataclass(frozen=True)
class Maker:
    """What a broker can do. `durable`: sessions and messages survive its restart; `shared`: it
    knows shared subscriptions; `dot`: what becomes of a dot in a topic on its way through."""

    name: str
    protocols: tuple[str, ...]
    durable: bool = True
    shared: bool = True
    dot: str = "."


MAKERS = (
    Maker("mosquitto", ("5", "3.1.1")),
    Maker("mosquitto-13", ("5", "3.1.1")),
    Maker("rabbitmq", ("5", "3.1.1"), shared=False, dot="/"),
    Maker("aedes", ("3.1.1",), durable=False, shared=False),
)


def launch(maker: Maker, folder: Path) -> Launched:
    """A broker of that maker, listening."""
    if maker.name == "rabbitmq":
        return RabbitMq(folder).start()
    if maker.name == "aedes":
        return Aedes(folder).start()
    folder.mkdir(parents=True)
    within = debian_13(folder) if maker.name == "mosquitto-13" else ()
    return Broker(folder, _PERSISTENT.format(folder=folder), within).start()


def debian_13(folder: Path, *namespaces: str) -> list[str]:
    """What stands in front of a command to run Debian 13's; `folder` is seen there as it is here.

    The command keeps its process number, unless `namespaces` (options of unshare) take it away.
    """
    image = unpacked(base_image(_IMAGE, default_cache_dir()))
    changes = folder.with_name(f"{folder.name}-debian")
    enter = ["sh", "-c", _ENTER, "enter", str(image), str(changes), str(folder)]
    return ["unshare", "--mount", *namespaces, *enter]


class Program:
    """A broker that is one process, killed when it is no longer wanted; it keeps its port."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def start(self) -> Program:
        log = self.folder / "broker.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.environment()},
                process_group=0,
            )
        self._process = process

        def answers() -> bool:
            assert process.poll() is None, log.read_text(errors="replace")
            return listens(self.port)

        try:
            until(answers, f"{self.command()[-1]} listens", _START_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """As a power failure would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class RabbitMq(Program):
    """RabbitMQ with its MQTT plugin. Its helper processes end with their namespace."""

    def command(self) -> Sequence[str]:
        (self.folder / "rabbitmq.conf").write_text(_RABBIT.format(port=self.port))
        (self.folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        within = debian_13(self.folder, "--pid", "--fork", "--kill-child=KILL")
        return [*within, "/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,
            "RABBITMQ_NODENAME": "test@localhost",
            "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }


class Aedes(Program):
    """aedes, the broker that Node-RED's users have; it keeps everything in memory."""

    def command(self) -> Sequence[str]:
        return ["node", str(Path(__file__).with_name("aedes.mjs")), str(self.port)]


Launched = Broker | Program
