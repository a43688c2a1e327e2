"""Virtual environments that pyboot makes for models, each a folder where units may execute it.

They are made in place, since their scripts name it; a file in one says that it isn't complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyboot_svc.environments.interpreter import find_interpreter
from pyboot_svc.environments.packages import packages_of
from pyboot_svc.errors import UnavailableError, UsageError, in_words
from pyboot_svc.files import names_in
from pyboot_svc.services.child import how_it_ended

OF_SERVICES = Path("/var/lib/pyboot/venvs")
OF_USERS = Path("~/.local/share/pyboot/venvs")
_INCOMPLETE = ".incomplete"
# Of what a command has printed to nobody.
_LAST_LINES = 20


@dataclass(frozen=True)
class Source:
    """What an environment is made of. With `wheels`, a folder, nothing comes from the network."""

    requirements: Path
    wheels: Path | None = None
    interpreter: str = sys.executable


def environments_folder() -> Path:
    """Root's are for services; a user's lie in the folder for data."""
    if os.geteuid() == 0:
        return OF_SERVICES
    data = os.environ.get("XDG_DATA_HOME")
    return Path(data, "pyboot", "venvs") if data else OF_USERS.expanduser()


def create_environment(folder: Path, source: Source, *, show: bool) -> None:
    """Make one and install what is required; with `show`, standard error has pip's progress.

    Nothing is left of one that fails. Raises UsageError, UnavailableError, EnvironmentUnusable.
    """
    _check(source)
    interpreter = find_interpreter(source.interpreter).executable
    with _begun(folder):
        _run([str(interpreter), "-I", "-m", "venv", str(folder)], show=False)
        wheels = source.wheels
        offline = [] if wheels is None else ["--no-index", "--find-links", str(wheels.absolute())]
        python = str(folder / "bin" / "python")
        pip = [python, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check", "install"]
        _run([*pip, *offline, "--requirement", str(source.requirements)], show=show)
        find_interpreter(str(folder))


def _check(source: Source) -> None:
    for path in (source.requirements, source.wheels):
        if path is not None and not os.path.exists(path):
            raise UsageError(f"there is no {path}")
    if os.path.isdir(source.requirements):
        raise UsageError(f"{source.requirements} is a folder: name a file as pip's --requirement")
    if source.wheels is not None and not os.path.isdir(source.wheels):
        raise UsageError(f"{source.wheels} is a file: name the folder that the wheels lie in")


def list_environments(folder: Path) -> list[Path]:
    """Those that are complete, by name; raises UnavailableError where they can't be seen."""
    return sorted(
        entry
        for entry in map(folder.joinpath, names_in(folder))
        if os.path.exists(entry / "pyvenv.cfg") and not os.path.exists(entry / _INCOMPLETE)
    )


def described(environment: Path) -> dict[str, str | int]:
    """Name, path, Python's version and the number of packages."""
    packages = packages_of(str(environment))
    return {
        "name": environment.name,
        "path": str(environment),
        "python": packages["python"],
        "packages": len(packages) - 1,
    }


def remove_environment(environment: Path) -> None:
    """Raises UnavailableError."""
    try:
        # One that is half gone must not be taken for whole.
        (environment / _INCOMPLETE).touch()
        shutil.rmtree(environment)
    except OSError as error:
        raise UnavailableError(f"{error.filename} can't be removed: {in_words(error)}") from error


@contextmanager
def _begun(folder: Path) -> Iterator[None]:
    """The folder, locked against others who make the same one, and gone if this fails."""
    # Workers are other users.
    before = os.umask(0o022)
    try:
        if folder.exists() and not (folder / _INCOMPLETE).exists():
            raise UsageError(f"there is {folder} already: choose another name, or remove that one")
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / _INCOMPLETE, "w") as mark:
            _lock(folder, mark.fileno())
            try:
                _clear(folder)
                yield
                (folder / _INCOMPLETE).unlink()
            except BaseException as error:
                shutil.rmtree(folder, ignore_errors=True)
                if isinstance(error, KeyboardInterrupt):
                    raise UnavailableError("interrupted; nothing is left of it") from error
                raise
    except OSError as error:
        raise UnavailableError(f"{folder} can't be made: {error.strerror}") from error
    finally:
        os.umask(before)


def _lock(folder: Path, mark: int) -> None:
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UnavailableError(f"{folder} is being made by another `pyboot venv create`") from None


def _clear(folder: Path) -> None:
    """Remove what one that was killed has left."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _INCOMPLETE:
            entry.unlink()


def _run(command: Sequence[str], *, show: bool) -> None:
    """Raises UnavailableError with what it said last, unless that was shown."""
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if show else subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    if ended.returncode == 0:
        return
    said = (ended.stdout or "").strip()
    if "ensurepip is not" in said:
        raise UnavailableError(
            f"{command[0]} has no ensurepip: install it (on Debian: sudo apt install python3-venv)"
        )
    last = "\n".join(said.splitlines()[-_LAST_LINES:])
    raise UnavailableError(
        f"{command[3]} {how_it_ended(ended.returncode)}" + (f":\n{last}" if last else "")
    )
