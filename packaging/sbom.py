"""Software bills of materials in CycloneDX's JSON: what a package is made of, or asks for.

sbom.py wheel|deb|rpm FILE    write FILE.cdx.json
sbom.py image VERSION         print that of the image that this runs in

A wheel lists what pip installs with it, as requirements/run.txt locks it; a .deb and an .rpm list
what they depend on, whose versions are the distribution's; the image lists its Debian packages.
The same input gives the same bytes: the time is SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

NAME = "pyboot-svc"
LOCK = Path(__file__).resolve().parent.parent / "requirements" / "run.txt"
_LOCKED = re.compile(
    r"^([\w.-]+)==(\S+)(?: ; [^\\\n]+?)?((?: \\\n +--hash=\S+)+)((?:\n +#.*)*)", re.M
)
_WANTED_BY = re.compile(r"^ +# +(?:via )?(?!via$)([\w.-]+(?: \(pyproject\.toml\))?)$", re.M)


class Locked(NamedTuple):
    """A library of the lock file; `wanted_by` names libraries, or files that ask for it."""

    name: str
    version: str
    hashes: list[str]
    wanted_by: list[str]


def main(arguments: list[str]) -> int:
    match arguments:
        case ["image", version]:
            print(_text(image(version, _installed())))
        case ["wheel" | "deb" | "rpm" as kind, name]:
            file = Path(name)
            made = {"wheel": wheel, "deb": deb, "rpm": rpm}[kind](file)
            file.with_name(f"{file.name}.cdx.json").write_text(_text(made) + "\n")
        case _:
            print(__doc__, file=sys.stderr)
            return 64
    return 0


def wheel(file: Path) -> dict[str, Any]:
    version = file.name.split("-")[1]
    libraries = locked(LOCK.read_text())
    components = [
        {
            **_component("library", one.name, one.version, f"pkg:pypi/{one.name}@{one.version}"),
            # A hash for each file of the library, of which an installation takes one.
            "properties": [{"name": "pyboot:sha256", "value": value} for value in one.hashes],
        }
        for one in libraries
    ]
    subject = _subject(version, f"pkg:pypi/{NAME}@{version}", file)
    refs = {one.name: f"pkg:pypi/{one.name}@{one.version}" for one in libraries}
    wants: dict[str, list[str]] = {ref: [] for ref in (subject["bom-ref"], *refs.values())}
    for one in libraries:
        for by in one.wanted_by:
            wants[refs.get(by, subject["bom-ref"])].append(refs[one.name])
    return _bom(subject, components, wants)


def locked(text: str) -> list[Locked]:
    """What pyproject.toml leads to, in a lock file; not what only building takes."""
    found = []
    for name, version, hashes, comments in _LOCKED.findall(text):
        wanted_by = _WANTED_BY.findall(comments)
        sums = re.findall(r"--hash=sha256:(\w+)", hashes)
        found.append(Locked(name, version, sums, wanted_by))
    reached: set[str] = {f"{NAME} (pyproject.toml)"}
    while more := {one.name for one in found if reached & {*one.wanted_by}} - reached:
        reached |= more
    return [
        one._replace(wanted_by=[by for by in one.wanted_by if by in reached])
        for one in found
        if one.name in reached
    ]


def deb(file: Path) -> dict[str, Any]:
    fields = _output("dpkg-deb", "--field", str(file), "Version", "Depends")
    version = re.findall(r"^Version: (.*)$", fields, re.M)[0]
    depends = re.findall(r"^Depends: (.*)$", fields, re.M)[0]
    names = sorted({re.split(r"[ :|(]", each.strip())[0] for each in depends.split(",")})
    purl = f"pkg:deb/debian/{NAME}@{version}?arch=all"
    return _asking(
        _subject(version, purl, file), {name: f"pkg:deb/debian/{name}" for name in names}
    )


def rpm(file: Path) -> dict[str, Any]:
    query = ("rpm", "--query", "--package", str(file))
    version = _output(*query, "--queryformat", "%{VERSION}-%{RELEASE}")
    requires = _output(*query, "--requires").splitlines()
    # Packages by name: neither rpm's own features nor paths.
    found = (re.match(r"\(?([\w.+-]+)(?: |$)", line) for line in requires)
    names = sorted({match[1] for match in found if match})
    purl = f"pkg:rpm/{NAME}@{version}?arch=noarch"
    return _asking(_subject(version, purl, file), {name: f"pkg:rpm/{name}" for name in names})


def image(version: str, packages: list[tuple[str, str, str]]) -> dict[str, Any]:
    """`packages`: name, version and architecture of each Debian package."""
    components = [
        _component("library", name, number, f"pkg:deb/debian/{name}@{number}?arch={architecture}")
        for name, number, architecture in packages
    ]
    subject = _component("container", NAME, version, f"pkg:oci/{NAME}@{version}")
    refs = [component["bom-ref"] for component in components]
    return _bom(subject, components, {subject["bom-ref"]: refs})


def _installed() -> list[tuple[str, str, str]]:
    shown = _output("dpkg-query", "--show", "--showformat=${Package} ${Version} ${Architecture}\n")
    rows = (line.split() for line in shown.splitlines())
    return sorted((name, version, architecture) for name, version, architecture in rows)


def _asking(subject: dict[str, Any], wanted: dict[str, str]) -> dict[str, Any]:
    """A bill of packages whose versions are chosen where they are installed."""
    components = [_component("library", name, None, purl) for name, purl in wanted.items()]
    return _bom(subject, components, {subject["bom-ref"]: list(wanted.values())})


def _subject(version: str, purl: str, file: Path) -> dict[str, Any]:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {**_component("application", NAME, version, purl), "hashes": hashes}


def _component(kind: str, name: str, version: str | None, purl: str) -> dict[str, Any]:
    described = {"type": kind, "bom-ref": purl, "name": name}
    return {**described, **({"version": version} if version else {}), "purl": purl}


def _bom(
    subject: dict[str, Any], components: list[dict[str, Any]], wants: dict[str, list[str]]
) -> dict[str, Any]:
    licence = [{"license": {"id": "Apache-2.0"}}]
    made = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()))
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", made),
            "component": {**subject, "licenses": licence},
        },
        "components": components,
        "dependencies": [
            {"ref": ref, "dependsOn": sorted({*others})} for ref, others in wants.items()
        ],
    }
    return {**bom, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom))}"}


def _text(bom: dict[str, Any]) -> str:
    return json.dumps(bom, indent=2)


def _output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
