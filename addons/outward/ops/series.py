"""Series: counters, gauges and histograms that cost a fraction of a microsecond and never grow without limit."""

from bisect import bisect_left
from collections.abc import Callable, Iterator

OTHER = "_other"
_MAX_VALUES = 64  # of a label whose values come from the code


class Number:
    """A counter or a gauge with one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add an amount."""
        self.value += amount

    def dec(self) -> None:
        """Subtract one; for gauges."""
        self.value -= 1


class Histogram:
    """Durations in seconds, counted by bucket; each bucket remembers one of them by its id, if it has one."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: dict[int, tuple[str, float]] = {}
        self._sum = 0.0

    def observe(self, seconds: float, ident: str | None = None) -> None:
        """Count one duration; `ident` finds it again."""
        bucket = bisect_left(self._bounds, seconds)
        self._counts[bucket] += 1
        self._sum += seconds
        if ident is not None:
            self._exemplars[bucket] = ident, seconds

    def exemplars(self) -> list[tuple[str, float] | None]:
        """Return for each bucket the id of its last duration, and the duration."""
        return [self._exemplars.get(bucket) for bucket in range(len(self._counts))]

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Return the buckets as Prometheus wants them, each including the ones below, and the sum."""
        buckets, total = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets, self._sum


class Family[T]:
    """Numbers or histograms by label values, made on first use, at most `limit` of them beside `_other`."""

    __slots__ = ("_limit", "_make", "_series")

    def __init__(self, make: Callable[[], T], limit: int = _MAX_VALUES) -> None:
        self._make = make
        self._limit = limit
        self._series: dict[tuple[str, ...], T] = {}

    def labels(self, *values: str) -> T:
        """Return the series of some label values, or the `_other` series where there are too many."""
        series = self._series.get(values)
        if series is None:
            if len(self._series) >= self._limit:
                values = (OTHER,) * len(values)
            series = self._series.setdefault(values, self._make())
        return series

    def items(self) -> Iterator[tuple[tuple[str, ...], T]]:
        """Yield each series with its label values; safe while series are added."""
        yield from self._series.copy().items()
