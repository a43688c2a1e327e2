"""The shipped units, read as plain text: what they promise has to stand in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pyboot_svc.errors import FINAL_EXIT_CODES
from pyboot_svc.services.units import TARGET, TEMPLATE

FOLDER = Path(__file__).parents[2] / "systemd"
SERVICES = ("pyboot.service", TEMPLATE)
UNITS = (*SERVICES, "pyboot.socket", TARGET, "edge-model.slice")

# Everything that is switched on. What is not here, or has another value, weakens the sandbox.
SANDBOX = {
    "ProtectSystem": {"strict"},
    "ProtectHome": {"yes"},
    "PrivateTmp": {"disconnected"},
    "ReadOnlyPaths": {"/run"},
    "NoNewPrivileges": {"yes"},
    "CapabilityBoundingSet": {""},
    "AmbientCapabilities": {""},
    "PrivateUsers": {"yes"},
    "PrivateIPC": {"yes"},
    "PrivateDevices": {"yes"},
    "DevicePolicy": {"closed"},
    "ProtectProc": {"invisible"},
    "ProtectClock": {"yes"},
    "ProtectHostname": {"yes"},
    "ProtectKernelLogs": {"yes"},
    "ProtectKernelModules": {"yes"},
    "ProtectKernelTunables": {"yes"},
    "ProtectControlGroups": {"strict"},
    "KeyringMode": {"private"},
    "RemoveIPC": {"yes"},
    "LockPersonality": {"yes"},
    "MemoryDenyWriteExecute": {"yes"},
    "RestrictNamespaces": {"yes"},
    "RestrictRealtime": {"yes"},
    "RestrictSUIDSGID": {"yes"},
    "SystemCallArchitectures": {"native"},
    "SystemCallErrorNumber": {"EPERM"},
    "SystemCallFilter": {
        *("@system-service", "~@privileged @resources"),
        "~io_uring_setup io_uring_enter io_uring_register memfd_create userfaultfd",
    },
    "IPAddressDeny": {"any"},
    "UMask": {"0077"},
}
# What opens a part of it again, whatever the value.
OPENERS = {
    "AmbientCapabilities",
    "BindPaths",
    "CapabilityBoundingSet",
    "DeviceAllow",
    "ExecPaths",
    "IPAddressAllow",
    "ReadWritePaths",
    "RestrictAddressFamilies",
    "SocketBindAllow",
    "SocketBindDeny",
    "SupplementaryGroups",
    "SystemCallFilter",
}
KNOWN = {
    "Unit": {
        *("After", "Description", "Documentation", "PartOf", "Requires", "StartLimitIntervalSec"),
        "Wants",
    },
    "Service": {
        *SANDBOX,
        "ProcSubset",
        *(OPENERS - {"BindPaths", "DeviceAllow", "SocketBindAllow"}),
        *("BindReadOnlyPaths", "DynamicUser", "Environment", "ExecReload", "ExecStart"),
        *(
            "CPUWeight",
            "ExecStartPre",
            "Group",
            "KillMode",
            "LimitNOFILE",
            "LimitCORE",
            "MemoryMax",
            "NoExecPaths",
            "NotifyAccess",
            "OOMScoreAdjust",
            "Restart",
            "RestartMaxDelaySec",
        ),
        *("RestartPreventExitStatus", "RestartSec", "RestartSteps", "Slice", "StateDirectory"),
        *("StateDirectoryMode", "TimeoutStartSec", "TimeoutStopSec", "Type", "User"),
        *("TemporaryFileSystem", "WatchdogSec"),
    },
    "Socket": {
        *("DirectoryMode", "ListenStream", "RemoveOnStop", "SocketGroup", "SocketMode"),
    },
    "Slice": {"CPUWeight", "MemoryMax", "TasksMax"},
    "Install": {"WantedBy"},
}


class Directive(NamedTuple):
    section: str
    name: str
    value: str
    comment: str  # the line above, or above the directives of the same name before it


def directives(unit: str) -> Iterator[Directive]:
    section, name, comment, above = "", "", "", ""
    for line in (FOLDER / unit).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line and not line.startswith("#"):
            before, (name, _, value) = name, line.partition("=")
            comment = comment if name == before and not above else above
            yield Directive(section, name, value, comment)
        above = line if line.startswith("#") else ""


def values(unit: str, name: str) -> list[str]:
    return [found.value for found in directives(unit) if found.name == name]


@pytest.mark.parametrize("unit", SERVICES)
def test_a_restart_is_prevented_by_exactly_the_final_exit_codes(unit: str) -> None:
    (codes,) = values(unit, "RestartPreventExitStatus")
    assert set(map(int, codes.split())) == set(FINAL_EXIT_CODES)


@pytest.mark.parametrize("unit", UNITS)
def test_every_directive_is_known_in_its_section(unit: str) -> None:
    assert [d for d in directives(unit) if d.name not in KNOWN.get(d.section, set())] == []


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_waits_for_the_uplink(unit: str) -> None:
    ordered = " ".join(values(unit, "Wants") + values(unit, "Requires") + values(unit, "After"))
    assert {"network-online.target", "mosquitto.service"} & set(ordered.split()) == set()


@pytest.mark.parametrize("script", ["edge-model", "pyboot"])
def test_nothing_waits_for_the_uplink_under_openrc(script: str) -> None:
    lines = (FOLDER.parent / "etc" / "init.d" / script).read_text(encoding="utf-8").splitlines()
    depends = [line.split() for line in lines if line.startswith(("\tneed ", "\tuse ", "\tafter "))]
    assert depends
    assert [words for words in depends if {"net", "mosquitto"} & set(words)] == []


@pytest.mark.parametrize("unit", UNITS)
def test_what_systemd_would_misread_is_not_there(unit: str) -> None:
    for line in (FOLDER / unit).read_text(encoding="utf-8").splitlines():
        assert not line.endswith((" ", "\\"))
        # A comment ends at its line; behind a value, it would be a part of that.
        assert " #" not in line.lstrip("#")


@pytest.mark.parametrize("unit", SERVICES)
def test_all_of_the_sandbox_is_there(unit: str) -> None:
    assert {name: set(values(unit, name)) for name in SANDBOX} == SANDBOX


@pytest.mark.parametrize("unit", SERVICES)
def test_what_opens_the_sandbox_says_why(unit: str) -> None:
    opened = [
        found
        for found in directives(unit)
        if (found.name in OPENERS or _with_privileges(found))
        and found.value not in SANDBOX.get(found.name, set())
    ]
    assert [found for found in opened if not found.comment.startswith("# Exception: ")] == []


def _with_privileges(found: Directive) -> bool:
    """Whether it is a command that runs outside the sandbox."""
    return found.name.startswith("Exec") and "+" in found.value.partition("/")[0]


def test_a_master_that_is_root_nowhere_else() -> None:
    users = {unit: values(unit, "User") + values(unit, "DynamicUser") for unit in SERVICES}
    assert users == {"pyboot.service": ["pyboot"], TEMPLATE: ["yes"]}


def test_the_target_and_the_slice_are_those_of_the_workers() -> None:
    assert values(TEMPLATE, "PartOf") == values(TEMPLATE, "WantedBy") == [TARGET]
    assert values(TEMPLATE, "Slice") == ["edge-model.slice"]


def test_a_worker_has_more_time_to_stop_than_its_own_deadline() -> None:
    (stop,) = values(TEMPLATE, "TimeoutStopSec")
    assert int(stop.removesuffix("s")) > 20
