"""What is right, and may be regretted: certificates that end soon, passwords that can be read on
the way, secrets where everybody can read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from pyboot_svc.config.certificates import validities
from pyboot_svc.config.loops import is_this_host
from pyboot_svc.config.settings import Broker, Config
from pyboot_svc.credentials import read_credential

_SOON = timedelta(days=30)
# At the end of a key, in any way to write several words as one.
_SECRET = re.compile(
    r"(?i:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key)s?$"
    r"|(^|[_-])(?i:token)$|[a-z]Token$"
)


def advice(config: Config, now: datetime) -> Iterator[str]:
    """One line each, with the key path; of several edges with one broker, for the first."""
    seen: set[str] = set()
    for index, edge in enumerate(config.edges):
        for role, broker in (("pre", edge.pre.broker), ("post", edge.post.broker)):
            for warning in (*_of_password(broker), *_of_certificates(broker, now)):
                if warning not in seen:
                    seen.add(warning)
                    yield f"edge[{index}].{role}_broker: {warning}"
        given = {"environment": edge.environment, "options": edge.options}
        for path, key in _secrets_in(given, f"edge[{index}]"):
            name = re.sub(r"\W", "_", key, flags=re.ASCII)
            if name not in seen:
                seen.add(name)
                yield (
                    f"{path}: it looks like a secret, and can be read by everybody on this host: "
                    f"put it into a file, name that by `secrets: {{{name}: FILE}}`, and have the "
                    f'model ask for context.secret("{name}")'
                )


def _secrets_in(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Path and name of each key that has a text, and no path, and is called like a secret."""
    for key, value in values.items():
        inner = f"{path}.{key}"
        if isinstance(value, Mapping):
            yield from _secrets_in(value, inner)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, Mapping):
                    yield from _secrets_in(item, f"{inner}[{number}]")
        elif isinstance(value, str) and value and "/" not in value[:1] and _SECRET.search(key):
            yield inner, key


def _of_password(broker: Broker) -> Iterator[str]:
    if broker.password_file and broker.tls is None and not is_this_host(broker.host):
        yield (
            f"the password goes to {broker.host} without TLS, for all to read on the way: "
            "give its broker `tls: {}`"
        )


def _of_certificates(broker: Broker, now: datetime) -> Iterator[str]:
    if broker.tls is None:
        return
    for file in filter(None, (broker.tls.cert, broker.tls.ca)):
        try:
            found = validities(read_credential(file))
        except (OSError, ValueError):
            continue  # it may be for others to read; the worker says what is wrong with it
        if not found:
            continue
        # A chain is good as long as all of it is; of authorities, one that has ended does no harm.
        ends = [validity.end for validity in found]
        end = min(ends) if file == broker.tls.cert else max(ends)
        begin = found[0].begin
        if end <= now:
            yield f"the certificate {file} ended on {end:%Y-%m-%d}: renew it"
        elif end - now < _SOON:
            yield f"the certificate {file} ends on {end:%Y-%m-%d}, in {(end - now).days} days"
        elif begin > now:
            yield f"the certificate {file} is not valid before {begin:%Y-%m-%d %H:%M} UTC"
