"""Service managers: systemd, OpenRC and the foreground, siblings behind one small protocol.

base         what each of them can do
host         what a host's own manager can do besides: systemd and OpenRC
detect       which one runs this host
systemd      a drop-in for each instance
units        the drop-in's text
openrc       a link to the shipped script for each instance
settings     what that script reads
foreground   `pyboot up`: child processes, each a `child`, whose `lines` it shows; with
             `foreground_host`, a host that a plan can be carried out on
watchdog     looks after their progress
plan         what differs from the configuration
rollout      what `apply` and `pyboot up` make a plan of, and leave out of it
secret_files  which certificates and passwords have changed
apply        carries out a plan, one ready instance at a time
log_files    what instances have written, in files of a folder
log_tail     one of them, read to its end and on from there
log_lines    what a line of them says of itself
log_programs journalctl and kubectl, which show the others
readiness    waits until instances are ready
live         what the service manager knows of the instances
environments virtual environments that pyboot makes
guests       commands in the environments of models
folders      those below /run/pyboot, root's or of one who writes there
users        one for each instance
tokens       by which workers prove to the master who they are
trust        whether what root takes is root's alone
unprivileged what root has done without root's rights
lending      the folder that it lends there
forked_child a child that does something, and tells it
descendants  ends what a model has started there, and left
lock         lets one at a time change what the host runs
exits        how a process ended, in words
files        files that are replaced only when they differ
"""

from pyboot_svc.services.base import ServiceManager, ServiceState

__all__ = ["ServiceManager", "ServiceState"]
