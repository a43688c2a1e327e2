"""The container image, built without a registry and without an engine's daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import RigError, base_image, default_cache_dir
from rig.commands import finish

ROOT = Path(__file__).parents[2]
# What debian:trixie-slim has beside the essential packages.
_BASE_PACKAGES = ("ca-certificates",)
_DIGEST = "{{.FromImageDigest}}"


@dataclass(frozen=True)
class Image:
    """The unpacked image; `config` is what an engine reads of it: Entrypoint, Cmd, User, …;
    `layers` are their digests."""

    root: Path
    config: dict[str, Any]
    bytes: int
    layers: list[str]


class Builder:
    """buildah with a store of its own below `folder`, which `close` empties."""

    def __init__(self, folder: Path) -> None:
        folders = ("--root", str(folder / "storage"), "--runroot", str(folder / "run"))
        # vfs works on any file system, an overlay among them.
        self._buildah = ("buildah", "--storage-driver", "vfs", *folders)

    def base(self) -> str:
        """Debian as an image, by its digest, as BASE should name one."""
        base = self._run("from", "scratch")
        tarball = base_image(_BASE_PACKAGES, default_cache_dir())
        self._run("add", "--quiet", base, str(tarball), "/")
        self._run("commit", "--quiet", base, "base")
        self._run("rm", base)
        digest = self._run("inspect", "--type", "image", "--format", _DIGEST, "base")
        return f"localhost/base@{digest}"

    def build(self, base: str, tag: str = "pyboot") -> Image:
        script = str(ROOT / "packaging" / "build-image.sh")
        options = ("--isolation", "chroot", "--build-arg", f"BASE={base}")
        self._finish([script, tag, *options], {"ENGINE": " ".join(self._buildah)})
        name = f"localhost/{tag}"
        container = self._run("from", name)
        described = json.loads(self._run("inspect", "--type", "image", name))
        root = Path(self._run("mount", container))
        size = self._finish(["du", "--summarize", "--bytes", str(root)], {}).split()[0]
        layers = described["OCIv1"]["rootfs"]["diff_ids"]
        return Image(root, described["Docker"]["config"], int(size), layers)

    def close(self) -> None:
        self._run("rm", "--all")
        self._run("rmi", "--all", "--force")

    def _run(self, *arguments: str) -> str:
        return self._finish([*self._buildah, *arguments], {}).strip()

    def _finish(self, command: Sequence[str], environment: dict[str, str]) -> str:
        done = finish(command, environment={**os.environ, **environment}, timeout=300)
        if done.returncode:
            raise RigError(f"{command} failed:\n{done.stdout}{done.stderr}")
        return done.stdout
