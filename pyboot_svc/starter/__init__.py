"""Starters: the parts of the master, brought up in order of priority and down in reverse."""

from pyboot_svc.starter.base import Settings, Starter, StarterContext
from pyboot_svc.starter.boot import Boot

__all__ = ["Boot", "Settings", "Starter", "StarterContext"]
