"""The page at `/`: a table of all instances, which the scripts of `static` replace by more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape
from typing import Any

from pyboot_svc.metrics.figures import COLUMNS
from pyboot_svc.text import ago, printable

_LAST = ("last input", "last result", "last error")
_LINKS = ("/queue_size_metrics", "/metrics", "/api/instances", "/readyz", "/healthz")
_LONGEST_REMARK = 1000


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
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        "<noscript><meta http-equiv=refresh content=2></noscript>"
        f"<title>{title}</title><link rel=stylesheet href=static/page.css>"
        "<link rel=icon href=static/icon.svg>"
        "<script type=module src=static/main.js></script></head>"
        f"<body><header><h1>{title}</h1><p>{escape(document['description'])}</p></header>"
        f"<main id=main><div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{_remarks(document['instances'])}</main>"
        f"<footer>{links}</footer></body></html>"
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
