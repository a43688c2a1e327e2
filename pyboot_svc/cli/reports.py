"""Reports over a network, as the command line names it: where to, and who may read along."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pyboot_svc.address import Address, format_address, is_loopback
from pyboot_svc.cli.arguments import address
from pyboot_svc.errors import UsageError

METAVAR = "[tcp://]HOST:PORT"
_PLAIN = "tcp://"


class ReportsAddress(NamedTuple):
    """`plain`: `tcp://` was written in front."""

    address: Address
    plain: bool = False

    def checked(self, option: str, folder: Path | None, tls: str) -> Address:
        """The address, given by `option`, to which TLS files in `folder` belong, if `tls` names it.

        Raises UsageError unless what is said there is secured, stays on this host, or is meant to
        be plain.
        """
        shown = format_address(*self.address)
        if self.plain and folder is not None:
            raise UsageError(f"tcp://{shown} is without TLS: leave out either tcp:// or {tls}")
        if self.plain or folder is not None or is_loopback(self.address[0]):
            return self.address
        raise UsageError(
            f"{option} {shown} is beyond this host, where others could read tokens and figures: "
            f"name a folder with certificates by {tls} DIR, or write tcp://{shown} if only workers "
            "and their master are on that network"
        )


def reports_address(text: str) -> ReportsAddress:
    plain = text.startswith(_PLAIN)
    return ReportsAddress(address(text.removeprefix(_PLAIN)), plain)
