"""Commands of pyboot as processes in the environments of models."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from pyboot_svc.environments.interpreter import (
    EnvironmentUnusable,
    find_interpreter,
    plain_variables,
)
from pyboot_svc.services.child import how_it_ended


def run_guest(python: str, arguments: Sequence[str], exit_codes: Sequence[int]) -> str:
    """Run `pyboot ARGUMENTS` there; gives what it printed.

    It takes the models of that environment for its own, and no others. Raises EnvironmentUnusable
    when it can't be run, or ends with none of `exit_codes`.
    """
    found, others = find_interpreter(python), plain_variables({})
    try:
        ended = subprocess.run(
            found.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            check=False,
            env={**others, **found.variables(others)},
        )
    except OSError as error:
        raise EnvironmentUnusable(
            f"python: {found.executable} can't be run: {error.strerror}"
        ) from error
    if ended.returncode not in exit_codes:
        raise EnvironmentUnusable(
            f"python: in {python}, `pyboot {arguments[0]}` {how_it_ended(ended.returncode)}"
        )
    return ended.stdout
