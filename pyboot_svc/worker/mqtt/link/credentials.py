"""Reads what a connection needs from the files that the configuration names."""

from __future__ import annotations

from pathlib import Path

from pyboot_svc.errors import ConfigError, Problem

# MQTT's strings are no longer; nor is a password of OpenSSL's.
_LONGEST_BYTES, LONGEST_KEY_PASSWORD_BYTES = 65_535, 1024


def read_password(file: str, key: str = "password_file", most_bytes: int = _LONGEST_BYTES) -> str:
    """The file's first line; `key` names it in errors."""
    try:
        # An editor may have put a byte order mark in front.
        text = Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise unusable(file, f"the {key} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise unusable(file, f"the {key} is not UTF-8 text") from error
    line = text.partition("\n")[0].rstrip("\r")
    if len(line.encode()) > most_bytes:
        message = f"the {key} has more than {most_bytes} bytes in its first line: is it that file?"
        raise unusable(file, message)
    return line


def unusable(file: str, message: str) -> ConfigError:
    """The error of a file that the configuration names."""
    return ConfigError([Problem(file, 0, 0, "", message)])
