"""What strace and py-spy print, and what a message's share of it is."""

from __future__ import annotations

import pytest

from benchmarks.breakdown import parse_calls, parse_stacks


def test_system_calls_are_counted_by_the_message() -> None:
    text = "syscall               calls\n---------------- ----------\n"
    text += "recvfrom               100\nsendto                  50\ntotal                  150\n"
    assert parse_calls(text, 200) == {"recvfrom": 0.5, "sendto": 0.25}


def test_functions_have_the_share_of_the_samples_that_they_are_innermost_in() -> None:
    text = "run (pool.py);_parse (/x/packets.py:60) 3\nrun (pool.py) 1\n"
    assert parse_stacks(text) == {
        "packets._parse": pytest.approx(0.75),
        "pool.run": pytest.approx(0.25),
    }


def test_without_samples_there_are_no_shares() -> None:
    assert parse_stacks("") == {}
