"""What births say of the data behind them, and when an edge node is asked for them again."""

from __future__ import annotations

from typing import Any

import pytest

from pyboot_svc.model.codec import PayloadError, PayloadFault, codec_named
from pyboot_svc.model.sparkplug.births import Births
from pyboot_svc.model.sparkplug.codec import sparkplug_b
from pyboot_svc.model.sparkplug.decoder import decode
from pyboot_svc.model.sparkplug.encoder import encode
from pyboot_svc.model.sparkplug.rebirths import EACH_SECONDS, NODE_SECONDS, Rebirths
from pyboot_svc.model.sparkplug.topic import route_of

CODEC = sparkplug_b(codec_named("json").decode)


def topic(kind: str, node: str = "N", device: str = "") -> str:
    return f"spBv1.0/G/{kind}/{node}{'/' if device else ''}{device}"


def birth(seq: int = 0, session: int = 0, **names: int) -> bytes:
    """Of metrics by these names, each with its alias."""
    named = [
        {"name": name, "alias": alias, "datatype": "Int32", "value": 0}
        for name, alias in names.items()
    ]
    bd_seq = {"name": "bdSeq", "datatype": "UInt64", "value": session}
    return encode({"seq": seq, "metrics": [bd_seq, *named]})


def data(alias: int, seq: int | None = 1) -> bytes:
    return encode({"seq": seq, "metrics": [{"alias": alias, "value": 1.5}]})


def death(session: int) -> bytes:
    return encode({"metrics": [{"name": "bdSeq", "datatype": "UInt64", "value": session}]})


def name_of(payload: bytes) -> str:
    """Of its only metric; empty where that is not known."""
    try:
        [metric] = CODEC.decode(payload)["metrics"]
    except PayloadError as error:
        return "" if error.fault is PayloadFault.UNKNOWN_ALIAS else str(error)
    return str(metric["name"])


@pytest.fixture
def births() -> Births:
    return Births()


def test_data_has_the_names_of_its_birth(births: Births) -> None:
    births.arrived(topic("NBIRTH"), birth(speed=1))
    births.arrived(topic("DBIRTH", device="D"), birth(power=2))
    assert name_of(births.arrived(topic("NDATA"), data(1))) == "speed"
    assert name_of(births.arrived(topic("DDATA", device="D"), data(2))) == "power"
    # Each has its own: where the same numbers are used twice, they are not mixed up.
    assert name_of(births.arrived(topic("DDATA", device="D"), data(1))) == ""
    assert name_of(births.arrived(topic("NDATA", node="other"), data(1))) == ""
    assert name_of(births.arrived("spBv1.0/other/NDATA/N", data(1))) == ""


def test_names_hold_from_arrival_on(births: Births) -> None:
    births.arrived(topic("NBIRTH"), birth(speed=1))
    early = births.arrived(topic("NDATA"), data(1))
    births.arrived(topic("NBIRTH"), birth(power=1))
    late = births.arrived(topic("NDATA"), data(1))
    assert (name_of(early), name_of(late)) == ("speed", "power")


def test_a_birth_of_an_edge_node_ends_what_was_known_of_its_devices(births: Births) -> None:
    births.arrived(topic("DBIRTH", device="D"), birth(power=2))
    births.arrived(topic("NBIRTH"), birth(speed=1))
    assert name_of(births.arrived(topic("DDATA", device="D"), data(2))) == ""


def test_a_birth_that_can_not_be_decoded_leaves_no_names(births: Births) -> None:
    births.arrived(topic("NBIRTH"), birth(speed=1))
    with pytest.raises(PayloadError, match="is not Sparkplug B"):
        CODEC.decode(births.arrived(topic("NBIRTH"), b"\xff"))
    assert name_of(births.arrived(topic("NDATA"), data(1))) == ""


def test_deaths(births: Births) -> None:
    births.arrived(topic("NBIRTH"), birth(speed=1))
    births.arrived(topic("DBIRTH", device="D"), birth(power=2))
    births.arrived(topic("DDEATH", device="D"), encode({"seq": 2, "metrics": []}))
    assert name_of(births.arrived(topic("DDATA", device="D"), data(2))) == ""
    assert name_of(births.arrived(topic("NDATA"), data(1))) == "speed"
    births.arrived(topic("NDEATH"), death(0))
    assert name_of(births.arrived(topic("NDATA"), data(1))) == ""
    births.arrived(topic("DDEATH", device="D"), b"")
    births.arrived(topic("NDEATH"), death(0))


def test_the_last_will_of_a_former_session_comes_late(births: Births) -> None:
    births.arrived(topic("NBIRTH"), birth(session=1, speed=1))
    births.arrived(topic("NDEATH"), death(0))
    births.arrived(topic("NDEATH"), b"\xff")
    assert name_of(births.arrived(topic("NDATA"), data(1))) == "speed"


