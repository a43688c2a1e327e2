"""A model that tries everything, on a booted host with another one beside it that goes on.

What each attack ends with is named, so that one that fails for another reason is seen, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import pytest
from fleet import Results, Stream, config, edge, set_up
from machine import Machine
from security.host.attempts import ATTEMPT
from support.poll import until

HOSTILE, CLOSING, BESIDE = "hostile-1", "closing-1", "beside-1"
SECRET = "Cadmium-Winch-2204"
TASKS = 48

MODELS = '''
import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# Of those that Python has no function for.
NUMBERS = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "init_module": 175},
    "aarch64": {"bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "init_module": 105},
}
COMMON = {"io_uring_setup": 425, "pidfd_getfd": 438}

def echo(payload):
    return payload

def check(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def libc():
    return ctypes.CDLL(None, use_errno=True)

def system_call(name, *arguments):
    number = {**COMMON, **NUMBERS[os.uname().machine]}[name]
    return check(libc().syscall(number, *map(ctypes.c_long, arguments)))

def program(*command):
    """What it prints; raises OSError with its exit code for one that fails."""
    pipes = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    done = subprocess.run(command, timeout=20, **pipes)
    if done.returncode:
        raise OSError(f"exit {done.returncode}")
    return done.stdout.strip()

def run_memory_file():
    """A program that was never in a file system."""
    file = os.memfd_create("program")
    os.write(file, Path("/usr/bin/true").read_bytes())
    pid = os.fork()
    if pid == 0:
        try:
            os.execve(file, ["true"], {})
        except OSError as error:
            os._exit(error.errno)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, "not executed")

def attack(payload):
    scope = dict(globals(), done=None)
    exec(payload, scope)
    return scope["done"]

def close_all(payload, context):
    """At the first time, and the message comes again."""
    mark = context.state_dir / "closed"
    if payload == 2 and not mark.exists():
        mark.touch()
        os.closerange(0, 1000)
    return payload
'''


class Attack(NamedTuple):
    """What is run, and what it has to end with under systemd, and under OpenRC if that keeps it
    from anything."""

    code: str
    systemd: str
    openrc: str = ""


HIDDEN = "ENOENT EACCES"
# {…} are process ids; of the host, which shares its numbers with the instances.
ATTACKS = {
    # What is others' to read.
    "another's state": Attack(
        f"said = os.listdir('/var/lib/edge-model/{BESIDE}')", HIDDEN, "EACCES"
    ),
    "another's database": Attack(
        f"open('/var/lib/private/edge-model/{BESIDE}/worker.sqlite')", HIDDEN, HIDDEN
    ),
    "another's credentials": Attack(
        f"said = os.listdir('/run/credentials/edge-model@{BESIDE}.service')", HIDDEN
    ),
    "another's copies of credentials": Attack(
        f"said = open('/run/pyboot/credentials/{BESIDE}/report-token').read()", HIDDEN, "EACCES"
    ),
    "tokens": Attack("said = os.listdir('/run/pyboot/tokens')", "EACCES", "EACCES"),
    "another's token": Attack(f"open('/run/pyboot/tokens/{BESIDE}')", "EACCES", "EACCES"),
    "the secret of a model": Attack("open('/etc/pyboot/secret')", "EACCES", "EACCES"),
    "passwords": Attack("open('/etc/shadow')", "EACCES", "EACCES"),
    "logs": Attack("said = open('/var/log/edge-model/beside-1.log').read()", HIDDEN, "EACCES"),
    # Of other processes.
    **{
        f"{who}'s {what}": Attack(
            f"said = os.{call}('/proc/{{{who}}}/{what}', *{arguments})", HIDDEN, "EACCES"
        )
        for who in ("beside", "master")
        for what, call, arguments in (
            ("environ", "open", "[os.O_RDONLY]"),
            ("mem", "open", "[os.O_RDWR]"),
            ("fd", "listdir", "[]"),
            ("cwd", "readlink", "[]"),
            ("root", "readlink", "[]"),
        )
    },
    "PID 1's environment": Attack("open('/proc/1/environ')", HIDDEN, "EACCES"),
    **{
        f"signal {number} to {who}": Attack(f"os.kill({{{who}}}, {number})", "EPERM", "EPERM")
        for who in ("beside", "master", "broker", "parent")
        for number in (19, 9)
    },
    "attaching to another": Attack(
        "check(libc().ptrace(16, {beside}, None, None))", "EPERM", "EPERM"
    ),
    "another's memory": Attack(
        "check(libc().process_vm_readv({beside}, None, 0, None, 0, 0)) or open('/nowhere')",
        "EPERM ENOENT ESRCH",
        "EPERM ENOENT",
    ),
    "another's limits": Attack(
        "resource.prlimit({beside}, resource.RLIMIT_NOFILE, (3, 3))",
        "PermissionError: [Errno 1] Operation not permitted EPERM",
        "EPERM",
    ),
    # What isn't its own to write.
    **{
        f"writing to {file}": Attack(
            f"open({file!r}, 'a')", "EROFS EACCES ENOENT", "EROFS EACCES ENOENT"
        )
        for file in (
            *("/etc/pyboot/config.yaml", "/etc/pyboot/models/test_models.py"),
            *("/etc/cron.d/x", "/usr/bin/x", "/root/x", "/run/x", "/run/pyboot/x"),
            *("/run/pyboot/instances/hostile-1.json", "/run/pyboot/tokens/hostile-1"),
            *("/var/log/x", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"),
            "/sys/kernel/uevent_helper",
        )
    },
    "its own token": Attack(
        "open(os.environ['CREDENTIALS_DIRECTORY'] + '/report-token', 'a')", "EROFS EACCES", "EACCES"
    ),
    "its own cgroup": Attack(
        "files = [*Path('/sys/fs/cgroup').rglob('cgroup.procs')] or ['/nowhere']\n"
        "for file in files: open(file, 'w')",
        "EROFS EACCES",
        "EROFS EACCES ENOENT",
    ),
    "its own OOM score": Attack(
        "Path('/proc/self/oom_score_adj').write_text('-1000')", "EACCES EPERM", "EACCES EPERM"
    ),
    "its own OOM score, dumpable again": Attack(
        "libc().prctl(4, 1, 0, 0, 0); Path('/proc/self/oom_score_adj').write_text('-1000')",
        "EACCES EPERM",
        "EACCES EPERM",
    ),
    # Rights.
    "root": Attack("os.setuid(0)", "EPERM", "EPERM"),
    "groups": Attack("os.setgroups([0])", "EPERM", "EPERM"),
    "a program with the bit of root": Attack(
        "said = program('/usr/local/bin/as-root', '-u'); open('/nowhere') if said != '0' else 0",
        "ENOENT",
        "ENOENT",
    ),
    "a bit of root for its own program": Attack(
        "Path('own').touch(); os.chmod('own', 0o6755); os.chown('own', 0, 0)",
        "EPERM EROFS",
        "EPERM EACCES EROFS",
    ),
    "a device file": Attack("os.mknod('/tmp/sda', 0o60600, os.makedev(8, 0))", "EPERM", "EPERM"),
    "kernel memory": Attack("open('/dev/mem')", "ENOENT", "ENOENT EACCES EPERM"),
    "kernel messages": Attack(
        "open('/dev/kmsg', 'w')", "ENOENT EACCES EPERM EROFS", "EACCES EPERM"
    ),
    # The kernel.
    "a user namespace": Attack("os.unshare(os.CLONE_NEWUSER)", "EPERM"),
    "a mount namespace": Attack("os.unshare(os.CLONE_NEWNS)", "EPERM", "EPERM"),
    "PID 1's network": Attack(
        "os.setns(os.open('/proc/1/ns/net', os.O_RDONLY))", "EACCES EPERM ENOENT", "EACCES"
    ),
    "a mount": Attack("check(libc().mount(b'none', b'/tmp', b'tmpfs', 0, None))", "EPERM", "EPERM"),
    "another root": Attack("os.chroot('/tmp')", "EPERM", "EPERM"),
    "a kernel module": Attack("system_call('init_module', 0, 0, 0)", "EPERM", "EPERM ENOSYS"),
    "bpf": Attack("system_call('bpf', 0, 0, 0)", "EPERM", "EPERM EINVAL EFAULT"),
    "perf": Attack(
        "system_call('perf_event_open', 0, 0, -1, -1, 0)", "EPERM", "EPERM EACCES EFAULT"
    ),
    "io_uring": Attack("system_call('io_uring_setup', 0, 0)", "EPERM"),
    "userfaultfd": Attack("system_call('userfaultfd', 0)", "EPERM"),
    "a descriptor of another": Attack(
        "system_call('pidfd_getfd', os.pidfd_open({beside}), 0, 0)", "EPERM", "EPERM"
    ),
    "code in a file of memory": Attack("run_memory_file()", "EPERM EACCES"),
    "real time": Attack(
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))", "EPERM", "EPERM"
    ),
    "a better priority": Attack("os.setpriority(0, 0, -10)", "EPERM EACCES", "EACCES"),
    "the clock": Attack("time.clock_settime(time.CLOCK_REALTIME, 0)", "EPERM", "EPERM"),
    "the host's name": Attack("socket.sethostname('mine')", "EPERM", "EPERM"),
    # Sockets.
    "packets": Attack(
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "EAFNOSUPPORT", "EPERM EAFNOSUPPORT"
    ),
    "a raw socket": Attack("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM", "EPERM"),
    "the kernel's ciphers": Attack("socket.socket(38, socket.SOCK_SEQPACKET)", "EAFNOSUPPORT"),
    "virtual machines' sockets": Attack("socket.socket(socket.AF_VSOCK)", "EAFNOSUPPORT"),
    "changing an interface": Attack(
        "link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW); "
        # RTM_DELLINK of lo, and the acknowledgement's error.
        "link.send((32).to_bytes(4, 'little') + bytes([17, 0, 5, 0]) + bytes(8) + bytes(4)"
        " + (1).to_bytes(4, 'little') + bytes(8)); "
        "raised = -int.from_bytes(link.recv(64)[16:20], 'little', signed=True); "
        "check(-1) if not raised else os.strerror(raised); ctypes.set_errno(raised); check(-1)",
        "EPERM",
        "EPERM",
    ),
    # The service manager.
    "stopping another": Attack(
        f"program('systemctl', '--no-ask-password', 'stop', 'edge-model@{BESIDE}')",
        "exit 1 exit 4 exit 5",
    ),
    "stopping another's service": Attack(
        f"program('rc-service', 'edge-model.{BESIDE}', 'stop')", "ENOENT", "exit 1"
    ),
    "its supervisor's pipe": Attack(
        "files = [*Path('/run').glob('**/*.ctl')]; files or open('/nowhere'); "
        "[open(file, 'w') for file in files]",
        "ENOENT",
        "EACCES",
    ),
    "systemd's own socket": Attack(
        "socket.socket(socket.AF_UNIX).connect('/run/systemd/private')", HIDDEN
    ),
}


@pytest.fixture(scope="module")
def machine(image: Path, package: Path, init: str) -> Iterator[Machine]:
    """One on which MemoryMax= and TasksMax= are enforced, where systemd runs it."""
    with Machine(image, init=init, memory_limits=init == "systemd") as booted:
        booted.install(package)
        yield booted


@pytest.fixture(scope="module")
def beside(machine: Machine) -> Iterator[Stream]:
    """All are up, and messages go through the one that attacks nobody; none is lost."""
    machine.sh("install -m 4755 /usr/bin/id /usr/local/bin/as-root")
    machine.write("/etc/pyboot/secret", SECRET)
    machine.run("chmod", "600", "/etc/pyboot/secret")
    hurry(machine)
    limits = {"memory": "200M", "tasks": TASKS}
    secrets = {"KEY": "/etc/pyboot/secret"}
    text = config(
        edge("hostile", "attack", pre_qos=0, limits=limits),
        edge("closing", "close_all"),
        edge("beside", secrets=secrets),
    )
    set_up(machine, text, MODELS + ATTEMPT)
    small_state(machine)
    machine.reload()
    machine.control("start", HOSTILE, CLOSING, BESIDE)
    machine.wait_up(HOSTILE, CLOSING, BESIDE)
    stream = Stream(machine, "beside")
    yield stream
    assert stream.finish() == []


def hurry(machine: Machine) -> None:
    """Stalls of those that attack are seen within seconds."""
    for name in (HOSTILE, CLOSING):
        if machine.init == "systemd":
            folder = f"/etc/systemd/system/edge-model@{name}.service.d"
            machine.write(f"{folder}/test.conf", "[Service]\nWatchdogSec=5s\nRestartSteps=0\n")
        else:
            seconds = ("healthcheck_delay=5", "healthcheck_timer=3", "healthcheck_timeout=5")
            text = "\n".join((*seconds, "log_max_bytes=1000000", ""))
            machine.write(f"/etc/conf.d/edge-model.{name}", text)


def small_state(machine: Machine) -> None:
    """The disk of all instances' state is one that can be filled."""
    folder = {"systemd": "/var/lib/private/edge-model", "openrc": "/var/lib/edge-model"}
    place = folder[machine.init]
    names = "telm_temperature-1", HOSTILE, CLOSING, BESIDE
    machine.control("stop", names[0])
    machine.sh(f"mkdir -p {place}; mount -t tmpfs -o size=24m,mode=755 tmpfs {place}")


