"""The `pyboot` command.

main             finds the command, parses its arguments, runs it, reports what it raises
commands         a module for each command

What several commands share:

arguments        options, and the kinds of value that they take
config_file      which configuration a command works with
booting          makes the starters, for `up` and `master`
private          the folder of `up` when it isn't told another
running          which `pyboot up` run for this user, and where their files are
progress         how far something is that takes long, on a terminal
terminal         whether the terminal of `up` has gone
planning         who manages the host, for `plan` and `apply`
master_address   where `status` and `top` ask the master
master_client    asks it
table            the table of all instances that they show
colours          of the words in it, on a terminal
live             what `top` shows there
models           what each does that takes a model
letters          the dead letters that an instance keeps
state            the folders in which instances keep their state
"""

from pyboot_svc.cli.main import main

__all__ = ["main"]
