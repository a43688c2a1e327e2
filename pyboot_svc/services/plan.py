"""What there is to do so that the host runs what the configuration says, instance by instance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyboot_svc.environments.packages import package_changes
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.secret_files import UNSEEN

START, RESTART, STOP, UNCHANGED = "start", "restart", "stop", "unchanged"
# How many instances a model has.
_COUNT = "instance"
# Before the name of one of the model's files, and of a certificate or password.
_CODE = "code."
# And before that of a package that is installed in its environment.
_PACKAGES = "packages."
_PYTHON = "python"
_CREDENTIALS = "credentials."
_MOST_NAMED = 3


@dataclass(frozen=True)
class Wanted:
    """An instance as it should be: its compiled configuration and what its unit adds, as text."""

    identity: InstanceId
    compiled: str
    unit: str


@dataclass(frozen=True)
class Applied:
    """An instance as it was applied last; None for a file that isn't there.

    `failed`: its unit has given up, and stays down until somebody starts it.
    """

    identity: InstanceId
    compiled: str | None
    unit: str | None
    failed: bool = False


@dataclass(frozen=True)
class Step:
    """What is to be done with one instance, and because of which keys.

    `packages` says what has changed in the model's environment, in words.
    """

    identity: InstanceId
    action: str
    keys: tuple[str, ...] = ()
    unit_changed: bool = False
    packages: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "identity": str(self.identity)}

    def __str__(self) -> str:
        because = ", ".join(_in_words(self.keys, self.packages))
        if self.action == UNCHANGED and self.unit_changed:
            because = "its unit differs"
        return f"{self.action:9}  {self.identity}" + (f"  ({because})" if because else "")


def _in_words(keys: Iterable[str], packages: Sequence[str]) -> Iterator[str]:
    """Files of the model, what is installed, and files with secrets are no keys of the
    configuration."""
    files = [key.removeprefix(_CODE) for key in keys if key.startswith(_CODE)]
    if files:
        yield f"model's code changed: {_first(files)}"
    if packages:
        yield f"its environment changed: {_first(packages)}"
    for key in keys:
        if key.startswith(_CREDENTIALS):
            yield f"file of {key.removeprefix(_CREDENTIALS)} changed"
        elif not key.startswith((_CODE, _PACKAGES)):
            yield key


def _first(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return ", ".join(texts[:_MOST_NAMED]) + more


@dataclass(frozen=True)
class Plan:
    """All steps, in the order of the configuration; the instances to stop come first."""

    steps: tuple[Step, ...]

    def of(self, action: str) -> list[InstanceId]:
        return [step.identity for step in self.steps if step.action == action]

    @property
    def changes(self) -> bool:
        return any(step.action != UNCHANGED or step.unit_changed for step in self.steps)


def make_plan(wanted: Iterable[Wanted], applied: Mapping[InstanceId, Applied]) -> Plan:
    wanted = list(wanted)
    known = {item.identity for item in wanted}
    gone = [Step(identity, STOP) for identity in sorted(applied) if identity not in known]
    return Plan((*gone, *(_step(item, applied.get(item.identity)) for item in wanted)))


def _step(wanted: Wanted, applied: Applied | None) -> Step:
    if applied is None or applied.compiled is None:
        changed = applied is None or applied.unit != wanted.unit
        return Step(wanted.identity, START, unit_changed=changed)
    unit_changed = applied.unit != wanted.unit
    if applied.compiled == wanted.compiled:
        if applied.failed:
            # What it failed for lies outside, as a model's file does, and may be right by now.
            return Step(wanted.identity, START, unit_changed=unit_changed)
        # The unit alone differs after an upgrade, or when somebody edited what is ours.
        return Step(wanted.identity, UNCHANGED, unit_changed=unit_changed)
    keys = changed_keys(applied.compiled, wanted.compiled)
    if not keys or (keys == (_COUNT,) and not _shares_anew(applied.compiled)):
        return Step(wanted.identity, UNCHANGED, unit_changed=unit_changed)
    packages = _package_changes(applied.compiled, wanted.compiled) if _named(keys) else ()
    return Step(wanted.identity, RESTART, keys, unit_changed, packages)


def _shares_anew(before: str) -> bool:
    """Whether an instance of more or fewer than before has to subscribe in another way.

    One that has been alone would get every message besides its share. One that shared and is alone
    now shares with nobody, and gets every message, until its next start. Where each takes its own
    of all messages, which those are depends on their number.
    """
    edge = json.loads(before)["edge"]
    return is_partitioned(before) or (bool(edge["share"]) and edge[_COUNT] == 1)


def is_partitioned(compiled: str) -> bool:
    """Whether an instance's part of the input depends on how many there are."""
    edge = json.loads(compiled).get("edge", {})
    return edge.get("partition") is not None


def changed_keys(before: str, after: str) -> tuple[str, ...]:
    """The dotted keys whose values differ between two compiled configurations."""
    try:
        old = _flat(json.loads(before))
    except (ValueError, RecursionError):
        return ("(unreadable)",)
    new = _flat(json.loads(after))
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    changed -= {"code", "packages", "credentials"}
    changed -= {key for key in new if _is_unseen(key, new[key])}
    keys = {key.removeprefix("edge.") for key in changed}
    if _PYTHON in keys:  # another environment has other packages
        keys = {key for key in keys if not key.startswith(_PACKAGES)}
    return tuple(sorted(keys))


def _named(keys: Iterable[str]) -> bool:
    return any(key.startswith(_PACKAGES) for key in keys)


def _package_changes(before: str, after: str) -> tuple[str, ...]:
    old, new = (json.loads(compiled).get("packages", {}) for compiled in (before, after))
    return package_changes(old, new)


def _is_unseen(key: str, value: str) -> bool:
    return key.startswith(_CREDENTIALS) and json.loads(value) == UNSEEN


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Values by dotted key, as JSON: in Python, true would be equal to 1."""
    if not isinstance(value, dict) or not value:
        return {path: json.dumps(value)}
    flat: dict[str, str] = {}
    for key, inner in value.items():
        flat.update(_flat(inner, f"{path}.{key}" if path else key))
    return flat
