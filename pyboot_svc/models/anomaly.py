"""Anomalies in a stream of readings, by a control chart for each device and point.

A chart first learns the mean and sigma of its series, then judges each reading by them.

In:  `{"device": "pump-7", "ts": 1700000000.0, "value": 4.2}`, a number alone, or a list of such;
     also `point`. With the option `point: pressure`, the value may also be called `pressure` (see
     `SeriesModel`).
Out: `{"device", "ts", "value", "state", "previous", "anomaly", "mean", "sigma"}` and the chart's
     figures when the state changes, else None. `state` is `learning`, `normal`, `high` or `low`;
     `anomaly` is true for the last two. Figures are in the unit of the value; those of the chart
     are absent while it is learning and when it has just learned.

Options of every chart:
- `warmup`: readings to learn from (default 30), best those of a healthy process. Mean and sigma
  (sample standard deviation) are estimated after Welford (1962) and kept from then on. If the
  signal hasn't moved in all of them, the next ones are learned from: it says nothing yet about
  what is normal.
- `target` and `sigma`: the mean and sigma, where they are known; there is no warm-up then.
- `min_sigma`: the least sigma to go by (default 0), for signals with coarse steps.
- `relearn_after`: learn anew after so many anomalous readings in a row (default 0: never).
- `publish`: `transitions` (default) or `all`, a result for every reading.
- `point` of readings that don't say theirs (default `value`).
- `max_devices`: series that are remembered (default 10000).

Both raise ValueError for a bad reading.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pyboot_svc.models._options import Options
from pyboot_svc.models._reading import Reading, SeriesModel

if TYPE_CHECKING:
    from pyboot_svc.model.context import Context


class _ControlChart(SeriesModel):
    """Learns a baseline for each series, then lets a chart judge its readings by it."""

    def __init__(self, context: Context, options: Options) -> None:
        self._warmup = options.whole("warmup", 30, 2, 1_000_000)
        self._min_sigma = options.number(
            "min_sigma", 0.0, "a number of at least 0", lambda x: x >= 0
        )
        self._relearn_after = options.whole("relearn_after", 0, 0, 1_000_000)
        self._publish = options.choice("publish", "transitions", "transitions", "all")
        self._known = self._known_baseline(options)
        super().__init__(context, options)

    def _known_baseline(self, options: Options) -> tuple[float, float] | None:
        target = options.number("target", None)
        sigma = options.number("sigma", None, "a number above 0", lambda x: x > 0)
        if target is None or sigma is None:
            neither = target is None and sigma is None
            options.require(neither, "set both `target` and `sigma`, or neither to learn them")
            return None
        relearns = self._relearn_after > 0
        options.require(not relearns, "`relearn_after` doesn't go with a given `target`")
        return target, max(sigma, self._min_sigma)

    @abstractmethod
    def _start(self, mean: float) -> dict[str, Any]:
        """The chart's own state before the first reading."""

    @abstractmethod
    def _judge(self, series: dict[str, Any], value: float) -> tuple[str, dict[str, Any]]:
        """Move the chart on by a reading; gives the state and the chart's figures."""

    def _update(self, reading: Reading, stored: Any) -> tuple[Any, dict[str, Any] | None]:
        series = self._resumed(stored)
        before = stored["state"] if stored else series["state"]
        figures: dict[str, Any] = {}
        if series["state"] == "learning":
            self._learn(series, reading.value)
        else:
            series["state"], figures = self._judge(series, reading.value)
        anomaly = series["state"] in ("high", "low")
        series["run"] = series["run"] + 1 if anomaly else 0
        if series["state"] == before and self._publish == "transitions":
            return series, None
        judged = {"state": series["state"], "previous": before, "anomaly": anomaly}
        baseline = {"mean": series["mean"], "sigma": series["sigma"]}
        return series, {**reading.echo, "value": reading.value, **judged, **baseline, **figures}

    def _resumed(self, stored: Any) -> dict[str, Any]:
        if self._known:
            if stored and (stored["mean"], stored["sigma"]) == self._known:
                return dict(stored)
            return _baseline(*self._known) | self._start(self._known[0])
        if not stored or 0 < self._relearn_after <= stored["run"]:
            return _learning()
        return dict(stored)

    def _learn(self, series: dict[str, Any], value: float) -> None:
        if series["count"] >= self._warmup:
            series.update(_learning())
        series["count"] += 1
        distance = value - series["mean"]
        series["mean"] += distance / series["count"]
        series["squares"] += distance * (value - series["mean"])
        estimate = math.sqrt(series["squares"] / max(series["count"] - 1, 1))
        series["sigma"] = max(estimate, self._min_sigma)
        if series["count"] >= self._warmup and series["sigma"] > 0:
            learned = _baseline(series["mean"], series["sigma"]) | self._start(series["mean"])
            series.clear()
            series.update(learned)


