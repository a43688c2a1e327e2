"""What is put to the test: two brokers, workers that are started again at once, and traffic."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.app import Running, Up, data_plane
from support.broker import Broker
from support.poll import until

from chaos.counted import Arrival, At, Collector, Count, Feed, count

_TESTS = Path(__file__).resolve().parent.parent
# mosquitto keeps what it has taken only if it is ended by SIGTERM: it writes its file then. What
# SIGKILL would lose of its memory is the broker's loss, not ours.
_DURABLE = """listener {{port}} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 0
"""
_MOST_STARTS = 200
# An end that a new start would not change.
_FINAL = (0, 78)


def durable_broker(folder: Path) -> Broker:
    """A mosquitto that loses nothing over `stop` and `start`."""
    folder.mkdir(parents=True)
    return Broker(folder, _DURABLE.format(folder=folder))


class Keeper:
    """Runs one `pyboot worker`, and starts it again at once whenever it dies."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder = folder
        self._arguments = arguments
        self._closing = False
        self._thread: threading.Thread | None = None
        self._running: Running | None = None
        self._killed: Running | None = None
        self.exit_codes: list[int] = []

    def start(self) -> None:
        self._closing = False
        self._running = Running(self._folder, "worker", *self._arguments)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    @property
    def crashes(self) -> int:
        return sum(1 for code in self.exit_codes if code != 0)

    @property
    def log(self) -> str:
        file = self._folder / "worker.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def kill(self) -> None:
        """SIGKILL; it is started again. Each call kills another process."""
        until(lambda: self._running is not self._killed, "the worker is started again")
        self._killed = self._running
        assert self._killed is not None
        self._killed.process.kill()

    def kill_for_good(self) -> None:
        self._closing = True
        self.kill()
        self._join()

    def stop(self, timeout: float = 40.0) -> int:
        """SIGTERM; gives the exit code, and doesn't start it again."""
        self._closing = True
        assert self._running is not None
        self._running.process.terminate()
        self._join(timeout)
        return self.exit_codes[-1]

    def close(self) -> None:
        self._closing = True
        if self._running is not None:
            self._running.process.kill()
            self._join()

    def wait_log(self, text: str, timeout: float = 30.0) -> None:
        try:
            until(lambda: text in self.log, f"{text!r} in the worker's log", timeout)
        except AssertionError as error:
            error.add_note(self.log)
            raise

    def _join(self, timeout: float = 40.0) -> None:
        if self._thread is not None:
            self._thread.join(timeout)
            assert not self._thread.is_alive(), "the worker doesn't end"

    def _run(self) -> None:
        while True:
            running = self._running
            assert running is not None
            code = running.process.wait()
            running.close()
            self.exit_codes.append(code)
            if self._closing or code in _FINAL or len(self.exit_codes) >= _MOST_STARTS:
                return
            self._running = Running(self._folder, "worker", *self._arguments)
            if self._closing:
                self._running.process.kill()


