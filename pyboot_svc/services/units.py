"""What pyboot adds to the shipped template unit for one instance: a drop-in, as text.

Rendering is pure; everything that comes from the configuration is escaped, so that no value can
add a directive or be expanded (systemd.syntax(7), systemd.exec(5), systemd.unit(5)).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from unicodedata import category

from pyboot_svc.config import Edge, Limits, Sandbox
from pyboot_svc.config.collector_url import collector_address
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.users import user_of

TEMPLATE = "edge-model@.service"
TARGET = "edge-model.target"
MASTER = "pyboot.service"
# What would end the line, or the file. Nothing else is escaped, since in paths systemd doesn't
# know \\x: control characters, surrogates, and what Unicode hasn't assigned.
_UNWRITABLE = ("Cc", "Cs", "Cn")
# What the template lets be executed, and what it hides.
_EXECUTABLE = ("/usr", "/opt", "/etc/pyboot/models", "/var/lib/pyboot/models")
_HOMES = ("/home", "/root", "/run/user")
_SPLITTING, _ESCAPED = re.compile(r"""[\s:"'\\]"""), r"\\\g<0>"


def unit_name(identity: InstanceId) -> str:
    return f"edge-model@{identity}.service"


def render_drop_in(
    identity: InstanceId, edge: Edge, own: Mapping[str, str], folders: Sequence[str] = ()
) -> str:
    """The drop-in of one instance; `own` are the files of root's that it is handed beside those of
    its configuration, `folders` are those of the model's Python environment."""
    lines = [
        "# Written by `pyboot apply`; your own drop-ins belong in /etc/systemd/system.",
        "[Service]",
        # By itself systemd would run all instances as one user, who could meddle with each other.
        f"User={user_of(identity)}",
        *_limits(edge.limits),
        *_environment(edge),
        *_sandbox(edge.sandbox),
        *_executables(folders),
        *_network(edge),
        *_credentials({**edge.credential_files, **own}),
    ]
    return "\n".join(lines) + "\n"


def _limits(limits: Limits) -> Iterator[str]:
    if limits.memory is not None:
        yield f"MemoryMax={limits.memory}"
    if limits.cpu is not None:
        yield f"CPUQuota={limits.cpu}"
    if limits.tasks is not None:
        yield f"TasksMax={limits.tasks}"
    if limits.nice is not None:
        yield f"Nice={limits.nice}"
    if limits.cpus is not None:
        # The affinity works without a cpuset controller; the cpuset can't be left.
        yield f"CPUAffinity={limits.cpus}"
        yield f"AllowedCPUs={limits.cpus}"


def _environment(edge: Edge) -> Iterator[str]:
    for name, value in edge.variables.items():
        yield f"Environment={quoted(f'{name}={value}')}"


def _sandbox(sandbox: Sandbox) -> Iterator[str]:
    for path in sandbox.write:
        yield f"ReadWritePaths={quoted(path)}"
    if sandbox.devices:
        yield "PrivateDevices=no"
    for path in sandbox.devices:
        yield f"DeviceAllow={quoted(path)} rw"
    for group in sandbox.groups:
        yield f"SupplementaryGroups={group}"
    if sandbox.jit:
        yield "MemoryDenyWriteExecute=no"
        yield "SystemCallFilter=memfd_create"
        yield "NoExecPaths="
        yield "ExecPaths="
        yield "TemporaryFileSystem="
        yield "TemporaryFileSystem=/dev/shm:mode=1777"


def _executables(folders: Sequence[str]) -> Iterator[str]:
    """What the template keeps from being executed, or hides."""
    closed = [folder for folder in folders if not _is_below(folder, _EXECUTABLE)]
    if any(_is_below(folder, _HOMES) for folder in closed):
        # The others' homes stay hidden; what is bound below appears alone.
        yield "ProtectHome=tmpfs"
    if any(_is_below(folder, ("/root",)) for folder in closed):
        # By itself that one would be for root alone.
        yield "TemporaryFileSystem=/root:ro,mode=0755"
    for folder in closed:
        yield f"ExecPaths={quoted(f'-{folder}')}"
        # Which exempts it from ProtectSystem=, too.
        yield f"BindReadOnlyPaths={_bind_source(f'-{folder}')}"


def _is_below(folder: str, places: Sequence[str]) -> bool:
    return any(folder == place or folder.startswith(f"{place}/") for place in places)


def _bind_source(path: str) -> str:
    """`path` as one word of BindReadOnlyPaths=, which is split twice: at blanks, then at colons and
    blanks. What is escaped for the second time is left alone the first time."""
    return f'"{escaped_specifiers(_SPLITTING.sub(_ESCAPED, path))}"'


def _network(edge: Edge) -> Iterator[str]:
    """The addresses of the brokers and of a collector only, when they are literal; a name can mean
    any address."""
    hosts = [edge.pre.broker.host, edge.post.broker.host]
    if edge.tracing is not None:
        hosts.append(collector_address(edge.tracing.otlp, edge.environment)[0])
    addresses = sorted({_address(host) for host in hosts})
    if edge.sandbox.network or "" in addresses:
        yield "IPAddressDeny="
        yield "IPAddressAllow="
        return
    yield "IPAddressAllow="
    for address in addresses:
        yield f"IPAddressAllow={address}"


def _address(host: str) -> str:
    """What IPAddressAllow= takes for a literal host; empty for a name."""
    if host == "localhost":
        return "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    # Without the zone of a link-local one: the filter knows no interfaces.
    return "localhost" if address.is_loopback else str(address).partition("%")[0]


def _credentials(files: Mapping[str, str]) -> Iterator[str]:
    for name, file in files.items():
        yield f"LoadCredential={name}:{escaped_specifiers(file)}"


def escaped_specifiers(text: str) -> str:
    return text.replace("%", "%%")


def quoted(text: str) -> str:
    """`text` as one word of a unit file's line: quoted, C-escaped, without specifiers."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = "".join(_escape(c) if category(c) in _UNWRITABLE else c for c in plain)
    return f'"{escaped_specifiers(escaped)}"'


def _escape(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
