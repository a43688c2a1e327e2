"""What keeps messages from the model that are not for it, as soon as they come."""

from __future__ import annotations

from typing import Protocol

from pyboot_svc.worker.messages import MessageBatch


class Sieve(Protocol):
    def forget(self) -> None:
        """The session is a new one: all that comes is news."""

    def sift(self, batch: MessageBatch) -> tuple[MessageBatch | None, list[int]]:
        """What is for the model, and the numbers of the others, to be acknowledged at once."""
