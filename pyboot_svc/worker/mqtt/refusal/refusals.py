"""What it means that a broker refuses a message: for good, or for now.

The reason codes are those of MQTT 5, section 3.4.2.1.
"""

from __future__ import annotations

from typing import NamedTuple

# Packet identifier in use, quota exceeded: nothing is said of the message itself.
_FOR_NOW = frozenset((0x91, 0x97))
# Unspecified error, implementation specific error: brokers say so of queues that are full, and of
# messages that they will never take.
_UNCLEAR = frozenset((0x80, 0x83))
# After so many refusals without a clear reason a message is given up.
MOST_UNCLEAR = 5


class Refusal(NamedTuple):
    """The broker's reason in words; without a code it was not asked, and is refused for good."""

    text: str
    code: int = 0

    @property
    def for_now(self) -> bool:
        """Whether the same message may be taken later."""
        return self.code in _FOR_NOW or self.code in _UNCLEAR

    @property
    def unclear(self) -> bool:
        return self.code in _UNCLEAR
