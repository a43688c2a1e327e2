"""Service managers: systemd, OpenRC and the foreground, siblings behind one small protocol.

base         what each of them can do; host: what one of a host can do more; detect: which it is
systemd      with units: the drop-in of an instance
openrc       with settings: what an instance's script reads
foreground   child processes of `pyboot up`; watchdog: looks after their progress
plan         what differs from the configuration; apply: mends it, one instance at a time
readiness    waits until instances are ready; live: what the host knows of them
exits        how a process ended, in words; files: those that are replaced when they differ
"""

from pyboot_svc.services.base import ServiceManager, ServiceState

__all__ = ["ServiceManager", "ServiceState"]