@pytest.fixture(autouse=True)
def the_other_goes_on(machine: Machine, beside: Stream) -> Iterator[None]:
    """Its process and the master's stay the same, and results come."""
    before = machine.pid(BESIDE), master(machine)
    machine.wait_up(HOSTILE, timeout=90)
    yield
    beside.flows_on()
    assert (machine.pid(BESIDE), master(machine)) == before


def master(machine: Machine) -> int:
    return int(machine.sh("pgrep -f '^pyboot: master'"))


def send(machine: Machine, source: str) -> None:
    machine.publish("hostile/in", json.dumps(source))


def inside(machine: Machine, source: str) -> Any:
    """Run a piece of Python in the hostile model; gives its `done`."""
    results = Results(machine, "hostile/out")
    send(machine, source)
    (found,) = results.take(1, seconds=60)
    return json.loads(found)


@pytest.fixture(scope="module")
def outcomes(machine: Machine, beside: Stream) -> dict[str, str]:
    """Of all that are tried in one go."""
    machine.wait_up(HOSTILE, timeout=90)  # a test before may have ended it
    ids = {
        "beside": machine.pid(BESIDE),
        "master": master(machine),
        "broker": int(machine.sh("pgrep -x mosquitto")),
        "parent": int(machine.sh(f"ps -o ppid= -p {machine.pid(HOSTILE)}")),
    }
    codes = {name: attack.code.format(**ids) for name, attack in ATTACKS.items()}
    found: dict[str, str] = inside(machine, f"done = attempt({codes!r})")
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_it_gets_nothing_of_others(machine: Machine, outcomes: dict[str, str], name: str) -> None:
    attack = ATTACKS[name]
    wanted = attack.systemd if machine.init == "systemd" else attack.openrc
    if not wanted:
        pytest.skip("OpenRC has no sandbox")
    assert outcomes[name] in wanted.split() or outcomes[name] in wanted


