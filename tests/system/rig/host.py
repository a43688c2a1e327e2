"""A booted Debian 13, with systemd or with sysvinit and OpenRC."""

from __future__ import annotations

import io
import os
import re
import secrets
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from rig.commands import CommandFailed, RigError, finish, finish_bytes, poll
from rig.image import unpacked

BOOT_SECONDS = 45.0
# OpenRC stops one service after the other, and gives each instance up to 35 s of its own.
SHUTDOWN_SECONDS = 150.0

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}

# By init system: a script that ends well as soon as all has been started.
_IS_UP = {
    "systemd": "case $(systemctl is-system-running) in running | degraded) ;; *) false ;; esac",
    "openrc": '[ "$(cat /run/openrc/softlevel)" = default ] && [ ! -e /run/openrc/rc.starting ]',
}

# Whether OpenRC waits for ever for a script that has ended, and has none: once in some 300 boots
# (https://github.com/OpenRC/openrc/issues/895).
_LOST_CHILD = """
for pid in $(pgrep -x openrc-run); do pgrep -P "$pid" > /dev/null || exit 0; done
exit 1
"""

# Started in a mount namespace of its own, so that no mount of a host can outlive its processes.
# $1: the lower layer, $2: what lies on it, or nothing, $3: the host's name; the rest: cgroups to
# enter.
_BOOT = """
set -eu
lower=$1; layer=$2; name=$3; shift 3
for group; do echo $$ > "$group/cgroup.procs"; done
mkdir -p lower layer upper root
rm -rf work && mkdir work
# By relative names: a path with a comma or colon in it would be read as more mount options.
mount --bind "$lower" lower
lowers=lower
if [ -n "$layer" ]; then
    mount --bind "$layer" layer
    lowers=layer:lower
fi
mount -t overlay -o "lowerdir=$lowers,upperdir=upper,workdir=work,redirect_dir=on" overlay root
# nspawn leaves locks and propagation folders behind where /run is no tmpfs.
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=755 tmpfs /run/systemd/nspawn
# CAP_BPF and bpf(): without them IPAddressDeny=, SocketBindDeny= and RestrictNetworkInterfaces=
# are accepted and not enforced. The variable matters only where v1 is asked for: systemd 257
# refuses it otherwise.
exec systemd-nspawn --quiet --directory=root --machine="$name" --boot \\
    --register=no --keep-unit --private-network --console=read-only \\
    --resolv-conf=off --timezone=off --link-journal=no \\
    --capability=CAP_BPF,CAP_PERFMON --system-call-filter=bpf \\
    --setenv=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
"""

# Waits for a line or the end of its input, so a killed test run is cleaned up after as well.
# $1: the tree; the rest: cgroups. It ignores what a terminal or CI sends to the whole test run.
_JANITOR = """
trap '' HUP INT TERM
read -r line || :
tree=$1; shift
for group; do
    [ ! -e "$group/cgroup.kill" ] || echo 1 > "$group/cgroup.kill"
done
tries=0
for group; do
    while [ -d "$group" ] && [ $tries -lt 200 ]; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
        tries=$((tries + 1))
    done
    [ ! -d "$group" ] || echo "$group is still in use" >&2
done
rm -rf --one-file-system "$tree"
"""