class Rig:
    """A model between two brokers that lose nothing. `settings` are keys of its edge."""

    def __init__(
        self, folder: Path, stack: ExitStack, chance: random.Random, model: str, **settings: Any
    ) -> None:
        self.folder = folder
        self.stack = stack
        self.chance = chance
        self.name = f"m{uuid.uuid4().hex[:8]}"
        self.state_dir = folder / "state"
        self.run_dir = folder / "run"
        self.topic_in, self.topic_out = f"{self.name}/in", f"{self.name}/out"
        self.topic_dead = f"pyboot/dead/{self.name}"
        self.pre = durable_broker(folder / "pre").start()
        stack.callback(self.pre.stop)
        self.post = durable_broker(folder / "post").start()
        stack.callback(self.post.stop)
        self.edge: dict[str, Any] = {
            "name": self.name,
            "edge_mode": f"chaos.models.{model}",
            "pre_broker": "127.0.0.1",
            "pre_port": self.pre.port,
            "pre_topic": self.topic_in,
            "pre_qos": 1,
            "post_broker": "127.0.0.1",
            "post_port": self.post.port,
            "post_topic": self.topic_out,
            "post_qos": 1,
            **settings,
        }
        self.brokers: dict[str, dict[str, Any]] = {}
        self.make_collector: Callable[[str, At, str, str], Collector] = Collector
        self.config = folder / "config.yaml"
        self.workers: list[Keeper] = []

    def start(self, pad: int = 0, feed_qos: int | None = None, subscribed: bool = True) -> None:
        """Start all, and wait until the workers are `subscribed`."""
        self.configure()
        self.collector = self.make_collector(
            f"{self.name}-out", self.post.port, self.topic_out, self.topic_dead
        )
        self.stack.callback(self.collector.close)
        self.master = Up(
            self.folder, self.config, "--run-dir", str(self.run_dir), command="master", ready=False
        )
        self.stack.callback(self.master.close)
        for number in range(1, self.edge.get("instance", 1) + 1):
            worker = self.keeper(f"{self.name}-{number}")
            self.workers.append(worker)
            worker.start()
        for worker in self.workers if subscribed else ():
            worker.wait_log("subscribed to")
        qos = self.edge["pre_qos"] if feed_qos is None else feed_qos
        self.feed = Feed(f"{self.name}-in", self.pre.port, self.topic_in, qos, pad)
        self.stack.callback(self.feed.close)

    def configure(self) -> None:
        # JSON is YAML, too.
        document = {
            "model_path": str(_TESTS),
            "brokers": self.brokers,
            "defaults": {"data_plane": data_plane()},
            "edge": [self.edge],
        }
        self.config.write_text(json.dumps(document))

    def keeper(self, instance: str, elsewhere: Path | None = None) -> Keeper:
        """`elsewhere` is the folder of another host, with a state and sockets of its own."""
        state_dir = elsewhere / "state" if elsewhere else self.state_dir
        run_dir = elsewhere / "run" if elsewhere else self.run_dir
        keeper = Keeper(
            elsewhere or self.folder / instance,
            *(instance, "--config", str(self.config), "--run-dir", str(run_dir)),
            *("--state-dir", str(state_dir), "--drain-seconds", "10"),
        )
        self.stack.callback(keeper.close)
        return keeper

    @property
    def worker(self) -> Keeper:
        """The first instance."""
        return self.workers[0]

    def wait_start(self, number: int) -> None:
        """Wait until the first worker is at work for the so-many-th time."""
        until(lambda: self.worker.log.count("subscribed to") >= number, "it is at work")

    @property
    def instance_dir(self) -> Path:
        return self.state_dir / f"{self.name}-1"

    @property
    def database(self) -> Path:
        return self.instance_dir / "worker.sqlite"

    def figures(self, number: int = 1) -> dict[str, Any]:
        """What /api/instances says of an instance right now; few keys while it is away."""
        return self.master.instance(f"{self.name}-{number}")

    def until_figure(self, name: str, condition: Any, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until a figure of the first instance is what it should be."""
        test = condition if callable(condition) else lambda value: value == condition
        latest: dict[str, Any] = {}

        def holds() -> bool:
            latest.clear()
            latest.update(self.figures())
            return name in latest and bool(test(latest[name]))

        try:
            until(holds, f"the figure {name}", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{latest}\n{self.logs}") from None
        return latest

    def flow(self, count: int, lead: int = 300) -> None:
        """Publish `count` messages in the background, never more than `lead` ahead of results."""
        self.feed.start(count, lambda: self.collector.distinct, lead)

    def moments(self, count: int, most: int) -> list[int]:
        """`most` random points on the way of `count` messages, in order."""
        return sorted(self.chance.sample(range(count * 95 // 100), most))

    def wait_distinct(self, target: int, timeout: float = 60.0) -> None:
        """`timeout` is how long nothing may come and no worker end: starts take long on a busy
        host."""
        while (seen := self._progress())[0] < target:
            try:
                until(lambda seen=seen: self._progress() != seen, "progress", timeout)  # type: ignore[misc]
            except AssertionError:
                raise AssertionError(
                    f"{seen[0]} of {target} different messages have arrived, and no more within "
                    f"{timeout} s; {self.figures()}\n{self.logs}"
                ) from None

    def _progress(self) -> tuple[int, int]:
        """How many different messages have arrived, and how often workers have ended."""
        return self.collector.distinct, sum(len(worker.exit_codes) for worker in self.workers)

    def pause(self) -> None:
        """A random moment: mostly short, now and then as long as a start takes."""
        longest = 0.7 if self.chance.random() < 0.2 else 0.05
        threading.Event().wait(self.chance.uniform(0, longest))

    def collect(self, timeout: float = 60.0) -> Count:
        """Wait for all that was sent, and until nothing is open any more; compare."""
        self.feed.finish(timeout)
        self.wait_distinct(self.feed.sent, timeout)
        for number, _ in enumerate(self.workers, 1):
            until(
                lambda number=number: self.figures(number).get("unacknowledged") == 0,  # type: ignore[misc]
                "all is acknowledged",
                timeout,
            )
        return count(range(self.feed.sent), self.results, self.letters)

    @property
    def results(self) -> list[Arrival]:
        return self.collector.on(self.topic_out)

    @property
    def letters(self) -> list[Arrival]:
        return self.collector.on(self.topic_dead)

    @property
    def logs(self) -> str:
        """The ends of the workers' logs, for a failure's message."""
        return "\n".join(worker.log[-3000:] for worker in self.workers)


class StateDisk:
    """A tmpfs at the worker's state directory; only root can mount one."""

    def __init__(self, rig: Rig, kilobytes: int) -> None:
        self.folder = rig.instance_dir
        self.folder.mkdir(parents=True)
        self._mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs")
        rig.stack.callback(self._unmount)

    def resize(self, kilobytes: int) -> None:
        self._mount("-o", f"remount,size={kilobytes}k")

    def fill(self) -> None:
        """Leave no room at all."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(b"\0" * 4096):
                    pass
            except OSError:
                pass  # full

    def make_read_only(self) -> None:
        self._mount("-o", "remount,ro")

    def make_writable(self) -> None:
        self._mount("-o", "remount,rw")

    def _unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments, self.folder], check=True, capture_output=True)
