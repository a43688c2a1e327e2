"""What is less than it was meant to be: no reason to stop, and not to be overlooked."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class Notices:
    """Each is logged when it comes up, and shown for as long as it holds."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def show(self, subject: str, text: str) -> None:
        """One a subject; an empty text says that all is well with it."""
        if text and self._texts.get(subject) != text:
            log.warning("%s", text)
        # A new one, since other threads read it.
        others = {key: old for key, old in self._texts.items() if key != subject}
        self._texts = {**others, subject: text} if text else others

    @property
    def texts(self) -> list[str]:
        return list(self._texts.values())
