"""Writes what the code's own tables say into the documentation.

The configuration's reference, in docs/configuration.md and pyboot.yaml(5), the figures in
docs/metrics.md and on a dashboard for Grafana, pyboot(1), bash's completion, a JSON Schema of the
configuration, and the OpenAPI document of the master's web.

python docs/reference.py          rewrite it
python docs/reference.py --check  only say whether it is true (exit 1: it is not)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from completion import COMPLETION, completion
from dashboard import DASHBOARD, dashboard
from editor_schema import SCHEMA, editor_schema
from manual import MANUAL, manual

from pyboot_svc.config.schema import (
    BATCH,
    BROKER,
    DEAD_LETTER,
    EDGE,
    FILE,
    KUBERNETES,
    LIMITS,
    ON_ERROR,
    QUEUE,
    SANDBOX,
    SPOOL,
    STATUS,
    TLS,
    TRACING,
    WEB,
    WEB_TLS,
)
from pyboot_svc.config.sections import Key, Section
from pyboot_svc.metrics.figures import (
    FIELDS,
    FIGURES,
    INFO,
    MASTER_INFO,
    MASTER_STARTED,
    MASTERS,
    READY,
    REFUSED,
    UP,
)
from pyboot_svc.metrics.meaning import Meaning
from pyboot_svc.web.openapi import openapi_document
from pyboot_svc.web.static import read_static

METRICS = Path(__file__).parent / "metrics.md"
OPENAPI = Path(__file__).parent / "openapi.json"
CONFIGURATION = Path(__file__).parent / "configuration.md"
MAN_PAGE = Path(__file__).parent / "man" / "pyboot.yaml.5"
_BEGIN = "<!-- reference: written by docs/reference.py -->\n"
_END = "<!-- end of reference -->\n"
_SECTIONS = (
    ("The file", FILE),
    ("`edge:` and `defaults:`", EDGE),
    ("`batch:` of an edge", BATCH),
    ("`queue:` of an edge", QUEUE),
    ("`spool:` of an edge", SPOOL),
    ("`on_error:` of an edge", ON_ERROR),
    ("`dead_letter:` of an edge", DEAD_LETTER),
    ("`status:` of an edge", STATUS),
    ("`tracing:` of an edge", TRACING),
    ("`limits:` of an edge", LIMITS),
    ("`sandbox:` of an edge", SANDBOX),
    ("`kubernetes:` of an edge", KUBERNETES),
    ("`brokers:`, each", BROKER),
    ("`tls:` of a broker", TLS),
    ("`web:`", WEB),
    ("`web.tls:`", WEB_TLS),
)


_MAN_HEAD = """.TH PYBOOT.YAML 5 2026-11-24 "pyboot" "File Formats"
.SH NAME
pyboot.yaml \\- configuration of pyboot
.SH SYNOPSIS
.I /etc/pyboot/config.yaml
.SH DESCRIPTION
One YAML file lists the models that
.BR pyboot (1)
runs, and the brokers that they work with.
.B pyboot check
says what is wrong in it.
Relative paths are relative to this file. Plain scalars that YAML 1.1 turns into something else
(22:30 into 1350, 0123 into 83) have to be put in quotes. A
.B pre_broker
or
.B post_broker
that is no name in
.B brokers
is a host; where there are named brokers, a host of one word needs a dot at its end.
What an edge doesn't say,
.B defaults
says.
.SH KEYS"""
_MAN_TAIL = """.SH EDITORS
.I /usr/share/pyboot/config.schema.json
is a JSON Schema of the file: it knows each key, its type and its default. Editors that use
yaml\\-language\\-server complete and check the file when it has this line:
.PP
.EX
# yaml\\-language\\-server: $schema=/usr/share/pyboot/config.schema.json
.EE
.PP
What depends on more than one key,
.B pyboot check
alone can tell.
.SH EXAMPLE
.EX
edge:
  \\- name: telm_temperature
    pre_broker: 127.0.0.1
    pre_topic: plant/temperature/+
    edge_mode: pyboot_svc.models.telemetry.telm_temperature
    post_broker: 127.0.0.1
    post_topic: plant/statistics
