"""`pyboot init`: writes a small project to begin with."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from pyboot_svc.errors import ExitCode, UnavailableError, UsageError
from pyboot_svc.text import path_text

DESCRIPTION = """\
Write a small project into a new folder: a configuration, a model, a test of it,
recorded messages and a README that says how to go on. `pyboot try` and `pyboot
up` run it as it is."""
EXAMPLES = (
    ("pyboot init pumps", "a project in the folder pumps"),
    ("pyboot init .", "one in this folder, if it is empty"),
)

_CONFIG = """\
# pyboot's configuration; `pyboot check` reports every error in it.
# yaml-language-server: $schema=/usr/share/pyboot/config.schema.json
---
model_path: .
edge:
  - name: mean
    pre_broker: 127.0.0.1
    pre_topic: plant/+/temperature        # + stands for any one level
    pre_qos: 1
    post_broker: 127.0.0.1
    post_topic: plant/mean
    post_qos: 1
    edge_mode: mean_model.mean            # the function mean in mean_model.py
    options: {window: 5}
"""
_MODEL = '''\
"""The mean of the last temperatures of each device."""

from statistics import fmean


def mean(payload, context):
    """Takes {"device": "pump-1", "temperature": 21.5}; the unit is whatever the sensor sends."""
    temperature = payload["temperature"]
    if temperature is None:
        return None  # nothing is published: the sensor had no value
    # What is kept here survives restarts; a call that raises leaves it as it was.
    last = context.state.setdefault(payload["device"], [])
    last.append(temperature)
    del last[: -context.options["window"]]
    return {"device": payload["device"], "mean": round(fmean(last), 2), "count": len(last)}
'''
_TEST = '''\
"""Run it by `pytest`."""

import logging
from pathlib import Path

from mean_model import mean
from pyboot_svc.model import Context


def test_the_mean_is_that_of_the_last_ones():
    context = Context("mean-1", Path(), logging.getLogger(), {"window": 2})
    results = [mean({"device": "a", "temperature": t}, context) for t in (1.0, 2.0, 4.0)]
    assert [result["mean"] for result in results] == [1.0, 1.5, 3.0]


def test_a_sensor_without_a_value_publishes_nothing():
    context = Context("mean-1", Path(), logging.getLogger(), {"window": 2})
    assert mean({"device": "a", "temperature": None}, context) is None
'''
_CASE = """\
[
  {"input": {"device": "a", "temperature": 20}, "output": {"device": "a", "mean": 20, "count": 1}},
  {"input": {"device": "a", "temperature": 22}, "output": {"device": "a", "mean": 21, "count": 2}},
  {"input": {"device": "a", "temperature": null}, "output": null},
  {"input": {"temperature": 20}, "error": "KeyError: 'device'"}
]
"""
_MESSAGES = """\
{"device": "pump-1", "temperature": 21.5}
{"device": "pump-2", "temperature": 40.0}
{"device": "pump-1", "temperature": 22.5}
{"device": "pump-2", "temperature": nan}
"""
_README = """\
# A model on telemetry

| file | is |
|---|---|
| `config.yaml` | which topics, which function |
| `mean_model.py` | the model |
| `test_mean_model.py` | its test |
| `cases/` | what has to come out for what goes in |
| `messages` | recorded messages, one per line |

```sh
pyboot check -c config.yaml --models            # is everything right?
pyboot try mean -c config.yaml --lines messages # what does the model make of them?
pyboot test -c config.yaml                      # do the cases pass?
pyboot up -c config.yaml                        # run it, with an MQTT broker on this machine
```

While it runs, in another terminal:

```sh
mosquitto_sub -t plant/mean -v &
mosquitto_pub -t plant/pump-1/temperature -m '{"device": "pump-1", "temperature": 21.5}'
```
"""
_FILES = {
    "config.yaml": _CONFIG,
    "mean_model.py": _MODEL,
    "test_mean_model.py": _TEST,
    "cases/rising.json": _CASE,
    "messages": _MESSAGES,
    "README.md": _README,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder; made if need be")


def run(options: argparse.Namespace) -> ExitCode:
    folder: Path = options.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; name a new folder")
        for name, text in _FILES.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{folder} can't be written: {error.strerror}") from error
    config, messages = (shlex.quote(str(folder / name)) for name in ("config.yaml", "messages"))
    command = f"pyboot try mean -c {config} --lines {messages}"
    print(f"{path_text(folder)}: {', '.join(_FILES)}")
    print(f"Go on with: {path_text(command)}")
    return ExitCode.OK
