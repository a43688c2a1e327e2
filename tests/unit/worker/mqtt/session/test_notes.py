"""The notes of the session: an old one or a new one, never a part."""

from __future__ import annotations

import os
from pathlib import Path

from pyboot_svc.worker.mqtt.session.notes import SessionNotes


def test_the_note_is_replaced_and_not_written_in_place(tmp_path: Path) -> None:
    note, old = tmp_path / "subscribed", tmp_path / "old"
    notes = SessionNotes(note, "plant:1883", "pyboot-m-1")
    notes.note(["plant/a"])
    os.link(note, old)
    notes.note(["plant/b"])
    assert (note.read_text(), old.read_text()) == ("plant/b\n", "plant/a\n")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["old", "subscribed"]


def test_a_session_is_known_to_the_next_process(tmp_path: Path) -> None:
    notes = SessionNotes(tmp_path / "subscribed", "plant:1883", "pyboot-m-1")
    notes.note(["plant/a"])
    assert not notes.established, "the broker has not answered yet"
    notes.establish()
    assert notes.established
    later = SessionNotes(tmp_path / "subscribed", "plant:1883", "pyboot-m-1")
    assert later.established
    assert later.filters() == ["plant/a"]


def test_a_session_at_one_broker_is_none_at_another(tmp_path: Path) -> None:
    SessionNotes(tmp_path / "subscribed", "plant:1883", "pyboot-m-1").establish()
    other = SessionNotes(tmp_path / "subscribed", "other:1883", "pyboot-m-1")
    assert not other.established
    other.establish()
    assert other.established
    assert not SessionNotes(tmp_path / "subscribed", "plant:1883", "pyboot-m-1").established


def test_a_session_that_was_ended_on_purpose_is_forgotten(tmp_path: Path) -> None:
    notes = SessionNotes(tmp_path / "subscribed", "plant:1883", "pyboot-m-1")
    notes.forget()
    notes.note(["plant/a"])
    notes.establish()
    notes.forget()
    assert not notes.established
    assert notes.filters() == []
    assert not any(tmp_path.iterdir())


def test_another_client_id_is_another_session(tmp_path: Path) -> None:
    SessionNotes(tmp_path / "subscribed", "plant:1883", "pyboot-m-1").establish()
    other = SessionNotes(tmp_path / "subscribed", "plant:1883", "plant7-m-1")
    assert not other.established
    other.establish()
    assert SessionNotes(tmp_path / "subscribed", "plant:1883", "plant7-m-1").established
    assert not SessionNotes(tmp_path / "subscribed", "plant:1883", "pyboot-m-1").established


def test_a_note_of_an_older_version_has_no_client_id_and_gets_it(tmp_path: Path) -> None:
    (tmp_path / "subscribed-at").write_text("plant:1883\n")
    notes = SessionNotes(tmp_path / "subscribed", "plant:1883", "pyboot-m-1")
    assert notes.established
    notes.establish()
    assert (tmp_path / "subscribed-at").read_text() == "plant:1883\npyboot-m-1\n"
    assert not SessionNotes(tmp_path / "subscribed", "plant:1883", "plant7-m-1").established