FORKS = f"""
import signal
children = []
for _ in range({TASKS} * 4):
    try:
        pid = os.fork()
    except OSError as error:
        break
    if pid == 0:
        signal.pause()
    children.append(pid)
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
done = len(children)
"""


def test_its_processes_are_bounded(machine: Machine) -> None:
    assert 0 < inside(machine, FORKS) < TASKS


STRAY = """
import signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        Path("stray").write_text(str(os.getpid()))
        for number in (1, 2, 15):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(600)
    os._exit(0)
while not Path("stray").exists() or not Path("stray").read_text():
    time.sleep(0.01)
done = int(Path("stray").read_text())
Path("stray").unlink()
"""


def test_what_it_has_let_loose_ends_with_it(machine: Machine) -> None:
    """As a daemon does: out of its session, away from its parent."""
    stray = inside(machine, "os.chdir(os.environ['STATE_DIRECTORY'])" + STRAY)
    assert machine.run("test", "-e", f"/proc/{stray}", check=False).returncode == 0
    machine.control("stop", HOSTILE)
    try:
        gone = f"[ ! -e /proc/{stray} ] || grep -q '^State:.Z' /proc/{stray}/status"
        until(lambda: machine.run("sh", "-c", gone, check=False).returncode == 0, "it has ended")
    finally:
        machine.control("start", HOSTILE)


