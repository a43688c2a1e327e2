"""A look at a model's new code before it replaces what works: in a process of its own, without the
rights of root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pyboot_svc.environments.interpreter import EnvironmentUnusable, find_interpreter, is_here
from pyboot_svc.model import examination
from pyboot_svc.model.examination import MARK
from pyboot_svc.model.loader import model_folder

_SECONDS = 60.0
_NOBODY = "nobody"
_SCRIPT = "from pyboot_svc.model.examination import main; main()"


def trouble_of(
    edge_mode: str,
    model_path: Sequence[str],
    variables: Mapping[str, str],
    python: str | None = None,
    *,
    as_root: bool = False,
    here: bool = False,
) -> str | None:
    """Why it can't be loaded, whoever tries; None where it can be, or it is not certain.

    It is tried in the environment `python`; as root, without root's rights, unless `as_root`. With
    `here`, it is tried with our rights and variables, which are those of the worker, and more is
    certain.
    """
    try:
        command, own = _command(python)
    except EnvironmentUnusable as error:
        return str(error)
    given = {**(os.environ if here else _plain_environment()), **variables}
    request = json.dumps({"edge_mode": edge_mode, "model_path": list(model_path), "here": here})
    try:
        done = subprocess.run(
            command,
            input=request,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            cwd=model_folder(edge_mode, model_path),
            env={**given, **own(given)},
            check=False,
            **({} if as_root or here else _rights()),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            found: str | None = json.loads(line.removeprefix(MARK))
            return found
    return None


def _command(
    python: str | None,
) -> tuple[list[str], Callable[[Mapping[str, str]], Mapping[str, str]]]:
    """With what tells the variables that it needs beside others."""
    if python is None or is_here(python):
        return [sys.executable, "-P", "-B", "-c", _SCRIPT], lambda others: {}
    found = find_interpreter(python)
    return found.command(flags=["-B"]), partial(found.variables, module=examination.__name__)


def _plain_environment() -> dict[str, str]:
    return {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL") if key in os.environ}


def _rights() -> dict[str, Any]:
    """Those of nobody, where there are others to lose."""
    if os.geteuid() != 0:
        return {}
    import pwd

    with suppress(KeyError):
        entry = pwd.getpwnam(_NOBODY)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}
