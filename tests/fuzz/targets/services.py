"""Any value of a configuration, as systemd and sh read what is written of it: it arrives literally.

systemd itself reads the unit files (`systemd --test`, which starts nothing), and dash the settings
of OpenRC.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from fuzz.target import Cursor, Target
from pyboot_svc.config import Broker, Edge, Endpoint, Sandbox
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.settings import render_settings
from pyboot_svc.services.units import render_drop_in

NOBODY = 65_534
IDENTITY = InstanceId("pump", 1)
# Of no instance: nothing is read.
OWN = {"report-token": "/run/pyboot/tokens/pump-1"}
SYSTEMD = next(filter(os.path.exists, ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")), None)
_TARGETS = ("basic", "shutdown", "sockets", "timers", "paths")


def texts(data: bytes) -> tuple[str, str]:
    """A value of a variable, and a path: what the configuration lets through."""
    source = Cursor(data)
    value = source.take(source.number()).decode(errors="ignore").replace("\0", "")
    name = re.sub(r"[\0-\x1f\x7f]", "", source.rest().decode(errors="ignore"))
    return value, os.path.normpath(f"/srv/x{name}")


def edge(value: str, path: str) -> Edge:
    end = Endpoint(Broker("127.0.0.1", username="u", password_file=path), "t")
    return Edge(
        "pump",
        "m.f",
        end,
        end,
        environment={"VALUE": value},
        sandbox=Sandbox(write=(path,), devices=(f"/dev{path}",)),
    )


def read_unit(data: bytes) -> None:
    value, path = texts(data)
    with tempfile.TemporaryDirectory() as name:
        said = _as_systemd_reads(Path(name), render_drop_in(IDENTITY, edge(value, path), OWN))
    wrong = re.search(r"(?m)^.*(?:ignoring|Unknown|Invalid|Failed to).*$", said)
    assert wrong is None, wrong[0]
    assert f"\tEnvironment: VALUE={value}\n" in said
    assert f"\tReadWritePaths: {path}\n" in said
    assert f"\tDeviceAllow: /dev{path} rw\n" in said


def _as_systemd_reads(folder: Path, drop_in: str) -> str:
    folder.chmod(0o755)
    units, run = folder / "units", folder / "run"
    (units / "pump.service.d").mkdir(parents=True)
    run.mkdir()
    for target in _TARGETS:
        (units / f"{target}.target").write_text("[Unit]\nDescription=x\n")
    (units / "default.target").write_text("[Unit]\nWants=pump.service\n")
    (units / "pump.service").write_text("[Service]\nExecStart=/bin/true\n")
    (units / "pump.service.d" / "50-pyboot.conf").write_text(drop_in)
    as_root = os.geteuid() == 0  # which it refuses
    if as_root:
        os.chown(run, NOBODY, NOBODY)
    return subprocess.run(
        [str(SYSTEMD), "--test", "--user", "--unit=default.target", "--no-pager"],
        env={
            "SYSTEMD_UNIT_PATH": str(units),
            "XDG_RUNTIME_DIR": str(run),
            "HOME": "/",
            "SYSTEMD_LOG_TARGET": "console",
        },
        user=NOBODY if as_root else None,
        group=NOBODY if as_root else None,
        extra_groups=[] if as_root else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=20,
        check=False,
    ).stdout.decode(errors="surrogateescape")


def read_settings(data: bytes) -> None:
    """What stands in the arguments and in the call for a credential, each ended by a zero byte."""
    value, path = texts(data)
    shell = shutil.which("dash") or "/bin/sh"
    told = subprocess.run(
        [
            shell,
            "-euc",
            'em_credential() { printf \'%s\\0\' "$1" "$2"; }\nset --\n'
            + render_settings(IDENTITY, edge(value, path))
            + "printf '%s\\0' \"$@\"",
        ],
        capture_output=True,
        env={},
        timeout=20,
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, b"")
    said = told.stdout.decode().split("\0")
    credentials = [one for pair in edge(value, path).credential_files.items() for one in pair]
    assert said[: len(credentials)] == credentials
    assert f"VALUE={value}" in said


def chosen(value: str, name: str) -> bytes:
    encoded = value.encode()
    return bytes([len(encoded)]) + encoded + name.encode()


TOKENS = [
    *(b"\\", b'"', b"'", b"%", b"%h", b"%%", b"$", b"${HOME}", b"$(id)", b"`id`", b";", b"#", b" "),
    *(b"=", b"\n", b"\r", b"\t", b"\nExecStart=/bin/false\n", b"\\\n", b"\\x41", b"\\u0041"),
    *(letter.encode() for letter in ("\x85", "\u2028", "温", "\u202e", "\ufeff", "\x7f", "\x01")),
    *(b"[Service]", b"!", b"*", b"?", b"~", b":", b"-", b"+", b"/", b"//", b"..", b"&", b"|", b"<"),
]
GOOD = [chosen("a b", ""), chosen("x", "/a b%h"), chosen("'\"\\$;#\n%", "'\"\\$;#%")]
TARGETS = [
    *([Target("units", read_unit, GOOD, TOKENS, 40)] if SYSTEMD else []),
    Target("settings", read_settings, GOOD, TOKENS, 200),
]
