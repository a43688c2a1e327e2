"""What root has done in a child without root's rights, as a user who has no others to lose.

The child is forked, not started: it needs no interpreter that the user could run.
"""

from __future__ import annotations

import atexit
import grp
import json
import os
import pwd
import select
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NoReturn, TypeVar

from pyboot_svc.credentials import read_credential
from pyboot_svc.errors import ExitCode, PybootError, UnavailableError
from pyboot_svc.services.descendants import adopt_orphans, end_descendants
from pyboot_svc.text import path_text

Document = dict[str, Any]
Ask = Callable[[Path], Iterable[Document]]
_Begun = TypeVar("_Begun")

_NOBODY = "nobody"
# Who belongs to the group of root isn't without rights.
_NO_GROUP = 65534
_READ_BYTES = 64 * 1024
_MOST_BYTES = 2**31
# Of an error's text.
_LONGEST_ERROR = 16_000
# What a model's helpers have to end in, when its work is done.
_HELPERS_SECONDS = 2.0
_INTERRUPTED = 128 + signal.SIGINT
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CREDENTIALS, _SCRATCH = "credentials", "scratch"
_ERROR, _CODE, _DONE = "pyboot-error", "pyboot-code", "pyboot-done"


@dataclass(frozen=True)
class Places:
    """Where a child works: a way to the state, and an empty folder that goes with the child."""

    state: Path
    scratch: Path


class ChildEnded(UnavailableError):
    """A child ended before it was done; `code` is its exit code, negative for a signal's number."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"what was asked without root's rights ended with {code}")

    @property
    def shells_code(self) -> int:
        """As a shell has it."""
        return self.code if self.code >= 0 else 128 - self.code


class ChildError(PybootError):
    """What a child raised, with the exit code of that."""

    def __init__(self, text: str, exit_code: ExitCode) -> None:
        self.exit_code = exit_code
        super().__init__(text)


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
        yield from _in_child(lambda _: _enter(place, user, folder), ask, seconds)
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
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, partial(_end_interrupted, os.getpid()))
        adopt_orphans()
        try:
            yield from ask(places)
        finally:
            _end_what_a_model_started()

    place = _somebodys(state)
    user = _nobody(groups) if place is None else _owner(place, groups)
    try:
        if user is None or _refused(user, needed):
            begin = partial(_begin, None, state)
            lending = partial(_lent, {}, None)
        else:
            way = state
            if place is not None:
                os.set_inheritable(place, True)
                way = Path(f"/proc/self/fd/{place}")
            begin = partial(_begin, user, way)
            # Read before signals are held: a disk may take its time.
            lending = partial(_lent, _read_all(credentials), user)
        yield from _in_child(begin, work, None, lending)
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
    if (credentials := lent / _CREDENTIALS).exists():
        os.environ["CREDENTIALS_DIRECTORY"] = str(credentials)
    if user is not None:
        user.become()
        os.environ["HOME"] = "/nonexistent"
    return Places(way, lent / _SCRATCH)


def _read_all(files: Mapping[str, str]) -> dict[str, bytes]:
    """What can't be read the model will miss itself."""
    found = {}
    for name, file in files.items():
        with suppress(OSError):
            found[name] = read_credential(file)
    return found


