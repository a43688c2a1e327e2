"""Names become names of Kubernetes, each model its own."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyboot_svc.identity import NAME_PATTERN
from pyboot_svc.kubernetes.names import object_name, secret_keys

LABEL = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")
KEY = re.compile("[-._a-zA-Z0-9]+")
names = st.from_regex(NAME_PATTERN, fullmatch=True).filter(lambda name: len(name) <= 200)
# Names that are hard to keep apart.
near = st.text("aA1_-.", min_size=1, max_size=6).filter(NAME_PATTERN.fullmatch)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("alarm", "edge-model-alarm"),
        ("telm_temperature", "edge-model-telm--temperature"),
        ("a-1", "edge-model-a-1"),
        ("Pump.7", "edge-model-pump-7---de64e560"),
        ("_", "edge-model-x---d2e2adf7"),
        ("a__b", "edge-model-a-b---63e5c1c4"),
        ("a--b", "edge-model-a-b---90827a2e"),
        ("n" * 41, "edge-model-" + "n" * 41),
        ("n" * 42, "edge-model-" + "n" * 30 + "---b876a191"),
    ],
)
def test_what_a_model_is_called(model: str, name: str) -> None:
    assert object_name(model) == name


@given(names)
@example("a" * 200)
@example("-".join("a" * 100))
def test_every_name_is_one_that_kubernetes_takes(model: str) -> None:
    name = object_name(model)
    assert LABEL.fullmatch(name)
    assert len(name) <= 52


@given(names | near, names | near)
@example("a_b", "a--b")
@example("Pump.7", "pump-7---de64e560")
@example("a_b", "A_b")
@example("n" * 60, "n" * 61)
def test_two_models_never_share_a_name(one: str, other: str) -> None:
    assert (object_name(one) == object_name(other)) == (one == other)


@given(st.lists(st.text(min_size=1).map(lambda text: f"/{text}"), unique=True))
@example(["/a/password", "/b/password"])
@example(["/..", "/."])
@example(["/a/x", "/b/x", "/c/" + "x" * 300])
@example(["/ä/ä", "/ö/ö"])
def test_each_file_has_a_key_of_its_own(files: list[str]) -> None:
    keys = secret_keys(files)
    assert list(keys) == files
    assert len(set(keys.values())) == len(files)
    for key in keys.values():
        assert KEY.fullmatch(key)
        assert key not in (".", "..")
        assert len(key) <= 253


def test_a_file_that_can_be_a_key_is_one() -> None:
    assert secret_keys(["/etc/pyboot/plant.password"]) == {
        "/etc/pyboot/plant.password": "plant.password"
    }
