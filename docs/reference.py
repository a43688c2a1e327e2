"""Writes the configuration's reference in the README from the tables that the loader checks by.

python docs/reference.py          rewrite it
python docs/reference.py --check  only say whether it is true (exit 1: it is not)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pyboot_svc.config.keys import BROKER, EDGE, FILE, QUEUE, TLS, WEB
from pyboot_svc.config.kinds import Key, Section

README = Path(__file__).parent.parent / "README.md"
_BEGIN = "<!-- reference: written by docs/reference.py -->\n"
_END = "<!-- end of reference -->\n"
_SECTIONS = (
    ("The file", FILE),
    ("`edge:` and `defaults:`", EDGE),
    ("`queue:` of an edge", QUEUE),
    ("`brokers:`, each", BROKER),
    ("`tls:` of a broker", TLS),
    ("`web:`", WEB),
)


def render_reference() -> str:
    return "\n".join(_tables())


def readme_with_reference(text: str) -> str:
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{render_reference()}{_END}{after}"


def _tables() -> Iterator[str]:
    for title, section in _SECTIONS:
        yield f"**{title}**\n"
        yield "| key | default | meaning |\n|---|---|---|"
        yield from (_row(name, key) for name, key in _keys(section))
        yield ""


def _keys(section: Section) -> list[tuple[str, Key]]:
    return list(section.keys.items())


def _row(name: str, key: Key) -> str:
    return f"| `{name}` | {_default(key)} | {key.doc} |"


def _default(key: Key) -> str:
    if key.required:
        return "**required**"
    if key.default in (None, (), ""):
        return ""
    shown = str(key.default).lower() if isinstance(key.default, bool) else str(key.default)
    return f"`{shown}`"


def main() -> int:
    text = README.read_text(encoding="utf-8")
    wanted = readme_with_reference(text)
    if "--check" in sys.argv[1:]:
        return int(text != wanted)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
