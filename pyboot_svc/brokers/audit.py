"""What the brokers of a configuration take, and what their rules refuse: model by model."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from secrets import token_hex

from pyboot_svc.brokers.visits import Answers, ask_to_publish, ask_to_subscribe
from pyboot_svc.config import Config, Edge, InstanceConfig
from pyboot_svc.topics import RESPONSE, template_of
from pyboot_svc.worker.mqtt.inbox import REFUSED, UNSHARED

# How many connections there are at a time.
_AT_ONCE = 16
OK, WARNING, FAILED, UNKNOWN = "ok", "warning", "failed", "unknown"

SILENT_RULES = (
    "whether what is published reaches a subscription: some brokers (mosquitto's `acl_file`) grant "
    "it and hold back what their rules don't let through; `pyboot try NAME --live` shows what "
    "arrives"
)
NOT_PUBLISHED = (
    "whether results and dead letters may be published: nothing was; `--publish TEXT` publishes "
    "TEXT to their topics"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was seen at one `end` of a model, `pre` or `post`.

    `verdict` is `ok`; `warning`: it works, and less well than was asked for; `failed`: it doesn't;
    `unknown`: the broker doesn't say.
    """

    model: str
    end: str
    broker: str
    verdict: str
    text: str

    def __str__(self) -> str:
        said = "" if self.verdict == OK else f"{self.verdict}: "
        return f"{self.model}: {self.end} broker {self.broker}: {said}{self.text}"


@dataclass(frozen=True)
class Audit:
    findings: tuple[Finding, ...]
    # What can't be known in this way.
    unknown: tuple[str, ...]

    @property
    def failed(self) -> bool:
        return any(finding.verdict == FAILED for finding in self.findings)


def audit(config: Config, payload: bytes | None) -> Audit:
    """Visit both brokers of each model; `payload` is published to its topics, unless it is None."""
    instances = [InstanceConfig(edge.instances[0], edge) for edge in config.edges]
    ends = [(instance, end) for instance in instances for end in ("pre", "post")]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = pool.map(lambda at: _examine(at[0], at[1], payload), ends)
        findings = tuple(finding for found in seen for finding in found)
    return Audit(findings, (SILENT_RULES, *([NOT_PUBLISHED] if payload is None else [])))


def _examine(config: InstanceConfig, end: str, payload: bytes | None) -> list[Finding]:
    edge = config.edge
    broker = (edge.pre if end == "pre" else edge.post).broker.address
    said = _say_pre(config) if end == "pre" else _say_post(config, payload)
    return [Finding(edge.name, end, broker, verdict, text) for verdict, text in said]


# Verdicts with their texts.
Said = Iterator[tuple[str, str]]


def _say_pre(config: InstanceConfig) -> Said:
    edge = config.edge
    topics = edge.pre.topics
    shared = edge.share and edge.instance > 1 and edge.partition is None
    # In a group of our own, which takes nothing away from that of the instances.
    lead = f"$share/pyboot-check-{token_hex(4)}/" if shared else ""
    qos = min(edge.pre.qos, 1)
    filters = [lead + topic for topic in topics]
    answers = ask_to_subscribe(config, filters, qos)
    if answers.limits is None:
        yield FAILED, answers.ended
        return
    if shared and not answers.limits.shares:
        yield FAILED, f"it has no shared subscriptions: {UNSHARED}"
        return
    unanswered = []
    for topic, topic_filter in zip(topics, filters, strict=True):
        if topic_filter in answers.granted:
            yield _say_grant(topic, qos, *answers.granted[topic_filter])
        else:
            unanswered.append(topic)
    if answers.ended:
        yield (
            FAILED,
            f"asked for {' and '.join(unanswered)}: {answers.ended}; does a rule of its forbid it?",
        )
    elif shared and edge.pre.broker.protocol != "5":
        yield UNKNOWN, "whether it has shared subscriptions: MQTT 3.1.1 doesn't tell"


def _say_grant(topic: str, qos: int, code: int, reason: str) -> tuple[str, str]:
    if code >= REFUSED:
        return FAILED, f"the subscription to {topic} was refused: {reason}"
    if code < qos:
        return WARNING, (
            f"{topic} was granted at QoS {code}, not {qos}: inputs can get lost; its configuration "
            "or its access rules limit it"
        )
    return OK, f"subscribed to {topic} at QoS {code}"


def _say_post(config: InstanceConfig, payload: bytes | None) -> Said:
    edge = config.edge
    topics, untold = _topics_of_results(edge)
    answers = ask_to_publish(config, topics if payload is not None else [], payload or b"")
    if answers.limits is None:
        yield FAILED, answers.ended
        return
    yield OK, "connected"
    if answers.limits.qos < edge.post.qos:
        yield (
            WARNING,
            (
                f"it takes QoS {answers.limits.qos} at most: results are published at that, not at "
                f"{edge.post.qos}"
            ),
        )
    if edge.results.retain and not answers.limits.retains:
        yield WARNING, "it keeps no messages: results are published without `retain`"
    if payload is not None:
        yield from _say_published(edge, topics, answers)
        if untold:
            yield UNKNOWN, f"whether it takes results: {untold}"


def _topics_of_results(edge: Edge) -> tuple[list[str], str]:
    """Those of results and dead letters that are known beforehand, and why one isn't."""
    letters = [edge.dead_letter.topic] if edge.on_error.then == "dead_letter" else []
    topic = edge.post.topic
    if topic == RESPONSE:
        return letters, "each input says where they go"
    if template_of(topic) is not None:
        return letters, f"their topic, {topic}, is made of each"
    return list(dict.fromkeys([topic, *letters])), ""


def _say_published(edge: Edge, topics: list[str], answers: Answers) -> Said:
    assert answers.limits is not None
    for topic in topics:
        if topic not in answers.published:
            yield FAILED, f"published to {topic}: {answers.ended}; does a rule of its forbid it?"
            return
        refusal = answers.published[topic]
        if refusal is not None:
            yield FAILED, f"what was published to {topic} was refused: {refusal.text}"
        elif edge.post.broker.protocol != "5" or answers.limits.qos == 0:
            yield UNKNOWN, f"published to {topic}: it doesn't tell whether its rules allow that"
        else:
            yield OK, f"published to {topic}"
