"""A repository signed by a key made for a test, and a dnf that knows nothing but it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
_STAND_INS = """
Name: stand-ins
Version: 1
Release: 1
Summary: What pyboot-svc requires, by name
License: none
BuildArch: noarch
{provides}
%description
%files
"""


class Signer:
    """A secret key in a folder of its own; `file` has it, without a passphrase."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.home = folder
        self.file = folder / "key.asc"
        make = ("--passphrase", "", "--quick-generate-key", "a test <test@localhost.localdomain>")
        self._gpg(*make, "rsa3072", "sign", "never")
        self.file.write_bytes(self._gpg("--armor", "--export-secret-keys"))

    def close(self) -> None:
        end_agent(self.home)

    def _gpg(self, *arguments: str) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout


def build(
    key: str, dist: Path, output: Path, home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What `make repository` runs; `home` is gpg's, if not the user's own."""
    variables = {"GNUPGHOME": str(home)} if home else {}
    try:
        return subprocess.run(
            [ROOT / "packaging" / "build-repository.sh", key, dist, output],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **variables},
        )
    finally:
        if home:
            end_agent(home)


def end_agent(home: Path) -> None:
    """gpg starts it at need."""
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True, timeout=30)


class Dnf:
    """dnf on an empty root below `folder`, with the repository and stand-ins for all else."""

    def __init__(self, folder: Path, repository: Path, requires: list[str]) -> None:
        self._root = folder / "root"
        self._config = folder / "dnf.conf"
        self._root.mkdir(parents=True)
        stand_ins = _stand_ins(folder / "stand-ins", requires)
        self._config.write_text(
            f"[main]\nreposdir={folder}\ncachedir={folder}/cache\nlogdir={folder}/log\n"
            f"persistdir={folder}/persist\ntsflags=noscripts\n"
            f"[stand-ins]\nname=stand-ins\nbaseurl=file://{stand_ins}\n"
            # As docs/repository.md has it.
            f"[pyboot]\nname=pyboot\nbaseurl=file://{repository}/dnf\n"
            f"gpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://{repository}/pyboot.asc\n"
        )

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ("--config", self._config, "--installroot", self._root, "--releasever", "1")
        return subprocess.run(
            ["dnf", "--assumeyes", *where, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def close(self) -> None:
        """dnf keeps the keys of each repository apart, and gpg has an agent for each such place."""
        for home in self._root.glob("**/pubring/"):
            end_agent(home)

    def version(self) -> str:
        """That of the package as installed."""
        database = next(self._root.glob("**/rpmdb.sqlite")).parent
        query = ["rpm", "--dbpath", str(database), "--query", "pyboot-svc"]
        shown = subprocess.run(
            [*query, "--queryformat", "%{VERSION}"],
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        return shown.stdout


def _stand_ins(folder: Path, requires: list[str]) -> Path:
    folder.mkdir()
    spec = folder / "stand-ins.spec"
    provides = "\n".join(f"Provides: {name}" for name in requires)
    spec.write_text(_STAND_INS.format(provides=provides))
    build = ["rpmbuild", "-bb", "--define", f"_topdir {folder}", str(spec)]
    subprocess.run(build, check=True, timeout=60, capture_output=True)
    subprocess.run(["createrepo_c", "--quiet", str(folder)], check=True, timeout=60)
    return folder
