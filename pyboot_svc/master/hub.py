"""The master's end of the metrics socket: asks all workers at once, for figures of that moment."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pyboot_svc.identity import InstanceId
from pyboot_svc.master.admission import Admission
from pyboot_svc.master.peer import ANSWER_SECONDS, Inquiry, Nonsense, Peer, Reading, Scrape
from pyboot_svc.metrics.decoding import Malformed, decode_snapshot
from pyboot_svc.metrics.letter_decoding import decode_answer
from pyboot_svc.metrics.protocol import ASK
from pyboot_svc.sockets.descriptors import Listeners
from pyboot_svc.sockets.gate import Channel
from pyboot_svc.sockets.lines import decode_line
from pyboot_svc.sockets.tls import Certificates, TlsFailure
from pyboot_svc.threads import end_process, spawn
from pyboot_svc.wakeup import Wakeup

_MOST_UNANSWERED = 8
_SPARE_INSTANCES = 32
# Connections without a hello: a worker says it at once.
_MOST_SILENT = 256
_ACCEPTED_AT_ONCE = 32

log = logging.getLogger(__name__)


class Hub:
    """Keeps the workers' connections in a thread of its own; `scrape` asks them.

    With `certificates`, those from the network are secured.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        configured: list[InstanceId],
        certificates: Certificates | None = None,
    ) -> None:
        self._listeners = list(listeners)
        self.configure(configured)
        self._certificates = certificates
        self._peers: dict[Channel, Peer] = {}
        self._requests: deque[Scrape] = deque()
        self._inquiries: deque[Inquiry] = deque()
        self._added: deque[socket.socket] = deque()
        self._wakeup = Wakeup()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.refused: Counter[str] = Counter()
        # Of those that are configured: the process that was there last, and how many took the
        # place of another one.
        self._processes: dict[str, int] = {}
        self._restarts: Counter[str] = Counter()

    def configure(
        self,
        instances: list[InstanceId],
        passing: int = 0,
        admission: Admission | None = None,
    ) -> None:
        """These are to be reported, connected or not; others, `passing` at most, while they are.

        Who may say hello is the `admission`'s to say; without one, these may.
        """
        # In their order, and quickly found.
        self._configured = dict.fromkeys(str(identity) for identity in instances)
        self._admission = admission or Admission(frozenset(self._configured))
        self._limit = 2 * passing + _SPARE_INSTANCES

    def trust(self, hashes: Mapping[str, str]) -> None:
        """From now on, of these tokens."""
        self._admission = replace(self._admission, hashes=hashes)

    @property
    def turned(self) -> bool:
        """Whether its thread answers; asked by the watchdog."""
        request = Scrape()
        self._requests.append(request)
        self._wakeup.call()
        request.done.wait(2 * ANSWER_SECONDS)
        return request.sent

    def start(self, on_crash: Callable[[], None] = end_process) -> None:
        self._thread = spawn("hub", self._run, on_crash)

    def listen_also(self, listener: socket.socket) -> None:
        """At one more socket, from now on."""
        self._added.append(listener)
        self._wakeup.call()

    def stop(self) -> None:
        self._stopping = True
        self._wakeup.call()
        if self._thread is None:
            self._wakeup.close()
        else:
            self._thread.join(ANSWER_SECONDS)

    def restarts(self, instance: str) -> int | None:
        """How often a new process came for a former one; None when no process is known."""
        return self._restarts[instance] if instance in self._processes else None

    def scrape(self) -> dict[str, Reading]:
        """Ask every worker now; readings by instance, of all that are configured or connected."""
        request = Scrape()
        self._requests.append(request)
        self._wakeup.call()
        request.done.wait(ANSWER_SECONDS)
        # In this order: an answer that comes just now is in one of the two at least.
        asked = set(request.asked)
        answers = dict(request.answers)
        silent = asked - answers.keys()
        names = dict.fromkeys([*self._configured, *sorted(answers), *sorted(silent)])
        return {name: _reading(answers.get(name), name in silent) for name in names}

    def inquire(self, instance: str, asked: str) -> dict[str, Any]:
        """What a worker answers to a question of `metrics.letters`, decoded; `error`: why not."""
        inquiry = Inquiry(instance, asked)
        self._inquiries.append(inquiry)
        self._wakeup.call()
        inquiry.done.wait(ANSWER_SECONDS)
        return inquiry.answer

    # The thread:

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            self._taking = Listeners("metrics socket", selector)
            for listener in self._listeners:
                self._taking.add(listener)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while not self._stopping:
                for key, _ in selector.select(self._until_next()):
                    if key.fileobj in self._taking:
                        for _ in range(_ACCEPTED_AT_ONCE):
                            if not self._accept(key.fileobj):
                                break
                    elif key.fileobj is self._wakeup:
                        self._wakeup.answer()
                    elif key.fileobj in self._peers:
                        self._receive(self._peers[key.fileobj])
                self._drop_silent()
                while self._added:
                    self._taking.add(self._added.popleft())
                while self._requests:
                    self._ask(self._requests.popleft())
                while self._inquiries:
                    self._pass_on(self._inquiries.popleft())
            for peer in list(self._peers.values()):
                self._close(peer)
        self._wakeup.close()

    def _until_next(self) -> float | None:
        """In how many seconds there is something to do, whatever comes in."""
        due = [peer.hello_due - time.monotonic() for peer in self._silent()]
        rest = self._taking.resume()
        return max(min([*due, *([] if rest is None else [rest])]), 0) if due or rest else None

    def _silent(self) -> list[Peer]:
        """Those that haven't said who they are, in the order of their coming."""
        return [peer for peer in self._peers.values() if peer.instance is None]

    def _accept(self, listener: Any) -> bool:
        """Whether there was a connection."""
        try:
            connection = self._taking.accept(listener)
        except OSError:
            return False  # descriptors ran out: later, then
        if connection is None:
            return False
        try:
            peer = Peer(connection, self._certificates)
        except OSError:
            connection.close()
            return True
        self._make_way()
        self._peers[peer.channel] = peer
        self._selector.register(peer.channel, selectors.EVENT_READ)
        return True

    def _make_way(self) -> None:
        """A full house keeps no worker out: of the network that has the most strangers here, the
        one that has waited longest goes."""
        silent = self._silent()
        if len(silent) >= _MOST_SILENT:
            [(crowd, _)] = Counter(peer.network for peer in silent).most_common(1)
            longest = next(peer for peer in silent if peer.network == crowd)
            self._count("no hello, while others wait", longest)
            self._close(longest)

    def _receive(self, peer: Peer) -> None:
        try:
            for line in peer.read_lines():
                if peer.instance is None:
                    self._greet(peer, line)
                else:
                    self._note_answer(peer, line)
        except BlockingIOError:
            pass
        except TlsFailure:
            self._count("no TLS, or a certificate that isn't trusted", peer)
            self._close(peer)
        except OSError:
            self._close(peer)
        except (Nonsense, ValueError) as error:
            self._count(str(error), peer)
            self._close(peer)

    def _greet(self, peer: Peer, line: bytes) -> None:
        hello = decode_line(line)
        instance, pid = hello.get("instance"), hello.get("pid")
        if not isinstance(instance, str):
            raise Nonsense("a hello without an instance")
        try:
            identity = InstanceId.parse(instance)
        except Exception:
            raise Nonsense("a hello with a malformed instance") from None
        if peer.pid is not None and pid != peer.pid:
            raise Nonsense("a hello with another process's id")
        peer.claimed = instance
        token = hello.get("token")
        if refusal := self._admission.refusal(identity, token, peer.certified):
            raise Nonsense(refusal)
        for other in list(self._peers.values()):
            if other.instance == instance:
                self._replace(other)
        if instance not in self._configured and self._strangers() >= self._limit:
            raise Nonsense("too many instances")
        peer.instance = instance
        self._note_process(instance, peer.pid)

    def _strangers(self) -> int:
        """How many have said hello that are not missed when they are gone. They keep out none that
        is."""
        named = [peer.instance for peer in self._peers.values() if peer.instance is not None]
        return sum(name not in self._configured for name in named)

    def _replace(self, former: Peer) -> None:
        """By a worker that was restarted; raises Nonsense while the former one answers."""
        if not former.is_mute:
            if not former.unanswered:
                # It may be gone without a word: then it doesn't answer this.
                self._question(former, Scrape())
            raise Nonsense("a second hello while the first connection lives")
        self._close(former)

    def _note_process(self, instance: str, pid: int | None) -> None:
        """On another host the same number may be another process: there, none is known."""
        if pid is None or instance not in self._configured:
            return
        self._restarts[instance] += self._processes.get(instance, pid) != pid
        self._processes[instance] = pid

    def _note_answer(self, peer: Peer, line: bytes) -> None:
        snapshot = decode_line(line)
        assert peer.instance is not None
        if "asked" in snapshot:
            self._note_told(peer, snapshot)
            return
        if not peer.unanswered:
            raise Nonsense("an answer without a question")
        depths = (snapshot.get("pre_queue"), snapshot.get("post_queue"))
        if not all(type(depth) is int for depth in depths):
            raise Nonsense("an answer without queue sizes")
        peer.unanswered.popleft().answer(peer.instance, _decoded(snapshot))

    def _ask(self, request: Scrape) -> None:
        for peer in list(self._peers.values()):
            if peer.instance is None:
                continue
            request.asked.add(peer.instance)
            self._question(peer, request)
        request.sent = True
        request.finish_if_complete()

    def _question(self, peer: Peer, request: Scrape) -> None:
        # One that is behind with its answers is stalled: more questions don't help.
        if len(peer.unanswered) < _MOST_UNANSWERED and self._send(peer):
            peer.unanswered.append(request)

    def _pass_on(self, inquiry: Inquiry) -> None:
        peer = self._peer_of(inquiry.instance)
        if peer is None:
            inquiry.end({"error": "it is not connected"})
        elif inquiry.asked in peer.inquiries:
            # It has the question; who has waited in vain waits no longer.
            peer.inquiries[inquiry.asked] = [inquiry, *peer.inquiries[inquiry.asked]][:_MOST_SILENT]
        elif len(peer.inquiries) >= _MOST_UNANSWERED:
            inquiry.end({"error": "it is behind with its answers"})
        elif self._send(peer, inquiry.asked.encode() + b"\n"):
            peer.inquiries[inquiry.asked] = [inquiry]
        else:
            inquiry.end({"error": "it can't be asked now"})

    def _peer_of(self, instance: str) -> Peer | None:
        return next((one for one in self._peers.values() if one.instance == instance), None)

    def _note_told(self, peer: Peer, document: dict[str, Any]) -> None:
        asked = document["asked"]
        if not isinstance(asked, str) or asked not in peer.inquiries:
            raise Nonsense("an answer without a question")
        try:
            told = decode_answer(document)
        except Malformed as error:
            told = {"error": f"malformed: {error}"}
        for inquiry in peer.inquiries.pop(asked):
            inquiry.end(told)

    def _send(self, peer: Peer, question: bytes = ASK) -> bool:
        try:
            peer.channel.send(memoryview(question))
        except BlockingIOError:
            return False
        except OSError:
            return False  # its end is about to be read
        return True

    def _drop_silent(self) -> None:
        now = time.monotonic()
        for peer in self._silent():
            if now >= peer.hello_due:
                self._count("no hello", peer)
                self._close(peer)

    def _close(self, peer: Peer) -> None:
        self._selector.unregister(peer.channel)
        del self._peers[peer.channel]
        peer.channel.close()
        for request in peer.unanswered:
            assert peer.instance is not None
            request.answer(peer.instance, None)
        for inquiry in (one for some in peer.inquiries.values() for one in some):
            inquiry.end({"error": "its connection ended"})

    def _count(self, reason: str, peer: Peer | None) -> None:
        self.refused[reason] += 1
        if self.refused[reason] == 1:
            who = f" (process {peer.pid})" if peer and peer.pid is not None else ""
            who += f" that said it is {peer.claimed}" if peer and peer.claimed else ""
            log.warning("metrics socket: dropped a connection%s: %s", who, reason)


def _decoded(snapshot: dict[str, Any]) -> Reading:
    try:
        return Reading(decode_snapshot(snapshot), None)
    except Malformed as error:
        return Reading(None, f"malformed: {error}")


def _reading(answer: Reading | None, silent: bool) -> Reading:
    if answer is not None:
        return answer
    if silent:
        return Reading(None, f"stalled: no answer within {ANSWER_SECONDS:.0f} s")
    return Reading(None, "absent: not connected")
