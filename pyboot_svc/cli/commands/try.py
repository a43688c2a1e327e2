"""`pyboot try`: shows what a model makes of messages, and publishes nothing."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, TextIO

from pyboot_svc.bench.subject import Subject, load_subject
from pyboot_svc.bench.trial import Trial, Tried, most_at_once, try_messages
from pyboot_svc.brokers.live import LiveInput, calls_due
from pyboot_svc.cli.arguments import (
    add_config,
    add_json,
    add_model_path,
    add_state_dir,
    count,
    seconds,
)
from pyboot_svc.cli.config_file import config_file, model_path
from pyboot_svc.cli.models import run_elsewhere, run_models
from pyboot_svc.cli.payloads import instance_named, read_payloads, recording
from pyboot_svc.config import InstanceConfig
from pyboot_svc.config.loader import load_config
from pyboot_svc.config.types import Invalid, check_filter
from pyboot_svc.environments.interpreter import is_here
from pyboot_svc.errors import ExitCode, UsageError, told
from pyboot_svc.logs import configure_logging
from pyboot_svc.model.loader import ticking
from pyboot_svc.services.lending import Places
from pyboot_svc.text import block, path_text, printable
from pyboot_svc.topics import check_text, is_one
from pyboot_svc.worker.messages import topic_of
from pyboot_svc.worker.storage.database import read_state
from pyboot_svc.worker.storage.writer import DATABASE_NAME

DESCRIPTION = """\
Call a configured model with messages from a file or from standard input, and
print what it would publish: a line for each result, with its topic, `nothing`,
or the error. It has its options, its environment variables and a copy of its
state. Nothing is published, and nothing that the model keeps is kept. What the
model prints and logs goes to standard error. Exit code 1: a message failed.

With --live the messages are those that arrive at the model's input meanwhile,
until Ctrl-C: copies, of which its running instances miss none. There is no
broker otherwise."""
EXAMPLES = (
    ("pyboot try mean --payload message.json", "one message"),
    ("pyboot try mean --lines messages", "many messages, one per line"),
    ("pyboot try mean --lines messages --json", "the same, for a script"),
    ("pyboot try mean --live -n 10", "the next 10 that arrive at its input"),
)
_FAILED = 1
# What is sent to all processes of a group is handed on by the parent, too.
_TWICE_SECONDS = 0.5
# Of what is shown for people.
_LONGEST = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("name", metavar="NAME", help="the model, as in telm_temperature")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--payload", type=Path, metavar="FILE", help="a message for the model")
    source.add_argument("--lines", type=Path, metavar="FILE", help="messages, one per line")
    parser.add_argument(
        "stdin",
        nargs="?",
        choices=("-",),
        metavar="-",
        help="messages from standard input, one per line",
    )
    source.add_argument("--live", action="store_true", help="messages as they arrive at its input")
    parser.add_argument(
        "--topic",
        metavar="TOPIC",
        help="the messages' topic (default: one that pre_topic matches); with --live, the filter "
        "to subscribe to (default: pre_topic)",
    )
    parser.add_argument("-n", type=count, metavar="N", help="with --live: end after N messages")
    parser.add_argument(
        "--seconds", type=seconds, metavar="S", help="with --live: end after S seconds"
    )
    add_state_dir(parser, "where instances keep their state; the first one's is copied")
    add_json(parser, "print a JSON object a line")
    add_model_path(parser)


def run(options: argparse.Namespace) -> ExitCode | int:
    if not options.live and (options.n, options.seconds) != (None, None):
        raise UsageError("-n and --seconds go with --live")
    if not options.live and options.topic is not None and not is_one(options.topic):
        raise UsageError(
            f"--topic {options.topic!r}: name one topic, without the wildcards + and #"
        )
    if options.stdin and (options.payload or options.lines or options.live):
        raise UsageError("messages come from a file, standard input (-) or --live: one of them")
    configure_logging()
    loaded = load_config(config_file(options), model_path=model_path(options))
    config = instance_named(loaded, options.name)
    state = options.state_dir.absolute() / str(config.identity)
    credentials = config.edge.credential_files if options.live else {}
    if not is_here(config.edge.python):
        files = {"--payload": options.payload, "--lines": options.lines}
        return run_elsewhere(config, files, state, credentials)
    payloads = () if options.live or options.stdin else _payloads(options, config)
    filters = _filters(options, config) if options.live else ()

    def work(places: Places) -> int:
        return _try(options, config, payloads, filters, places)

    return run_models([config.edge], config.model_path, work, state, credentials)


def _try(
    options: argparse.Namespace,
    config: InstanceConfig,
    payloads: tuple[bytes, ...],
    filters: Sequence[str],
    places: Places,
) -> int:
    for name, value in config.edge.variables.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory(dir=places.scratch) as name:
        folder, beside = Path(name) / "state", Path(name) / "beside"
        beside.mkdir()
        stored = _copy_state(places.state, folder, beside)
        out = sys.stdout
        with redirect_stdout(sys.stderr):
            subject = load_subject(config, payloads, folder, stored)
            if options.live:
                found = _try_live(subject, filters, beside, options)
            else:
                messages = _lines(sys.stdin.buffer) if options.stdin else payloads
                topic = options.topic or subject.topic
                found = try_messages(subject, ((topic, one) for one in messages), beside)
            tried = _show_each(found, config, options.json, out)
            failed = sum(one.fault is not None for one in tried)
            subject.model.close()
    return _FAILED if failed else ExitCode.OK


def _filters(options: argparse.Namespace, config: InstanceConfig) -> tuple[str, ...]:
    if options.topic is None:
        return config.edge.pre.topics
    try:
        check_text(options.topic, "it")
        check_filter(options.topic)
    except (Invalid, ValueError) as error:
        raise UsageError(f"--topic {error}") from None
    return (options.topic,)


def _try_live(
    subject: Subject, filters: Sequence[str], beside: Path, options: argparse.Namespace
) -> Iterator[Tried]:
    edge, trial = subject.edge, Trial(subject, beside)
    ticking(subject.model, edge.every)
    with LiveInput(subject.config, filters) as live, _stopped_by_signals(live.stop):
        for batch in calls_due(live, edge, most_at_once(edge), options.n, options.seconds):
            tried = list(trial.call(batch))
            # A tick mostly has nothing to say.
            silent = batch.particulars.tick
            yield from (one for one in tried if not silent or one.results or one.fault)
    if live.left_out:
        print(
            f"pyboot: {live.left_out} messages were left out: they came faster than the model "
            "took them",
            file=sys.stderr,
        )


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first one ends it after the call at hand, a later one as ever."""
    came: list[float] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def take_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def heard(number: int, frame: FrameType | None) -> None:
        stop()
        came.append(time.monotonic())
        if came[-1] - came[0] > _TWICE_SECONDS:
            take_back()
            signal.raise_signal(number)

    for number in numbers:
        signal.signal(number, heard)
    try:
        yield
    finally:
        take_back()


