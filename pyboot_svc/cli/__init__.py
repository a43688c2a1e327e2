"""The `pyboot` command: `main` parses and dispatches, `commands/` has a module for each command.

What several commands share:

arguments     options, and the kinds of value that they take
config_file   which configuration a command works with
booting       the starters, for `up` and `master`; private: the folder of `up`
planning      what the configuration wants of the host, for `plan` and `apply`
master_address, table   where the master is asked, and what it says, for `status` and `top`
state         the folders in which instances keep their state
"""

from pyboot_svc.cli.main import main

__all__ = ["main"]