@contextmanager
def _lent(credentials: Mapping[str, bytes], user: _User | None) -> Iterator[Path]:
    """A folder of the user's, with copies of credentials and room to work, as long as it runs."""
    # No TemporaryDirectory: a child would clear it up, too, at its own end.
    folder = Path(tempfile.mkdtemp(prefix="pyboot-lent-"))
    try:
        (folder / _SCRATCH).mkdir(mode=0o700)
        if credentials:
            _copy_credentials(credentials, folder / _CREDENTIALS)
        if user is not None:
            for place in (*folder.rglob("*"), folder):
                os.chown(place, user.uid, user.gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_credentials(credentials: Mapping[str, bytes], folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for name, content in credentials.items():
        with suppress(OSError):
            copy = folder / name
            copy.touch(mode=0o400)
            copy.write_bytes(content)


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

    return next((document["path"] for document in _in_child(begin, look, None)), "")


def _in_child(
    begin: Callable[[Any], _Begun],
    ask: Callable[[_Begun], Iterable[Document]],
    seconds: float | None,
    lending: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Document]:
    """What `ask` gives in a child that `begin` has changed; it ends with this process. What it is
    lent is taken back whatever signal comes."""
    sys.stdout.flush()
    sys.stderr.flush()
    with _signals_held() as before, lending() as lent:
        answers, answer = os.pipe2(os.O_CLOEXEC)
        life, hold = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            os.close(answers)
            os.close(hold)
            _work(lambda: begin(lent), ask, answer, life, before)
        os.close(answer)
        os.close(life)
        over = os.pidfd_open(child)
        ended = done = False
        try:
            with _signals_left_to(child) if seconds is None else nullcontext(), _taken(before):
                for document in _read(answers, over, seconds):
                    done = _DONE in document
                    if not done:
                        yield document
                if seconds is None:
                    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            ended = True
        finally:
            os.close(answers)
            os.close(over)
            if not ended:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            os.close(hold)
    code = os.waitstatus_to_exitcode(status)
    if code in (_INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if code or not done:
        raise ChildEnded(code)


@contextmanager
def _signals_held() -> Iterator[set[signal.Signals | int]]:
    """Until somebody is there for them, see `_taken`; gives what was held before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _taken(before: set[signal.Signals | int]) -> Iterator[None]:
    """Among signals that are held: as if but those of `before` were."""
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)


@contextmanager
def _signals_left_to(child: int) -> Iterator[None]:
    """It ends as it sees fit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hand_on(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT or not _in_foreground():
            os.kill(child, number)

    before = {number: signal.signal(number, hand_on) for number in _heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard() -> list[signal.Signals]:
    """Whoever has SIGHUP ignored, as nohup does, wants to outlive it."""
    outlived = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in _HANDED_ON if number != signal.SIGHUP or not outlived]


def _in_foreground() -> bool:
    """Of a terminal, whose Ctrl-C reaches a child without us."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _work(
    begin: Callable[[], _Begun],
    ask: Callable[[_Begun], Iterable[Document]],
    answer: int,
    life: int,
    held: set[signal.Signals | int],
) -> NoReturn:
    """The child's whole life: whatever happens, nothing of the parent's is run on."""
    code = 1
    atexit._clear()  # what is the parent's to clean up
    try:
        threading.Thread(target=_end_with, args=(life,), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        with open(answer, "w", encoding="utf-8", errors="backslashreplace") as out:
            try:
                for document in ask(begin()):
                    out.write(json.dumps(document) + "\n")
                    out.flush()
                out.write(json.dumps({_DONE: True}) + "\n")
            except PybootError as error:
                told = {_ERROR: str(error)[:_LONGEST_ERROR], _CODE: int(error.exit_code)}
                out.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        code = 0
    except BrokenPipeError:
        code = 0  # whoever read it has seen enough
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _end_interrupted(worker: int, number: int, frame: FrameType | None) -> None:
    """Not by an exception, which would be taken for one of the model at hand, and survived."""
    if os.getpid() != worker:  # one that the model has forked, and may count on it
        signal.default_int_handler(number, frame)
    # It may come twice: from the terminal and from the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The model may have been interrupted with a lock in hand that its end waits for.
    late = threading.Timer(2 * _HELPERS_SECONDS, os._exit, (_INTERRUPTED,))
    late.daemon = True
    late.start()
    try:
        _end_what_a_model_started()
    finally:
        os._exit(_INTERRUPTED)


def _end_what_a_model_started() -> None:
    """As a script's end does, but in time: a pool is waited for whose calls never end."""
    impatient = threading.Timer(_HELPERS_SECONDS, end_descendants)
    impatient.daemon = True
    impatient.start()
    # What Python does of itself where a process isn't ended by os._exit.
    leave_pools = getattr(sys.modules.get("concurrent.futures.process"), "_python_exit", None)
    if leave_pools is not None:
        leave_pools()
    atexit._run_exitfuncs()
    impatient.cancel()
    end_descendants()


def _end_with(life: int) -> None:
    os.read(life, 1)
    os._exit(1)


def _read(answers: int, over: int, seconds: float | None) -> Iterator[Document]:
    """Until the end of the answers, or of their sender: `over` can be read then. What a model has
    started may hold the pipe open."""
    text = b""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        ready = select.select([answers, over], [], [], left)[0]
        if not ready:
            raise UnavailableError(f"nothing could be read within {seconds:g} s")
        if answers not in ready:
            return
        more = os.read(answers, _READ_BYTES)
        *lines, text = (text + more).split(b"\n") if b"\n" in more else [text + more]
        for line in lines:
            yield _document(line)
            if seconds is not None:
                deadline = time.monotonic() + seconds
        if not more:
            return
        if len(text) > _MOST_BYTES:
            raise UnavailableError("what could be read is too long")


def _error(text: str, code: ExitCode) -> PybootError:
    return UnavailableError(text) if code == ExitCode.UNAVAILABLE else ChildError(text, code)


def _document(line: bytes) -> Document:
    document: Document = json.loads(line)
    if _ERROR in document:
        raise _error(document[_ERROR], ExitCode(document[_CODE]))
    return document
