"""What the web answers, as an OpenAPI document: paths, schemas, errors, logins.

What an instance tells is made of the snapshot's own fields, as the tables in docs/metrics.md are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyboot_svc import __version__
from pyboot_svc.identity import NAME_MAX_LENGTH, NAME_PATTERN
from pyboot_svc.master import history
from pyboot_svc.master.config_file import APPLIED, CHANGED, REMOVED, UNREADABLE
from pyboot_svc.master.load import Load
from pyboot_svc.metrics.decoding import KINDS, STATES
from pyboot_svc.metrics.figures import MASTER_STARTED, REFUSED, RESTARTS
from pyboot_svc.metrics.json_schema import COUNT, nullable, record_schema, whole
from pyboot_svc.metrics.letters import MOST_LISTED
from pyboot_svc.metrics.snapshot import Process, Traffic
from pyboot_svc.services.base import ServiceState
from pyboot_svc.web.prometheus import OPEN_METRICS, PROMETHEUS
from pyboot_svc.web.static import StaticFile

Schema = dict[str, Any]

JSON, HTML = "application/json", "text/html"
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_NUMBERS_OR_NULL: Schema = {"type": "array", "items": nullable(_NUMBER)}

_ABOUT = (
    "Read-only: GET, and HEAD alike; any other method is answered 405. Parameters behind a `?` are "
    "ignored. Each connection is for one request. Clients have to pass over keys that they don't "
    "know: later versions tell more, and workers of earlier ones less."
)
# What any request may be answered, whatever it asks for.
_ERRORS = {
    "400": "It is no HTTP/1.0 or HTTP/1.1 that asks for a path, or has no Host header.",
    "401": "It needs a login.",
    "421": "It asks for another name than this host's own.",
    "429": "Too many logins at a time.",
    "431": "Its head is too large.",
    "500": "A bug; the log has it.",
    "503": "Too many requests at a time.",
}
_INSTANCE = f"^{NAME_PATTERN.pattern}-[1-9][0-9]*$"
_LOGINS = {
    "password": {"type": "http", "scheme": "basic"},
    "token": {"type": "http", "scheme": "bearer"},
}
_NO_LOGIN: list[dict[str, list[str]]] = [{}]


def openapi_document(files: Mapping[str, StaticFile]) -> dict[str, Any]:
    """`files` are those below /static, by their names."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pyboot",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [*_NO_LOGIN, *({name: []} for name in _LOGINS)],
        "paths": _paths(files),
        "components": {
            "schemas": _schemas(),
            "responses": {
                f"Error{code}": _response(text, "Error") for code, text in _ERRORS.items()
            },
            "securitySchemes": _LOGINS,
        },
    }


def _paths(files: Mapping[str, StaticFile]) -> dict[str, Any]:
    name = _parameter("name", {**_TEXT, "enum": sorted(files)})
    pattern = {"pattern": f"^{NAME_PATTERN.pattern}$", "maxLength": NAME_MAX_LENGTH}
    model = _parameter("model", {**_TEXT, **pattern})
    instance = _parameter("instance", {**_TEXT, "pattern": _INSTANCE})
    letter = _parameter("id", COUNT)
    kinds = {file.kind for file in files.values()}
    unready = {
        "503": _response("One is not, or too many requests at a time.", "Readiness", "Error")
    }
    stuck = {"503": _response("No thread makes progress.", "Health", "Error")}
    return {
        "/": _get("The page, for a browser.", _texts("All instances.", HTML)),
        "/static/{name}": _get("A part of the page.", _texts("The file.", *kinds), name),
        "/queue_size_metrics": _get(
            "The lengths of each instance's two queues, as the original system gave them.",
            _response("All expected instances.", "QueueSizes"),
        ),
        "/metrics": _get(
            "The figures as Prometheus reads them; in OpenMetrics where that is asked for.",
            _texts("All instances.", PROMETHEUS, OPEN_METRICS),
        ),
        "/healthz": _get(
            "Whether the master answers.",
            _response("It does.", "Health"),
            security=_NO_LOGIN,
            more=stuck,
        ),
        "/readyz": _get(
            "Whether all configured instances are ready; without a login, not why.",
            _response("All are ready.", "Readiness"),
            security=_NO_LOGIN,
            more=unready,
        ),
        "/api/instances": _get("All that is known.", _response("All instances.", "Instances")),
        "/api/history": _get(
            "The last 15 minutes of all instances.", _response("All instances.", "History")
        ),
        "/api/history/{model}": _get(
            "A day of a model, its instances together.", _response("The model.", "Day"), model
        ),
        "/api/dead/{instance}": _get(
            "The newest dead letters that an instance keeps.",
            _response("The instance's.", "DeadLetters"),
            instance,
        ),
        "/api/dead/{instance}/{id}": _get(
            "One dead letter.", _response("It, in a list.", "DeadLetters"), instance, letter
        ),
        "/api/openapi.json": _get("This document.", _response("This document.", "OpenAPI")),
    }


