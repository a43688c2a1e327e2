"""A configuration of any bytes: problems with their places, or what compiles, and comes back."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from support.config_contract import VALID, check

from fuzz.target import Target
from pyboot_svc.config import Config, InstanceConfig
from pyboot_svc.config.compiled import load_compiled, render_compiled
from pyboot_svc.config.loader import parse_config
from pyboot_svc.errors import ConfigError


def read_yaml(data: bytes) -> None:
    config = check(data)
    if isinstance(config, Config):
        for instance in islice(config.instances(), 2):
            compiled = render_compiled(instance)
            assert render_compiled(_loaded(compiled.encode())) == compiled


def _loaded(data: bytes) -> InstanceConfig:
    with TemporaryDirectory() as folder:
        file = Path(folder, "a-1.json")
        file.write_bytes(data)
        return load_compiled(file)


def read_compiled(data: bytes) -> None:
    with suppress(ConfigError):
        _loaded(data)


def _compiled() -> list[bytes]:
    config = parse_config(VALID.encode(), "/etc/pyboot/config.yaml")
    return [
        json.dumps(json.loads(render_compiled(instance))).encode()
        for instance in config.instances()
    ]


TARGETS = [
    Target(
        "config",
        read_yaml,
        [VALID.encode(), b"edge: [{name: a, edge_mode: m.f}]"],
        [
            *(b"{", b"}", b"[", b"]", b": ", b", ", b"- ", b"? ", b"| ", b"> ", b"#", b"'", b'"'),
            *(b"&a ", b"*a", b"<<: ", b"!!int ", b"!!binary ", b"!!python/name:os.system ", b"~"),
            *(b"---\n", b"...\n", b"%YAML 1.1\n", b"\n  ", b"\t", b"\r", b"\\", b"\0", b"\xc2\x85"),
            *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b"1" * 5000, b"1e999", b".nan"),
            *(b"2024-1-1", b"1:2:3", b"0x", b"=", b"[" * 2000, b"{a: " * 2000),
            *(b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n" * 30,),
        ],
        250,
    ),
    Target(
        "compiled",
        read_compiled,
        _compiled(),
        [
            b"{}",
            b"[]",
            b"null",
            b"1",
            b'"x"',
            b"1e999",
            b"NaN",
            b"[" * 3000,
            b'"name": ',
            b'"-": 1,',
        ],
        1500,
    ),
]
