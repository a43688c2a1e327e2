"""What a worker reports, field by field as its snapshot has them, or the reason why it is none.

A worker runs a model, and so whatever the model made of it: of its report only what a snapshot may
hold gets any further. One of another version may tell less, or more, which nobody asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from pyboot_svc.metrics.snapshot import Process, Traffic, is_record, name_of
from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.text import printable

# Of dead letters, beside the faults of a payload: what a broker refused.
KINDS = frozenset((*(fault.value for fault in PayloadFault), "refused"))
STATES = frozenset(("loading", "waiting", "ready", "draining"))
LONGEST_TEXT = 200
# Of what is said in sentences, which end with what to do.
LONGEST_SENTENCE = 1000
_MOST_SENTENCES = 100
_MOST_INTEGER = 2**63 - 1
_MOST_FLOAT = 1e18

_Decode = Callable[[Any, str], Any]


class Malformed(ValueError):
    """A report that no worker of ours gives; its text says where."""


def decode_snapshot(document: Mapping[str, Any]) -> dict[str, Any]:
    """The known fields that are there, checked, as `Snapshot.document` has them.

    Text is made printable, and cut. Raises Malformed where a value can't be that of its field.
    """
    return {**_PROCESS(document, ""), **_TRAFFIC(document, "")}


def _integer(value: Any, path: str) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_INTEGER:
        raise Malformed(f"{path} is no count")
    return value


def _float(value: Any, path: str) -> float:
    # Neither NaN nor infinity is any less.
    if type(value) not in (int, float) or not abs(value) <= _MOST_FLOAT:
        raise Malformed(f"{path} is no finite number")
    return value  # type: ignore[no-any-return]


def _text(value: Any, path: str) -> str:
    if type(value) is not str:
        raise Malformed(f"{path} is no text")
    if path == "state" and value not in STATES:
        raise Malformed("state is an unknown one")
    sentence = path.rpartition(".")[2] in ("reason", "error")
    return printable(value, LONGEST_SENTENCE if sentence else LONGEST_TEXT)


def _sentences(value: Any, path: str) -> list[str]:
    if type(value) is not list or len(value) > _MOST_SENTENCES:
        raise Malformed(f"{path} is no list of at most {_MOST_SENTENCES} texts")
    if not all(type(text) is str for text in value):
        raise Malformed(f"{path} has something that is no text")
    return [printable(text, LONGEST_SENTENCE) for text in value]


def _kinds(value: Any, path: str) -> dict[str, int]:
    if type(value) is not dict or not value.keys() <= KINDS:
        raise Malformed(f"{path} is no mapping of known kinds")
    return {kind: _integer(count, path) for kind, count in value.items()}


_DECODERS: Mapping[Any, _Decode] = {
    int: _integer,
    float: _float,
    str: _text,
    list: _sentences,
    Mapping: _kinds,
}


def _record(record: type) -> _Decode:
    types = get_type_hints(record, include_extras=True)
    decoders = {name_of(name): _decoder(kind) for name, kind in types.items()}

    def decode(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Malformed(f"{path} is no object")
        return {
            name: decoder(value[name], f"{path}.{name}" if path else name)
            for name, decoder in decoders.items()
            if name in value
        }

    return decode


def _distribution(buckets: int) -> _Decode:
    def decode(value: Any, path: str) -> dict[str, Any]:
        if type(value) is not dict or value.keys() != {"counts", "sum"}:
            raise Malformed(f"{path} is no histogram")
        counts = value["counts"]
        if type(counts) is not list or len(counts) != buckets:
            raise Malformed(f"{path} has other buckets")
        # All at once: there are many.
        if {*map(type, counts)} != {int} or min(counts) < 0 or max(counts) > _MOST_INTEGER:
            raise Malformed(f"{path} has something that is no count")
        return {"counts": counts, "sum": _float(value["sum"], path)}

    return decode


def _decoder(kind: Any) -> _Decode:
    if is_record(kind):
        return _record(kind)
    kind, meaning = get_args(kind)  # what is annotated
    if meaning.bounds:
        return _distribution(len(meaning.bounds) + 1)
    if NoneType not in get_args(kind):
        return _DECODERS[get_origin(kind) or kind]
    [there] = [_DECODERS[one] for one in get_args(kind) if one is not NoneType]
    return lambda value, path: None if value is None else there(value, path)


_PROCESS, _TRAFFIC = _record(Process), _record(Traffic)
