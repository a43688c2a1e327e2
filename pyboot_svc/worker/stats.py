"""What a worker counts: messages, errors, rates and latency."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import NamedTuple, TypeVar

from pyboot_svc.metrics.snapshot import (
    BATCH_BOUNDS,
    LATENCY_BOUNDS,
    MODEL_BOUNDS,
    Counters,
    Distribution,
    Histograms,
    Last,
    Latency,
    Rates,
)
from pyboot_svc.text import printable
from pyboot_svc.worker.messages import ResultBatch

_WINDOW_SECONDS = 10
_LONGEST_ERROR = 200
# Adding up takes the interpreter away from the model's thread: so much at once, and then a pause.
_AT_ONCE, _PAUSE_SECONDS = 256, 0.0005
# In ns, what durations are below: to 32 µs each microsecond, then 16 steps to twice as much, to
# some months.
_LATENCY_STEPS: tuple[int, ...] = (
    *range(1_000, 33_000, 1_000),
    *((step << power) * 1_000 for power in range(1, 40) for step in range(17, 33)),
)

T = TypeVar("T")


class Counted(NamedTuple):
    """Counters and histograms since the start, errors by kind, rates in 1/s, latency in ms."""

    counters: Counters
    errors: Mapping[str, int]
    rates: Rates
    latency_ms: Latency
    histograms: Histograms
    last: Last


class Stats:
    """Counters that several threads add to, a batch at a time.

    Rates and percentiles look back over the last seconds; `tick` moves that window and is to be
    called about once a second. What comes with each batch is only noted, without a lock, and added
    up then, or when somebody asks: in portions, between which messages go on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        received: deque[int] = deque()
        processed: deque[int] = deque()
        self._noted = {"received": received, "processed": processed}
        # So many inputs have arrived; so many are done.
        self.received: Callable[[int], None] = received.append
        self.processed: Callable[[int], None] = processed.append
        # How long they took, in ns, and how many they are.
        self._published: deque[tuple[float, int]] = deque()
        # The same of those that came alone, and were done and published at once.
        self._lone: deque[int] = deque()
        # How long a model thread was at so many messages, in seconds.
        self._worked: deque[tuple[float, int]] = deque()
        self.worked: Callable[[tuple[float, int]], None] = self._worked.append
        self._counts = dict.fromkeys(Counters._fields, 0)
        self._errors: Counter[str] = Counter()
        self._last_input: float | None = None
        self._last_result: float | None = None
        self._last_error: tuple[str | None, float | None] = (None, None)
        self._latency = LatencyHistogram()
        self._latencies = Buckets(LATENCY_BOUNDS)
        self._model_times = Buckets(MODEL_BOUNDS)
        self._batch_sizes = Buckets(BATCH_BOUNDS)
        self._history: deque[tuple[float, int, int]] = deque(maxlen=_WINDOW_SECONDS + 1)
        self.tick()

    def add(self, name: str, count: int) -> None:
        with self._lock:
            self._counts[name] += count

    def count(self, name: str) -> int:
        with self._added_up():
            return self._counts[name]

    def add_errors(self, kinds: Iterable[str], last: str) -> None:
        """`last` is what the last one of them was, in words."""
        with self._lock:
            self._errors.update(kinds)
            self._last_error = printable(last.partition("\n")[0], _LONGEST_ERROR), time.time()

    def published(self, results: ResultBatch) -> None:
        """These are safe with the broker just now."""
        arrived, places = results.chunk.batch.arrived, results.places
        now, count = time.monotonic_ns(), len(results.payloads)
        first = arrived[places[0]]
        if first == arrived[places[-1]]:  # those of one read, and most are sent together
            self._published.append((now - first, count))
            return
        for at, some in Counter(results.arrivals()).items():
            self._published.append((now - at, some))

    def published_lone(self, arrived: int) -> None:
        """One that came alone, at this time, has been processed and is safe with the broker."""
        self._lone.append(time.monotonic_ns() - arrived)

    def tick(self) -> None:
        with self._added_up():
            self._latency.rotate()
            self._history.append(
                (time.monotonic(), self._counts["received"], self._counts["published"])
            )

    def counters(self) -> Counters:
        """Those alone: cheap enough for each tick of an idle worker."""
        with self._added_up():
            return Counters(**self._counts)

    def figures(self) -> Counted:
        with self._added_up():
            since, received, published = self._history[0]
            elapsed = max(time.monotonic() - since, 1e-3)
            return Counted(
                Counters(**self._counts),
                dict(self._errors),
                Rates(
                    round((self._counts["received"] - received) / elapsed, 1),
                    round((self._counts["published"] - published) / elapsed, 1),
                ),
                Latency(self._latency.percentile(0.50), self._latency.percentile(0.99)),
                Histograms(
                    self._latencies.distribution(),
                    self._model_times.distribution(),
                    self._batch_sizes.distribution(),
                ),
                Last(self._last_input, self._last_result, *self._last_error),
            )

    @contextmanager
    def _added_up(self) -> Iterator[None]:
        """Within the lock, when all is added up that was noted before."""
        while max(len(self._lone), len(self._worked), len(self._published)) > _AT_ONCE:
            with self._lock:
                self._add_up(_AT_ONCE)
            time.sleep(_PAUSE_SECONDS)
        with self._lock:
            self._add_up(_AT_ONCE)
            yield

    def _add_up(self, most: int) -> None:
        """Within the lock: so much of what was noted since the last time."""
        if self._noted["received"]:
            self._last_input = round(time.time(), 1)
        if self._published or self._lone:
            self._last_result = round(time.time(), 1)
        for name, noted in self._noted.items():
            self._counts[name] += sum(_taken(noted, len(noted)))
        if self._lone:
            lone = list(_taken(self._lone, most))
            self._counts["processed"] += len(lone)
            self._add_published(lone, 1)
        for count, waits in _by_count(self._published, most).items():
            self._add_published(waits, count)
        for count, times in _by_count(self._worked, most).items():
            self._model_times.add([seconds / count for seconds in times], count)
            self._batch_sizes.add([count], len(times))

    def _add_published(self, waits: Sequence[float], count: int) -> None:
        """So many at once, as often as there are waits."""
        self._counts["published"] += count * len(waits)
        self._latency.record(waits, count)
        self._latencies.add([took / 1e9 for took in waits], count)


