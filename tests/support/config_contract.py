"""What reading a configuration promises, whatever the file holds."""

from __future__ import annotations

from pyboot_svc.config import Config
from pyboot_svc.config.compiled import render_compiled
from pyboot_svc.config.loader import parse_config
from pyboot_svc.errors import ConfigError, Problem

VALID = """\
app_name: plant
description: "a \\u6e29 line"
web: {host: 127.0.0.1, port: 0}
model_path: [models, /m]
brokers:
  plant: &plant
    host: plant.local
    username: u
    password_file: secret
    tls: {ca: ca.pem}
    protocol: 3.1.1
  north: {<<: *plant, host: north.local, transport: websockets}
defaults:
  post_broker: plant
  queue: {pre: 5}
  options: &options {limits: [1, 2.5, ~], switch: 'yes'}
edge:
  - &first
    name: a
    instance: 2
    pre_broker: north
    pre_topic: in/+/#
    pre_qos: 1
    edge_mode: package.module.function
    post_topic: out
  - {<<: *first, name: b, options: {<<: *options, high: 1e3}, share: false}
"""


def lines_of(data: bytes) -> int:
    """How many lines YAML 1.1 counts, and one: an end that comes too early is the line after."""
    ends = ("\n", "\r", "\x85", "\u2028", "\u2029")
    return 2 + sum(data.count(end.encode()) for end in ends)


def check(data: bytes) -> Config | tuple[Problem, ...]:
    """The contract itself; anything else that is raised fails the test."""
    try:
        config = parse_config(data, "/etc/pyboot/config.yaml")
    except ConfigError as error:
        problems = error.problems
    else:
        for instance in config.instances():
            assert render_compiled(instance)
        return config
    assert problems
    for problem in problems:
        assert 1 <= problem.line <= lines_of(data)
        assert problem.column >= 1
        assert problem.message
        assert "\n" not in str(problem)
    return problems
