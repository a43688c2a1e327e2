"""`pyboot plan` and `pyboot apply`: what they say, what they touch, and what they leave alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from fleet import MODELS, Results, config, edge, pids, set_up, unit, units, wait_active
from machine import Machine
from support.poll import until

BASE = (edge("alone", options={"scale": 1}), edge("pair", instance=2))
INSTANCES = ("alone-1", "pair-1", "pair-2")
CALLS = "/var/tmp/calls"
DEADLY = """
class deadly:
    def __init__(self):
        os._exit(3)
    def __call__(self, payload):
        return payload
"""
TOOL = {"systemd": "systemctl", "openrc": "rc-service"}
READING = {"show", "list-units"}
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")

Applying = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def base(machine: Machine) -> None:
    """Each test starts from three instances that run what BASE says."""
    set_up(machine, config(*BASE))
    machine.reload()
    machine.control("start", *INSTANCES)
    wait_active(machine, *INSTANCES)


@pytest.fixture
def apply_noting_calls(machine: Machine) -> Iterator[Applying]:
    """Runs `pyboot apply` by hand; the verbs of the commands that it gave."""

    def apply() -> list[str]:
        machine.write(CALLS, "")
        machine.run("pyboot", "apply")
        calls = [line.split() for line in machine.read(CALLS).splitlines()]
        return [next(word for word in call if not word.startswith("-")) for call in calls]

    tool = TOOL[machine.init]
    shim = f"/usr/local/sbin/{tool}"
    real = machine.sh(f"command -v {tool}").strip()
    machine.write(shim, f'#!/bin/sh\necho "$*" >>{CALLS}\nexec {real} "$@"\n')
    machine.run("chmod", "+x", shim)
    yield apply
    machine.run("rm", shim)


def plan(machine: Machine) -> tuple[int, list[str]]:
    """Exit code and steps of `pyboot plan`."""
    done = machine.run("pyboot", "plan", check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    return done.returncode, [line for line in lines if not line.startswith("left over ")]


def state(machine: Machine) -> tuple[dict[str, int], str]:
    """All that an apply might touch: processes, and files with their inodes and content."""
    folders = f"/run/pyboot/instances {machine.unit_dir}"
    files = machine.sh(
        f"find {folders} ! -type d -printf '%p %i %l\\n' | sort;"
        f"cat /run/pyboot/instances/* {' '.join(map(machine.unit_file, INSTANCES))}"
    )
    return pids(machine, *INSTANCES), files


# What plan says.


def test_the_plan_of_what_is_applied_is_unchanged(machine: Machine) -> None:
    assert plan(machine) == (0, [f"unchanged  {instance}" for instance in INSTANCES])


def test_the_plan_names_each_step_and_the_keys_that_caused_it(machine: Machine) -> None:
    before = state(machine)
    changed = edge("alone", options={"scale": 2}, pre_qos=0)
    set_up(machine, config(edge("new"), changed, edge("pair")))
    expected = [
        "stop       pair-2",
        "start      new-1",
        "restart    alone-1  (options.scale, pre.qos)",
        "unchanged  pair-1",
    ]
    assert plan(machine) == (2, expected)
    assert plan(machine) == (2, expected)
    assert state(machine) == before


def test_the_plan_as_json(machine: Machine) -> None:
    set_up(machine, config(edge("alone", options={"scale": 1}, limits={"nice": 5})))
    done = machine.run("pyboot", "plan", "--json", check=False)
    document = json.loads(done.stdout)
    assert done.returncode == 2
    assert document["changes"] is True
    assert [(step["identity"], step["action"]) for step in document["steps"]] == [
        ("pair-1", "stop"),
        ("pair-2", "stop"),
        ("alone-1", "restart"),
    ]
    assert document["steps"][-1]["keys"] == ["limits.nice"]
    assert document["steps"][-1]["unit_changed"] is True


def test_a_unit_file_that_was_tampered_with_is_put_right_without_a_restart(
    machine: Machine,
) -> None:
    before = pids(machine, *INSTANCES)
    machine.sh(f"echo '# edited' >>{machine.unit_file('alone-1')}")
    code, lines = plan(machine)
    assert (code, lines[0]) == (2, "unchanged  alone-1  (its unit differs)")
    machine.run("pyboot", "apply")
    assert plan(machine)[0] == 0
    assert pids(machine, *INSTANCES) == before


def test_only_root_may_see_the_plan_and_apply_it(machine: Machine) -> None:
    set_up(machine, config(*BASE, edge("new")))
    machine.reload()
    set_up(machine, config(edge("new")))
    machine.sh("umask 077; pyboot apply")
    assert plan(machine) == (0, ["unchanged  new-1"])
    set_up(machine, config(*BASE))
    for command, hint in (("plan", "run this by sudo"), ("apply", "run it as root")):
        refused = machine.run(*NOBODY, "pyboot", command, check=False)
        assert refused.returncode == 69
        assert hint in refused.stderr
        assert "Traceback" not in refused.stderr
    assert list(units(machine)) == ["new-1"]


# What apply touches.


def test_applying_what_is_applied_touches_nothing(
    machine: Machine, apply_noting_calls: Applying
) -> None:
    before = state(machine)
    assert set(apply_noting_calls()) <= READING
    assert state(machine) == before


@pytest.mark.systemd
def test_changed_units_cost_one_daemon_reload(
    machine: Machine, apply_noting_calls: Applying
) -> None:
    set_up(machine, config(*BASE, edge("new"), limits={"nice": 5}))
    assert apply_noting_calls().count("daemon-reload") == 1
    assert {machine.show(unit(name), "Nice") for name in (*INSTANCES, "new-1")} == {"5"}


@pytest.mark.systemd
def test_what_only_the_worker_reads_costs_no_daemon_reload(
    machine: Machine, apply_noting_calls: Applying
) -> None:
    set_up(machine, config(edge("alone", options={"scale": 2}), BASE[1]))
    calls = apply_noting_calls()
    assert "daemon-reload" not in calls
    assert calls.count("restart") == 1


def test_a_reload_restarts_the_instances_of_the_changed_edge_alone(machine: Machine) -> None:
    before = pids(machine, *INSTANCES)
    set_up(machine, config(BASE[0], edge("pair", instance=2, threads=2)))
    machine.reload()
    after = pids(machine, *INSTANCES)
    changed = {name for name in INSTANCES if before[name] != after[name]}
    assert changed == {"pair-1", "pair-2"}
    rows = machine.get("/api/instances")["instances"]
    assert {row["instance"]: row["threads"] for row in rows} == {
        "alone-1": 1,
        "pair-1": 2,
        "pair-2": 2,
    }


def test_files_are_replaced_by_whole_new_ones(machine: Machine) -> None:
    """A reader that has a file open, as a link to it shows, keeps the whole of the old one."""
    files = (
        "/run/pyboot/instances/alone-1.json",
        machine.unit_file("alone-1"),
    )
    before = [machine.read(file) for file in files]
    for number, file in enumerate(files):
        machine.run("ln", file, f"/run/before.{number}")
    set_up(machine, config(edge("alone", limits={"nice": 5}), BASE[1]))
    machine.run("pyboot", "apply")
    kept = [machine.read(f"/run/before.{number}") for number in range(2)]
    machine.sh("rm /run/before.*")
    assert kept == before
    assert all(machine.read(file) != text for file, text in zip(files, before, strict=True))
    assert (
        machine.sh("find /run/pyboot /run/systemd /etc -name '*.new' 2>/dev/null", check=False)
        == ""
    )


def test_the_master_is_told_of_what_is_applied_by_hand(machine: Machine) -> None:
    def shown() -> list[str]:
        rows = machine.get("/queue_size_metrics")["queue_size_metrics"]
        return [row["sub_process_name"] for row in rows]

    set_up(machine, config(edge("new"), BASE[1]))
    machine.run("pyboot", "apply")
    expected = [f"sub_process_{name}" for name in ("new_1", "pair_1", "pair_2")]
    until(lambda: shown() == expected, "the master shows what was applied")


# Edges come and go.


def test_an_added_edge_works(machine: Machine) -> None:
    before = pids(machine, *INSTANCES)
    set_up(machine, config(*BASE, edge("new")))
    machine.reload()
    assert machine.is_up("new-1")
    assert machine.ask("new/in", "new/out", "[1]") == "[1]"
    assert pids(machine, *INSTANCES) == before


def test_a_removed_edge_finishes_what_it_has_and_leaves_nothing(machine: Machine) -> None:
    set_up(machine, config(*BASE, edge("slow", model="slow")))
    machine.reload()
    results = Results(machine, "slow/out")
    for number in range(3):
        machine.publish("slow/in", str(number), qos=1)
    set_up(machine, config(*BASE))
    machine.reload()
    assert results.take(3) == ["0", "1", "2"]
    assert set(units(machine)) == set(INSTANCES)
    assert (
        machine.sh("find /run/pyboot /run/systemd /etc -name '*slow*' 2>/dev/null", check=False)
        == ""
    )
    journal = machine.log_of("slow-1")
    assert "slow-1: stopped\n" in journal
    assert "unfinished" not in journal
    if machine.init == "systemd":
        assert "Deactivated successfully" in journal
    names = [row["instance"] for row in machine.get("/api/instances")["instances"]]
    assert names == list(INSTANCES)
    # Its state stays, until somebody removes it.
    left_over = machine.run("pyboot", "plan").stdout.splitlines()[-1]
    assert re.search("^left over  .*slow-1.* `pyboot purge NAME-N`", left_over)
    assert "pair-1" not in left_over
    assert machine.run("pyboot", "purge", "slow", check=False).returncode == 64
    assert machine.run("pyboot", "purge", "pair-1", "--yes", check=False).returncode == 64
    machine.run("pyboot", "purge", "slow", "--yes")
    assert machine.sh("find /var/lib -name 'slow-1'") == ""
    assert "slow-1" not in machine.run("pyboot", "plan").stdout


def test_one_instance_less_restarts_none_of_those_that_stay(machine: Machine) -> None:
    set_up(machine, config(edge("trio", instance=3)))
    machine.reload()
    before = pids(machine, "trio-1")
    for count in (2, 1):
        set_up(machine, config(edge("trio", instance=count)))
        assert f"stop       trio-{count + 1}" in plan(machine)[1]
        machine.reload()
    assert plan(machine) == (0, ["unchanged  trio-1"])
    assert pids(machine, "trio-1") == before
    results = Results(machine, "trio/out")
    for number in range(10):
        machine.publish("trio/in", str(number), qos=1)
    assert results.take(10) == list(map(str, range(10)))
    machine.control("restart", "trio-1")
    wait_active(machine, "trio-1")
    assert machine.ask("trio/in", "trio/out", "[1]") == "[1]"


def test_a_renamed_edge_is_another_one(machine: Machine) -> None:
    renamed = {**BASE[0], "name": "single"}
    set_up(machine, config(renamed, BASE[1]))
    assert plan(machine)[1][:2] == ["stop       alone-1", "start      single-1"]
    machine.reload()
    assert units(machine) == dict.fromkeys(("single-1", "pair-1", "pair-2"), "active")
    assert machine.ask("alone/in", "alone/out", "[1]") == "[1]"


# What goes wrong.


def test_broken_yaml_changes_nothing_and_is_reported_with_its_place(machine: Machine) -> None:
    before = state(machine)
    machine.write("/etc/pyboot/config.yaml", "edge:\n  - {name: alone, instance: [}\n")
    failed = machine.reload(check=False)
    assert failed.returncode != 0
    assert state(machine) == before
    problem = "/etc/pyboot/config.yaml:2:30: broken YAML"
    assert machine.said(failed).count(problem) == 1
    if machine.init == "systemd":
        assert machine.sh("systemctl status pyboot", check=False).count(problem) == 1
    # The master shows what it showed before.
    names = [row["instance"] for row in machine.get("/api/instances")["instances"]]
    assert names == list(INSTANCES)


def test_new_code_is_seen_and_rolled(machine: Machine) -> None:
    set_up(machine, config(*BASE))
    machine.reload()
    before = pids(machine, *INSTANCES)
    shown = {row["instance"]: row["code"] for row in machine.get("/api/instances")["instances"]}
    set_up(machine, config(*BASE), MODELS + "\n# more\n")
    code, steps = plan(machine)
    assert code == 2
    assert all(step.endswith("(model's code changed: test_models.py)") for step in steps), steps
    machine.reload()
    after = pids(machine, *INSTANCES)
    assert all(after[name] != before[name] for name in INSTANCES)
    wait_active(machine, *INSTANCES)

    def codes() -> dict[str, str]:
        rows = machine.get("/api/instances")["instances"]
        return {row["instance"]: row["code"] for row in rows}

    until(lambda: len(set(codes().values()) - set(shown.values())) == 1, "it is shown")
    assert plan(machine)[0] == 0


@pytest.mark.parametrize(
    ("models", "model", "said"),
    [
        (MODELS, "ecko", "module test_models has no 'ecko'; did you mean 'echo'?"),
        (MODELS + "\ndef echo(payload) return payload\n", "echo", "SyntaxError"),
        (MODELS + "\nimport no_such_library\n", "echo", "No module named 'no_such_library'"),
        (MODELS + "\ndef echo(a, b, c): ...\n", "echo", "must be callable as (payload)"),
    ],
    ids=["name", "syntax", "dependency", "parameters"],
)
def test_code_that_can_not_be_loaded_does_not_replace_what_works(
    machine: Machine, models: str, model: str, said: str
) -> None:
    before = pids(machine, *INSTANCES)
    set_up(machine, config(edge("alone", model=model), BASE[1]), models)
    applied = machine.run("pyboot", "apply", check=False)
    assert applied.returncode == 69
    assert (
        "new code that can't be loaded; the instances go on with the old\n    alone: "
        in applied.stderr
    )
    assert said in applied.stderr
    assert "nothing to do" not in applied.stdout
    assert machine.pid("alone-1") == before["alone-1"]
    assert machine.ask("alone/in", "alone/out", "[1]") == "[1]"
    code, steps = plan(machine)
    assert (code, steps[0].startswith("restart    alone-1")) == (2, True)
    set_up(machine, config(*BASE))
    machine.reload()
    assert plan(machine)[0] == 0


def test_an_instance_that_gave_up_is_started_again_with_its_corrected_configuration(
    machine: Machine,
) -> None:
    set_up(machine, config(edge("alone", model="broken"), BASE[1]))
    failed = machine.reload(check=False)
    assert failed.returncode != 0
    assert machine.state("alone-1") == "failed"
    if machine.init == "systemd":
        assert machine.restarts("alone-1") == 0
    assert "OSError: no such device" in machine.said(failed)
    set_up(machine, config(*BASE))
    machine.reload()
    assert machine.is_up("alone-1")


def test_an_instance_that_gave_up_is_started_again_when_its_model_is_there(
    machine: Machine,
) -> None:
    text = config(*BASE, edge("late", model="later"))
    set_up(machine, text)
    assert machine.run("pyboot", "apply", check=False).returncode == 69
    unchanged = [f"unchanged  {name}" for name in INSTANCES]
    assert plan(machine) == (2, [*unchanged, "start      late-1"])
    set_up(machine, text, MODELS + "\nlater = echo\n")
    machine.run("pyboot", "apply")
    assert machine.is_up("late-1")
    assert plan(machine)[0] == 0


def test_an_instance_that_ends_again_and_again_is_named_by_every_command(machine: Machine) -> None:
    """Its unit hasn't given up, and there is nothing to apply."""
    set_up(machine, config(edge("alone", model="deadly"), BASE[1]), f"{MODELS}{DEADLY}")
    applied = machine.run("pyboot", "apply", "--wait-seconds", "3", check=False)
    assert applied.returncode == 69
    reason = "exit code 3" if machine.init == "systemd" else "killed"

    def said() -> str:
        again = machine.run("pyboot", "apply", check=False)
        return again.stderr if again.returncode == 69 else ""

    until(lambda: "unchanged, but not running\n" in said(), "it is named")
    until(lambda: reason in plan(machine)[1][0], "the plan names it")
    assert plan(machine)[0] == 0
    asked = machine.run("pyboot", "status", check=False)
    assert ["pair-1", "ready"] in [line.split()[:2] for line in asked.stdout.splitlines()]
    until(lambda: reason in machine.run("pyboot", "status").stdout, "status says why")


