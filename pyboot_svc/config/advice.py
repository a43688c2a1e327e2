"""What is right, and may be regretted: certificates that end soon, passwords that can be read on
the way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from pyboot_svc.config.certificates import validities
from pyboot_svc.config.loops import is_this_host
from pyboot_svc.config.settings import Broker, Config

_SOON = timedelta(days=30)


def advice(config: Config, now: datetime) -> Iterator[str]:
    """One line each, with the key path; of several edges with one broker, for the first."""
    seen: set[str] = set()
    for index, edge in enumerate(config.edges):
        for role, broker in (("pre", edge.pre.broker), ("post", edge.post.broker)):
            for warning in (*_of_password(broker), *_of_certificates(broker, now)):
                if warning not in seen:
                    seen.add(warning)
                    yield f"edge[{index}].{role}_broker: {warning}"


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
            found = validities(Path(file).read_bytes())
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
