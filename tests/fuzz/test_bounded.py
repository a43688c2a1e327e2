"""The corpus, and some more inputs: the same ones each time, so that nothing fails by luck."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from fuzz.mutation import Mutator
from fuzz.targets import TARGETS

KEPT = [(name, file.name) for name, target in TARGETS.items() for file in target.corpus()]


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_good_and_what_is_made_of_it(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    for data in target.good:
        target.attempt(data)
    for data in islice(Mutator(target.seeds(), target.tokens, name).inputs(), target.bounded):
        try:
            target.attempt(data)
        except BaseException:
            (tmp_path / "input").write_bytes(data)
            print(f"the input is kept in {tmp_path / 'input'}: {data[:200]!r}")
            raise


@pytest.mark.parametrize(("name", "file"), KEPT, ids=["-".join(one) for one in KEPT])
def test_what_was_found_before(name: str, file: str) -> None:
    target = TARGETS[name]
    target.attempt((target.folder / file).read_bytes())


def test_each_folder_of_the_corpus_is_a_targets() -> None:
    folders = {folder.name for folder in (Path(__file__).parent / "corpus").iterdir()}
    assert folders <= TARGETS.keys()