def test_the_status_needs_no_right_configuration(machine: Machine) -> None:
    machine.write("/etc/pyboot/config.yaml", "edge: [{name: alone}]\n")
    asked = machine.run("pyboot", "status")
    assert "the key `edge_mode` is missing" in asked.stderr
    for instance in INSTANCES:
        assert f"{instance} " in asked.stdout
    machine.sh("rm /etc/pyboot/config.yaml")
    assert "alone-1" in machine.run("pyboot", "status").stdout


def test_health_is_that_of_the_instances_whatever_runs_them(machine: Machine) -> None:
    asked = machine.run("pyboot", "health", "--ready")
    assert asked.stdout.splitlines() == [f"{instance}: ready" for instance in INSTANCES]
    one = machine.run("pyboot", "health", "pair-2", "--json")
    assert json.loads(one.stdout)["started"] is True
    machine.control("stop", "pair-2")
    stopped = machine.run("pyboot", "health", "pair-2", check=False)
    assert (stopped.returncode, "pair-2: not alive" in stopped.stdout) == (1, True)
    assert machine.run("pyboot", "health").stdout.splitlines() == [
        "alone-1: ready",
        "pair-1: ready",
    ]
    master = machine.run("pyboot", "health", "master", check=False)
    if machine.init == "systemd":
        assert master.returncode == 64
        assert "`systemctl status pyboot` shows how it does" in master.stderr
    else:
        assert (master.returncode, master.stdout) == (0, "master: ready\n")
    unknown = machine.run("pyboot", "health", "pear-2", check=False)
    assert unknown.returncode == 64
    assert "there are alone-1, pair-1, pair-2" in unknown.stderr


