"""The note of what the session is subscribed to: an old one or a new one, never a part."""

from __future__ import annotations

import os
from pathlib import Path

from pyboot_svc.worker.inbox import _replace


def test_the_note_is_replaced_and_not_written_in_place(tmp_path: Path) -> None:
    note, old = tmp_path / "subscribed", tmp_path / "old"
    _replace(note, "plant/a\n")
    os.link(note, old)
    _replace(note, "plant/b\n")
    assert (note.read_text(), old.read_text()) == ("plant/b\n", "plant/a\n")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["old", "subscribed"]
