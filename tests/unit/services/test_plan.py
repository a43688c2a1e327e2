"""What there is to do, from what is wanted and what was applied."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboot_svc.config.compiled import render_compiled
from pyboot_svc.config.loader import parse_config
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.plan import (
    RESTART,
    START,
    STOP,
    UNCHANGED,
    Applied,
    Plan,
    Step,
    Wanted,
    changed_keys,
    make_plan,
)
from pyboot_svc.services.secret_files import UNSEEN

PUMP, FAN, MILL = (InstanceId(name, 1) for name in ("pump", "fan", "mill"))


def wanted(identity: InstanceId, compiled: str = "{}", unit: str = "unit") -> Wanted:
    return Wanted(identity, compiled, unit)


def applied(
    identity: InstanceId,
    compiled: str | None = "{}",
    unit: str | None = "unit",
    failed: bool = False,
) -> dict[InstanceId, Applied]:
    return {identity: Applied(identity, compiled, unit, failed)}


def only(plan: Plan) -> Step:
    (step,) = plan.steps
    return step


def test_what_was_never_applied_starts() -> None:
    plan = make_plan([wanted(PUMP)], {})
    assert only(plan) == Step(PUMP, START, unit_changed=True)
    assert plan.changes


def test_what_is_as_it_was_is_left_alone() -> None:
    plan = make_plan([wanted(PUMP)], applied(PUMP))
    assert only(plan) == Step(PUMP, UNCHANGED)
    assert not plan.changes


def test_what_is_no_longer_configured_stops_first() -> None:
    plan = make_plan([wanted(FAN)], {**applied(PUMP), **applied(MILL)})
    assert plan.steps == (
        Step(MILL, STOP),
        Step(PUMP, STOP),
        Step(FAN, START, unit_changed=True),
    )
    assert plan.of(STOP) == [MILL, PUMP]
    assert plan.of(START) == [FAN]


def test_what_changed_restarts_because_of_its_keys() -> None:
    before, after = '{"edge": {"threads": 1}}', '{"edge": {"threads": 2}}'
    plan = make_plan([wanted(PUMP, after)], applied(PUMP, before))
    assert only(plan) == Step(PUMP, RESTART, ("threads",))
    assert str(only(plan)) == "restart    pump-1  (threads)"


def test_a_unit_alone_is_written_again_and_restarts_nothing() -> None:
    plan = make_plan([wanted(PUMP, unit="new")], applied(PUMP, unit="old"))
    assert only(plan) == Step(PUMP, UNCHANGED, unit_changed=True)
    assert plan.changes


def test_a_compiled_file_that_is_missing_means_a_start() -> None:
    assert only(make_plan([wanted(PUMP)], applied(PUMP, None))) == Step(PUMP, START)
    step = only(make_plan([wanted(PUMP)], applied(PUMP, None, None)))
    assert step == Step(PUMP, START, unit_changed=True)


def test_what_gave_up_is_given_another_start() -> None:
    assert only(make_plan([wanted(PUMP)], applied(PUMP, failed=True))) == Step(PUMP, START)


def test_steps_keep_the_order_of_the_configuration() -> None:
    plan = make_plan(map(wanted, (PUMP, MILL, FAN)), applied(MILL))
    assert [step.identity for step in plan.steps] == [PUMP, MILL, FAN]


def test_a_step_as_json() -> None:
    step = Step(PUMP, RESTART, ("pre.topic",), unit_changed=True)
    assert json.loads(json.dumps(step.as_dict())) == {
        "identity": "pump-1",
        "action": "restart",
        "keys": ["pre.topic"],
        "unit_changed": True,
        "packages": [],
    }


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ({"edge": {"a": {"b": 1}}}, {"edge": {"a": {"b": 2}}}, ("a.b",)),
        ({"edge": {"a": 1}}, {"edge": {"b": 1}}, ("a", "b")),
        ({"edge": {"a": 1}}, {"edge": {"a": True}}, ("a",)),
        ({"edge": {"a": 1}}, {"edge": {"a": 1, "b": None}}, ("b",)),
        ({"edge": {"a": {}}}, {"edge": {"a": {"b": 1}}}, ("a", "a.b")),
        ({"edge": {"a": [1, 2]}}, {"edge": {"a": [2, 1]}}, ("a",)),
        ({"model_path": ["/a"]}, {"model_path": ["/b"]}, ("model_path",)),
        ({"version": "1"}, {"version": "2"}, ("version",)),
    ],
)
def test_keys_that_differ(before: object, after: object, keys: tuple[str, ...]) -> None:
    assert changed_keys(json.dumps(before), json.dumps(after)) == keys


@pytest.mark.parametrize("before", ["", "{", "\0", "[" * 100_000])
def test_a_compiled_file_that_is_broken_differs(before: str) -> None:
    assert changed_keys(before, "{}") == ("(unreadable)",)


def compiled(count: int, share: bool = True, more: str = "") -> dict[InstanceId, str]:
    text = f"""
edge:
  - {{name: pump, instance: {count}, share: {str(share).lower()}, pre_broker: localhost,
     pre_topic: in, edge_mode: a.b, post_broker: localhost, post_topic: out{more}}}
