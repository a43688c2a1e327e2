"""Reads what a connection needs from the files that the configuration names."""

from __future__ import annotations

from pathlib import Path

from pyboot_svc.errors import ConfigError, Problem


def read_password(file: str, key: str = "password_file") -> str:
    """The file's first line; `key` names it in errors."""
    try:
        # An editor may have put a byte order mark in front.
        text = Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise unusable(file, f"the {key} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise unusable(file, f"the {key} is not UTF-8 text") from error
    return text.partition("\n")[0].rstrip("\r")


def unusable(file: str, message: str) -> ConfigError:
    """The error of a file that the configuration names."""
    return ConfigError([Problem(file, 0, 0, "", message)])