def test_a_message_of_former_times_says_nothing_new(births: Births) -> None:
    births.arrived(topic("NBIRTH"), birth(speed=1))
    births.again(topic("NBIRTH"), birth(power=1))
    births.again(topic("NDEATH"), death(0))
    assert name_of(births.again(topic("NDATA"), data(1))) == "speed"
    assert births.again("plant/x", b"x") == b"x"
    assert CODEC.decode(births.again("spBv1.0/STATE/h", b"{}")) == {}


@pytest.mark.parametrize(
    ("seq", "kept", "name"),
    [
        (2, False, "speed"),
        (5, False, ""),
        (0, False, ""),
        (1, False, ""),
        (5, True, "speed"),
        (1, True, "speed"),
        (None, False, ""),
    ],
    ids=["in a row", "a gap", "anew", "the same", "kept", "kept twice", "no number"],
)
def test_what_a_lost_connection_may_have_missed(
    births: Births, seq: int | None, kept: bool, name: str
) -> None:
    """Of an edge node that was born anew meanwhile, names from before might be wrong."""
    births.arrived(topic("NBIRTH"), birth(speed=1))
    births.arrived(topic("NDATA"), data(1))
    births.reconnected()
    after = births.arrived(topic("NDATA"), data(1, seq), kept=kept)
    assert name_of(after) == name
    if name and not kept:
        assert name_of(births.arrived(topic("NDATA"), data(1, 9))) == name


def test_a_device_that_is_born_anew_after_a_lost_connection(births: Births) -> None:
    births.arrived(topic("NBIRTH"), birth(speed=1))
    births.reconnected()
    births.arrived(topic("DBIRTH", device="D"), birth(7, power=2))
    assert name_of(births.arrived(topic("DDATA", device="D"), data(2, 8))) == "power"
    assert name_of(births.arrived(topic("NDATA"), data(1, 9))) == ""
    births.reconnected()
    births.arrived(topic("NBIRTH"), birth(200, speed=1))
    assert name_of(births.arrived(topic("NDATA"), data(1, 201))) == "speed"


def test_who_was_silent_for_longest_is_forgotten() -> None:
    births = Births(most_bytes=15_000)
    for number in range(10):
        births.arrived(topic("NBIRTH", node=f"N{number}"), birth(speed=1))
        assert name_of(births.arrived(topic("NDATA", node="N0"), data(1))) == "speed"
    assert name_of(births.arrived(topic("NDATA", node="N1"), data(1))) == ""
    for _ in range(100):  # the same one again takes no more
        births.arrived(topic("NBIRTH", node="N9"), birth(speed=1))
        births.arrived(topic("DBIRTH", node="N9", device="D"), birth(speed=1))
        births.arrived(topic("DDEATH", node="N9", device="D"), b"")
    assert name_of(births.arrived(topic("NDATA", node="N0"), data(1))) == "speed"


@pytest.mark.parametrize("hungry", ["aliases", "devices", "names"])
def test_what_takes_much_memory_counts(hungry: str) -> None:
    births = Births(most_bytes=200_000)
    births.arrived(topic("NBIRTH", node="small"), birth(speed=1))
    for number in range(250):
        if hungry == "devices":
            births.arrived(topic("DBIRTH", device=f"D{number}"), encode({"metrics": []}))
        else:
            names = ["x" * 1000] if hungry == "names" else ["x"] * 1000
            metrics = [
                {"name": name, "alias": alias, "value": 1.0} for alias, name in enumerate(names)
            ]
            births.arrived(topic("NBIRTH", node=f"N{number}"), encode({"metrics": metrics}))
    assert name_of(births.arrived(topic("NDATA", node="small"), data(1))) == ""


def test_a_long_topic() -> None:
    births, node = Births(), "N" * 2000
    births.arrived(topic("NBIRTH", node=node), birth(speed=1))
    assert name_of(births.arrived(topic("NDATA", node=node), data(1))) == "speed"


def test_the_state_of_a_host_is_json(births: Births) -> None:
    state = births.arrived("spBv1.0/STATE/scada", b'{"online":true,"timestamp":1}')
    assert CODEC.decode(state) == {"online": True, "timestamp": 1}
    with pytest.raises(PayloadError, match="not JSON"):
        CODEC.decode(births.arrived("spBv1.0/STATE/scada", b"ONLINE"))


def test_topics_of_others_are_left_alone(births: Births) -> None:
    for name in ("plant/x", "spBv1.0", "spBv1.0/G/NDATA", "spBv1.0/G/NDATA/N/D", "spBv1.0/G/X/N"):
        assert type(births.arrived(name, data(1))) is bytes
        with pytest.raises(PayloadError, match="the topic is not one of an edge node"):
            CODEC.decode(births.arrived(name, data(1)))


