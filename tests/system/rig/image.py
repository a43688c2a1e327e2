"""A root file system of Debian 13, made once and kept outside any checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rig.commands import RigError, finish

SUITE = "trixie"
_COMMON = (
    *("procps", "iproute2", "curl"),
    *("python3", "python3-cherrypy3", "python3-paho-mqtt"),
    *("python3-orjson", "python3-sdnotify", "python3-setproctitle"),
    *("python3-systemd", "python3-yaml", "python3-psutil"),
    *("mosquitto", "mosquitto-clients", "bash-completion", "man-db", "rpm"),
)
PACKAGES = ("systemd", "systemd-sysv", "dbus", *_COMMON)
OPENRC_PACKAGES = (
    *("sysvinit-core", "openrc", "systemd-standalone-sysusers", "logrotate"),
    *_COMMON,
)

BUILD_SECONDS = 900.0

# Bumped when the same packages would make a different image, so that old caches are not used.
_RECIPE = "1"

# What mmdebstrap copies from the build machine: a host must not carry that machine's name or DNS.
_FORGET_BUILDER = 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf"'


def default_cache_dir() -> Path:
    """Outside any checkout: an image serves every clone here, and `git clean` spares it."""
    parent = os.environ.get("XDG_CACHE_HOME") or "/var/cache"
    return Path(parent) / "pyboot-test"


def base_image(packages: Sequence[str], cache_dir: Path, hooks: Sequence[str] = ()) -> Path:
    """A root tarball of Debian 13 with these packages, built at the first call (about 30 s).

    `hooks` are shell commands that finish the root, which is $1, with the network; with any, apt's
    lists and downloads stay in it.
    """
    image = cache_dir / f"{SUITE}-{_key(packages, hooks)}.tar"
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _locked(cache_dir):
        if not image.exists():
            with _scratch(cache_dir) as scratch:
                built = scratch / "root.tar"
                _mmdebstrap(packages, built, scratch, hooks=hooks)
                built.rename(image)
    return image


def _key(packages: Sequence[str], hooks: Sequence[str] = ()) -> str:
    parts = [_RECIPE, SUITE, os.uname().machine, *sorted(set(packages)), *hooks]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@contextmanager
def _locked(cache_dir: Path) -> Iterator[None]:
    """One writer a cache; the kernel drops the lock of a writer that dies."""
    with (cache_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _scratch(cache_dir: Path) -> Iterator[Path]:
    """Beside the result, so that a rename publishes it; under the lock, leftovers are no one's."""
    for leftover in cache_dir.glob("scratch-*"):
        _remove_tree(leftover)
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=cache_dir))
    scratch.chmod(0o755)  # apt downloads as a user of its own
    try:
        yield scratch
    finally:
        _remove_tree(scratch)


def _remove_tree(path: Path) -> None:
    # A build that was killed leaves what it had mounted: the deepest first.
    mounted = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    for place in sorted((line.split(" ")[1] for line in mounted), reverse=True):
        if Path(place).is_relative_to(path):
            subprocess.run(["umount", place], check=True)
    # Not shutil: it would walk into a file system that someone mounted inside.
    subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)


def unpacked_files(packages: Sequence[str], cache_dir: Path) -> Path:
    """A folder with the files of these packages of Debian 13, and of what they need: nothing is set
    up in it, and no host can boot of it. Made at the first call (about 10 s)."""
    folder = cache_dir / f"{SUITE}-{_key(packages)}.files"
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _locked(cache_dir):
        if not folder.exists():
            with _scratch(cache_dir) as scratch:
                made = scratch / "files"
                _mmdebstrap(packages, made, scratch, variant="extract")
                made.rename(folder)
    return folder


def _mmdebstrap(
    packages: Sequence[str],
    output: Path,
    scratch: Path,
    variant: str = "minbase",
    hooks: Sequence[str] = (),
) -> None:
    # apt verifies the suite with the machine's own archive keyring: Debian signs a new stable's
    # Release with the previous stable's key too, so Debian 12's keyring is enough for Debian 13.
    command = [
        "mmdebstrap",
        "--mode=root",
        f"--variant={variant}",
        f"--include={','.join(packages)}",
    ]
    if hooks:
        command += ["--skip=cleanup/apt", *(f"--customize-hook={hook}" for hook in hooks)]
    if variant != "extract":
        command += [f"--customize-hook={_FORGET_BUILDER}"]
    command += [SUITE, str(output), _apt_mirror()]
    environment = {**os.environ, "TMPDIR": str(scratch), "LC_ALL": "C.UTF-8"}
    done = finish(command, environment=environment, timeout=BUILD_SECONDS)
    if done.returncode:
        raise RigError(f"mmdebstrap failed:\n{done.stderr}")


def _apt_mirror() -> str:
    """Asked of apt itself, which reads every format of its sources and needs no lists for this."""
    uris = finish(["apt-get", "--print-uris", "update"], environment=dict(os.environ)).stdout
    suites = {_debian_codename(), "stable", "oldstable", "testing", "unstable", "sid"}
    for mirror, suite in re.findall(r"^'([^']+)/dists/([^/']+)/InRelease'", uris, re.MULTILINE):
        if suite in suites:
            return str(mirror)
    raise RigError("no Debian archive among this machine's apt sources")


def _debian_codename() -> str:
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r'^VERSION_CODENAME="?(\w+)', release, re.MULTILINE)
    return found[1] if found else ""


def unpacked(image: Path) -> Path:
    """The image as a folder, unpacked once a machine: the read-only lower layer of every host."""
    folder = image.with_suffix(".root")
    with _locked(image.parent):
        if not folder.exists():
            with _scratch(image.parent) as scratch:
                root = scratch / "root"
                root.mkdir()
                unpack = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
                subprocess.run([*unpack, "-xpf", image, "-C", root], check=True)
                root.rename(folder)
    return folder