"""
    instances = parse_config(text.encode(), "file").instances()
    return {instance.identity: render_compiled(instance) for instance in instances}


@pytest.mark.parametrize(
    ("before", "after", "share", "more", "expected"),
    [
        (3, 1, True, "", UNCHANGED),  # a group of one
        (3, 2, True, "", UNCHANGED),
        (2, 3, True, "", UNCHANGED),
        (1, 3, True, "", RESTART),  # or it would get every message besides its share
        (1, 3, False, "", UNCHANGED),
        (3, 1, False, "", UNCHANGED),
        (3, 1, True, ", threads: 2", RESTART),
    ],
)
def test_an_instance_of_more_or_fewer_restarts_only_to_share_anew(
    before: int, after: int, share: bool, more: str, expected: str
) -> None:
    old, new = compiled(before, share), compiled(after, share, more)
    there = {identity: Applied(identity, text, "unit") for identity, text in old.items()}
    plan = make_plan([wanted(identity, text) for identity, text in new.items()], there)
    assert PUMP in plan.of(expected)
    stay = old.keys() & new.keys()
    assert stay <= set(plan.of(expected))
    assert set(plan.of(STOP)) == old.keys() - stay
    assert set(plan.of(START)) == new.keys() - stay


names = st.text("abc", min_size=1, max_size=2)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | st.sampled_from([0.0, 1.0, "", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
)


@given(st.dictionaries(names, trees), st.dictionaries(names, trees))
def test_whatever_differs_has_a_key(before: object, after: object) -> None:
    texts = [json.dumps({"edge": tree}, sort_keys=True) for tree in (before, after)]
    assert (changed_keys(*texts) == ()) == (texts[0] == texts[1])


def test_keys_of_a_configuration_that_was_edited() -> None:
    text = """
edge:
  - {name: pump, pre_broker: localhost, pre_topic: in, edge_mode: a.b, limits: {memory: 1G},
     post_broker: localhost, post_topic: out}
"""
    before, edited = (
        render_compiled(next(parse_config(version.encode(), "file").instances()))
        for version in (text, text.replace("1G", "2G").replace("out", "elsewhere"))
    )
    assert changed_keys(before, edited) == ("limits.memory", "post.topic")


def test_a_change_of_the_models_code_is_told_by_its_files() -> None:
    (instance,) = parse_config(CODED.encode(), "config.yaml").instances()
    before, after = ({f"part{n}.py": f"{n}{of}" for n in range(5)} for of in ("a", "b"))
    old = render_compiled(instance, {**before, "same.py": "1"})
    few = render_compiled(instance, {**before, "same.py": "2"})
    many = render_compiled(instance, {**after, "same.py": "1"})
    none = render_compiled(instance)
    identity = instance.identity

    def shown(compiled: str) -> str:
        plan = make_plan([wanted(identity, compiled)], applied(identity, old))
        assert only(plan).action == RESTART
        return str(only(plan)).partition("(")[2].rstrip(")")

    assert shown(few) == "model's code changed: same.py"
    assert shown(many) == "model's code changed: part0.py, part1.py, part2.py and 2 more"
    assert "model's code changed: part0.py" in shown(none)
    changed = few.replace('"threads": 1', '"threads": 2')
    assert shown(changed) == "model's code changed: same.py, threads"


def test_a_change_of_the_models_environment_is_told_by_its_packages() -> None:
    (instance,) = parse_config(CODED.encode(), "config.yaml").instances()
    before = {"python": "3.12", "numpy": "1.26.4 ab", "own": "1 ab", "same": "1 ab"}
    old = render_compiled(instance, {}, before)

    def step(packages: dict[str, str]) -> Step:
        compiled = render_compiled(instance, {}, packages)
        return only(
            make_plan([wanted(instance.identity, compiled)], applied(instance.identity, old))
        )

    found = step({**before, "numpy": "2.0.0 cd"})
    assert found.action == RESTART
    assert found.packages == ("numpy 1.26.4 → 2.0.0",)
    assert found.keys == ("packages.numpy",)
    assert str(found).endswith("(its environment changed: numpy 1.26.4 → 2.0.0)")
    many = step({"python": "3.13", "own": "1 cd", "same": "1 ab", "scipy": "1"})
    assert "(its environment changed: python 3.12 → 3.13, numpy 1.26.4 removed, " in str(many)
    assert many.packages[2:] == ("own 1 (other files)", "scipy 1 added")
    assert str(many).endswith(" own 1 (other files) and 1 more)")


def test_another_environment_is_told_by_its_key_alone() -> None:
    (instance,) = parse_config(CODED.encode(), "config.yaml").instances()
    moved = parse_config(f"{CODED}    python: /srv/venv\n".encode(), "config.yaml")
    old = render_compiled(instance, {}, {})
    new = render_compiled(next(moved.instances()), {}, {"python": "3.13", "numpy": "2 ab"})
    step = only(make_plan([wanted(instance.identity, new)], applied(instance.identity, old)))
    assert (step.keys, step.packages) == (("python",), ())


def test_a_changed_file_of_a_secret_restarts() -> None:
    (instance,) = parse_config(CODED.encode(), "config.yaml").instances()
    versions = {"pre.password": "1", "post.cert": "1"}
    old = render_compiled(instance, credentials=versions)

    def step(**changed: str) -> Step:
        new = {name: changed.get(name.replace(".", "_"), "1") for name in versions}
        compiled = render_compiled(instance, credentials=new)
        plan = make_plan([wanted(instance.identity, compiled)], applied(instance.identity, old))
        return only(plan)

    assert step().action == UNCHANGED
    assert step(pre_password="2").action == RESTART
    assert str(step(post_cert="2")).endswith("(file of post.cert changed)")
    # Who isn't root may be unable to look at them.
    assert step(pre_password=UNSEEN, post_cert=UNSEEN).action == UNCHANGED
    assert str(step(pre_password=UNSEEN, post_cert="2")).endswith("(file of post.cert changed)")


CODED = """
edge:
  - name: pump
    pre_broker: localhost
    pre_topic: in
    edge_mode: package.module.function
    post_broker: localhost
    post_topic: out
"""
