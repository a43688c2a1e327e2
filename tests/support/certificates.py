"""A certificate authority of the tests' own, made with the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

# The distribution's openssl.cnf would add extensions of its own.
_CONFIG = "[req]\ndistinguished_name = subject\n[subject]\n"


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate and its private key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates that are good for two days; `ca` is what whoever trusts it needs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._own = self._make(
            name,
            "basicConstraints=critical,CA:TRUE",
            "keyUsage=critical,keyCertSign,cRLSign",
            "subjectKeyIdentifier=hash",
        )

    @property
    def ca(self) -> Path:
        return self._own.cert

    def issue(self, name: str, alternative_name: str) -> Certificate:
        """A certificate for `alternative_name`, as in `IP:127.0.0.1` or `DNS:localhost`."""
        return self._make(
            name,
            "basicConstraints=critical,CA:FALSE",
            "authorityKeyIdentifier=keyid",
            f"subjectAltName={alternative_name}",
            signed_by=self._own,
        )

    def _make(
        self, name: str, *extensions: str, signed_by: Certificate | None = None
    ) -> Certificate:
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        config = self._folder / "openssl.cnf"
        config.write_text(_CONFIG)
        command: list[str | Path] = ["openssl", "req", "-x509", "-config", config]
        command += ["-days", "2", "-subj", f"/CN={name}"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-out", made.cert, "-keyout", made.key]
        if signed_by is not None:
            command += ["-CA", signed_by.cert, "-CAkey", signed_by.key]
        for extension in extensions:
            command += ["-addext", extension]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        return made
