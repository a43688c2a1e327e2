"""pyboot(1), made of the commands' parsers, descriptions and examples; reference.py writes it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from parsers import actions, leaves, subcommands

from pyboot_svc import __version__
from pyboot_svc.cli.commands import GROUPS, NAMES, load_command
from pyboot_svc.cli.main import command_parser

MANUAL = Path(__file__).parent / "man" / "pyboot.1"
_HEAD = f""".\\" written by docs/reference.py
.TH PYBOOT 1 2026-11-27 "pyboot {__version__}" "User Commands"
.SH NAME
pyboot \\- run Python models on MQTT telemetry
.SH SYNOPSIS
.B pyboot
.I COMMAND
.RI [ OPTION " ...]"
.br
.B pyboot
.RB [ COMMAND ] " \\-\\-help"
.br
.B pyboot \\-\\-version
.SH DESCRIPTION
pyboot takes telemetry from an MQTT broker, calls a Python function on it, and publishes what the
function returns. The configuration,
.BR pyboot.yaml (5),
lists the models; every instance of one is the unit
.BI edge\\-model@ NAME\\-INSTANCE .service
of its own, under OpenRC the service
.BI edge\\-model. NAME\\-INSTANCE\\fR."""
_TAIL = """.SH ENVIRONMENT
.TP
.B PYBOOT_CONFIG
The configuration, where
.B \\-\\-config
names none. It stands in for the default alone: a worker goes by what was applied for it, as it does
without. For services, set it in their units (in
.I /etc/conf.d
under OpenRC, with
.BR export );
.BR sudo (8)
doesn't pass it on by itself.
.SH EXIT STATUS
0 clean stop; 2
.BR plan :
there are changes; 1
.BR health :
not healthy; 64 wrong usage; 69 something that is needed can't be reached or is in use; 70
internal error; 78 the configuration or a model can't be loaded.
.SH FILES
.TP
.I /etc/pyboot/config.yaml
the configuration
.TP
.I /usr/share/pyboot/config.schema.json
a JSON Schema of it, for editors; see
.BR pyboot.yaml (5)
.TP
.IR /etc/pyboot/models ", " /var/lib/pyboot/models
models that can be imported
.TP
.I /var/lib/pyboot/venvs
Python environments that
.B pyboot venv
has made
.TP
.I /run/pyboot/instances/NAME\\-INSTANCE.json
what was applied, and what a worker reads
.TP
.IR /etc/conf.d/edge\\-model ", " /etc/conf.d/edge\\-model.NAME\\-INSTANCE
under OpenRC: an administrator's settings, for all instances and for one
.TP
.I /var/log/edge\\-model/NAME\\-INSTANCE.log
under OpenRC: the log of an instance
.TP
.IR /run/pyboot/workers/NAME\\-INSTANCE/health.sock ,
.I /run/pyboot/master/health.sock
where an instance, or the master, answers
.BR "pyboot health" ,
with one line of JSON per connection
.TP
.I /run/pyboot/master/web.json
where the master's web is, for
.BR "pyboot status " and " top"
.TP
.I /var/lib/edge\\-model/NAME\\-INSTANCE
the state of an instance
.SH EXAMPLES
.EX
systemctl reload pyboot
systemctl status edge\\-model@telm_temperature\\-1
journalctl EDGE_MODEL=telm_temperature \\-p err
curl http://127.0.0.1:5888/queue_size_metrics
.EE
.SH SEE ALSO
.BR pyboot.yaml (5),
.BR systemctl (1),
.BR mosquitto (8)
"""


def manual() -> str:
    return "\n".join([_HEAD, ".SH COMMANDS", *_overview(), *_commands(), _TAIL])


def _overview() -> Iterator[str]:
    for group in GROUPS:
        yield f".PP\n{_roff(group.purpose)}:\n.br"
        yield "\n.br\n".join(
            f".BR {name} :\n{_roff(summary)}" for name, summary in group.commands.items()
        )


def _commands() -> Iterator[str]:
    for name in NAMES:
        command, parser = load_command(name), command_parser(name)
        yield f'.SS "pyboot {name}"'
        yield from (usage for each in leaves(parser) for usage in _usage(each))
        for paragraph in command.DESCRIPTION.split("\n\n"):
            yield f".PP\n{_roff(' '.join(paragraph.split()))}"
        yield from _options(parser)
        yield ".PP\n.EX"
        yield from (_roff(f"{line}    # {what}") for line, what in command.EXAMPLES)
        yield ".EE"


def _usage(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f".B {_roff(parser.prog)}"
    for action in sorted(actions(parser), key=lambda a: bool(a.option_strings)):
        if action.option_strings:
            option = _roff(" | ".join(action.option_strings))
            value = f" {_roff(_value(action))}" if _value(action) else ""
            yield f'.RB [ "{option}"{_italic(value)} ]'
        else:
            many = {"*": ("[", " ...]"), "?": ("[", "]")}.get(str(action.nargs), ("", ""))
            yield f'.RI "{many[0]}" {_roff(str(action.metavar))} "{many[1]}"'
    yield ".br"


def _italic(value: str) -> str:
    return f' "\\fI{value}\\fR"' if value else ""


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Each option and argument of a command and its sub-commands, once."""
    told: dict[str, None] = {}
    for name, below in subcommands(parser).items():
        yield f".TP\n.B {name}\n{_roff(str(below.description))}"
    for leaf in leaves(parser):
        for action in actions(leaf):
            title = ", ".join(action.option_strings) or str(action.metavar)
            if title in told or not action.help:
                continue
            told[title] = None
            value = f" \\fI{_roff(_value(action))}\\fR" if action.option_strings else ""
            yield f".TP\n\\fB{_roff(title)}\\fR{value if _value(action) else ''}"
            yield _sentence(action.help)


def _value(action: argparse.Action) -> str:
    if not action.option_strings or action.nargs == 0:
        return ""
    return str(action.metavar or " | ".join(map(str, action.choices or ())))


def _sentence(text: str | None) -> str:
    assert text
    # `default: 3`, in brackets on a terminal, is a sentence of its own here.
    found = re.fullmatch(r"(.*) \(default: (.*)\)", text)
    before, default = found.groups() if found else (text, "")
    told = f"{before[0].upper()}{before[1:]}."
    return _roff(f"{told} Default: {default}." if default else told)


def _roff(text: str) -> str:
    plain = re.sub(r"`([^`]*)`", r"\1", text)
    escaped = plain.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