MEMORY = """
children = []
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        held = b"x" * 20_000_000
        time.sleep(5)
        os._exit(0)
    children.append(pid)
done = [os.waitpid(pid, 0)[1] for pid in children].count(signal.SIGKILL)
"""


@pytest.mark.systemd
def test_its_memory_is_bounded_whichever_of_its_processes_have_it(machine: Machine) -> None:
    """None of them is large. Some are ended, or with them the instance; no broker is."""
    restarts, broker = machine.restarts(HOSTILE), machine.sh("pgrep -x mosquitto")
    results = Results(machine, "hostile/out")
    send(machine, MEMORY)
    ended: list[str] = []

    def is_bounded() -> bool:
        ended.extend(results.take(1, seconds=1))
        return bool(ended) or machine.restarts(HOSTILE) > restarts

    until(is_bounded, "its end, or that of some", timeout=60)
    assert not ended or int(ended[0]) > 0
    assert machine.sh("pgrep -x mosquitto") == broker


@pytest.mark.systemd
def test_alone_it_takes_neither_all_memory_nor_the_processor_of_others(machine: Machine) -> None:
    """By default, too: without `limits:`."""
    all_together = int(machine.show("edge-model.slice", "MemoryMax"))
    unit = f"edge-model@{BESIDE}.service"
    assert int(machine.show(unit, "MemoryMax")) < 0.8 * all_together
    assert {machine.show(name, "CPUWeight") for name in (unit, "edge-model.slice")} == {"100"}
    most = int(machine.read("/proc/sys/kernel/pid_max"))
    assert int(machine.show("edge-model.slice", "TasksMax")) < 0.7 * most


