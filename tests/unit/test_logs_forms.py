"""The forms of a log line: for people, as JSON, and for a journal without its Python module."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from pyboot_svc.logs import MARK_VARIABLE

LOG = """
import logging, os, sys

from pyboot_svc.logs import configure_logging, journal_reads_stderr

{setup}
configure_logging({form!r}, EDGE_MODEL="pump", INSTANCE="pump-1")
log = logging.getLogger("model.pump-1")
for name in ("debug", "info", "warning", "error", "critical"):
    getattr(log, name)("at %s", name)
log.error("two\\nlines", extra={{"TOPIC": "pumps/7"}})
log.info("")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("caught")
"""
# What systemd sets for a service, and how it looks where python3-systemd is not installed.
JOURNAL = """
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
sys.modules["systemd"] = None
assert journal_reads_stderr()
"""
ELSEWHERE = 'os.environ["JOURNAL_STREAM"] = "1:2"\nassert not journal_reads_stderr()'


def lines(form: str, setup: str, more: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOG.format(form=form, setup=setup) + more],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def documents(setup: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines("json", setup)]


# Standard error that is redirected from the journal is for people again.
@pytest.mark.parametrize("setup", ["", ELSEWHERE])
def test_lines_for_people(setup: str) -> None:
    found = lines("plain", setup)
    stamps = [re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d ", line) for line in found]
    assert [bool(stamp) for stamp in stamps[:5]] == [True] * 5
    assert [line[20:] for line in found[:6]] == [
        "INFO at info",
        "WARNING at warning",
        "ERROR at error",
        "CRITICAL at critical",
        "ERROR two",
        "",
    ]
    assert found[5] == "    lines"
    assert found[-1] == "    ZeroDivisionError: division by zero"


def test_each_line_tells_the_journal_its_priority() -> None:
    found = lines("plain", JOURNAL)
    assert found[:7] == [
        "<6>at info",
        "<4>at warning",
        "<3>at error",
        "<2>at critical",
        "<3>two",
        "<3>    lines",
        "<6>",
    ]
    assert found[7:9] == ["<3>caught", "<3>    Traceback (most recent call last):"]
    assert all(line.startswith("<3>") for line in found[7:])
    assert found[-1] == "<3>    ZeroDivisionError: division by zero"


@pytest.mark.parametrize("form", ["plain", "json"])
def test_each_line_has_the_mark_that_was_given(form: str) -> None:
    setup = f'os.environ["{MARK_VARIABLE}"] = "mark"; from pyboot_svc.logs import say'
    found = [re.sub(r"[-0-9T:.]{10,}", "", line) for line in lines(form, setup, 'say("a\\nb")')]
    plain = [re.sub(r"[-0-9T:.]{10,}", "", line) for line in lines(form, "pass")]
    assert found == [f"mark{line}" for line in (*plain, "a", "b")]
    assert len(plain) > 6


@pytest.mark.parametrize("setup", ["", JOURNAL])
def test_each_json_line_is_a_document(setup: str) -> None:
    found = documents(setup)
    assert [document["level"] for document in found] == [
        *("info", "warning", "error", "critical", "error", "info", "error")
    ]
    assert [document["message"] for document in found[:6]] == [
        *("at info", "at warning", "at error", "at critical", "two\nlines", "")
    ]
    assert found[6]["message"].startswith("caught\nTraceback (most recent call last):\n")
    for document in found:
        assert document["logger"] == "model.pump-1"
        assert document["edge_model"] == "pump"
        assert document["instance"] == "pump-1"
        assert document["time"] > 1_700_000_000
    assert [document.get("topic") for document in found] == [None] * 4 + ["pumps/7", None, None]
