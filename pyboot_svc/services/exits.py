"""How a process ended, in words: our exit codes, systemd's own, signals (systemd.exec(5))."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from pyboot_svc.errors import ExitCode

_OURS: Mapping[int, str] = {
    ExitCode.USAGE: "wrong usage",
    ExitCode.UNAVAILABLE: "something it needs can't be reached or is in use",
    ExitCode.INTERNAL: "an internal error",
    ExitCode.CONFIG: "the configuration or the model can't be loaded",
}
# Before the command runs, systemd prepares its surroundings; each step that fails has a status.
_SYSTEMD = {
    200: ("CHDIR", "its working directory can't be entered"),
    201: ("NICE", "its priority can't be set"),
    202: ("FDS", "its file descriptors can't be prepared"),
    203: ("EXEC", "/usr/bin/pyboot can't be run"),
    204: ("MEMORY", "there is not enough memory"),
    205: ("LIMITS", "its resource limits can't be set"),
    206: ("OOM_ADJUST", "its OOM score can't be set"),
    207: ("SIGNAL_MASK", "its signal mask can't be set"),
    208: ("STDIN", "its standard input can't be opened"),
    209: ("STDOUT", "its standard output can't be opened"),
    210: ("CHROOT", "its root directory can't be changed"),
    211: ("IOPRIO", "its I/O priority can't be set"),
    212: ("TIMERSLACK", "its timer slack can't be set"),
    213: ("SECUREBITS", "its secure bits can't be set"),
    214: ("SETSCHEDULER", "its scheduling can't be set"),
    215: ("CPUAFFINITY", "its CPUs (`limits.cpus`) can't be set"),
    216: ("GROUP", "one of its groups (`sandbox.groups`) doesn't exist, or can't be joined"),
    217: ("USER", "its user doesn't exist, or the host doesn't allow switching to it"),
    218: ("CAPABILITIES", "its capabilities can't be dropped"),
    219: ("CGROUP", "its control group can't be created or joined"),
    220: ("SETSID", "it can't get a session of its own"),
    221: ("CONFIRM", "its start was not confirmed"),
    222: ("STDERR", "its standard error can't be opened"),
    224: ("PAM", "PAM refuses a session"),
    225: ("NETWORK", "its network namespace can't be created"),
    226: (
        "NAMESPACE",
        "the host forbids its sandbox, or a path of `sandbox.write` is missing",
    ),
    227: ("NO_NEW_PRIVILEGES", "the host forbids NoNewPrivileges="),
    228: ("SECCOMP", "the host forbids SystemCallFilter="),
    229: ("SELINUX_CONTEXT", "its SELinux context can't be set"),
    230: ("PERSONALITY", "its personality can't be set"),
    231: ("APPARMOR_PROFILE", "its AppArmor profile can't be set"),
    232: ("ADDRESS_FAMILIES", "the host forbids RestrictAddressFamilies="),
    233: ("RUNTIME_DIRECTORY", "its runtime directory can't be created"),
    235: ("CHOWN", "the owner of its files can't be changed"),
    236: ("SMACK_PROCESS_LABEL", "its SMACK label can't be set"),
    237: ("KEYRING", "its kernel keyring can't be created"),
    238: ("STATE_DIRECTORY", "its state directory can't be created or given to it"),
    239: ("CACHE_DIRECTORY", "its cache directory can't be created"),
    240: ("LOGS_DIRECTORY", "its log directory can't be created"),
    241: ("CONFIGURATION_DIRECTORY", "its configuration directory can't be created"),
    242: ("NUMA_POLICY", "its NUMA policy can't be set"),
    243: ("CREDENTIALS", "one of its secret files is missing or can't be read"),
    245: ("BPF", "the host forbids the BPF filters of its sandbox"),
}
# What a host, or the container that it is, forbids: no restart helps, a drop-in does.
_FORBIDDEN = frozenset({217, 225, 226, 227, 228, 232, 237, 245})
_RESULTS = {
    "watchdog": "made no progress, and was ended by the watchdog",
    "timeout": "took longer than its unit allows",
    "oom-kill": "used more memory than its limit (`limits.memory`)",
    "protocol": "ended before it was ready",
    "resources": "could not be started: a resource or file that its unit needs is missing",
    "exec-condition": "was not started: a condition of its unit was not met",
    "start-limit-hit": "was restarted too often",
}
_KILLED = frozenset({"2", "3"})  # CLD_KILLED, CLD_DUMPED of waitid(2)

# Found by taking lines away in a container without CAP_SYS_ADMIN, until it no longer started.
DROP_INS = """\
# /etc/systemd/system/edge-model@.service.d/60-host.conf
[Service]
DynamicUser=no
User=edge-model
TemporaryFileSystem=
PrivateUsers=no
ProtectControlGroups=yes

# /etc/systemd/system/pyboot.service.d/60-host.conf
[Service]
PrivateUsers=no
ProtectControlGroups=yes"""


def explain_end(code: str, status: str, result: str) -> str:
    """What ExecMainCode, ExecMainStatus and Result of a unit say; empty: nothing went wrong."""
    if result in _RESULTS:
        return _RESULTS[result]
    number = int(status) if status.isdecimal() else 0
    if code in _KILLED and number:
        return f"was ended by {_signal(number)}"
    return explain_exit(number) if number else ""


def explain_exit(number: int) -> str:
    """An exit code, in words."""
    if number in _SYSTEMD:
        name, words = _SYSTEMD[number]
        return f"exit status {number} ({name}): {words}"
    return f"exit code {number}" + (f": {_OURS[number]}" if number in _OURS else "")


def is_of_systemd(status: str) -> bool:
    """Whether it failed before our command was run."""
    return status.isdecimal() and int(status) in _SYSTEMD


def is_forbidden(status: str) -> bool:
    """Whether the host forbids a part of the sandbox."""
    return status.isdecimal() and int(status) in _FORBIDDEN


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
