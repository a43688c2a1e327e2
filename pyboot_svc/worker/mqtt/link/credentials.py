"""Reads what a connection needs from the files that the configuration names."""

from __future__ import annotations

from pyboot_svc.credentials import first_line, read_credential
from pyboot_svc.errors import ConfigError, Problem

# MQTT's strings are no longer; nor is a password of OpenSSL's.
_LONGEST_BYTES, LONGEST_KEY_PASSWORD_BYTES = 65_535, 1024


def read_password(file: str, key: str = "password_file", most_bytes: int = _LONGEST_BYTES) -> str:
    """The file's first line; `key` names it in errors."""
    try:
        line = first_line(read_credential(file))
    except OSError as error:
        raise unusable(file, f"the {key} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise unusable(file, f"the {key} {error}") from error
    if len(line.encode()) > most_bytes:
        message = f"the {key} has more than {most_bytes} bytes in its first line: is it that file?"
        raise unusable(file, message)
    return line


def unusable(file: str, message: str) -> ConfigError:
    """The error of a file that the configuration names."""
    return ConfigError([Problem(file, 0, 0, "", message)])
