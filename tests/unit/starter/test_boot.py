"""Phases in order, stop in reverse, and nothing that one starter does can skip the others' stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.poll import until

from pyboot_svc.errors import ConfigError, ExitCode, Problem
from pyboot_svc.starter import Boot, Settings, Starter, StarterContext


class Probe(Starter):
    """Writes its phases down; in some of them it raises, or does something else."""

    def __init__(
        self, story: list[str], name: str, priority: int, **acts: BaseException | Callable[[], Any]
    ) -> None:
        self.priority = priority  # type: ignore[misc]
        self._story = story
        self.name = name
        self.acts = acts

    def init(self, context: StarterContext) -> None:
        self._do("init")

    def setup(self, context: StarterContext) -> None:
        self._do("setup")

    def start(self, context: StarterContext) -> None:
        self._do("start")

    def stop(self, context: StarterContext) -> None:
        self._do("stop")

    def _do(self, phase: str) -> None:
        self._story.append(f"{phase} {self.name}")
        act = self.acts.get(phase)
        if isinstance(act, BaseException):
            raise act
        if act is not None:
            act()


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """The test process gets its signal handlers back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def story() -> list[str]:
    return []


def interrupt(number: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def run(starters: Sequence[Any], hung_up: Callable[[], bool] = lambda: False) -> ExitCode:
    context = StarterContext(Settings(Path("config.yaml"), Path("run"), Path("state")))
    return Boot(starters, context, hung_up).run()


UP = [f"{phase} {name}" for phase in ("init", "setup", "start") for name in "abc"]
DOWN = ["stop c", "stop b", "stop a"]


def three(story: list[str], **acts: dict[str, Any]) -> list[Probe]:
    """b, c and a with priorities that put them in order; the last start ends the wait."""
    acts.setdefault("c", {})
    acts["c"].setdefault("start", interrupt())
    priorities = {"b": 0, "c": 7, "a": -5}
    return [Probe(story, name, n, **acts.get(name, {})) for name, n in priorities.items()]


def test_up_in_ascending_priority_and_down_in_reverse(story: list[str]) -> None:
    assert run(three(story)) == ExitCode.OK
    assert story == UP + DOWN


def test_equal_priorities_keep_the_order_they_came_in(story: list[str]) -> None:
    run([Probe(story, name, 5, start=interrupt()) for name in "cab"])
    assert [entry for entry in story if entry.startswith("stop")] == ["stop b", "stop a", "stop c"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_the_wait(story: list[str], number: signal.Signals) -> None:
    assert run(three(story, c={"start": interrupt(number)})) == ExitCode.OK
    assert story == UP + DOWN


def test_a_signal_that_was_held_until_then_is_heard(story: list[str]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        # To this thread: others of the test's process don't hold it.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert run(three(story)) == ExitCode.OK
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    assert story == [*UP[:3], *DOWN]


def test_a_signal_that_does_not_interrupt_the_wait_ends_it_all_the_same(story: list[str]) -> None:
    """The kernel may give it to any thread; or the wait was about to begin."""
    other = threading.Thread(target=threading.Event().wait, args=(60,), daemon=True)
    other.start()
    main, waits = threading.main_thread().ident or 0, Boot.wait.__code__

    def send() -> None:
        until(lambda: sys._current_frames()[main].f_code is waits, "it waits")
        signal.pthread_kill(other.ident or 0, signal.SIGTERM)

    sender = threading.Thread(target=send, daemon=True)
    assert run(three(story, c={"start": sender.start})) == ExitCode.OK


def test_the_sighup_of_a_terminal_that_has_gone_ends_the_wait(story: list[str]) -> None:
    starters = three(story, c={"start": interrupt(signal.SIGHUP)})
    assert run(starters, hung_up=lambda: True) == ExitCode.OK
    assert story == UP + DOWN


def test_a_reload_that_is_asked_for_on_the_way_up_comes_after_it(story: list[str]) -> None:
    starters = [
        Reloader(story, "a", 0, setup=interrupt(signal.SIGHUP)),
        Reloader(story, "b", 1, reload=interrupt()),
    ]
    assert run(starters) == ExitCode.OK
    assert story[2:-2] == ["setup a", "setup b", "start a", "start b", "reload a", "reload b"]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("who", ["a", "b", "c"])
def test_a_failing_stop_never_skips_the_rest(
    story: list[str], caplog: pytest.LogCaptureFixture, who: str, error: BaseException
) -> None:
    starters = three(story)
    next(s for s in starters if s.name == who).acts["stop"] = error
    assert run(starters) == ExitCode.INTERNAL
    assert story == UP + DOWN
    [record] = caplog.records
    assert record.getMessage() == "Probe failed to stop; stopping the rest"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("phase", ["setup", "start"])
def test_a_failing_setup_or_start_stops_everything_begun(
    story: list[str], phase: str, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        run(three(story, b={phase: error}))
    assert caught.value is error
    assert story == UP[: UP.index(f"{phase} b") + 1] + DOWN


def test_a_failing_init_stops_those_that_were_begun(story: list[str]) -> None:
    with pytest.raises(ValueError, match="x"):
        run(three(story, b={"init": ValueError("x")}))
    assert story == ["init a", "init b", "stop b", "stop a"]


def test_a_failing_start_and_a_failing_stop(story: list[str]) -> None:
    starters = three(story, b={"start": ValueError("x")}, c={"stop": RuntimeError("y")})
    with pytest.raises(ValueError, match="x"):
        run(starters)
    assert story[-3:] == DOWN


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("init", ["init a", "init b", "init c", *DOWN]),
        ("setup", [*UP[:5], *DOWN]),
        ("start", [*UP[:8], *DOWN]),
    ],
)
def test_a_signal_on_the_way_up_turns_round(
    story: list[str], phase: str, expected: list[str]
) -> None:
    assert run(three(story, b={phase: interrupt()})) == ExitCode.OK
    assert story == expected


def test_further_signals_do_not_disturb_the_stop(story: list[str]) -> None:
    def impatient() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)

    assert run(three(story, c={"stop": impatient}, b={"stop": impatient})) == ExitCode.OK
    assert story == UP + DOWN


def test_the_originals_spellings(story: list[str]) -> None:
    class Original:
        priority = 1

        def Init(self, context: Any) -> None:
            story.append("Init")

        def Setup(self, context: Any) -> None:
            story.append("Setup")

        def Start(self, context: Any) -> None:
            story.append("Start")
            interrupt()()

        def Stop(self, context: Any) -> None:
            story.append("Stop")

    class Derived(Starter):
        priority = 2

        def Start(self, context: Any) -> None:
            story.append("Start of the derived one")

        def stop(self, context: Any) -> None:
            story.append("stop of the derived one")

    run([Derived(), Original()])
    assert story == ["Init", "Setup", "Start", "stop of the derived one", "Stop"]
    story.clear()
    with pytest.raises(ValueError, match="x"):
        run([Derived(), Probe(story, "last", 9, start=ValueError("x"))])
    assert "Start of the derived one" in story


def test_all_starters_share_one_context() -> None:
    class Leaves(Starter):
        priority = 1

        def setup(self, context: StarterContext) -> None:
            context.extra["key"] = context

    class Finds(Starter):
        priority = 2

        def start(self, context: StarterContext) -> None:
            assert context.extra == {"key": context}
            interrupt()()

    assert run([Finds(), Leaves()]) == ExitCode.OK


def test_defaults() -> None:
    settings = Settings(Path("c"), Path("r"), Path("s"))
    assert (settings.model_path, settings.listen, settings.run_workers) == ((), None, False)
    assert settings.stop_seconds == 4.0
    assert Starter.priority == 1000
    context = StarterContext(settings)
    assert (context.hub, context.web, context.extra) == (None, None, {})
    assert context.services.states() == {}
    context.services.start([])
    context.services.stop()
    with pytest.raises(RuntimeError, match="no configuration yet"):
        context.require_config()
    with pytest.raises(RuntimeError, match="nobody asks the workers yet"):
        context.require_hub()
    with pytest.raises(RuntimeError, match="no web yet"):
        context.require_web()


class Reloader(Probe):
    def reload(self, context: StarterContext) -> None:
        self._do("reload")


def test_sighup_reloads_in_order_and_a_failing_reload_changes_nothing(story: list[str]) -> None:
    starters = [
        Reloader(story, "a", 0, reload=ValueError("no")),
        Reloader(story, "b", 1, start=interrupt(signal.SIGHUP), reload=interrupt()),
    ]
    assert run(starters) == ExitCode.OK
    assert story[-4:] == ["reload a", "reload b", "stop b", "stop a"]


def test_a_configuration_that_can_not_be_loaded_ends_the_reload(
    story: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    broken: list[BaseException | None] = [ConfigError([Problem("x.yaml", 1, 1, "", "no")]), None]

    def load() -> None:
        if (error := broken.pop(0)) is not None:
            os.kill(os.getpid(), signal.SIGHUP)  # once more, when it is mended
            raise error

    starters = [
        Reloader(story, "a", 0, reload=load),
        Reloader(story, "b", 1, start=interrupt(signal.SIGHUP), reload=interrupt()),
    ]
    assert run(starters) == ExitCode.OK
    assert story[-5:] == ["reload a", "reload a", "reload b", "stop b", "stop a"]
    told = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert told == ["the configuration was not reloaded; the old one stays:\nx.yaml:1:1: no"]


def test_a_starter_can_ask_for_a_reload_whatever_became_of_the_terminal(story: list[str]) -> None:
    class Asks(Reloader):
        def start(self, context: StarterContext) -> None:
            context.reload()

    assert run([Asks(story, "a", 0, reload=interrupt())], hung_up=lambda: True) == ExitCode.OK
    assert story[-2:] == ["reload a", "stop a"]


def test_a_crash_of_a_thread_that_is_needed_stops_everything(story: list[str]) -> None:
    class Crashing(Probe):
        def start(self, context: StarterContext) -> None:
            context.crashed()

    assert run([*three(story, c={"start": lambda: None}), Crashing(story, "x", 9)]) == 70
    assert story[-4:] == ["stop x", *DOWN]
