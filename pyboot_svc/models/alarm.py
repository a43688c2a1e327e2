"""High and low alarms that don't chatter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pyboot_svc.models._options import Options
from pyboot_svc.models._reading import Reading, SeriesModel

if TYPE_CHECKING:
    from pyboot_svc.model.context import Context

# Differences of UNIX times as floats are only good to about a quarter of a microsecond.
_TIME_TOLERANCE_S = 1e-6


class _Standing(NamedTuple):
    """The state of a series, and the change that its delay still holds back."""

    state: str = "normal"
    pending: str = ""
    since: float = 0.0
    readings: int = 0


# Lower-case, since `edge_mode` names it as a function.
class threshold_alarm(SeriesModel):
    """Raises an alarm beyond a limit, with deadband, on-delay and off-delay.

    In:  `{"device": "pump-7", "ts": 1700000000.0, "value": 93.5}`, a number alone, or a list of
         such; also `point`. With the option `point: temperature`, the value may also be called
         `temperature` (see `SeriesModel`). `ts` is needed only with `on_delay` or `off_delay`.
    Out: `{"device", "ts", "value", "state", "previous", "limit"}` when the state changes, else
         None. `state` is `normal`, `high` or `low`; `limit` is the one that is violated, null if
         normal. A series starts as normal.

    Options, in the units of the value unless said otherwise:
    - `high`, `low`: the limits, at least one of them. High is `value > high`, low `value < low`.
    - `deadband` (default 0): the alarm is held until `value <= high - deadband` or
      `value >= low + deadband`.
    - `on_delay`, `off_delay` (default 0): seconds, by `ts`, that the condition must hold without a
      break before the alarm is raised, or before it returns to normal.
    - `on_count`, `off_count` (default 1): the same in readings in a row. Given both, both count.
    - `publish`: `transitions` (default) or `all`, a result for every reading.
    - `point` of readings that don't say theirs (default `value`), and `max_devices`.

    Delays are judged when a reading comes. Readings count in the order in which they come; a `ts`
    before the start of a delay moves that start back, so a clock set back can't hold an alarm up.

    Raises ValueError for a bad reading.

    Terms are those of ANSI/ISA-18.2 (IEC 62682) and EEMUA 191, which name the same starting points
    against chattering alarms (deadband in percent of the range, delay): flow 5 %, 15 s; level 5 %,
    60 s; pressure 2 %, 15 s; temperature 1 %, 60 s. High-high is a second edge with its own limits.
    """

    def __init__(self, context: Context) -> None:
        options = Options(context.options)
        self._high = options.number("high", None)
        self._low = options.number("low", None)
        self._deadband = _not_negative(options, "deadband")
        self._on = (_not_negative(options, "on_delay"), options.whole("on_count", 1, 1, 1_000_000))
        self._off = (
            _not_negative(options, "off_delay"),
            options.whole("off_count", 1, 1, 1_000_000),
        )
        self._publish = options.choice("publish", "transitions", "transitions", "all")
        self._check_limits(options)
        super().__init__(context, options)

    def _check_limits(self, options: Options) -> None:
        if self._high is None or self._low is None:
            given = self._high is not None or self._low is not None
            options.require(given, "set `high`, `low` or both: without a limit there is no alarm")
            return
        options.require(self._low < self._high, "`low` must be less than `high`")
        fits = self._low >= self._high or self._deadband <= self._high - self._low
        options.require(fits, "`deadband` must not be more than `high` - `low`")

    def _read(self, payload: Any, topic: str) -> Reading:
        reading = super()._read(payload, topic)
        if reading.seconds is None and (self._on[0] or self._off[0]):
            raise ValueError("ts: is missing, and `on_delay` and `off_delay` need it")
        return reading

    def _update(self, reading: Reading, stored: Any) -> tuple[Any, dict[str, Any] | None]:
        before = _Standing(**stored) if stored else _Standing()
        after = self._settled(before, reading.value, reading.seconds or 0.0)
        if after.state == before.state and self._publish == "transitions":
            return after._asdict(), None
        limit = {"high": self._high, "low": self._low}.get(after.state)
        change = {"state": after.state, "previous": before.state, "limit": limit}
        return after._asdict(), {**reading.echo, "value": reading.value, **change}

    def _settled(self, standing: _Standing, value: float, now: float) -> _Standing:
        while (wanted := self._wanted(value, standing.state)) != standing.state:
            # From high to low by way of normal: each alarm keeps its own delays.
            target = wanted if standing.state == "normal" else "normal"
            standing = _held(standing, target, now)
            delay, count = self._off if target == "normal" else self._on
            too_soon = now - standing.since < delay - _TIME_TOLERANCE_S
            if too_soon or standing.readings < count:
                return standing
            standing = _Standing(target)
        return _Standing(standing.state)

    def _wanted(self, value: float, state: str) -> str:
        """The state that the value alone asks for; the deadband favours the present one."""
        held_high = self._deadband if state == "high" else 0.0
        held_low = self._deadband if state == "low" else 0.0
        if self._high is not None and value > self._high - held_high:
            return "high"
        if self._low is not None and value < self._low + held_low:
            return "low"
        return "normal"


def _held(standing: _Standing, target: str, now: float) -> _Standing:
    if standing.pending != target:
        return _Standing(standing.state, target, now, 1)
    return standing._replace(since=min(standing.since, now), readings=standing.readings + 1)


def _not_negative(options: Options, name: str) -> float:
    return options.number(name, 0.0, "a number of at least 0", lambda value: value >= 0)
