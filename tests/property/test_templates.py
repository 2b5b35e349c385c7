"""Templates write of an event what its record says: to the byte in its line, and to the value in its row."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from outward.core.model import Lane, Mode, Pattern, PatternKind, Place, Rule, Stage, Verdict
from outward.core.reasons import Reason
from outward.records.events.rows import row_of
from outward.records.events.templates import columns_of, line_of
from outward.records.events.values import Event, as_record, line, new_id

RULES = [Rule(Pattern(PatternKind.BELOW, f"{name}.example"), Place("o%s.yaml", row)) for row, name in enumerate("ab")]
TEXTS = st.none() | st.sampled_from(["a", "b%s", 'q"', "é", "%", "x\x1b[0m", "w" * 300]) | st.text(max_size=20)
PATHS = st.none() | st.sampled_from(["/", "/a?q=1", "/%41", '/"', "/" + "p" * 1100]) | st.text(max_size=30)
NUMBERS = st.none() | st.integers(0, 1 << 50)

EVENTS = st.builds(
    Event,
    id=st.builds(new_id) | st.sampled_from(["x", "%s" * 16]),
    time=st.floats(0, 4e9),
    verdict=st.sampled_from(Verdict),
    reason=st.sampled_from(Reason),
    stage=st.sampled_from(Stage),
    mode=st.sampled_from(Mode),
    would_deny=st.booleans(),
    would_reason=st.none() | st.sampled_from(Reason),
    **dict.fromkeys(("group", "client", "method", "scheme", "host", "sni", "address", "generation"), TEXTS),
    **dict.fromkeys(("conversation", "user_agent", "detail", "instance", "client_name", "subject"), TEXTS),
    redirected_from=TEXTS,
    port=st.none() | st.integers(1, 65535),
    path=PATHS,
    ech=st.none() | st.booleans(),
    lane=st.none() | st.sampled_from(Lane),
    rule=st.none() | st.sampled_from(RULES),
    duration_ms=st.none() | st.floats(0, 1e9),
    bytes_up=NUMBERS,
    bytes_down=NUMBERS,
    status=st.none() | st.sampled_from([200, 403]),
    trace_id=st.none() | st.sampled_from(["4bf92f3577b34da6a3ce929d0e0e4736", '"', "t" * 70]),
    claims=st.sampled_from([(), (("a", True),), (("a", 1),), (("a", "1"), ("b", 1.0))]),
    count=st.sampled_from([1, 1, 1, 7]),
    last_seen=st.none() | st.floats(0, 4e9),
)


@given(EVENTS, PATHS, NUMBERS, st.none() | st.floats(0, 1e9))
def test_a_template_writes_what_the_record_says(
    first: Event, path: str | None, size: int | None, lasting: float | None
) -> None:
    another = replace(first, id=new_id(), path=path, bytes_down=size, duration_ms=lasting)
    for event in (first, another, replace(another, claims=(("a", 1),)), replace(another, rule=RULES[0])):
        record = as_record(event)
        assert line_of(event) == line(record)
        assert columns_of(event) == row_of(record)
