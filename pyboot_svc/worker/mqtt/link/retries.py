"""When to try again after a connection was lost, or could not be opened."""

from __future__ import annotations

from pyboot_svc.backoff import Backoff
from pyboot_svc.worker.mqtt.link.life import Ending
from pyboot_svc.worker.mqtt.link.paho_client import loss

_FIRST_RETRY, _LAST_RETRY = 0.5, 30.0
# A broker that comes back within the first minutes is found within so many seconds.
_EAGER_RETRY, _EAGER_SECONDS = 4.0, 300.0
# A connection that was up for so long starts the backoff anew. Two clients of one id throw each
# other out, and most brokers don't tell them: they must not do it ever faster.
_STABLE_SECONDS = 60.0
# To come back at once would throw the other client out, and so on ever faster; to stay away for
# long would leave the session to whoever takes it again and again.
_FIRST_REST, _LAST_REST = 2.0, 20.0
# A message that the broker hangs up on has been found by then.
_MOST_SHORT_LIVES = 4


class Retries:
    """Counts connections that end soon, and without a reason, one after the other."""

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        self._backoff = Backoff(
            _FIRST_RETRY, _LAST_RETRY, eager=_EAGER_RETRY, eager_seconds=_EAGER_SECONDS
        )
        self._rest = Backoff(_FIRST_REST, _LAST_REST)
        self._short_lives = 0

    def after(self, ending: Ending) -> tuple[float, str]:
        """How many seconds to wait, and the reason to be told."""
        reason = ending.reason
        if ending.lived > _STABLE_SECONDS or ending.hurry:
            self._backoff.reset()
        if ending.lived > _STABLE_SECONDS:
            self._rest.reset()
        unexplained = reason == loss(up=True)
        if unexplained and ending.lived <= _STABLE_SECONDS:
            self._short_lives += 1
        else:
            self._short_lives = 0
        again = self._short_lives >= _MOST_SHORT_LIVES
        if unexplained and ending.unanswered:
            reason += f" before an answer to SUBSCRIBE {ending.unanswered}"
            if again:
                ending.refused = True  # it comes to the same
                reason += f", again and again: may the client {self._client_id} subscribe to that?"
        elif again:
            rival = f"does another client use the id {self._client_id}"
            reason += f" soon after it was up, again and again: {rival}, is it running twice?"
        if ending.taken_over:
            return self._rest.next(), reason
        if ending.hurry:
            return 0.0, reason
        return self._backoff.next(patient=ending.refused or again), reason
