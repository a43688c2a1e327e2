"""A certificate authority of the tests' own, made with the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

# The distribution's openssl.cnf would add extensions of its own.
_CONFIG = "[req]\ndistinguished_name = subject\n[subject]\n"
_OF_CA = """[ca]
default_ca = own
[own]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}/new
default_md = sha256
policy = any
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
authorityKeyIdentifier = keyid
subjectAltName = {name}
"""


def _in_asn1(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")


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

    def issue_dated(
        self, name: str, alternative_name: str, begin: datetime, end: datetime
    ) -> Certificate:
        """One that is good from `begin` to `end`."""
        folder = self._folder / f"{name}-dated"
        (folder / "new").mkdir(parents=True)
        (folder / "index").touch()
        made = Certificate(folder / "cert.pem", folder / "cert.key")
        config, request = folder / "openssl.cnf", folder / "request.pem"
        config.write_text(_CONFIG + _OF_CA.format(folder=folder, name=alternative_name))
        commands: list[list[str | Path]] = [
            ["req", "-new", "-nodes", "-config", config, "-subj", f"/CN={name}", "-newkey", "ec",
             "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", made.key, "-out", request],
            ["ca", "-batch", "-notext", "-config", config, "-rand_serial", "-in", request,
             "-out", made.cert, "-cert", self._own.cert, "-keyfile", self._own.key,
             "-startdate", _in_asn1(begin), "-enddate", _in_asn1(end)],
        ]  # fmt: skip
        for arguments in commands:
            subprocess.run(
                ["openssl", *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL
            )
        return made

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


# What openssl's own configuration has in it, by which most authorities are made.
_USUAL = """[req]
distinguished_name = subject
[subject]
[v3_ca]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always,issuer
basicConstraints = critical,CA:true
"""


class PlainAuthority:
    """Made as mosquitto-tls(7) says it: no key usage, and certificates without any extension."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "usual.cnf"
        self._config.write_text(_USUAL)
        self.ca = folder / "plain-ca.crt"
        self._openssl("req", "-new", "-x509", "-days", "2", "-extensions", "v3_ca", "-nodes",
                      "-config", self._config, "-subj", "/CN=plant", "-keyout",
                      folder / "plain-ca.key", "-out", self.ca)  # fmt: skip

    def issue(self, name: str) -> Certificate:
        """For the host `name`, which stands in the subject alone."""
        made = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        self._openssl("req", "-new", "-nodes", "-config", self._config, "-subj", f"/CN={name}",
                      "-keyout", made.key, "-out", request)  # fmt: skip
        self._openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey",
                      self._folder / "plain-ca.key", "-CAcreateserial", "-out", made.cert,
                      "-days", "2")  # fmt: skip
        return made

    def _openssl(self, *arguments: str | Path) -> None:
        command = ["openssl", *arguments]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