@pytest.mark.systemd
def test_its_shared_memory_is_nobody_elses(machine: Machine) -> None:
    """Which anybody could fill, and look into."""
    machine.sh("echo theirs >/dev/shm/theirs; chmod 666 /dev/shm/theirs")
    try:
        source = "Path('/dev/shm/mine').write_text('mine'); done = os.listdir('/dev/shm')"
        assert "theirs" not in inside(machine, source)
        assert machine.sh("ls /dev/shm").split() == ["theirs"]
    finally:
        machine.run("rm", "/dev/shm/theirs")


def test_a_full_disk_of_states_keeps_no_other_from_its_work(
    machine: Machine, beside: Stream
) -> None:
    fill = """
file = open(os.environ["STATE_DIRECTORY"] + "/fill", "wb", buffering=0)
try:
    while True:
        file.write(bytes(65536))
except OSError as error:
    done = errno.errorcode[error.errno]
"""
    try:
        assert inside(machine, fill) == "ENOSPC"
        for _ in range(3):
            beside.flows_on()
    finally:
        machine.sh(f"rm -f /var/lib/edge-model/{HOSTILE}/fill")


def test_what_it_prints_is_bounded(machine: Machine) -> None:
    """Straight to the descriptor, past all that pyboot puts before it."""
    mark, megabytes = "flood-of-the-hostile", 40
    done = inside(
        machine,
        f"line = (b'{mark} ' + b'x' * 979 + b'\\n') * 1000\n"
        f"for _ in range({megabytes}):\n    os.write(1, line); os.write(2, line)\n"
        "done = 'written'",
    )
    assert done == "written"
    if machine.init == "systemd":
        told = machine.sh(f"journalctl -o cat -u edge-model@{HOSTILE} | grep -c {mark}")
        assert int(told) < megabytes * 2 * 1000
        return
    log = f"/var/log/edge-model/{HOSTILE}.log"
    until(lambda: int(machine.sh(f"stat -c %s {log}")) < 1_000_000, "its log is begun anew")


@pytest.mark.parametrize(
    "stall",
    ["os.kill(os.getpid(), signal.SIGSTOP)", "signal.signal(signal.SIGABRT, signal.SIG_IGN)"],
    ids=["stopped", "deaf"],
)
def test_one_that_stalls_itself_is_ended(machine: Machine, stall: str) -> None:
    before = machine.pid(HOSTILE)
    send(machine, f"{stall}\nwhile True: os.kill(os.getpid(), signal.SIGSTOP)")
    until(lambda: machine.pid(HOSTILE) not in (0, before), "another process", timeout=150)


def test_one_that_closes_all_its_descriptors_loses_nothing(machine: Machine) -> None:
    results = Results(machine, "closing/out")
    machine.run("mosquitto_pub", "-t", "closing/in", "-q", "1", "-l", input="1\n2\n3\n")
    found: set[str] = set()
    deadline = time.monotonic() + 120
    while found != {"1", "2", "3"} and time.monotonic() < deadline:
        found |= set(results.take(1))
    assert found == {"1", "2", "3"}


LIES = [
    "MAINPID={beside}",
    "MAINPID=1",
    "READY=1",
    "WATCHDOG=1",
    "STATUS=\\x1b[2J\\x1b]0;owned\\x07",
]