def _lines(stdin: BinaryIO) -> Iterator[bytes]:
    """Those that aren't empty, as they come."""
    nothing = True
    for line in stdin:
        payloads = [payload for payload in line.splitlines() if payload]
        nothing = nothing and not payloads
        yield from payloads
    if nothing:
        raise UsageError("standard input has no non-empty line")


def _payloads(options: argparse.Namespace, config: InstanceConfig) -> tuple[bytes, ...]:
    file = options.payload or options.lines
    if file is None:
        raise UsageError(
            "try needs a message: --payload FILE, --lines FILE with one per line, - for lines of "
            f"standard input, or --live. {recording(config.edge)}"
        )
    return read_payloads(file, lines=options.lines is not None)


def _copy_state(source: Path, target: Path, beside: Path) -> dict[str, str]:
    """Copy what the instance keeps in its folder; gives what it keeps in `context.state`.

    Links stay links: they are the model's, and may lead anywhere.
    """
    try:
        if source.exists():
            hidden = shutil.ignore_patterns(f"{DATABASE_NAME}*", "in-hand", "subscribed", "lock")
            shutil.copytree(source, target, symlinks=True, ignore=hidden)
    except OSError as error:
        print(
            f"pyboot: not all of {path_text(source)} can be copied: {block(_why(error))}. The "
            "model starts with what can be.",
            file=sys.stderr,
        )
    target.mkdir(exist_ok=True)
    return _stored(source, beside)


def _why(error: OSError) -> str:
    """Of all that shutil couldn't copy, it tells the first, as text with the system's number."""
    if not isinstance(error, shutil.Error):
        return told(error)
    return re.sub(r"^\[Errno \d+\] ", "", error.args[0][0][2])


def _stored(source: Path, beside: Path) -> dict[str, str]:
    file = source / DATABASE_NAME
    if not os.access(file, os.R_OK):
        return {}
    if not source.is_relative_to("/proc"):
        return read_state(file)
    # SQLite goes by the real path, which the state's owner may have no way to.
    with tempfile.TemporaryDirectory(dir=beside) as name:
        for part in source.glob(f"{DATABASE_NAME}*"):
            shutil.copyfile(part, Path(name) / part.name, follow_symlinks=False)
        return read_state(Path(name) / DATABASE_NAME)


def _show_each(
    found: Iterator[Tried], config: InstanceConfig, as_json: bool, out: TextIO
) -> Iterator[Tried]:
    for tried in found:
        for document in _documents(tried, config):
            line = json.dumps(document) if as_json else _line(document)
            print(line, file=out, flush=True)
        yield tried


def _documents(tried: Tried, config: InstanceConfig) -> Iterator[dict[str, Any]]:
    if tried.fault is not None:
        yield {"kind": str(tried.fault.kind), "error": tried.fault.error}
    elif not tried.results:
        yield {"result": None}
    for result in tried.results:
        text = result.decode("utf-8", "backslashreplace")
        yield {"topic": topic_of(result, config.edge.post.topic), "result": text}


def _line(document: dict[str, Any]) -> str:
    if "error" in document:
        return f"failed ({document['kind']}): {block(document['error'], _LONGEST)}"
    if document["result"] is None:
        return "nothing"
    return f"{printable(document['topic'], _LONGEST)} {printable(document['result'], _LONGEST)}"