def test_an_instance_that_gave_up_and_is_removed_is_forgotten(machine: Machine) -> None:
    set_up(machine, config(*BASE, edge("new", model="absent")))
    machine.run("pyboot", "apply", check=False)
    assert units(machine)["new-1"] == "failed"
    set_up(machine, config(*BASE))
    machine.run("pyboot", "apply")
    assert set(units(machine)) == set(INSTANCES)


# What somebody else decided.


def test_an_instance_stopped_by_hand_stays_so_and_starts_with_what_was_applied(
    machine: Machine,
) -> None:
    machine.control("stop", "alone-1")
    set_up(machine, config(edge("alone", model="options", options={"scale": 2}), BASE[1]))
    machine.reload()
    assert machine.state("alone-1") == "inactive"
    assert plan(machine)[0] == 0
    machine.control("start", "alone-1")
    wait_active(machine, "alone-1")
    assert machine.ask("alone/in", "alone/out", "[1]") == '{"scale":2}'


@pytest.mark.systemd
def test_an_administrators_drop_in_wins(machine: Machine) -> None:
    folder = f"/etc/systemd/system/{unit('alone-1')}.d"
    machine.write(f"{folder}/override.conf", "[Service]\nNice=11\n")
    try:
        machine.run("systemctl", "daemon-reload")
        set_up(machine, config(*BASE, limits={"nice": 5}))
        machine.reload()
        for name, nice in (("alone-1", "11"), ("pair-1", "5")):
            assert machine.show(unit(name), "Nice") == nice
            pid = machine.pid(name)
            assert machine.sh(f"ps -o ni= -p {pid}").strip() == nice
    finally:
        machine.sh(f"rm -r {folder}; systemctl daemon-reload")


