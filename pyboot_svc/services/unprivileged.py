"""What root has done in a child without root's rights, as a user who has no others to lose."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from pyboot_svc.errors import UnavailableError
from pyboot_svc.services.forked_child import Document, in_child, model_at_work
from pyboot_svc.services.lending import CREDENTIALS, SCRATCH, Places, lent_folder, read_credentials
from pyboot_svc.text import path_text

Ask = Callable[[Path], Iterable[Document]]

_NOBODY = "nobody"
# Who belongs to the group of root isn't without rights.
_NO_GROUP = 65534
_CODE = "code"


@dataclass(frozen=True)
class _User:
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        with suppress(KeyError):
            return pwd.getpwuid(self.uid).pw_name
        return str(self.uid)

    def become(self) -> None:
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def as_owner(folder: Path, ask: Ask, seconds: float) -> Iterator[Document]:
    """What `ask` gives of a folder, done with the rights of whom it belongs to.

    Where root asks and it is somebody else's, a child does it that is shut into the folder: no link
    leads out of it. `ask` is given the folder as it finds it, imports nothing, and gives documents
    of JSON. Raises what it raises, with the same exit code, and UnavailableError when nothing comes
    for `seconds`.
    """
    if os.geteuid() != 0:
        yield from ask(folder)
        return
    place = _open_folder(folder)
    try:
        status = os.fstat(place)
        if status.st_uid == 0:
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and status.st_gid != 0:
                raise UnavailableError(f"others can write to {folder}: `chmod go-w {folder}`")
            yield from ask(folder)
            return
        user = _User(status.st_uid, status.st_gid or _NO_GROUP)
        yield from in_child(lambda _: _enter(place, user, folder), ask, seconds)
    finally:
        os.close(place)


def without_rights(
    run: Callable[[Places], int],
    needed: Sequence[Path] = (),
    groups: Sequence[str] = (),
    state: Path = Path(),
    credentials: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run it as nobody, where it would have root's rights, and give its exit code; see
    `asked_without_rights`. It keeps standard input, output and error; where it goes on as another
    program, ChildEnded says how that ended. `credentials` are files that it may read, by names, as
    systemd's LoadCredential= has them."""

    def ask(places: Places) -> Iterator[Document]:
        yield {_CODE: int(run(places))}

    (document,) = asked_without_rights(ask, needed, groups, state, credentials)
    return int(document[_CODE])


def asked_without_rights(
    ask: Callable[[Places], Iterable[Document]],
    needed: Sequence[Path],
    groups: Sequence[str] = (),
    state: Path = Path(),
    credentials: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Document]:
    """What `ask` gives in a child, as nobody or as the owner of `state` where it would have the
    rights of root.

    It is given a way to `state` and a folder of its own, and has these groups besides. Where that
    user can't read what is needed, as Python in a home of root's, that is said, and it is asked as
    it is. Raises what it raises, whole, with the same exit code, and ChildEnded when a model has
    ended the child.
    """

    def work(places: Places) -> Iterator[Document]:
        with model_at_work():
            yield from ask(places)

    place = _somebodys(state)
    user = _nobody(groups) if place is None else _owner(place, groups)
    try:
        if user is None or _refused(user, needed):
            begin = partial(_begin, None, state)
            lending = partial(lent_folder, {}, None)
        else:
            way = state
            if place is not None:
                os.set_inheritable(place, True)
                way = Path(f"/proc/self/fd/{place}")
            begin = partial(_begin, user, way)
            # Read before signals are held: a disk may take its time.
            lending = partial(lent_folder, read_credentials(credentials), (user.uid, user.gid))
        yield from in_child(begin, work, None, lending)
    finally:
        if place is not None:
            os.close(place)


def _somebodys(state: Path) -> int | None:
    """Where root works, the folder if it is another's."""
    if os.geteuid() != 0 or not state.is_absolute() or not os.path.isdir(state):
        return None
    place = _open_folder(state)
    if os.fstat(place).st_uid:
        return place
    os.close(place)
    return None


def _owner(place: int, groups: Sequence[str]) -> _User:
    status = os.fstat(place)
    return _User(status.st_uid, status.st_gid or _NO_GROUP, tuple(_numbers(groups)))


def _begin(user: _User | None, way: Path, lent: Path) -> Places:
    if (credentials := lent / CREDENTIALS).exists():
        os.environ["CREDENTIALS_DIRECTORY"] = str(credentials)
    if user is not None:
        user.become()
        os.environ["HOME"] = "/nonexistent"
    return Places(way, lent / SCRATCH)


def _refused(user: _User, needed: Sequence[Path]) -> bool:
    unreadable = _unreadable(user, [*map(Path, filter(os.path.isabs, sys.path)), *needed])
    if unreadable:
        what = path_text(unreadable)
        print(
            f"pyboot: the user {user.name} can't read {what}: the model has root's rights",
            file=sys.stderr,
        )
    return bool(unreadable)


def _open_folder(folder: Path) -> int:
    """Raises UnavailableError where a link of somebody else's may lead away."""
    parent = folder.parent.stat()
    ours = parent.st_uid == 0 and not parent.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    try:
        return os.open(folder, os.O_PATH | os.O_DIRECTORY | (0 if ours else os.O_NOFOLLOW))
    except OSError as error:
        raise UnavailableError(f"{folder} can't be entered: {error.strerror}") from error


def _enter(place: int, user: _User, folder: Path) -> Path:
    os.fchdir(place)
    entered = folder
    with suppress(PermissionError):  # of a container that may not
        os.chroot(".")
        entered = Path("/")
    user.become()
    return entered


def _nobody(groups: Sequence[str]) -> _User | None:
    """None for who has no rights to lose, and on a host without such a user."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        entry = pwd.getpwnam(_NOBODY)
        return _User(entry.pw_uid, entry.pw_gid, tuple(_numbers(groups)))
    return None


def _numbers(groups: Sequence[str]) -> Iterator[int]:
    for name in groups:
        with suppress(KeyError):  # the unit will say so
            yield grp.getgrnam(name).gr_gid


def _unreadable(user: _User, paths: Sequence[Path]) -> str:
    there = [path for path in paths if path.exists()]
    folders = {path for path in there if path.is_dir()}

    def look(_: Path) -> Iterator[Document]:
        for path in there:
            if not os.access(path, os.R_OK | (os.X_OK if path in folders else 0)):
                yield {"path": str(path)}

    def begin(_: None) -> Path:
        user.become()
        return Path()

    return next((document["path"] for document in in_child(begin, look, None)), "")
