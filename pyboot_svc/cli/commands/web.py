"""`pyboot web password`: who may read the web."""

from __future__ import annotations

import argparse
import getpass
import grp
import os
import sys
from contextlib import suppress
from pathlib import Path
from unicodedata import category

from pyboot_svc.cli.arguments import add_config
from pyboot_svc.cli.config_file import config_file
from pyboot_svc.config.loader import load_config
from pyboot_svc.config.settings import NO_AUTH
from pyboot_svc.credentials import first_line
from pyboot_svc.errors import ExitCode, UsageError, in_words

DESCRIPTION = """\
Make a token, or with --user a password, for who may read the master's web. The file
that `web: {auth: {file: FILE}}` names gets a hash of it; a running master reads the
file again. A token is printed, once; a password is asked for, or read from standard
input."""
EXAMPLES = (
    ("sudo pyboot web password", "print a new token, as for Prometheus"),
    ("sudo pyboot web password --user ada", "a password, for a browser"),
)
_GROUP = "pyboot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("password",), help="add a token or a password")
    parser.add_argument("--user", default="", metavar="NAME", help="whose password it is")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="the file (default: that of the configuration)"
    )
    add_config(parser)


def run(options: argparse.Namespace) -> ExitCode:
    # The web's libraries come with it.
    from pyboot_svc.web.credentials import new_token, with_entry

    file: Path = options.file or _configured(options)
    secret = _password() if options.user else new_token()
    try:
        # An editor may have put a byte order mark in front.
        text = file.read_text(encoding="utf-8-sig") if file.exists() else ""
        _write(file, with_entry(text, options.user, secret))
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text: save it as that, or remove it") from error
    except OSError as error:
        raise UsageError(f"{file} can't be written: {in_words(error)}") from error
    if not options.user:
        print(secret)
    return ExitCode.OK


def _configured(options: argparse.Namespace) -> Path:
    auth = load_config(config_file(options)).web.auth
    if auth in (None, NO_AUTH):
        raise UsageError("the configuration has no `web: {auth: {file: FILE}}`; name one by --file")
    return Path(auth)


def _password() -> str:
    try:
        if not sys.stdin.isatty():
            given = first_line(sys.stdin.buffer.readline())
        else:
            given = _typed("Password: ")
            if _typed("Again: ") != given:
                raise UsageError("the two were not the same")
    except ValueError as error:
        raise UsageError(f"the password {error}") from error
    if not given:
        raise UsageError("the password is empty")
    if any(category(character) == "Cc" for character in given):  # RFC 7617, section 2
        raise UsageError("the password has control characters, which no login can have")
    return given


def _typed(prompt: str) -> str:
    """Bytes of no character of the terminal's are kept by it as surrogates."""
    return first_line(getpass.getpass(prompt).encode(errors="surrogateescape"))


def _write(file: Path, text: str) -> None:
    """In its place at once, for its owner and the master, which must not write it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
            if os.geteuid() == 0:
                with suppress(KeyError):  # there are no services here
                    os.fchown(descriptor, 0, grp.getgrnam(_GROUP).gr_gid)
                    os.fchmod(descriptor, 0o640)
            writing.write(text)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
