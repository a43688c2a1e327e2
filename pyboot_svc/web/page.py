"""The page at `/`: a table of all instances, for a person with a browser."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from html import escape
from typing import Any

from pyboot_svc.metrics.figures import COLUMNS
from pyboot_svc.text import ago, printable

_LAST = ("last input", "last result", "last error")
_LINKS = ("/queue_size_metrics", "/metrics", "/api/instances", "/readyz", "/healthz")
_LONGEST_REMARK = 1000
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem}"
    "table{border-collapse:collapse}"
    "td,th{padding:.25rem .6rem;border-bottom:1px solid #ccc;text-align:right;white-space:nowrap}"
    "td:last-child{white-space:normal}"
    "td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}"
)
# For the policy of contents, which allows no other.
STYLE_HASH = f"sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}"


def render_page(document: dict[str, Any]) -> str:
    """`document` is what /api/instances gives."""
    title = escape(document["app_name"])
    head = "<th>instance</th><th>state</th>" + "".join(
        f'<th title="{escape(figure.meaning.text)}">{figure.title}</th>' for figure in COLUMNS
    )
    head += "".join(f"<th>{title}</th>" for title in _LAST)
    rows = "".join(_row(instance) for instance in document["instances"])
    links = " · ".join(f'<a href="{link}">{link}</a>' for link in _LINKS)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2>"
        f"<title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{escape(document['description'])}</p>"
        f"<table><tr>{head}</tr>{rows}</table>{_remarks(document['instances'])}"
        f"<p>{links}</p></html>"
    )


def _row(instance: dict[str, Any]) -> str:
    values = (
        instance["instance"],
        instance["error"] or instance["state"],
        *(figure.whole(instance) for figure in COLUMNS),
        *_last(instance),
    )
    cells = ("–" if value is None else escape(printable(str(value))) for value in values)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _remarks(instances: list[dict[str, Any]]) -> str:
    """Why some aren't ready, and what is to be noticed of others."""
    remarks = [
        f"<li>{escape(printable(str(instance['instance']) + f': {remark}', _LONGEST_REMARK))}"
        for instance in instances
        for remark in (*instance.get("reasons", ()), *instance.get("notices", ()))
    ]
    return f"<ul>{''.join(remarks)}</ul>" if remarks else ""


def _last(instance: dict[str, Any]) -> Iterator[str | None]:
    """When something happened last; of an error, what it was, too."""
    last, now = instance.get("last") or {}, time.time()
    for name, key in (("input", "input"), ("result", "result"), ("error", "error_time")):
        moment = last.get(key)
        if not isinstance(moment, int | float):
            yield None
        elif name == "error":
            yield f"{ago(now - moment)}: {last.get('error')}"
        else:
            yield ago(now - moment)
