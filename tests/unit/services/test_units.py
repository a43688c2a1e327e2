"""The drop-in of an instance, as text, and as systemd would read it (systemd.syntax(7))."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyboot_svc.config import Edge
from pyboot_svc.config.loader import parse_config
from pyboot_svc.errors import ConfigError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.units import quoted, render_drop_in, unit_name

OWN = {
    "report-token": "/run/pyboot/tokens/pump-1",
    "compiled": "/run/pyboot/instances/pump-1.json",
}
MINIMAL = {
    "name": "pump",
    "pre_broker": "192.0.2.1",
    "pre_topic": "in",
    "edge_mode": "package.module.function",
    "post_broker": "localhost",
    "post_topic": "out",
}


def edge(brokers: dict[str, Any] | None = None, **more: Any) -> Edge:
    document = {"brokers": brokers or {}, "edge": [{**MINIMAL, **more}]}
    text = json.dumps(document, ensure_ascii=False)
    return parse_config(text.encode("utf-8", "surrogatepass"), "/etc/pyboot/config.yaml").edges[0]


def drop_in(brokers: dict[str, Any] | None = None, **more: Any) -> str:
    return render_drop_in(InstanceId("pump", 1), edge(brokers, **more), OWN)


def directives(text: str) -> list[tuple[str, str]]:
    """What a unit file says; only its first section, since there is to be no other."""
    lines = iter(re.split("[\n\r\0]", text))
    found: list[tuple[str, str]] = []
    for line in lines:
        line = line.strip(" \t")
        while _goes_on(line):
            line = line[:-1] + " " + next(lines)
        if line and line[0] not in "#;" and line != "[Service]":
            name, equals, value = line.partition("=")
            assert equals
            found.append((name.rstrip(), value.strip(" \t")))
    return found


def _goes_on(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def words(value: str, escapes: bool) -> list[str]:
    """Splits a value at blanks, unquotes it and, with `escapes`, reads those of C."""
    return [_expanded(word) for word in _split(iter(value), escapes)]


def _split(characters: Iterator[str], escapes: bool) -> Iterator[str]:
    word: bytearray | None = None
    quote = ""
    for character in characters:
        if character in " \t\n\r" and not quote:
            if word is not None:
                yield word.decode()
            word = None
            continue
        word = word if word is not None else bytearray()
        if character == "\\":
            word += _escaped(characters, escapes)
        elif character == quote:
            quote = ""
        elif character in "\"'" and not quote:
            quote = character
        else:
            word += character.encode()
    assert not quote, "a quote is left open"
    if word is not None:
        yield word.decode()


def _escaped(characters: Iterator[str], escapes: bool) -> bytes:
    character = next(characters)
    if character == "x" and escapes:
        return bytes.fromhex(next(characters) + next(characters))
    assert character in "\\\"'" or not escapes, "an escape that nobody wrote"
    return character.encode()


def _expanded(word: str) -> str:
    assert re.fullmatch("([^%]|%%)*", word, re.DOTALL), "a specifier"
    return word.replace("%%", "%")


def of(name: str, found: list[tuple[str, str]]) -> list[str]:
    return [value for key, value in found if key == name]


# What YAML can carry by way of JSON, and what can be in the name of a file.
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f\x85\ufeff"))
paths = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]))
awkward = st.sampled_from([*"\\\"'%$;# \n\r\t=[]", "\nExecStart=/bin/false", "%h", "\\x41", "\\"])
texts = st.lists(awkward | values).map("".join)
names = st.lists(awkward | paths).map("".join)


def test_the_smallest_drop_in() -> None:
    assert drop_in() == (
        "# Written by `pyboot apply`; your own drop-ins belong in /etc/systemd/system.\n"
        "[Service]\n"
        "User=em-307e6f7921c7aeae\n"
        "IPAddressAllow=\n"
        "IPAddressAllow=192.0.2.1\n"
        "IPAddressAllow=localhost\n"
        "LoadCredential=report-token:/run/pyboot/tokens/pump-1\n"
        "LoadCredential=compiled:/run/pyboot/instances/pump-1.json\n"
    )


def test_a_drop_in_of_everything() -> None:
    tls = {"ca": "/etc/ca.pem", "cert": "tls/100%.pem", "key": "/etc/k"}
    plant = {"host": "plant.example", "username": "u", "password_file": "/etc/p", "tls": tls}
    text = drop_in(
        {"plant": plant},
        pre_broker="plant",
        limits={"memory": "512M", "cpu": "80%", "tasks": 32, "nice": -5, "cpus": "0-1,4"},
        environment={"GREETING": 'say "hi"', "OMP_NUM_THREADS": 1},
        sandbox={
            "write": ["/srv/a b"],
            "devices": ["/dev/ttyUSB0"],
            "groups": ["dialout"],
            "jit": True,
        },
    )
    assert text.splitlines()[3:] == [
        "MemoryMax=512M",
        "CPUQuota=80%",
        "TasksMax=32",
        "Nice=-5",
        "CPUAffinity=0-1,4",
        "AllowedCPUs=0-1,4",
        'Environment="OMP_NUM_THREADS=1"',
        'Environment="OPENBLAS_NUM_THREADS=3"',
        'Environment="MKL_NUM_THREADS=3"',
        'Environment="NUMEXPR_NUM_THREADS=3"',
        'Environment="GREETING=say \\"hi\\""',
        'ReadWritePaths="/srv/a b"',
        "PrivateDevices=no",
        'DeviceAllow="/dev/ttyUSB0" rw',
        "SupplementaryGroups=dialout",
        "MemoryDenyWriteExecute=no",
        "SystemCallFilter=memfd_create",
        "NoExecPaths=",
        "ExecPaths=",
        "TemporaryFileSystem=",
        "TemporaryFileSystem=/dev/shm:mode=1777",
        "IPAddressDeny=",
        "IPAddressAllow=",
        "LoadCredential=pre.password:/etc/p",
        "LoadCredential=pre.ca:/etc/ca.pem",
        "LoadCredential=pre.cert:/etc/pyboot/tls/100%%.pem",
        "LoadCredential=pre.key:/etc/k",
        "LoadCredential=report-token:/run/pyboot/tokens/pump-1",
        "LoadCredential=compiled:/run/pyboot/instances/pump-1.json",
    ]


def test_a_models_secrets_are_handed_over() -> None:
    found = directives(render_drop_in(InstanceId("m", 1), edge(secrets={"KEY": "/etc/50%"}), OWN))
    assert of("LoadCredential", found)[0] == "secret.KEY:/etc/50%%"


def test_every_instance_has_a_user_of_its_own_that_stays() -> None:
    identities = [InstanceId(name, number) for name in ("pump", "pump-1") for number in (1, 11)]
    users = [of("User", directives(render_drop_in(one, edge(), OWN)))[0] for one in identities]
    assert len(set(users)) == 4
    assert users[0] == "em-307e6f7921c7aeae"
    # useradd(8): what every system takes for the name of a user.
    assert all(re.fullmatch("[a-z_][a-z0-9_-]{0,30}", user) for user in users)


@pytest.mark.parametrize(
    ("hosts", "allowed"),
    [
        (["localhost", "127.0.0.1"], ["", "localhost"]),
        (["::1", "127.8.8.8"], ["", "localhost"]),
        (["192.0.2.1", "2001:db8:0::1"], ["", "192.0.2.1", "2001:db8::1"]),
        (["fe80::1%eth0", "fe80::1%x any"], ["", "fe80::1"]),
        (["localhost", "plant.example"], [""]),
    ],
)
def test_addresses_of_brokers_are_allowed(hosts: list[str], allowed: list[str]) -> None:
    found = directives(drop_in(pre_broker=hosts[0], post_broker=hosts[1]))
    assert of("IPAddressAllow", found) == allowed
    # A name can mean any address: there is no telling which to deny.
    assert of("IPAddressDeny", found) == ([""] if "plant.example" in hosts else [])


@pytest.mark.parametrize(
    ("tracing", "variables", "allowed"),
    [
        ({}, {}, ["", "192.0.2.1", "localhost"]),
        ({"otlp": "http://192.0.2.9:4318"}, {}, ["", "192.0.2.1", "192.0.2.9"]),
        ({"otlp": "https://[2001:db8::9]/base"}, {}, ["", "192.0.2.1", "2001:db8::9"]),
        ({"otlp": "http://collector:4318"}, {}, [""]),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.9:1"}, ["", "192.0.2.1", "192.0.2.9"]),
        (
            {},
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.8",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://192.0.2.9/own",
            },
            ["", "192.0.2.1", "192.0.2.9"],
        ),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense"}, [""]),
    ],
    ids=["default", "IPv4", "IPv6", "name", "variable", "own variable", "no URL"],
)
def test_the_address_of_a_collector_is_allowed(
    tracing: dict[str, str], variables: dict[str, str], allowed: list[str]
) -> None:
    hosts = {"pre_broker": "192.0.2.1", "post_broker": "192.0.2.1"}
    edge: dict[str, Any] = {**hosts, "tracing": tracing, "environment": variables}
    found = directives(drop_in(**edge))
    assert of("IPAddressAllow", found) == allowed


def test_a_model_with_network_reaches_all() -> None:
    found = directives(drop_in(sandbox={"network": True}))
    assert of("IPAddressDeny", found) == [""]
    assert of("IPAddressAllow", found) == [""]


def test_the_name_of_a_unit() -> None:
    assert unit_name(InstanceId("pump-a", 2)) == "edge-model@pump-a-2.service"


@given(texts)
def test_any_text_is_one_word_that_reads_back(text: str) -> None:
    word = quoted(text.replace("\0", ""))
    assert words(word, escapes=True) == [text.replace("\0", "")]
    assert directives(f"Environment={word}\nUser=x") == [("Environment", word), ("User", "x")]


@given(names)
def test_a_path_needs_no_escapes_that_systemd_does_not_know_there(name: str) -> None:
    name = re.sub(r"[\n\r\t]", "", name)
    assert words(quoted(name), escapes=False) == [name]


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["PATH", "a_1", "_B"]), texts))
def test_no_variable_adds_a_directive(variables: dict[str, str]) -> None:
    try:
        found = directives(drop_in(environment=variables))
    except ConfigError:
        assume(False)
    given_over = [words(value, escapes=True) for value in of("Environment", found)]
    assert given_over == [[f"{name}={value}"] for name, value in variables.items()]
    assert [name for name, _ in found if name != "Environment"] == [
        *("User", "IPAddressAllow", "IPAddressAllow", "IPAddressAllow"),
        *("LoadCredential", "LoadCredential"),
    ]


@given(names)
def test_no_path_adds_a_directive(name: str) -> None:
    broker = {"host": "localhost", "username": "u", "password_file": f"/etc/{name}"}
    try:
        text = drop_in(
            {"plant": broker},
            pre_broker="plant",
            sandbox={"write": [f"/srv/{name}"], "devices": [f"/dev/{name}"]},
        )
    except ConfigError:
        assume(False)
    found = directives(text)
    assert [name for name, _ in found] == [
        *("User", "ReadWritePaths", "PrivateDevices", "DeviceAllow"),
        *("IPAddressAllow", "IPAddressAllow"),
        *("LoadCredential", "LoadCredential", "LoadCredential"),
    ]
    assert words(of("ReadWritePaths", found)[0], escapes=False) == [f"/srv/{name}"]
    assert words(of("DeviceAllow", found)[0], escapes=False) == [f"/dev/{name}", "rw"]
    # Its value is taken as it stands, specifiers apart.
    credential, *_ = of("LoadCredential", found)
    file = edge({"plant": broker}, pre_broker="plant").credential_files["pre.password"]
    assert _expanded(credential) == f"pre.password:{file}"


def with_folders(*folders: str) -> list[tuple[str, str]]:
    """What an environment in these folders adds."""
    plain, opened = (
        directives(render_drop_in(InstanceId("pump", 1), edge(), OWN, given))
        for given in ((), folders)
    )
    return [line for line in opened if line not in plain]


def test_an_environment_may_be_read_and_executed() -> None:
    assert with_folders("/srv/venv") == [
        ("ExecPaths", '"-/srv/venv"'),
        ("BindReadOnlyPaths", '"-/srv/venv"'),
    ]


@pytest.mark.parametrize(
    "folder",
    ["/usr", "/usr/local", "/opt/conda/envs/a", "/var/lib/pyboot/models/venv"],
)
def test_what_the_template_opens_needs_nothing(folder: str) -> None:
    assert with_folders(folder) == []


@pytest.mark.parametrize("home", ["/root/venv", "/home/a/venv", "/run/user/1000/venv"])
def test_homes_stay_hidden_but_for_the_environment(home: str) -> None:
    found = with_folders("/usr", home)
    assert found[0] == ("ProtectHome", "tmpfs")
    assert ("BindReadOnlyPaths", f'"-{home}"') in found
    alone = ("TemporaryFileSystem", "/root:ro,mode=0755")
    assert (alone in found) == home.startswith("/root/")


def test_folders_that_only_begin_like_a_home() -> None:
    assert with_folders("/homes/venv", "/rooted/venv")[0][0] == "ExecPaths"


def test_awkward_names_of_folders() -> None:
    found = dict(with_folders('/srv/a b: "c" d\'s 100% \\'))
    assert words(found["ExecPaths"], escapes=True) == ['-/srv/a b: "c" d\'s 100% \\']
    # It is split twice (systemd.exec(5)): the first time, what is escaped is left as it is.
    assert found["BindReadOnlyPaths"] == r'''"-/srv/a\ b\:\ \"c\"\ d\'s\ 100%%\ \\"'''
