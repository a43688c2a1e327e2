"""What a model can know and do beside taking a payload and returning a result."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import get_ident
from typing import Any, Protocol

from pyboot_svc.model.codec import PayloadError
from pyboot_svc.model.secrets import Secrets
from pyboot_svc.model.state import CALL_GIVEN_UP, CallState, ModelState


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """An input as the broker delivered it.

    `arrived` is when the worker got it. The rest is there by MQTT 5 alone: `expiry` in seconds
    that were left then, `user_properties` as pairs in their order. Messages that `pyboot dead
    retry` sends again have neither.
    """

    topic: str
    qos: int
    retain: bool
    arrived: datetime
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    expiry: int | None = None


# In one call: they are all held in memory until the broker has them.
MOST_RESULTS = 10_000


class Call(Protocol):
    """The call that a model is in.

    `results` are those that it has published so far. Where all of them go to the configured place,
    `encode` makes a payload of one, or raises PayloadError; otherwise `publish` is to be called.
    """

    results: list[bytes]
    encode: Callable[[Any], bytes] | None

    def messages(self) -> tuple[ReceivedMessage, ...]:
        """Those that it is about, at least one; raises RuntimeError where it is about none."""

    def publish(
        self,
        payload: Any,
        topic: str | None,
        retain: bool | None,
        qos: int | None,
        properties: Mapping[str, str] | None,
        expiry: int | None,
    ) -> None: ...


NO_CALL = (
    "context.publish works during a call only: what a thread or a timer of the model's own has "
    "found out, its next call, or its `tick`, can publish"
)
NO_MESSAGE = "context.message is there during a call for a message only"


class NoCall:
    """Between two calls: while the model is loaded, or from a thread that outlives its call."""

    def __init__(self) -> None:
        self.results: list[bytes] = []
        self.encode: Callable[[Any], bytes] | None = None

    def messages(self) -> tuple[ReceivedMessage, ...]:
        raise RuntimeError(NO_MESSAGE)

    def publish(self, *arguments: Any) -> None:
        raise RuntimeError(NO_CALL)


class GivenUpCall(NoCall):
    """One that goes on although its message was taken away from it."""

    def messages(self) -> tuple[ReceivedMessage, ...]:
        raise RuntimeError(CALL_GIVEN_UP)

    def publish(self, *arguments: Any) -> None:
        raise RuntimeError(CALL_GIVEN_UP)


@dataclass(slots=True)
class Context:
    """Given to a model with a second parameter.

    `topic` is the topic of the message at hand (empty while the model is loaded), `topics` those
    of a batch, in its order (with `batch:`), `options` the
    edge's `options:`, `state` a durable mapping that the model may keep things in: it is shared by
    the instance's model threads, and what a call changes is committed with the message at hand, or
    undone when it raises. Keep in it what a result can be. With several threads, guard what reads
    and then assigns, as a counter does.
    """

    instance: str
    state_dir: Path
    logger: logging.Logger
    options: Mapping[str, Any] = field(default_factory=dict)
    state: CallState | ModelState = field(default_factory=lambda: CallState(ModelState({})))
    topic: str = ""
    topics: tuple[str, ...] = ()
    call: Call = field(default_factory=NoCall, repr=False)
    secrets: Secrets = field(default_factory=Secrets, repr=False)
    # Of calls that were given up and may still go on, by their threads: `call` is another one then.
    late: dict[int, Call] = field(default_factory=dict, repr=False)

    @property
    def message(self) -> ReceivedMessage:
        """The message at hand, with what came with it; of a batch, the first one."""
        return self.messages[0]

    @property
    def messages(self) -> tuple[ReceivedMessage, ...]:
        """Those of a batch, in its order."""
        return self._own(self.call).messages()

    def secret(self, name: str) -> str:
        """The text of the file that the edge's `secrets` have under `name`, without the line's end.

        Read anew each time. Raises LookupError for a name that is not there, OSError or ValueError
        for a file that can't be used.
        """
        return self.secrets.read(name)

    def publish(
        self,
        payload: Any,
        topic: str | None = None,
        retain: bool | None = None,
        qos: int | None = None,
        properties: Mapping[str, str] | None = None,
        expiry: int | None = None,
    ) -> None:
        """Publish a result, before what the call returns and in the order of these calls.

        It goes out when the call has ended well, and the input is acknowledged when all that it
        led to is safe. What isn't given is as configured: `topic` as `post_topic`, `retain` as
        `post_retain`, `qos` as `post_qos`, `expiry` (seconds) as `post_expiry`. `properties` are
        user properties of MQTT 5.

        Raises TypeError or ValueError for what can't be published, and RuntimeError outside of a
        call.
        """
        call = self.call
        if self.late:
            call = self._own(call)
        encode, results = call.encode, call.results
        own = topic is not None or retain is not None or qos is not None or expiry is not None
        if own or properties or encode is None or payload is None or len(results) >= MOST_RESULTS:
            call.publish(payload, topic, retain, qos, properties, expiry)
            return
        try:  # the most frequent, without a call more
            results.append(encode(payload))
        except PayloadError as error:
            raise ValueError(str(error)) from None

    def _own(self, call: Call) -> Call:
        """Of the thread which asks, while `call` is at hand."""
        return self.late.get(get_ident(), call)
