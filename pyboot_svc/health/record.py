"""How a worker does, as it tells whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pyboot_svc.text import printable

_SIGNS = ("alive", "loaded", "started", "ready")
_TEXTS = ("reasons", "stalls", "notices")
_LONGEST = 1000


class Health(NamedTuple):
    """What one instance answers.

    `alive`: all its threads make progress; `stalls` says why not. `loaded`: its model is.
    `started`: it was ready once. `ready`: it can work right now; `reasons` says why not. `notices`:
    what a broker grants less than it was asked for. `unasked`: who asked may not, and nothing is
    known of it.
    """

    instance: str
    alive: bool = False
    loaded: bool = False
    started: bool = False
    ready: bool = False
    reasons: tuple[str, ...] = ()
    stalls: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    unasked: bool = False

    @property
    def trouble(self) -> str:
        """Why it is not alive, or not ready; empty when it is both."""
        return "; ".join((*self.stalls, *self.reasons))

    def document(self) -> dict[str, Any]:
        """As it goes over a socket, and as `pyboot health --json` shows it."""
        signs = {name: getattr(self, name) for name in _SIGNS}
        texts = {"reasons": list(self.reasons), "stalls": list(self.stalls)}
        notices = {"notices": list(self.notices)} if self.notices else {}
        return {"instance": self.instance, **signs, **texts, **notices}


def read_health(document: Mapping[str, Any]) -> Health:
    """Of what came over a socket; raises ValueError when that is no such answer.

    A sign that is missing isn't there. What a model can have written is made printable.
    """
    instance = document.get("instance")
    signs = {name: document.get(name, False) for name in _SIGNS}
    texts = {name: document.get(name, []) for name in _TEXTS}
    well = isinstance(instance, str) and all(isinstance(sign, bool) for sign in signs.values())
    if not well or not all(_are_texts(value) for value in texts.values()):
        raise ValueError("its answer doesn't say how it does")
    told: dict[str, Any] = {
        **signs,
        **{name: tuple(printable(text, _LONGEST) for text in all_) for name, all_ in texts.items()},
    }
    return Health(printable(str(instance)), **told)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
