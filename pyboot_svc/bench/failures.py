"""What fails while a model is measured: counted, and told once at the end."""

from __future__ import annotations

from collections import Counter

from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.worker.execution.failure_log import FailureLog, summary
from pyboot_svc.worker.messages import Message


class CountedFailures(FailureLog):
    """Messages by the kind of their failure, and the `first` error; nothing is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[str] = Counter()
        self.first = ""

    def say(self, fault: PayloadFault, message: Message, reason: str) -> None:
        self.kinds[str(fault)] += 1
        self._note(reason)

    def say_batch(self, count: int, error: BaseException) -> None:
        """Each of the messages is counted when its own call fails, too."""
        self._note(summary(error))

    def forget(self) -> None:
        self.kinds.clear()
        self.first = ""

    def _note(self, reason: str) -> None:
        self.first = self.first or reason.partition("\n")[0]
