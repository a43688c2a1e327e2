"""The command `pyboot`, also as `python -m pyboot_svc`."""

from typing import NoReturn

from pyboot_svc.cli import main
from pyboot_svc.threads import leave


def program() -> NoReturn:
    leave(main())


if __name__ == "__main__":
    program()
