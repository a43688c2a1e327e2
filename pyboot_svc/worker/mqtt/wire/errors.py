"""What reading from a connection, or writing to it, can end in."""

from __future__ import annotations


class Broken(Exception):
    """The connection is of no use any more; its cause says why, no cause that it was closed.

    It is an exception of its own so that a bug of whoever is told of messages can't pass for one.
    """


class Malformed(Exception):
    """What arrived is not MQTT: nobody knows where the next packet begins."""