@pytest.mark.systemd
def test_it_can_tell_systemd_lies_of_itself_alone(machine: Machine) -> None:
    lies = "\n".join(LIES).format(beside=machine.pid(BESIDE))
    told = inside(
        machine,
        "place = os.environ['NOTIFY_SOCKET'].replace('@', chr(0), 1)\n"
        f"for lie in '''{lies}'''.splitlines():\n"
        "    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(lie.encode(), place)\n"
        "done = os.getpid()",
    )
    unit = f"edge-model@{HOSTILE}.service"
    assert machine.main_pid(unit) == told
    for command in ("health", "status"):
        assert "\x1b" not in machine.sh(f"pyboot {command}", check=False)
    assert machine.main_pid(f"edge-model@{BESIDE}.service") == machine.pid(BESIDE)


def test_the_master_bears_what_comes_at_its_socket(machine: Machine) -> None:
    """Its connections are held open and flooded, in all names."""
    flood = f"""
held = []
for number in range(700):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(2)
    try:
        connection.connect("/run/pyboot/metrics.sock")
        if number % 3 == 1:
            connection.sendall(b"x" * 2_000_000)
        elif number % 3 == 2:
            hello = b'{{"instance": "{BESIDE}", "pid": %d, "token": "x"}}\\n'
            connection.sendall(hello % os.getpid())
    except OSError:
        pass
    held.append(connection)
done = len(held)
"""
    assert inside(machine, flood) == 700

    def states() -> dict[str, str]:
        shown = machine.get("/api/instances") or {"instances": []}
        return {row["instance"]: row["state"] for row in shown["instances"]}

    until(lambda: states().get(BESIDE) == "ready", "it is seen")
    kilobytes = int(machine.sh(f"awk '/^VmRSS/ {{print $2}}' /proc/{master(machine)}/status"))
    assert kilobytes < 150_000


STATE = f"/var/lib/edge-model/{HOSTILE}"
DATABASE = f"{STATE}/worker.sqlite"
TAMPERED = {
    "a pipe": "os.mkfifo(file)",
    "a folder": "os.mkdir(file)",
    "a socket": "socket.socket(socket.AF_UNIX).bind(file)",
    "zeros for ever": "os.symlink('/dev/zero', file)",
    "garbage": "open(file, 'wb').write(os.urandom(100_000))",
    "a head alone": "open(file, 'wb').write(b'SQLite format 3\\0' + bytes(84))",
    "a hole": "open(file, 'wb').truncate(1 << 40)",
    "another's": f"os.symlink('/var/lib/edge-model/{BESIDE}/worker.sqlite', file)",
    "a loop": "os.symlink(file, file)",
    "letters that steer a terminal": (
        "import sqlite3; base = sqlite3.connect(file); base.execute('CREATE TABLE dead (id, topic, "
        "payload, kind, error, attempts, model, version, created, request)'); base.execute("
        "\"INSERT INTO dead VALUES (1, char(27) || '[2J', x'1b5b324a', char(27) || ']0;x', "
        "char(27) || '[2J', 1, char(27), 'v', 1, NULL)\"); base.commit(); base.close()"
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_it_makes_of_its_state_harms_no_command_of_roots(machine: Machine, name: str) -> None:
    """And it starts again, once that is gone."""
    machine.control("stop", HOSTILE)
    code = (
        f"import os, socket, sys; file, owner = sys.argv[1], int(sys.argv[2])\n{TAMPERED[name]}\n"
        "os.chown(file, owner, owner, follow_symlinks=False)"
    )
    try:
        owner = machine.sh(f"stat -L -c %u {STATE}").strip()
        machine.sh(f"rm -rf {DATABASE}*")
        machine.run("python3", "-c", code, DATABASE, owner)
        for command in (
            *(f"dead list {HOSTILE}", f"dead show {HOSTILE} --all", f"dead retry {HOSTILE} --all"),
            *(f"dead drop {HOSTILE} --all", f"health {HOSTILE}", "status", "plan"),
        ):
            done = machine.run("sh", "-c", f"pyboot {command}", check=False, timeout=45)
            shown = done.stdout + done.stderr
            assert "\x1b" not in shown
            assert "Traceback" not in shown
            assert "beside/in" not in shown
    finally:
        machine.sh(f"rm -rf {quote(DATABASE)}*")
        machine.control("start", HOSTILE)
