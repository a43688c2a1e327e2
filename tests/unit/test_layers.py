"""Imports point one way, heavy libraries stay where they belong, and no module keeps state."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import pyboot_svc

ROOT = Path(pyboot_svc.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

# Each part imports from its own tier (in no circle) or from those before it.
TIERS = (
    {
        *(
            "",
            "address",
            "backoff",
            "credentials",
            "errors",
            "files",
            "forks",
            "identity",
            "logs",
            "notify",
            "retry",
        ),
        *("sockets", "text", "threads", "titles", "topics", "undumpable", "wakeup"),
    },
    {"config", "environments"},
    {"health", "kubernetes", "metrics", "model", "models", "services", "tracing", "worker"},
    {"bench", "brokers", "master", "starter", "web"},
    {"cli"},
    {"__main__"},
)
SIBLINGS = {("worker", "services"), ("services", "worker")}
MUTABLE_LITERALS = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
MUTABLE_CALLS = {
    *("list", "dict", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict"),
    *("Queue", "SimpleQueue", "Lock", "RLock", "Event", "Condition", "count", "iter"),
}


def part(module: str) -> str:
    """`config` for pyboot_svc.config.loader; empty for the package itself."""
    return [*module.split("."), ""][1]


def module_name(source: Path) -> str:
    parts = source.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported(source: Path) -> tuple[str, ...]:
    """All modules that a file imports anywhere in it, with what it takes from them."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: a relative import"
            assert node.module is not None
            found.append(node.module)
            if node.module == "pyboot_svc":
                found += (
                    f"pyboot_svc.{alias.name}"
                    for alias in node.names
                    if not alias.name.startswith("__")
                )
    return tuple(found)


def own_imports() -> Iterator[tuple[str, str]]:
    """(importing part, imported part), without those within one part."""
    for source in SOURCES:
        for name in imported(source):
            pair = (part(module_name(source)), part(name))
            if name.split(".")[0] == "pyboot_svc" and pair[0] != pair[1]:
                yield pair


def users(library: str) -> set[str]:
    """The files that import `library`, by their path in the package."""
    return {
        str(source.relative_to(ROOT))
        for source in SOURCES
        if library in {name.split(".")[0] for name in imported(source)}
    }


def test_every_part_has_its_tier() -> None:
    known = set().union(*TIERS)
    assert {part(module_name(source)) for source in SOURCES} <= known


def test_imports_point_one_way() -> None:
    tier = {name: number for number, names in enumerate(TIERS) for name in names}
    pairs = set(own_imports())
    assert len(pairs) > 20
    assert {(user, used) for user, used in pairs if tier[used] > tier[user]} == set()


def test_imports_go_in_no_circle() -> None:
    graph: defaultdict[str, set[str]] = defaultdict(set)
    for user, used in own_imports():
        graph[user].add(used)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


# Of the worker: each from itself and from those that it names.
WINGS = {
    "messages": {"invalid_messages"},
    "mqtt": {"messages", "properties", "invalid_messages", "heartbeat", "notices"},
    "storage": {"messages"},
    "delivery": {"messages", "invalid_messages", "memory_budget", "stats", "storage", "tracer"},
    "execution": {
        *("messages", "properties", "invalid_messages", "memory_budget", "stats", "wall_clock"),
        *("storage", "delivery"),
    },
}
# What the rest of the worker may import of the wing with rooms of its own.
DOORS = {"inbox", "outbox", "reactor", "interfaces"}


def worker_imports() -> Iterator[tuple[list[str], list[str]]]:
    """(importing module, imported module), each by its path within the worker."""
    for source in SOURCES:
        user = module_name(source).split(".")[1:]
        for name in imported(source):
            used = name.split(".")[1:]
            if user[:1] == ["worker"] and used[:1] == ["worker"] and len(user) > 1 < len(used):
                yield user[1:], used[1:]


def test_the_wings_of_the_worker_import_one_way() -> None:
    pairs = {(user[0], used[0]) for user, used in worker_imports() if user[0] != used[0]}
    assert {
        (user, used) for user, used in pairs if user in WINGS and used not in WINGS[user]
    } == set()


def test_the_worker_meets_mqtt_at_its_doors() -> None:
    used = {used[1] for user, used in worker_imports() if user[0] != "mqtt" and used[0] == "mqtt"}
    assert used <= DOORS


def test_the_map_of_the_code_names_each_module() -> None:
    told = (ROOT.parent / "docs" / "architecture.md").read_text()
    names = {file.stem for file in SOURCES if not file.name.startswith("_")}
    assert {name for name in names if not re.search(rf"`(\w+/)*{name}(\.py)?`", told)} == set()


