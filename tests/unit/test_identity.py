"""NAME-INSTANCE, and the names that are made of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.errors import UsageError
from pyboot_svc.identity import NAME_MAX_LENGTH, NAME_PATTERN, InstanceId

names = st.from_regex(NAME_PATTERN, fullmatch=True)


@pytest.mark.parametrize(
    ("text", "model", "number"),
    [
        ("telm_temperature-1", "telm_temperature", 1),
        ("a-b-12", "a-b", 12),
        ("a-1-2", "a-1", 2),
        ("a.b--3", "a.b-", 3),
        ("_-999999999", "_", 999_999_999),
        ("1-1", "1", 1),
    ],
)
def test_the_instance_stands_after_the_last_dash(text: str, model: str, number: int) -> None:
    assert InstanceId.parse(text) == InstanceId(model, number)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "a", "a-", "-1", "a-0", "a-01", "a-x", "a- 1", "a-1 ", "a-1\n", "a-+1", "a-1.0"),
        *(".a-1", "-a-1", "a/b-1", "a b-1", "ä-1", "a@b-1", "../a-1", "a-\u0661", "a-\u00b2"),
        "a-" + "9" * 5000,
    ],
)
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="write NAME-NUMBER"):
        InstanceId.parse(text)


@settings(deadline=None, max_examples=100)
@given(names, st.integers(1, 10_000))
def test_text_and_back(name: str, number: int) -> None:
    identity = InstanceId(name, number)
    assert InstanceId.parse(str(identity)) == identity


@settings(deadline=None, max_examples=100)
@given(st.text())
def test_parse_raises_nothing_else(text: str) -> None:
    try:
        assert str(InstanceId.parse(text)) == text
    except UsageError:
        pass


@settings(deadline=None, max_examples=200)
@given(st.tuples(names, st.integers(1, 99)), st.tuples(names, st.integers(1, 99)))
def test_two_instances_never_share_a_name(one: tuple[str, int], two: tuple[str, int]) -> None:
    first, second = InstanceId(*one), InstanceId(*two)
    for kind in ("__str__", "metrics_name"):
        values = [getattr(identity, kind) for identity in (first, second)]
        texts = [value() if callable(value) else value for value in values]
        assert (texts[0] == texts[1]) == (first == second)


def test_names_made_of_it() -> None:
    identity = InstanceId("telm_temperature", 1)
    assert str(identity) == "telm_temperature-1"
    assert identity.metrics_name == "sub_process_telm_temperature_1"
    assert identity.share_group == "pyboot-telm_temperature"
    assert identity.title(3, 0) == "edge-model: telm_temperature-1 [pre 3 post 0]"


def test_instances_sort_by_number_not_by_text() -> None:
    assert sorted([InstanceId("b", 1), InstanceId("a", 10), InstanceId("a", 9)]) == [
        InstanceId("a", 9),
        InstanceId("a", 10),
        InstanceId("b", 1),
    ]


def test_the_longest_name_still_fits_into_a_unit() -> None:
    unit = f"edge-model@{InstanceId('x' * NAME_MAX_LENGTH, 10_000)}.service"
    assert len(unit) <= 255


@pytest.mark.parametrize(
    ("pod", "number"),
    [
        ("edge-model-a-0", 1),
        ("edge-model-a-9999", 10_000),
        ("edge-model-a-7d4b9c6f5-bbbbb", 1),
        ("edge-model-a-7d4b9c6f5-bbbbc", 2),
        ("edge-model-a-7d4b9c6f5-99999", 27**5),
        ("edge-model-a-7d4b9c6f5-24567", 1 + 20 * 27**4 + 21 * 27**3 + 22 * 27**2 + 23 * 27 + 24),
    ],
)
def test_a_pods_name_says_which_instance_it_is(pod: str, number: int) -> None:
    identity = InstanceId.of_pod("a.B", pod)
    assert identity == InstanceId("a.B", number)
    assert InstanceId.parse(str(identity)) == identity


@pytest.mark.parametrize("pod", ["", "a", "a-", "a-01", "a-10000", "a-bbbba", "a-bbbb", "a-x\n"])
def test_a_name_that_no_pod_has(pod: str) -> None:
    with pytest.raises(UsageError, match="is not a pod of"):
        InstanceId.of_pod("a", pod)


def test_a_pod_of_a_model_with_a_name_that_cannot_be() -> None:
    with pytest.raises(UsageError):
        InstanceId.of_pod("-a", "a-0")