def _taken(noted: deque[T], most: int) -> Iterator[T]:
    """So much of what is there by now, taken out."""
    return map(deque.popleft, repeat(noted, min(len(noted), most)))


def _by_count(noted: deque[tuple[float, int]], most: int) -> Mapping[int, list[float]]:
    """What was noted of so many messages at once; mostly it is the same number again and again."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for value, count in _taken(noted, most):
        found[count].append(value)
    return found


class Buckets:
    """How values spread over buckets with these upper bounds, which belong to them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, values: Sequence[float], count: int) -> None:
        """Each of these so many times."""
        counts = self._counts
        for place in map(bisect_left, repeat(self._bounds), values):
            counts[place] += count
        self._sum += sum(values) * count

    def distribution(self) -> Distribution:
        return Distribution(self._counts.copy(), round(self._sum, 6))


class LatencyHistogram:
    """Durations of the last seconds in buckets that are 1/16 of a power of two wide."""

    def __init__(self) -> None:
        self._recent: deque[dict[int, int]] = deque([defaultdict(int)], maxlen=_WINDOW_SECONDS)

    def record(self, durations: Sequence[float], count: int = 1) -> None:
        """Each of these, in ns, so many times."""
        recent = self._recent[-1]
        for step in map(bisect_right, repeat(_LATENCY_STEPS), durations):
            recent[step] += count

    def rotate(self) -> None:
        self._recent.append(defaultdict(int))

    def percentile(self, share: float) -> float | None:
        """Milliseconds that `share` of the durations did not exceed; None without any."""
        total: Counter[int] = Counter()
        for second in self._recent:
            total.update(second)
        rank = share * total.total()
        for bucket in sorted(total):
            rank -= total[bucket]
            if rank <= 0:
                return round(_LATENCY_STEPS[min(bucket, len(_LATENCY_STEPS) - 1)] / 1e6, 3)
        return None
