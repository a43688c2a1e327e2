"""Names that Kubernetes takes (RFC 1123: a-z, 0-9 and `-`) for names that it doesn't.

`telm_temperature` is `edge-model-telm--temperature`. A name that has more than single `-` and `_`
between lower-case letters and digits, or is too long, gets three `-` and a hash at its end; no two
ways to the same name, and no name depends on which other models there are.
"""

from __future__ import annotations

import hashlib
import re

_PREFIX = "edge-model-"
# A StatefulSet's name has to fit into a label together with a hash of 10.
_LONGEST = 52
_PLAIN = re.compile("[a-z0-9]+([_-][a-z0-9]+)*")
_HASH_DIGITS = 8
# Hidden, not allowed for a key, or in the form of one that is marked.
_UNFIT = re.compile(r"\.|$|[0-9a-f]{8}-")


def object_name(model: str) -> str:
    """The name of a model's objects."""
    plain = model.replace("_", "--")
    if _PLAIN.fullmatch(model) and len(_PREFIX) + len(plain) <= _LONGEST:
        return _PREFIX + plain
    digest = hashlib.sha256(model.encode()).hexdigest()[:_HASH_DIGITS]
    room = _LONGEST - len(_PREFIX) - len("---") - _HASH_DIGITS
    readable = re.sub("[^a-z0-9]+", "-", model.lower())[:room].strip("-") or "x"
    return f"{_PREFIX}{readable}---{digest}"


def secret_keys(files: list[str]) -> dict[str, str]:
    """A key of a Secret for each file: its own name, as far as it can be a key and is the only one.

    Keys consist of letters, digits, `-`, `_` and `.`.
    """
    names = {
        file: re.sub(r"[^A-Za-z0-9_.-]", "-", file.rpartition("/")[2])[-100:] for file in files
    }
    taken = list(names.values())
    return {
        file: name if taken.count(name) == 1 and not _UNFIT.match(name) else _marked(name, file)
        for file, name in names.items()
    }


def _marked(name: str, file: str) -> str:
    return f"{hashlib.sha256(file.encode()).hexdigest()[:_HASH_DIGITS]}-{name}"