@pytest.mark.systemd
def test_values_with_newlines_percents_and_quotes_arrive_as_they_are(machine: Machine) -> None:
    hostile = {
        "LINES": "one\ntwo\n[Service]\nUser=root\n",
        "PERCENT": "%n %i %% %H 100%",
        "QUOTES": """'single' "double" \\ back \\n $HOME ${HOME}""",
        "SPACES": "  both ends\t ",
        "COMMENT": "# ; = end",
        "UNICODE": "Größe ≥ 5 µm",
        "EMPTY": "",
    }
    folder, password = '/srv/odd %n "folder"', "/etc/pyboot/%i'secret\".txt"
    topic = 'odd/%n "x" ü/in'
    odd = edge(
        "odd",
        model="options",
        pre_topic=topic,
        pre_broker="named",
        environment=hostile,
        options={"text": hostile["LINES"] + hostile["QUOTES"]},
        sandbox={"write": [folder]},
    )
    # What the process gets from systemd is shown by what starts before it.
    machine.write("/usr/local/bin/show", "import json, os; print(json.dumps(dict(os.environ)))")
    machine.write(
        f"/etc/systemd/system/{unit('odd-1')}.d/show.conf",
        "[Service]\nExecStartPre=/usr/bin/python3 /usr/local/bin/show\n",
    )
    machine.write(password, "secret\n")
    machine.run("mkdir", "-p", folder)
    document = json.loads(config(*BASE, odd))
    broker = {"host": "127.0.0.1", "username": "odd", "password_file": password}
    document["brokers"] = {"named": broker}
    set_up(machine, json.dumps(document))
    machine.reload()

    shown = machine.log_of("odd-1")
    environment = next(json.loads(line) for line in shown.splitlines() if line.startswith("{"))
    assert {name: environment.get(name) for name in hostile} == hostile
    assert machine.show(unit("odd-1"), "User").startswith("em-")
    results = Results(machine, "odd/out")
    machine.publish(topic, "[1]", qos=1)
    assert json.loads(results.take(1)[0]) == {"text": odd["options"]["text"]}
    pid = machine.pid("odd-1")
    mounts = machine.sh(f"cat /proc/{pid}/mountinfo")
    assert folder.replace(" ", "\\040") in mounts