def test_many_topics() -> None:
    births = Births()
    births.arrived(topic("NBIRTH"), birth(speed=1))
    for number in range(10_001):
        births.arrived(f"plant/{number}", b"")
    assert name_of(births.arrived(topic("NDATA"), data(1))) == "speed"


def test_routes() -> None:
    assert route_of("spBv1.0/G/DDATA/N/D") == ("G", "DDATA", "N", "D")
    assert route_of("spBv1.0/G/DDATA/N") is None


class Asked:
    """The edge nodes, and the time."""

    def __init__(self, *reasons: str) -> None:
        self.now = 0.0
        self.commands: list[tuple[str, bytes]] = []
        rebirths = Rebirths(
            reasons, lambda *command: self.commands.append(command), lambda: self.now
        )
        self.births = Births(rebirths)

    @property
    def topics(self) -> list[str]:
        found = [name for name, _ in self.commands]
        self.commands.clear()
        return found

    def fail(self, node: str = "N") -> str:
        """Send data that can't be understood; gives what is said of it."""
        placed = self.births.arrived(topic("NDATA", node), data(9))
        with pytest.raises(PayloadError) as raised:
            CODEC.decode(placed)
        return str(raised.value)


def test_an_unknown_alias_asks_for_a_birth() -> None:
    asked = Asked("unknown_alias")
    assert asked.fail() == (
        "edge node N of G: the alias 9 is not known: the edge node was asked for its births"
    )
    [(name, payload)] = asked.commands
    assert name == "spBv1.0/G/NCMD/N"
    [metric] = decode(payload)["metrics"]
    rebirth = {"name": "Node Control/Rebirth", "datatype": "Boolean", "value": True}
    assert metric == rebirth


def test_nobody_is_asked_unless_that_is_wanted() -> None:
    for asked in (Asked(), Asked("seq_gap")):
        assert "rebirth_on: [unknown_alias]" in asked.fail()
        assert asked.topics == []


def test_an_edge_node_is_not_asked_too_often() -> None:
    """Neither one whose birth lacks the alias, nor all of them at once."""
    asked = Asked("unknown_alias")
    for _ in range(5):
        asked.fail()
        asked.births.arrived(topic("NBIRTH"), birth(speed=1))
    assert asked.topics == ["spBv1.0/G/NCMD/N"]
    asked.fail("M")
    assert asked.topics == []
    asked.now = EACH_SECONDS
    asked.fail("M")
    assert asked.topics == ["spBv1.0/G/NCMD/M"]
    asked.now = NODE_SECONDS
    asked.fail()
    assert asked.topics == ["spBv1.0/G/NCMD/N"]


def numbered(*messages: tuple[str, int]) -> list[str]:
    """Who is asked after messages of these kinds, with these numbers."""
    asked = Asked("seq_gap")
    devices = {"N": "", "D": "D"}
    for kind, seq in messages:
        payload = birth(seq) if "BIRTH" in kind else encode({"seq": seq, "metrics": []})
        asked.births.arrived(topic(kind, device=devices[kind[0]]), payload)
    return asked.topics


@pytest.mark.parametrize(
    "messages",
    [
        [("NDATA", 5), ("NDATA", 9)],
        [("NBIRTH", 0), ("DBIRTH", 1), ("NDATA", 2), ("DDATA", 3), ("DDEATH", 4), ("NDATA", 5)],
        [("NBIRTH", 254), ("NDATA", 255), ("NDATA", 0)],
        [("NBIRTH", 0), ("NDATA", 1), ("NDATA", 1), ("NDATA", 2)],
        [("NBIRTH", 0), ("NDATA", 1), ("NBIRTH", 0), ("NDATA", 1)],
        [("NBIRTH", 0), ("NCMD", 7), ("NDATA", 1)],
    ],
    ids=["no birth", "in a row", "after 255", "twice", "reborn", "command"],
)
def test_numbers_without_a_gap(messages: list[tuple[str, int]]) -> None:
    assert numbered(*messages) == []


def test_a_gap_in_the_numbers_asks_for_a_birth() -> None:
    assert numbered(("NBIRTH", 0), ("NDATA", 1), ("NDATA", 3)) == ["spBv1.0/G/NCMD/N"]
    assert numbered(("NBIRTH", 0), ("DDATA", 2)) == ["spBv1.0/G/NCMD/N"]


def test_births_without_a_number() -> None:
    asked = Asked("seq_gap")
    asked.births.arrived(topic("NBIRTH"), encode({"metrics": []}))
    for seq in range(5, 8):
        asked.births.arrived(topic("NDATA"), data(1, seq))
    assert asked.topics == []


def test_results() -> None:
    value: Any = {"metrics": [{"name": "a", "datatype": "Int8", "value": 1}]}
    assert CODEC.decode(CODEC.encode(value)) == value
    with pytest.raises(PayloadError, match="can't be encoded as Sparkplug B: int: return a dict"):
        CODEC.encode(1)
