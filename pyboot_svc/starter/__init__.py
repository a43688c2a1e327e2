"""Starters: the parts of the master, brought up in order of priority and down in reverse.

base       what a starter is, and what those of one process share
boot       their life: init, setup, start, wait for a signal, stop
builtin    the master's own starters
reload     brings the workers of `pyboot up` in line with a changed configuration
watch      notices what is saved, with --reload
registry   finds those that other packages bring
"""

from pyboot_svc.starter.base import Settings, Starter, StarterContext
from pyboot_svc.starter.boot import Boot

__all__ = ["Boot", "Settings", "Starter", "StarterContext"]