def _get(
    summary: str,
    response: Schema,
    *parameters: Schema,
    security: list[dict[str, list[str]]] | None = None,
    more: Mapping[str, Schema] | None = None,
) -> dict[str, Any]:
    responses = {code: {"$ref": f"#/components/responses/Error{code}"} for code in _ERRORS}
    if parameters:
        responses["404"] = _response("There is no such.", "Error")
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": response, **responses, **(more or {})},
    }
    if parameters:
        operation["parameters"] = list(parameters)
    if security is not None:
        operation["security"] = security
    return {"get": operation}


def _parameter(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _response(text: str, *names: str) -> Schema:
    """JSON, of one of these schemas."""
    found = [_reference(name) for name in names]
    schema = found[0] if len(found) == 1 else {"anyOf": found}
    return {"description": text, "content": {JSON: {"schema": schema}}}


def _texts(text: str, *kinds: str) -> Schema:
    content = {kind.partition(";")[0]: {"schema": _TEXT} for kind in sorted(kinds)}
    return {"description": text, "content": content}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(name: str) -> Schema:
    return {"anyOf": [_reference(name), {"type": "null"}]}


def _object(**properties: Schema) -> Schema:
    return whole({"type": "object", "properties": properties})


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _about(text: str, schema: Schema) -> Schema:
    return {"description": text, **schema}


def _schemas() -> dict[str, Schema]:
    tier = _object(seconds=COUNT, **dict.fromkeys(history.COLUMNS, _NUMBERS_OR_NULL))
    size = len(history.TIERS)
    return {
        "Error": _object(error=_about("The status.", _TEXT), message=_TEXT),
        "Health": _object(status=_TEXT),
        "Readiness": {
            "type": "object",
            "properties": {"ready": _FLAG, "reasons": _TEXTS, "notices": _TEXTS},
            "required": ["ready"],
        },
        "QueueSizes": _object(queue_size_metrics=_list(_queue_size())),
        "Instances": _object(
            app_name=_TEXT,
            description=_TEXT,
            version=_about("Of the master.", _TEXT),
            started=_about(MASTER_STARTED.text, _NUMBER),
            refused_connections=_about(
                REFUSED.text, {"type": "object", "additionalProperties": COUNT}
            ),
            instances=_list(_reference("Instance")),
        ),
        "Instance": _instance(),
        "Service": _about(
            "Its unit, as the service manager sees it.", whole(record_schema(ServiceState))
        ),
        "Settings": _settings(),
        "History": _object(
            now=_NUMBER,
            seconds=_about("What a point covers.", COUNT),
            columns=_list({**_TEXT, "enum": list(history.RECENT)}),
            instances=_about(
                "By instance, of each column its points, the oldest first.",
                {"type": "object", "additionalProperties": _list(_NUMBERS_OR_NULL)},
            ),
        ),
        "Day": _object(
            model=_TEXT,
            now=_NUMBER,
            tiers={**_list(tier), "minItems": size, "maxItems": size},
            load=_or_null("Load"),
            latency=_reference("Latency"),
            file=_or_null("File"),
        ),
        "File": _about(
            "What the configuration's file says of the model now, beside what was applied.",
            _object(
                state={**_TEXT, "enum": [APPLIED, CHANGED, REMOVED, UNREADABLE]},
                keys=_about("Those whose values it has otherwise.", _TEXTS),
                error=_about("Why it is unreadable.", nullable(_TEXT)),
            ),
        ),
        "Latency": _about(
            "How many messages took how long, in the buckets up to each of the bounds, and above.",
            _object(
                bounds_s=_list(_NUMBER),
                tiers=_list(_object(seconds=COUNT, counts=_list(nullable(_list(COUNT))))),
            ),
        ),
        "Load": _about("What the model needs.", whole(record_schema(Load))),
        "DeadLetters": {
            **_object(
                instance=_TEXT,
                kept=_about("How many it keeps; null when it doesn't tell.", nullable(COUNT)),
                letters={**_list(_reference("DeadLetter")), "maxItems": MOST_LISTED},
                error=_about("Why it doesn't tell.", _TEXT),
            ),
            "required": ["instance", "kept", "letters"],
        },
        "DeadLetter": _object(
            id=COUNT,
            kind={**_TEXT, "enum": sorted(KINDS)},
            topic=_TEXT,
            error=_TEXT,
            created=_about("Unix time.", _NUMBER),
            attempts=COUNT,
            bytes=_about("Of the whole payload.", COUNT),
            payload_base64=_about("The payload, or its beginning.", _TEXT),
            retrying=_about("Whether it is about to be tried again.", _FLAG),
        ),
        "OpenAPI": {"type": "object"},
    }


def _queue_size() -> Schema:
    sizes = {"pre_queue": nullable(COUNT), "post_queue": nullable(COUNT)}
    schema = _object(sub_process_name=_TEXT, **sizes)
    schema["properties"]["error"] = _about("Why they are null.", _TEXT)
    return schema


def _instance() -> Schema:
    """What the master knows of each, and over it, what the worker tells."""
    state = {**_TEXT, "enum": sorted((*STATES, "absent", "stalled", "malformed", "unknown"))}
    traffic = record_schema(Traffic)["properties"]
    process = record_schema(Process)["properties"]
    known = {
        "instance": _about("NAME-NUMBER.", _TEXT),
        "model": _TEXT,
        "number": {**COUNT, "minimum": 1},
        "configured": _about("Whether the configuration lists it.", _FLAG),
        "unit": _TEXT,
        "sub_process_name": _about("As at `/queue_size_metrics`.", _TEXT),
        "error": _about("Why it tells nothing; null while it does.", nullable(_TEXT)),
        "config": _or_null("Settings"),
        "state": _about("What it tells, or why it tells nothing.", state),
        "reasons": process["reasons"],
        "pre_queue": nullable(traffic["pre_queue"]),
        "post_queue": nullable(traffic["post_queue"]),
        "service": _or_null("Service"),
        "restarts": _about(RESTARTS.meaning.text, nullable(COUNT)),
    }
    schema = whole({"type": "object", "properties": known})
    return {**schema, "properties": {**process, **traffic, **known}}


def _settings() -> Schema:
    end = _object(broker=_TEXT, topic=_TEXT, qos={**COUNT, "maximum": 2})
    return _about(
        "Of its configuration, what figures are read with; null where that doesn't list it.",
        _object(
            edge_mode=_TEXT,
            instance=_about("How many there are.", COUNT),
            threads=COUNT,
            share=_FLAG,
            codec=_TEXT,
            queue=_object(pre=COUNT, post=COUNT),
            pre=end,
            post=end,
        ),
    )