.EE
.SH SEE ALSO
.BR pyboot (1)
"""


def render_reference() -> str:
    return "\n".join(_tables())


def page_with_reference(text: str) -> str:
    return _with_generated(text, render_reference())


def metrics_with_figures(text: str) -> str:
    return _with_generated(text, "\n".join(_figures()))


def _with_generated(text: str, generated: str) -> str:
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{generated}{_END}{after}"


def _figures() -> Iterator[str]:
    yield "| `/api/instances` | `/metrics` | kind | unit | meaning |\n|---|---|---|---|---|"
    for figure in FIGURES:
        yield _figure_row(f"`{'.'.join(figure.path)}`", figure.meaning)
    for figure in MASTERS:
        yield _figure_row(f"`{'.'.join(figure.path)}`", figure.meaning)
    yield _figure_row("`error` is null", UP)
    yield _figure_row("`state` is `ready`", READY)
    yield _figure_row("`error` is null", INFO)
    yield "\nThe master tells of itself, without the labels `model` and `instance`:\n"
    yield "| `/api/instances` | `/metrics` | kind | unit | meaning |\n|---|---|---|---|---|"
    yield _figure_row("`version`, `app_name`", MASTER_INFO)
    yield _figure_row("`started`", MASTER_STARTED)
    yield _figure_row("`refused_connections`", REFUSED)
    yield "\nHistograms have buckets with these upper bounds, the same for all instances; in"
    yield "`/api/instances` `counts` has how many are in each, and at its end how many are beyond"
    yield "the last:\n"
    yield "| histogram | bounds |\n|---|---|"
    for figure in FIGURES:
        if bounds := figure.meaning.bounds:
            told = ", ".join(f"{bound:g}" for bound in bounds)
            yield f"| `{figure.meaning.prometheus}` | {told} |"
    yield "\nBeside its figures an instance tells, of `brokers.post` as of `brokers.pre`:\n"
    yield "| `/api/instances` | meaning |\n|---|---|"
    for one in FIELDS:
        if not one.meaning.kind and one.path[:2] != ("brokers", "post"):
            yield f"| `{'.'.join(one.path)}` | {one.meaning.text} |"
    yield ""


def _figure_row(shown: str, meaning: Meaning) -> str:
    return (
        f"| {shown} | {_prometheus(meaning)} | {meaning.kind} | {meaning.unit} | {meaning.text} |"
    )


def _prometheus(meaning: Meaning) -> str:
    if not meaning.prometheus:
        return "take `rate()`"
    own = f'="{meaning.label_value}"' if meaning.label_value else ""
    label = f"{{{meaning.label}{own}}}" if meaning.label else ""
    return f"`{meaning.prometheus}{label}`" + (", in seconds" if meaning.divisor > 1 else "")


def man_page() -> str:
    """pyboot.yaml(5), in man's macros."""
    return "\n".join([_MAN_HEAD, *_man_sections(), _MAN_TAIL])


def _man_sections() -> Iterator[str]:
    for title, section in _SECTIONS:
        yield f".SS {_roff(title.replace('`', ''))}"
        for name, key in section.keys.items():
            default = _default(key).replace("`", "").replace("*", "")
            note = f" Default: {default}." if default and not key.required else ""
            note = " Required." if key.required else note
            yield f".TP\n.B {_roff(name)}\n{_roff(_sentence(key.doc))}{_roff(note)}"


def _sentence(doc: str) -> str:
    plain = doc.replace("`", "")
    return f"{plain[0].upper()}{plain[1:]}."


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


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
    return f"`{key.type.written(key.default)}`"


def main() -> int:
    configuration = page_with_reference(CONFIGURATION.read_text(encoding="utf-8"))
    metrics = metrics_with_figures(METRICS.read_text(encoding="utf-8"))
    wanted = {
        CONFIGURATION: configuration,
        MAN_PAGE: man_page(),
        METRICS: metrics,
        COMPLETION: completion(),
        MANUAL: manual(),
        SCHEMA: editor_schema(),
        DASHBOARD: dashboard(),
        OPENAPI: json.dumps(openapi_document(read_static()), indent=1) + "\n",
    }
    stale = [file for file, text in wanted.items() if _text_of(file) != text]
    if "--check" in sys.argv[1:]:
        return int(bool(stale))
    for file in stale:
        file.write_text(wanted[file], encoding="utf-8")
    return 0


def _text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