# Lower-case, since `edge_mode` names it as a function.
class ewma_anomaly(_ControlChart):
    """EWMA chart: finds small lasting shifts of the mean, and large ones soon.

    z(t) = z(t-1) + lambda (x(t) - z(t-1)), z(0) = mean; anomalous if z(t) is beyond the limits
    mean ± width sigma sqrt(lambda / (2 - lambda) (1 - (1 - lambda)^(2t))), with t counted from the
    end of the warm-up. Roberts (1959); NIST/SEMATECH e-Handbook 6.3.2.4, which has the limits for
    large t; Montgomery, Introduction to Statistical Quality Control, has them for each t.

    Options beside those of every chart (see the module): `lambda` (above 0 and up to 1, default
    0.2; 1 makes it a Shewhart chart), `width` of the limits in sigmas of z (default 3).
    Figures: `ewma`, `lower`, `upper`.
    """

    def __init__(self, context: Context) -> None:
        options = Options(context.options)
        wanted = "a number above 0 and up to 1"
        self._lambda = options.number("lambda", 0.2, wanted, lambda x: 0 < x <= 1)
        self._width = options.number("width", 3.0, "a number above 0", lambda x: x > 0)
        super().__init__(context, options)

    def _start(self, mean: float) -> dict[str, Any]:
        return {"t": 0, "ewma": mean}

    def _judge(self, series: dict[str, Any], value: float) -> tuple[str, dict[str, Any]]:
        series["t"] += 1
        series["ewma"] += self._lambda * (value - series["ewma"])
        settled = 1 - (1 - self._lambda) ** (2 * series["t"])
        sigma = series["sigma"] * math.sqrt(self._lambda / (2 - self._lambda) * settled)
        lower = series["mean"] - self._width * sigma
        upper = series["mean"] + self._width * sigma
        ewma = series["ewma"]
        state = "high" if ewma > upper else "low" if ewma < lower else "normal"
        return state, {"ewma": ewma, "lower": lower, "upper": upper}


# Lower-case, since `edge_mode` names it as a function.
class cusum_anomaly(_ControlChart):
    """Tabular CUSUM: tuned to find a lasting shift of a known size soon.

    high(t) = max(0, high(t-1) + x(t) - mean - k sigma),
    low(t) = max(0, low(t-1) + mean - k sigma - x(t)), both 0 at first; anomalous if one of them is
    above h sigma. Page (1954); NIST/SEMATECH e-Handbook 6.3.2.3.

    Beyond the handbook, sums don't grow past `ceiling` sigmas. Otherwise the alarm of a long fault
    would last long after it: with z = 0 a sum falls only by k sigma a reading.

    Options beside those of every chart (see the module), in sigmas: `k`, half the shift to find
    (default 0.5), `h` (default 5), `ceiling`, above h (default 2 h).
    Figures: `cusum_high`, `cusum_low`, `limit` (h sigma).
    """

    def __init__(self, context: Context) -> None:
        options = Options(context.options)
        self._k = options.number("k", 0.5, "a number of at least 0", lambda x: x >= 0)
        self._h = options.number("h", 5.0, "a number above 0", lambda x: x > 0)
        self._ceiling = options.number("ceiling", 2 * self._h)
        options.require(self._ceiling > self._h, "`ceiling` must be more than `h`")
        super().__init__(context, options)

    def _start(self, mean: float) -> dict[str, Any]:
        return {"high": 0.0, "low": 0.0}

    def _judge(self, series: dict[str, Any], value: float) -> tuple[str, dict[str, Any]]:
        sigma = series["sigma"]
        slack, limit, most = self._k * sigma, self._h * sigma, self._ceiling * sigma
        distance = value - series["mean"]
        high = min(max(0.0, series["high"] + distance - slack), most)
        low = min(max(0.0, series["low"] - distance - slack), most)
        series["high"], series["low"] = high, low
        side = "high" if high >= low else "low"
        state = side if max(high, low) > limit else "normal"
        return state, {"cusum_high": high, "cusum_low": low, "limit": limit}


def _learning() -> dict[str, Any]:
    figures = {"count": 0, "mean": 0.0, "squares": 0.0, "sigma": 0.0}
    return {"state": "learning", "run": 0, **figures}


def _baseline(mean: float, sigma: float) -> dict[str, Any]:
    return {"state": "normal", "run": 0, "mean": mean, "sigma": sigma}
