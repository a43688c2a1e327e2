"""The version: one source, `pyboot_svc/__init__.py`, and everything that repeats it.

release.py check      say where something doesn't agree (exit 1)
release.py VERSION    make the release's commit and tag, as `make release` does; nothing is pushed
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, date, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "pyboot_svc/__init__.py"
CHANGELOG = "CHANGELOG.md"
DEBIAN = "packaging/debian/changelog"
SPEC = "packaging/rpm/pyboot-svc.spec"
MAINTAINER = "pyboot maintainers <pyboot@localhost.localdomain>"
_RELEASED = r'^(__released__ = ")(.+)(")$'
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Place(NamedTuple):
    """Where the version is repeated: the pattern's one group; it occurs at least once."""

    file: str
    pattern: str


PLACES = (
    Place(SOURCE, r'^__version__ = "(.+)"$'),
    Place(SPEC, r"^Version: +(\S+)$"),
    Place("docs/man/pyboot.1", r'^\.TH .*"pyboot (\S+)"'),
    Place("docs/openapi.json", r'^  "version": "(.+)",$'),
    Place("docs/containers.md", r"pyboot-svc:(\d[\w.]*)"),
    Place("docs/kubernetes.md", r"pyboot-svc:(\d[\w.]*)"),
    Place("packaging/container/compose.yaml", r"pyboot-svc:(\d[\w.]*)"),
)


def version(root: Path) -> str:
    found = re.search(PLACES[0].pattern, (root / SOURCE).read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def disagreements(root: Path) -> list[str]:
    """What doesn't say the source's version, or the date of its entry in CHANGELOG.md."""
    wanted = version(root)
    found = [
        f"{place.file} says {said or 'nothing'}, not {wanted}"
        for place in PLACES
        for said in _said(root, place)
        if said != wanted
    ]
    dated = re.search(r"^## \[(\d\S*)\] - (\S+)$", (root / CHANGELOG).read_text(), re.MULTILINE)
    if dated is None or dated[1] != wanted:
        return [*found, f"the newest entry of {CHANGELOG} isn't {wanted}"]
    day = date.fromisoformat(dated[2])
    released = re.search(_RELEASED, (root / SOURCE).read_text(), re.MULTILINE)
    if released is None or released[2] != dated[2]:
        found.append(f"{SOURCE} doesn't say that {wanted} was released on {day}")
    for file, newest in ((DEBIAN, _debian_newest(root)), (SPEC, _spec_newest(root))):
        if newest != (wanted, day):
            found.append(f"the newest entry of {file} isn't {wanted} of {day}")
    return found


def _said(root: Path, place: Place) -> set[str]:
    said = re.findall(place.pattern, (root / place.file).read_text(), re.MULTILINE)
    return set(said) or {""}


def _debian_newest(root: Path) -> tuple[str, date] | None:
    newest = re.match(
        r"pyboot-svc \((\S+)\) .*?^ -- .+?>  \w+, (\d+ \w+ \d+) ",
        (root / DEBIAN).read_text(),
        re.DOTALL | re.MULTILINE,
    )
    return newest and (newest[1], datetime.strptime(newest[2], "%d %b %Y").date())


def _spec_newest(root: Path) -> tuple[str, date] | None:
    newest = re.search(
        r"^%changelog\n\* \w+ (\w+ \d+ \d+) .*> - (\S+)-1$", (root / SPEC).read_text(), re.MULTILINE
    )
    return newest and (newest[2], datetime.strptime(newest[1], "%b %d %Y").date())


def write(root: Path, new: str, now: datetime) -> None:
    """Set the version everywhere, and date the entries of all changelogs."""
    old = version(root)
    for place in PLACES:
        file = root / place.file
        pattern = re.compile(place.pattern, re.MULTILINE)
        file.write_text(pattern.sub(lambda said: said[0].replace(old, new), file.read_text()))
    source = root / SOURCE
    day = rf"\g<1>{now:%Y-%m-%d}\g<3>"
    source.write_text(re.sub(_RELEASED, day, source.read_text(), flags=re.MULTILINE))
    top = "## [Unreleased]\n"
    _edit(root / CHANGELOG, top, f"{top}\n## [{new}] - {now:%Y-%m-%d}\n")
    debian = root / DEBIAN
    debian.write_text(
        f"pyboot-svc ({new}) unstable; urgency=medium\n\n"
        "  * See /usr/share/doc/pyboot-svc/changelog.gz.\n\n"
        f" -- {MAINTAINER}  {format_datetime(now)}\n\n{debian.read_text()}"
    )
    entry = f"* {now:%a %b %d %Y} {MAINTAINER} - {new}-1\n- See CHANGELOG.md.\n"
    _edit(root / SPEC, "%changelog\n", f"%changelog\n{entry}\n")


def _edit(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text().replace(old, new, 1))


def unreleased(root: Path) -> str:
    text = (root / CHANGELOG).read_text()
    found = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return found[1].strip() if found else ""


def refusals(root: Path, new: str) -> list[str]:
    """Why this can't be released now."""
    reasons = disagreements(root)
    if not _VERSION.fullmatch(new):
        reasons.append(f"{new!r} is no version, as in 1.2.3")
    if f"\n## [{new}]" in (root / CHANGELOG).read_text():
        reasons.append(f"{CHANGELOG} has an entry {new} already")
    if not unreleased(root):
        reasons.append(f"nothing stands under Unreleased in {CHANGELOG}")
    if not (root / ".git").exists():
        return [*reasons, "this is no git repository"]
    if _git(root, "status", "--porcelain"):
        reasons.append("the work tree has changes: commit them first")
    if _git(root, "tag", "--list", f"v{new}"):
        reasons.append(f"the tag v{new} is there already")
    return reasons


def release(root: Path, new: str, now: datetime) -> None:
    write(root, new, now)
    _git(root, "commit", "--all", "--quiet", "--message", f"Version {new}")
    _git(root, "tag", "--annotate", f"v{new}", "--message", f"Version {new}")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 64
    problems = disagreements(ROOT) if arguments == ["check"] else refusals(ROOT, arguments[0])
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    if arguments != ["check"]:
        release(ROOT, arguments[0], datetime.now(UTC))
        print(f"committed, and tagged v{arguments[0]}; look at it, then: git push --follow-tags")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
