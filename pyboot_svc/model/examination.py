"""Whether a model's code can be loaded at all, asked in a process of its own.

Only what would fail in the same way everywhere counts: what depends on devices, files and secrets
is for the unit to find out. Where the worker has the same surroundings, that is all but what the
system refuses: a device may be in use by the old code.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from pyboot_svc.errors import ModelError
from pyboot_svc.model.fingerprint import code_of
from pyboot_svc.model.loader import (
    AttributeAbsent,
    ImportFailed,
    MalformedPath,
    ModuleAbsent,
    NameTaken,
    NotCallable,
    WrongArity,
    examine,
)

# In front of what is found, among all that a model may print.
MARK = "pyboot-examination: "
# With a traceback.
_LONGEST_TROUBLE = 16_000
_CERTAIN = (AttributeAbsent, MalformedPath, NameTaken, NotCallable, WrongArity)
_CERTAIN_CAUSES = (SyntaxError, NameError, ModuleNotFoundError)


def main() -> None:
    """Read what to examine from standard input; what is certain goes to standard output."""
    request = json.loads(sys.stdin.read())
    trouble = None
    try:
        examine(request["edge_mode"], request["model_path"])
    except ModelError as error:
        certain = _is_certain_here(error) if request["here"] else _is_certain(error, request)
        if certain:
            trouble = str(error)[:_LONGEST_TROUBLE]
    # What the model has printed may end without a line's end.
    print(f"\n{MARK}{json.dumps(trouble)}", flush=True)
    os._exit(0)  # threads that it has begun don't matter


def _is_certain_here(error: ModelError) -> bool:
    return not isinstance(error.__cause__, OSError)


def _is_certain(error: ModelError, request: Mapping[str, Any]) -> bool:
    if isinstance(error, ModuleAbsent):
        # Or it may be one that only others can read.
        folders = request["model_path"]
        return all(map(_is_open, folders)) and not code_of(request["edge_mode"], folders)
    if isinstance(error, ImportFailed):
        return isinstance(error.__cause__, _CERTAIN_CAUSES)
    return isinstance(error, _CERTAIN)


def _is_open(folder: str) -> bool:
    """Whether we can see what is in it; of one that isn't there, nobody can see more."""
    try:
        os.stat(os.path.join(folder, "."))
        os.listdir(folder)
    except PermissionError:
        return False
    except OSError:
        pass
    return True
