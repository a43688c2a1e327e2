"""`pyboot render`: the configuration for somebody else's service manager."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from pyboot_svc import __version__
from pyboot_svc.cli.arguments import add_config, add_drain_seconds, address
from pyboot_svc.cli.config_file import config_file
from pyboot_svc.config import Config
from pyboot_svc.config.dump import dump_documents
from pyboot_svc.config.loader import parse_config, read_config
from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.kubernetes import Cluster, render
from pyboot_svc.kubernetes.cluster import Manifest
from pyboot_svc.kubernetes.credentials import credential_keys
from pyboot_svc.kubernetes.tokens import token_holders
from pyboot_svc.kubernetes.worker import unsayable_limits
from pyboot_svc.metrics.tokens import TOKENS, hashes_file
from pyboot_svc.services.tokens import issue_tokens
from pyboot_svc.text import block

DESCRIPTION = """\
Print the configuration as manifests for Kubernetes, or write one file per model.
What is left for you to do, such as the Secret to create, is said on standard error."""
EXAMPLES = (
    ("pyboot render kubernetes -c config.yaml | kubectl apply -f -", "to the cluster"),
    ("pyboot render kubernetes -c config.yaml --output manifests", "for `kubectl apply -k`"),
)
_KUBERNETES = "Manifests for Kubernetes"
_TEXTS = (
    # option, metavar, default, help
    ("--image", "IMAGE", f"pyboot-svc:{__version__}", "the container image, with your models"),
    ("--namespace", "NAME", None, "the namespace, put into every manifest"),
    ("--secret", "NAME", "pyboot-credentials", "the Secret with the brokers' secret files"),
    (
        "--token-secret",
        "NAME",
        "pyboot-tokens",
        "the Secret with the workers' tokens",
    ),
    (
        "--tls-secret",
        "NAME",
        None,
        "the Secret, of the type `tls` and with ca.crt, with the master's certificate: reports go "
        "over TLS (default: in plain text)",
    ),
    ("--storage-class", "NAME", None, "the storage class of the volumes that hold state"),
    (
        "--prometheus",
        "URL",
        None,
        "the Prometheus by which KEDA scales models with `kubernetes: {most: N}`",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    targets = parser.add_subparsers(title="targets", metavar="TARGET", required=True)
    _add_kubernetes(
        targets.add_parser("kubernetes", help=_KUBERNETES, description=f"{_KUBERNETES}.")
    )


def _add_kubernetes(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write one file per model (default: print all of them)",
    )
    for option, metavar, default, text in _TEXTS:
        shown = f"{text} (default: {default})" if default else text
        parser.add_argument(option, metavar=metavar, default=default, help=shown)
    add_drain_seconds(parser)
    parser.add_argument(
        "--tokens",
        type=Path,
        metavar="DIR",
        help="keep the workers' tokens there, and make those that are missing",
    )
    parser.add_argument(
        "--report-to",
        type=address,
        metavar="HOST:PORT",
        help="where workers find the master (default: its Service)",
    )
    parser.add_argument(
        "--kubeedge", action="store_true", help="workers on edge nodes, on their nodes' network"
    )
    parser.add_argument(
        "--service-monitor", action="store_true", help="add a ServiceMonitor for the master"
    )


def run(options: argparse.Namespace) -> ExitCode:
    file = config_file(options)
    data = read_config(file)
    config = parse_config(data, str(file))
    cluster = Cluster(
        image=options.image,
        namespace=options.namespace,
        secret=options.secret,
        token_secret=options.token_secret,
        tls_secret=options.tls_secret,
        storage_class=options.storage_class,
        drain_seconds=options.drain_seconds,
        master=options.report_to,
        kubeedge=options.kubeedge,
        service_monitor=options.service_monitor,
        prometheus=options.prometheus,
    )
    made = render(cluster, config, data.decode("utf-8-sig"), str(file))
    if options.output is None:
        print(dump_documents(m for manifests in made.values() for m in manifests), end="")
    else:
        _write(options.output, made)
    _advise(cluster, config)
    _advise_tokens(cluster, config, options.tokens)
    return ExitCode.OK


def _write(folder: Path, made: dict[str, list[Manifest]]) -> None:
    """A file a model, and one that lists them for `kubectl apply -k`."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{name}.yaml" for name in made],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, manifests in made.items():
            (folder / f"{name}.yaml").write_text(dump_documents(manifests))
        (folder / "kustomization.yaml").write_text(dump_documents([kustomization]))
    except OSError as error:
        raise UnavailableError(f"{folder} can't be written: {error.strerror}") from error


def _advise(cluster: Cluster, config: Config) -> None:
    """What is left to do, on standard error: the manifests stay manifests."""
    for edge in config.edges:
        limits = unsayable_limits(edge)
        if limits:
            left_out = ", ".join(f"limits.{key}" for key in limits)
            _say(f"{edge.name}: pods have no {left_out}: left out")
        if edge.kubernetes.most is not None and cluster.prometheus is None:
            _say(f"{edge.name}: not scaled: name KEDA's Prometheus with --prometheus URL")
    keys = credential_keys(config)
    if keys:
        files = [f"--from-file={key}={file}" for file, key in keys.items()]
        _say(f"create this Secret: {_create(cluster, cluster.secret, files)}")


def _advise_tokens(cluster: Cluster, config: Config, folder: Path | None) -> None:
    secret = cluster.token_secret
    if folder is None:
        _say(f"the Secret {secret} holds the workers' tokens: --tokens DIR makes them")
    else:
        issue_tokens(folder, [holder for edge in config.edges for holder in token_holders(edge)])
        files = [f"--from-file={folder / TOKENS}", f"--from-file={hashes_file(folder)}"]
        made = _create(cluster, secret, [*files, "--dry-run=client", "--output=yaml"])
        _say(f"create this Secret, or renew it: {made} | kubectl apply --server-side -f -")
    if cluster.tls_secret is None and cluster.master is not None:
        _say(f"reports go to {cluster.report_to} in plain text: --tls-secret NAME secures them")


def _create(cluster: Cluster, secret: str, options: list[str]) -> str:
    namespace = [f"--namespace={cluster.namespace}"] if cluster.namespace else []
    return shlex.join(["kubectl", "create", "secret", "generic", secret, *namespace, *options])


def _say(text: str) -> None:
    print(f"pyboot: {block(text)}", file=sys.stderr)