def test_the_map_of_the_code_names_no_module_that_is_gone() -> None:
    told = (ROOT.parent / "docs" / "architecture.md").read_text()
    files = set(re.findall(r"`((?:\w+/)+\w+\.py)`", told))
    files = {file for file in files if not file.startswith("tests/")}
    assert files
    assert {file for file in files if not (ROOT / file).exists()} == set()


def test_worker_and_services_never_import_each_other() -> None:
    assert set(own_imports()) & SIBLINGS == set()


@pytest.mark.parametrize(
    ("library", "place"),
    [
        ("cherrypy", "web/"),
        ("cheroot", "web/"),
        ("subprocess", "services/"),
        ("yaml", "config/"),
        ("numpy", "models/"),
    ],
)
def test_a_library_stays_in_its_place(library: str, place: str) -> None:
    found = users(library)
    assert found
    assert {file for file in found if not file.startswith(place)} == set()


def test_paho_is_used_in_one_module() -> None:
    assert users("paho") == {f"worker/mqtt/link/{name}.py" for name in ("lean_paho", "paho_client")}


def test_yaml_is_read_in_one_module_and_written_in_another() -> None:
    assert users("yaml") == {"config/document.py", "config/dump.py"}


def test_nothing_starts_processes_by_another_way() -> None:
    assert users("multiprocessing") | users("pty") == set()
    forking = {"fork", "forkpty", "system", "popen", "posix_spawn", "execv", "execve", "execvp"}
    calls = {
        f"{source.relative_to(ROOT)}: {node.attr}"
        for source in SOURCES
        # What has to be without root's rights can't always start an interpreter.
        if source != ROOT / "services" / "forked_child.py"
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("os", name) for name in forking}
    }
    # It becomes another program, and starts none.
    assert calls == {"environments/interpreter.py: execve"}


def loaded_after(*modules: str) -> set[str]:
    """Names of all modules in a fresh interpreter that has imported `modules`."""
    code = f"import sys, {', '.join(modules)}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_a_worker_with_a_compiled_file_loads_neither_yaml_nor_cherrypy() -> None:
    loaded = loaded_after(
        "pyboot_svc.cli.commands.worker", "pyboot_svc.config.compiled", "pyboot_svc.worker.main"
    )
    assert "paho.mqtt.client" in loaded
    heavy = {"yaml", "_yaml", "cherrypy", "cheroot", "subprocess", "asyncio"}
    # What paho would take along.
    heavy |= {"urllib.request", "http.client", "email", "tempfile", "ssl", "_ssl", "_hashlib"}
    # What errors alone need, and what the master does with what workers tell.
    heavy |= {"difflib", "pkgutil", "pyboot_svc.metrics.decoding"}
    assert loaded & heavy == set()


def test_a_model_gets_all_of_a_library_that_paho_is_not_given() -> None:
    code = (
        "import pyboot_svc.worker.main, hashlib, http.client, ssl, urllib.request; "
        "assert hashlib.sha256().name == 'sha256'; ssl.create_default_context(); "
        "print(urllib.request.urlopen('data:,all%20there').read().decode())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "all there\n"


def test_the_command_line_loads_nothing_heavy() -> None:
    loaded = loaded_after(
        "pyboot_svc.cli", "pyboot_svc.cli.commands.health", "pyboot_svc.cli.running"
    )
    assert "pyboot_svc.cli.main" in loaded
    heavy = {"paho", "yaml", "_yaml", "cherrypy", "cheroot", "asyncio", "subprocess", "ssl"}
    assert loaded & {*heavy, "pyboot_svc.config"} == set()


def test_the_help_loads_no_command() -> None:
    commands = {name for name in loaded_after("pyboot_svc.cli") if ".cli.commands." in name}
    assert commands == set()


def mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        function = value.func
        name = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
        return name in MUTABLE_CALLS
    return isinstance(value, MUTABLE_LITERALS)


def constant(name: str) -> bool:
    return name == "__all__" or name.isupper()


def state(tree: ast.Module) -> Iterator[str]:
    """Module-level names that hold something mutable and aren't written as constants."""
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=targets, value=value):
                names = [ast.unparse(target) for target in targets]
            case ast.AnnAssign(target=target, value=value):
                names = [ast.unparse(target)]
            case _:
                continue
        if mutable(value):
            yield from (name for name in names if not constant(name))


@pytest.mark.parametrize("source", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_keeps_state(source: Path) -> None:
    tree = ast.parse(source.read_text())
    assert list(state(tree)) == []
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)] == []


@pytest.mark.parametrize(
    "line",
    ["cache = {}", "seen: set[str] = set()", "a = b = []", "jobs = queue.Queue()", "x = [*y]"],
)
def test_state_would_be_noticed(line: str) -> None:
    assert list(state(ast.parse(line)))
