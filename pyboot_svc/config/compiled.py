"""One instance's configuration as a small JSON file: what `apply` writes and a worker reads.

A worker that finds its file needs no YAML, and runs exactly what was applied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyboot_svc import __version__
from pyboot_svc.config.settings import (
    BatchLimits,
    Broker,
    DeadLetters,
    Edge,
    Endpoint,
    InstanceConfig,
    Limits,
    OnError,
    QueueLimits,
    ResultOptions,
    Sandbox,
    SparkplugOptions,
    SpoolLimits,
    StatusOptions,
    Tls,
    Tracing,
)
from pyboot_svc.errors import ConfigError, Problem, UsageError
from pyboot_svc.files import names_in, replace_text
from pyboot_svc.identity import InstanceId

FORMAT = 1
# The credential by which a service manager hands it over: the file itself is root's to read.
COMPILED_NAME = "compiled"
COMPILED_MODE = 0o600


def compiled_file(run_dir: Path, identity: InstanceId) -> Path:
    return run_dir / "instances" / f"{identity}.json"


def retired_file(compiled: Path) -> Path:
    """Beside an instance's file, this one says that it was removed from the configuration.

    A compiled file that is gone says nothing: whatever clears folders may have taken it.
    """
    return compiled.with_suffix(".retired")


def retire_compiled(compiled: Path) -> None:
    """Before the instance is stopped for good: its session at the broker ends with it."""
    compiled.parent.mkdir(parents=True, exist_ok=True)
    retired_file(compiled).touch()
    compiled.unlink(missing_ok=True)


def model_file(run_dir: Path, model: str) -> Path:
    """Where a pod finds its model's compiled configuration, whichever instance it is."""
    return run_dir / "models" / f"{model}.json"


_KEYS = {"format", "version", "identity", "edge", "model_path", "code", "packages", "credentials"}


def compiled_names(run_dir: Path) -> set[InstanceId]:
    """The instances that have a file; what others left there is passed over.

    Raises UnavailableError where it can't look.
    """
    names = set()
    for file in names_in(run_dir / "instances"):
        if file.endswith(".json"):
            with suppress(UsageError):
                names.add(InstanceId.parse(file.removesuffix(".json")))
    return names


def render_compiled(
    instance: InstanceConfig,
    code: Mapping[str, str] | None = None,
    packages: Mapping[str, str] | None = None,
    credentials: Mapping[str, str] | None = None,
) -> str:
    """`code` are digests of the model's files, `packages` what an environment of its own holds,
    `credentials` the versions of certificates and passwords: nothing for the worker, and changes
    like any other."""
    # With the version, an upgrade is a change, and rolls like any other.
    document = {"format": FORMAT, "version": __version__, **_plain(instance)}
    document["identity"] = asdict(instance.identity)
    document["code"] = dict(code or {})
    document["packages"] = dict(packages or {})
    document["credentials"] = dict(credentials or {})
    # Nothing for the worker: they make no difference to what runs already.
    del document["edge"]["kubernetes"]
    del document["edge"]["loop"]
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _plain(value: Any) -> Any:
    """A record and those in it as mappings."""
    if hasattr(value, "_fields"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    return dict(value) if isinstance(value, Mapping) else value


def write_compiled(instance: InstanceConfig, run_dir: Path) -> None:
    """Replace the instance's file as a whole: a reader meets the old one or the new one."""
    file = compiled_file(run_dir, instance.identity)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_text(file, render_compiled(instance), mode=COMPILED_MODE)


def load_compiled(file: Path) -> InstanceConfig:
    """Read what `write_compiled` wrote; raises ConfigError when it is something else."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] != FORMAT or not isinstance(document["version"], str):
            raise ValueError(f"format {document['format']}, not {FORMAT}")
        if strange := document.keys() - _KEYS:
            raise ValueError(f"unknown key {min(strange)}")
        return InstanceConfig(
            identity=InstanceId(**document["identity"]),
            edge=_edge(document["edge"]),
            model_path=tuple(document["model_path"]),
        )
    except PermissionError as error:
        message = "can't be read: it is for its owner alone; run this by sudo"
        raise ConfigError([Problem(str(file), 0, 0, "", message)]) from error
    except OSError as error:
        raise _unusable(file, f"can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unusable(file, f"is not a compiled configuration ({error})") from error


def _unusable(file: Path, reason: str) -> ConfigError:
    return ConfigError([Problem(str(file), 0, 0, "", f"{reason}; run `pyboot apply` again")])


def _edge(values: Mapping[str, Any]) -> Edge:
    built = {
        "pre": _endpoint(values["pre"]),
        "post": _endpoint(values["post"]),
        "results": ResultOptions(**values["results"]),
        "batch": BatchLimits(**values["batch"]) if values["batch"] is not None else None,
        "queue": QueueLimits(**values["queue"]),
        "spool": SpoolLimits(**values["spool"]),
        "on_error": OnError(**{**values["on_error"], "retry": tuple(values["on_error"]["retry"])}),
        "dead_letter": DeadLetters(**values["dead_letter"]),
        "status": StatusOptions(**values["status"]) if values["status"] is not None else None,
        "tracing": Tracing(**values["tracing"]) if values.get("tracing") is not None else None,
        "limits": Limits(**values["limits"]),
        "sparkplug": _sparkplug(values["sparkplug"]),
        "sandbox": _sandbox(values["sandbox"]),
    }
    return Edge(**{**values, **built})


def _sparkplug(values: Mapping[str, Any]) -> SparkplugOptions:
    return SparkplugOptions(**{**values, "rebirth_on": tuple(values["rebirth_on"])})


def _sandbox(values: Mapping[str, Any]) -> Sandbox:
    lists = {key: tuple(values[key]) for key in ("write", "devices", "groups")}
    return Sandbox(**{**values, **lists})


def _endpoint(values: Mapping[str, Any]) -> Endpoint:
    more = tuple(values["more"]) if "more" in values else ()
    return Endpoint(**{**values, "broker": _broker(values["broker"]), "more": more})


def _broker(values: Mapping[str, Any]) -> Broker:
    return Broker(**{**values, "tls": None if values["tls"] is None else _tls(values["tls"])})


def _tls(values: Mapping[str, Any]) -> Tls:
    return Tls(**{**values, "alpn": tuple(values.get("alpn", ()))})
