"""Statistics of the samples in each message, by numpy for a whole batch at once."""

from __future__ import annotations

from itertools import chain
from typing import Any

from pyboot_svc.models._options import LARGEST, shown
from pyboot_svc.models._reading import instead, repeated

try:
    import numpy as np
except ImportError as error:
    raise ImportError(
        "this model needs numpy: install it (Debian: python3-numpy; pip: pyboot-svc[numpy])"
    ) from error

_NUMBERS = frozenset((int, float))


def sample_statistics(payloads: list[Any]) -> list[dict[str, Any]]:
    """Gives mean, standard deviation, minimum and maximum of each payload's samples.

    For an edge with `batch:`; payloads may have different numbers of samples.

    In:  `{"device": "pump-7", "ts": 1700000000.0, "values": [4.2, 4.4, 4.1]}`, where only `values`
         is needed, a list of at least one number.
    Out: `{"device", "ts", "count", "mean", "std", "min", "max"}`, in the unit of the values;
         `device`, `point` and `ts` are those of the payload, if it has them. `std` is that of a
         population: the root of the mean squared deviation.

    Raises ValueError if one of the payloads is bad: pyboot then calls with each alone.
    """
    if not isinstance(payloads, list):
        raise ValueError("this model takes many messages per call: set `batch: {}` in its edge")
    series = [_values(payload) for payload in payloads]
    lengths = [len(values) for values in series]
    counts = np.array(lengths)
    # One row of all samples, whatever the lengths, and where in it each payload's begin.
    samples = _joined(series, sum(lengths))
    begins = counts.cumsum() - counts
    lows = np.minimum.reduceat(samples, begins)
    highs = np.maximum.reduceat(samples, begins)
    _check_range(float(lows.min()), float(highs.max()))
    # A sum is rounded; yet the mean of equal samples is what they are, and their deviation 0.
    means = (np.add.reduceat(samples, begins) / counts).clip(lows, highs)
    squares = (samples - means.repeat(counts)) ** 2
    deviations = np.sqrt(np.add.reduceat(squares, begins) / counts)
    columns = (means.tolist(), deviations.tolist(), lows.tolist(), highs.tolist())
    return [
        {**repeated(payload), "count": count, "mean": mean, "std": std, "min": low, "max": high}
        for payload, count, mean, std, low, high in zip(payloads, lengths, *columns, strict=True)
    ]


def _values(payload: Any) -> list[float]:
    if not isinstance(payload, dict):
        raise ValueError(f"payload: must be an object, not {shown(payload)}")
    values = payload.get("values")
    if not isinstance(values, list):
        raise ValueError(f"values: must be a list of numbers, {instead(payload, 'values')}")
    if not values:
        raise ValueError("values: must hold at least one number, but is empty")
    if not _NUMBERS.issuperset(map(type, values)):
        at = next(at for at, value in enumerate(values) if type(value) not in _NUMBERS)
        raise ValueError(f"values: item {at} must be a number, not {shown(values[at])}")
    return values


def _joined(series: list[list[float]], count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.fromiter(chain.from_iterable(series), np.float64, count)
    except OverflowError:
        raise _out_of_range() from None


def _check_range(least: float, greatest: float) -> None:
    # The comparison is false for NaN, too.
    if not (least >= -LARGEST and greatest <= LARGEST):
        raise _out_of_range()


def _out_of_range() -> ValueError:
    return ValueError(f"values: numbers must be from -{LARGEST:g} to {LARGEST:g}")
