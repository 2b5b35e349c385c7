"""A chart of attempts over time as the page draws it: bars of an SVG, which needs no script. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from outward.records.events.over_time import Series
from outward.records.events.store import HOUR

WIDTH, HEIGHT, _GAP = 720, 120, 0.2
_LEAST = 2.0  # of a bar that counts something, so that it can be seen


@dataclass(frozen=True, slots=True)
class Bar:
    """One span of time.

    Attributes:
        label: its time in UTC, for people.
        x, y, width, height: within `WIDTH` and `HEIGHT`.
    """

    label: str
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """What a template draws.

    Attributes:
        bars: those that count something, the oldest first.
        first, last: when the first span begins and the last one ends.
        most: the highest count.
        span: how long one is, in words.
        peak: label of the highest.
    """

    bars: tuple[Bar, ...]
    first: str
    last: str
    most: int
    span: str
    peak: str | None
    total: int


def chart(series: Series) -> Chart:
    """Return the chart of a series."""
    most = max(series.counts)
    wide = WIDTH / len(series.counts)
    bars = []
    for place, count in enumerate(series.counts):
        if count:
            tall = max(_LEAST, HEIGHT * count / most)
            bar = (place + _GAP / 2) * wide, HEIGHT - tall, (1 - _GAP) * wide, tall
            bars.append(Bar(_label(series, place), count, *(round(value, 2) for value in bar)))
    peak = next((bar.label for bar in bars if bar.count == most), None)
    return Chart(
        bars=tuple(bars),
        first=_label(series, 0),
        last=_label(series, len(series.counts)),
        most=most,
        span=_span(series.step),
        peak=peak,
        total=sum(series.counts),
    )


def _label(series: Series, place: int) -> str:
    """Return when a span begins: the day, and the time where spans are shorter than one."""
    time = datetime.fromtimestamp((series.start + place * series.step) / 1000, UTC)
    return time.strftime("%d %b" if series.step % (24 * HOUR) == 0 else "%d %b %H:%M").lstrip("0")


def _span(step: int) -> str:
    for size, name in ((24 * HOUR, "day"), (HOUR, "hour"), (60_000, "minute")):
        if step % size == 0 and step >= size:
            count = step // size
            return name if count == 1 else f"{count} {name}s"
    return f"{step // 1000} seconds"
