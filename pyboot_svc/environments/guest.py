"""What the interpreter of a model's environment runs first: pyboot, from the folder of this file.

Its sys.path stays that of the environment. Nothing but the standard library is imported before
pyboot's own libraries are lent to it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from importlib.machinery import PathFinder
from typing import NoReturn

VARIABLE = "PYBOOT_GUEST"
_PACKAGE = "pyboot_svc"


def find_pyboot() -> None:
    """Make pyboot importable, which is on no path here."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    spec = PathFinder.find_spec(_PACKAGE, [root])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = module
    spec.loader.exec_module(module)


def main() -> NoReturn:
    """Run the module that was asked for, and end with its exit code."""
    # What the model starts is no guest.
    request = json.loads(os.environ.pop(VARIABLE))
    from pyboot_svc.environments.libraries import OwnLibraries

    sys.meta_path.insert(0, OwnLibraries(request["python"], request["folders"]))
    code = int(importlib.import_module(request["module"]).main() or 0)
    from pyboot_svc.threads import leave

    leave(code)


# Whatever the name of this module: multiprocessing has its processes run it as `__mp_main__`, and
# what the model has imported of pyboot must be there, too.
if _PACKAGE not in sys.modules:
    find_pyboot()

if __name__ == "__main__":
    main()
