"""What a worker notes of its session at the broker, in two small files of the state directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyboot_svc.files import replace_text

_SESSION_NAME = "subscribed-at"


class SessionNotes:
    """`subscribed` lists what the session may be subscribed to, and is there before the broker is
    asked; `subscribed-at` says at which one, and as which client, and is there once it has
    answered. Older versions noted no client there: it may be any.

    Reading gives nothing where there is no file; writing raises OSError.
    """

    def __init__(self, subscribed: Path, address: str, client_id: str) -> None:
        self.subscribed = subscribed
        self.session = subscribed.with_name(_SESSION_NAME)
        self._address = address
        self._text = f"{address}\n{client_id}\n"
        # Also where nothing can be written.
        self._established = False

    def filters(self) -> list[str]:
        return [line for line in _read(self.subscribed).split("\n") if line]

    def note(self, filters: Sequence[str]) -> None:
        replace_text(self.subscribed, "".join(f"{topic}\n" for topic in filters), durable=True)

    @property
    def established(self) -> bool:
        """Whether this broker has had a session of ours, and nobody has ended it since."""
        return self._established or _read(self.session) in (self._text, f"{self._address}\n")

    def establish(self) -> None:
        known, self._established = self._established, True
        if not known and _read(self.session) != self._text:
            replace_text(self.session, self._text, durable=True)

    def forget(self) -> None:
        """The session is ended on purpose."""
        self._established = False
        for file in (self.session, self.subscribed):
            file.unlink(missing_ok=True)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
