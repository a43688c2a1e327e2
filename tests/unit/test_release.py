"""One source of the version, and `make release`, which prepares and never pushes."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import release

ROOT = Path(__file__).parents[2]
NOW = datetime(2027, 2, 3, 4, 5, tzinfo=UTC)


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@localhost"]
    done = subprocess.run(
        ["git", "-C", root, *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with every file that says the version, and something to release."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@localhost")
    files = {place.file for place in release.PLACES} | {release.CHANGELOG, release.DEBIAN}
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    changelog = tmp_path / release.CHANGELOG
    before, _, after = changelog.read_text().partition("## [Unreleased]\n")
    older = after[after.index("## [") :]
    changelog.write_text(f"{before}## [Unreleased]\n\n### Added\n- A thing.\n\n{older}")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "all of it")
    return tmp_path


def test_everything_agrees_with_the_source_of_the_version() -> None:
    assert release.disagreements(ROOT) == []


def test_whatever_disagrees_is_named(root: Path) -> None:
    (root / release.SOURCE).write_text('__version__ = "9.9.9"\n')
    said = "\n".join(release.disagreements(root))
    for place in release.PLACES[1:]:
        assert f"{place.file} says {release.version(ROOT)}, not 9.9.9" in said
    assert f"the newest entry of {release.CHANGELOG} isn't 9.9.9" in said


def test_a_changelog_with_another_date_is_named(root: Path) -> None:
    file = root / release.DEBIAN
    file.write_text(file.read_text().replace(" 2026 ", " 2025 "))
    [said] = release.disagreements(root)
    assert said.startswith(f"the newest entry of {release.DEBIAN} isn't {release.version(ROOT)} of")


def test_another_day_of_the_release_is_named(root: Path) -> None:
    file = root / release.SOURCE
    file.write_text(file.read_text().replace('__released__ = "2', '__released__ = "1'))
    [said] = release.disagreements(root)
    assert said.startswith(
        f"{release.SOURCE} doesn't say that {release.version(ROOT)} was released"
    )


def test_a_release_is_a_commit_and_a_tag(root: Path) -> None:
    assert release.refusals(root, "1.2.3") == []
    release.release(root, "1.2.3", NOW)
    assert release.disagreements(root) == []
    assert release.version(root) == "1.2.3"
    changelog = (root / release.CHANGELOG).read_text()
    assert "## [Unreleased]\n\n## [1.2.3] - 2027-02-03\n\n### Added\n- A thing.\n" in changelog
    assert "Wed, 03 Feb 2027 04:05:00 +0000" in (root / release.DEBIAN).read_text()
    assert '__released__ = "2027-02-03"\n' in (root / release.SOURCE).read_text()
    assert git(root, "tag", "--points-at", "HEAD") == "v1.2.3\n"
    assert git(root, "status", "--porcelain") == ""


def test_what_can_not_be_released_says_why(root: Path) -> None:
    git(root, "tag", "v1.2")
    changelog = root / release.CHANGELOG
    changelog.write_text(changelog.read_text().replace("### Added\n- A thing.\n\n", "", 1))
    assert release.refusals(root, release.version(root))[0].endswith("already")
    assert release.refusals(root, "1.2") == [
        "'1.2' is no version, as in 1.2.3",
        f"nothing stands under Unreleased in {release.CHANGELOG}",
        "the work tree has changes: commit them first",
        "the tag v1.2 is there already",
    ]


def test_without_a_repository_there_is_nothing_to_release(root: Path) -> None:
    shutil.rmtree(root / ".git")
    assert release.refusals(root, "1.2.3") == ["this is no git repository"]


def test_the_program_says_what_is_wrong_and_how_it_is_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert release.main([]) == 64
    assert "release.py VERSION" in capsys.readouterr().err
    assert release.main(["check"]) == 0
    assert release.main(["not-a-version"]) == 1
    assert "'not-a-version' is no version" in capsys.readouterr().err