def _hierarchies() -> dict[str, Path]:
    """Where this machine mounts cgroup v2 (`""`) and, beside it, v1's hierarchies by option."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, folder, kind, options, *_ = line.split()
        names = {"cgroup2": [""], "cgroup": options.split(",")}.get(kind, [])
        for name in names:
            found.setdefault(name, Path(folder))
    if "" not in found:
        raise RigError("this machine has no cgroup v2 hierarchy mounted")
    return found


class Host:
    """One booted Debian 13: all is started inside the `with` block, and gone after it.

    `init` is the image's: `systemd` or `openrc`.

    `layer` is what another host has changed of the image, by its `keep`.
    With `drop_capability`, it is a host that may do less, as many a container may.
    With `memory_limits`, MemoryMax= and TasksMax= are enforced. Where v1 still owns the controllers
    of that, such a host has v2 for everything else; an OOM kill there shows as `Result=signal`, not
    `oom-kill`, and what cgroups do by BPF (IPAddressDeny=, SocketBindDeny=) is not enforced.
    """

    def __init__(
        self,
        image: Path,
        *,
        init: str = "systemd",
        layer: Path | None = None,
        memory_limits: bool = False,
        drop_capability: str = "",
    ) -> None:
        self.name = f"pyboot-{secrets.token_hex(4)}"
        self.init = init
        self._image = image
        self._layer = layer
        self._boot_options = f" --drop-capability={drop_capability}" if drop_capability else ""
        self._tree = Path(tempfile.gettempdir()).absolute() / self.name
        hierarchies = _hierarchies()
        controllers = ("memory", "pids") if memory_limits else ()
        self._v1 = [hierarchies[name] for name in controllers if name in hierarchies]
        # A group of its own a host: two nspawns in one would share their payload's tree. On a
        # machine with v1 beside v2, nspawn mirrors its groups in v1's `name=systemd`.
        mine = (hierarchies[""], hierarchies.get("name=systemd"), *self._v1)
        self._cgroups = [folder / self.name for folder in mine if folder]
        self._janitor: subprocess.Popen[str] | None = None
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        lower = unpacked(self._image)
        self._janitor = self._hire_janitor()  # before there is anything to clean up
        try:
            self._tree.mkdir(mode=0o700)
            for cgroup in self._cgroups:
                cgroup.mkdir()
            self._boot(lower)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def log(self) -> str:
        """What the host's console printed, boot by boot."""
        return (self._tree / "console.log").read_text(encoding="utf-8", errors="replace")

    @property
    def leader(self) -> int:
        """The host's PID 1, by its number on this machine."""
        if leader := self._find_leader():
            return leader
        raise RigError(f"{self.name} is not up")

    def run(
        self, *argv: str, check: bool = True, input: str | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the host's root, with nothing of the caller's environment.

        Raises CommandFailed (with `check`) and subprocess.TimeoutExpired.
        """
        stdin = None if input is None else input.encode()
        done = finish(self._inside(*argv), environment=ENVIRONMENT, stdin=stdin, timeout=timeout)
        if check and done.returncode:
            raise CommandFailed(done.returncode, argv, done.stdout, done.stderr)
        return done

    def push(self, src: Path, dst: str) -> None:
        """Copy a file or folder to this very path of the host, as root's; makes parent folders."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(src, arcname=dst.lstrip("/"), filter=_as_root)
        self._tar(archive.getvalue(), "-xpf", "-", "-C", "/", "--keep-directory-symlink")

    def pull(self, src: str, dst: Path) -> None:
        """Copy a file or folder of the host to this very path."""
        # Resolved, because the state folder of a DynamicUser is a link to the real one.
        path = PurePosixPath(self.run("realpath", "--canonicalize-existing", src).stdout[:-1])
        archive = self._tar(None, "-cf", "-", "-C", str(path.parent), "--", path.name)
        # By way of a folder beside it: what comes out of the tarball is renamed, never merged.
        with tempfile.TemporaryDirectory(dir=dst.parent) as scratch:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(scratch, filter="tar")
            (Path(scratch) / path.name).rename(dst)

    def reboot(self) -> None:
        """As a person would: units stop in order, /run is new, everything else stays."""
        if self._go_down("reboot") != 133:  # what nspawn says to who shall restart it
            raise RigError(f"{self.name} went down instead of rebooting:\n{self.log}")
        self._boot(unpacked(self._image))

    def keep(self, layer: Path, without: Sequence[str] = ()) -> None:
        """Power the host off, and keep what is changed of its image as a layer for others; of what
        is in the folders `without`, nothing."""
        self._go_down("poweroff")
        upper = self._tree / "upper"
        for folder in without:
            for entry in (upper / folder).glob("*"):
                subprocess.run(["rm", "-rf", entry], check=True)
        # With attributes: they say what of the image is covered.
        unfinished = layer.with_name(f"{layer.name}.part")
        subprocess.run(["cp", "-a", upper, unfinished], check=True)
        unfinished.rename(layer)

    def _go_down(self, how: str) -> int:
        """As a person would have it; gives what nspawn ended with."""
        nspawn = self._nspawn
        if nspawn is None:
            raise RigError(f"{self.name} is not up")
        self.run(how, check=False)  # may lose its connection on the way
        try:
            poll(f"{self.name} going down", lambda: nspawn.poll() is not None, SHUTDOWN_SECONDS)
        except RigError as error:
            running = self.run("ps", "-ef", check=False).stdout
            raise RigError(f"{error}\n{self.log}\n{running}") from None
        return nspawn.returncode

    def close(self) -> None:
        """Kill the host and remove all of it. May be called twice, and at any time."""
        janitor, self._janitor = self._janitor, None
        if janitor is None:
            return
        self._kill()
        _, complaints = janitor.communicate("\n", timeout=60)
        if complaints or janitor.returncode:
            raise RigError(f"{self.name} left something behind:\n{complaints}")

    def _kill(self) -> None:
        """PID 1 first: then nspawn reaps it and ends of itself, and no zombie is left to others."""
        nspawn = self._nspawn
        if nspawn is None or nspawn.poll() is not None:
            return
        if leader := self._find_leader():
            with suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)
        else:
            nspawn.kill()
        with suppress(subprocess.TimeoutExpired):
            nspawn.wait(timeout=5)

    def _hire_janitor(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", "-c", _JANITOR, "janitor", str(self._tree), *map(str, self._cgroups)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            text=True,
            start_new_session=True,
        )

    def _boot(self, lower: Path, *, again: bool = True) -> None:
        script = [
            "sh",
            "-c",
            _BOOT.rstrip() + self._boot_options,
            "boot",
            str(lower),
            str(self._layer or ""),
            self.name,
            *map(str, self._cgroups),
        ]
        with (self._tree / "console.log").open("ab") as log:
            self._nspawn = subprocess.Popen(
                ["unshare", "--mount", "--propagation=private", *script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._tree,
                umask=0o022,  # of the upper layer's folder, which becomes the host's `/`
                # Pure v2, as on a real Debian 13, whatever this machine itself mixes.
                env={
                    **ENVIRONMENT,
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "0" if self._v1 else "1",
                },
                start_new_session=True,
            )
        try:
            poll(f"boot of {self.name}", self._is_up, BOOT_SECONDS)
        except RigError as error:
            if not (again and self._lost_a_child()):
                raise RigError(f"{error}\n{self.log}") from None
            self._kill()
            self._boot(lower, again=False)
        if self._v1:
            self._claim_controllers()

    def _claim_controllers(self) -> None:
        """nspawn mounts v1's controllers read-only; systemd looks for them only when it starts."""
        for folder in self._v1:
            self.run("mount", "-o", "remount,bind,rw", f"/sys/fs/cgroup/{folder.name}")
        self.run("systemctl", "daemon-reexec")

    def _is_up(self) -> bool:
        if self._nspawn is None or self._nspawn.poll() is not None:
            raise RigError(f"{self.name} ended while it booted")
        if not self._find_leader():
            return False
        return self.run("sh", "-c", _IS_UP[self.init], check=False).returncode == 0

    def _lost_a_child(self) -> bool:
        if not self._find_leader():
            return False
        return self.run("sh", "-c", _LOST_CHILD, check=False).returncode == 0

    def _find_leader(self) -> int | None:
        """The child of nspawn that is PID 1 in its own namespace: while it sets up, others come.

        One that ends meanwhile may hide others that the kernel lists behind it: PID 1 is asked for
        once more then.
        """
        nspawn = self._nspawn.pid if self._nspawn else 0
        for _ in range(3):
            try:
                children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
            except OSError:
                return None
            for child in children:
                with suppress(OSError):
                    status = Path(f"/proc/{child}/status").read_text()
                    if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
                        return int(child)
        return None

    def _inside(self, *argv: str) -> list[str]:
        namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        return ["nsenter", f"--target={self.leader}", *namespaces, "--", *argv]

    def _tar(self, stdin: bytes | None, *argv: str) -> bytes:
        command = self._inside("tar", *argv)
        out, err, code = finish_bytes(command, ENVIRONMENT, stdin, timeout=300)
        if code:
            raise CommandFailed(code, command, "", err.decode(errors="replace"))
        return out


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
