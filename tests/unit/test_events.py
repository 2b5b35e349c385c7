"""Events as JSON lines: documented fields, bounded, and nothing in them that a terminal or a log reader obeys."""

import hashlib
import json
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outward.core.model import Lane, Pattern, PatternKind, Place, Rule, Stage, Verdict
from outward.core.reasons import Reason
from outward.records.audit.values import AuditEvent
from outward.records.audit.values import as_record as audit_record
from outward.records.events.rows import milliseconds
from outward.records.events.values import Event, as_record, line, new_id, recorded, trim
from outward.records.text import clean

FIELDS = [
    "schema_version",
    "time",
    "id",
    "verdict",
    "reason",
    "stage",
    "mode",
    "would_deny",
    "would_reason",
    "group",
    "client",
    "method",
    "scheme",
    "host",
    "port",
    "path",
    "sni",
    "ech",
    "address",
    "lane",
    "rule",
    "generation",
    "conversation",
    "user_agent",
    "duration_ms",
    "bytes_up",
    "bytes_down",
    "status",
    "trace_id",
    "detail",
    "instance",
    "client_name",
    "subject",
    "claims",
    "redirected_from",
    "count",
    "first_seen",
    "last_seen",
]


def parsed(event: Event) -> dict[str, object]:
    text = line(as_record(event))
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    return json.loads(text)


def test_a_line_has_every_documented_field_and_null_for_the_unknown() -> None:
    record = parsed(Event())
    assert list(record) == FIELDS
    assert record["schema_version"] == 1
    assert record["verdict"] == "deny"
    assert all(record[name] is None for name in ("group", "host", "rule", "lane", "ech", "bytes_up", "trace_id"))


def test_who_asked_is_bounded_and_harmless() -> None:
    """The issuer of a token chooses its subject and claims, and may be hostile or careless."""
    claims = (("job\x1b[31m" + "x" * 100, "a\u202eb" + "y" * 1000), ("ref", 7), ("protected", True), ("share", 0.5))
    many = tuple((f"c{number}", number) for number in range(100))
    record = parsed(Event(client_name="ci", subject="user:\x9b31m\ud800" + "z" * 1000, claims=(*claims, *many)))
    told = record["claims"]
    assert isinstance(told, dict)
    assert len(told) == 16
    assert [told["ref"], told["protected"], told["share"]] == [7, True, 0.5]
    texts = [record["client_name"], record["subject"], *told, told[next(iter(told))]]
    assert all(isinstance(text, str) and text.isprintable() and len(text) <= 256 for text in texts)


def test_values_come_out_as_they_were_given() -> None:
    rule = Rule(Pattern(PatternKind.BELOW, "example.com"), Place("outward.yaml", 12, 3))
    event = Event(
        time=1_763_719_200.1239, verdict=Verdict.ALLOW, reason=Reason.RULE, stage=Stage.TLS, lane=Lane.TUNNEL,
        host="a.example.com", port=443, rule=rule, ech=True, bytes_up=10, bytes_down=2**40, duration_ms=1.23456,
    )  # fmt: skip
    record = parsed(event)
    assert record["time"] == "2025-11-21T10:00:00.123Z"
    assert (record["verdict"], record["reason"], record["stage"], record["lane"]) == ("allow", "rule", "tls", "tunnel")
    assert record["rule"] == {"file": "outward.yaml", "line": 12, "pattern": "*.example.com"}
    assert (record["ech"], record["bytes_down"], record["duration_ms"]) == (True, 2**40, 1.235)


@pytest.mark.parametrize(
    "bad",
    ["\x1b[31m", "\r\n{}", "\x00", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u200b", "\ufeff", "\ud800", "\U000e0041"],
)  # fmt: skip
def test_nothing_that_is_obeyed_reaches_a_line(bad: str) -> None:
    event = Event(
        host=f"a{bad}b", path=f"/{bad}", sni=bad, user_agent=bad, method=bad, conversation=bad, client=bad, group=bad
    )
    text = line(as_record(event)).decode("utf-8").removesuffix("\n")
    assert text.isprintable()
    assert all(str(value).isprintable() for value in json.loads(text).values())


@given(st.text(st.characters()), st.integers(2, 40))
def test_clean_is_always_printable_bounded_and_stable(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert cleaned.isprintable()
    assert len(cleaned) <= limit
    assert clean(cleaned, limit) == cleaned
    cleaned.encode("utf-8")
    assert not {unicodedata.category(char) for char in cleaned} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_printable_text_of_any_script_stays_as_it_is() -> None:
    assert clean("größe 日本 🙂", 64) == "größe 日本 🙂"


def test_a_query_never_gets_into_a_line() -> None:
    assert parsed(Event(path="/search?q=secret#secret"))["path"] == "/search"


def test_user_information_in_a_malformed_host_never_gets_into_a_line() -> None:
    assert parsed(Event(host="alice:secret@example.com"))["host"] == "example.com"


def test_lengths_are_bounded_while_waiting_and_when_written() -> None:
    event = Event(path="/" + "a" * 70_000, user_agent="b" * 70_000, host="c" * 70_000, conversation="d" * 70_000)
    trim(event)
    assert max(len(event.path or ""), len(event.user_agent or ""), len(event.host or "")) <= 1025
    record = parsed(event)
    lengths = {name: len(str(record[name])) for name in ("path", "user_agent", "host", "conversation")}
    assert lengths == {"path": 1024, "user_agent": 256, "host": 256, "conversation": 256}


def test_trimming_bounds_what_an_issuer_says() -> None:
    """A token has 16 KiB, and events wait by the thousand."""
    event = Event(subject="s" * 9000, claims=(("job", "c" * 9000), ("id", 7), *((f"c{n}", n) for n in range(50))))
    trim(event)
    assert len(event.subject or "") == 257
    assert [len(str(value)) for _, value in event.claims[:2]] == [257, 1]
    assert len(event.claims) == 16
    record = parsed(event)
    assert (len(str(record["subject"])), str(record["subject"])[-1]) == (256, "…")


def test_trimming_a_long_host_keeps_its_user_information_out() -> None:
    event = Event(host="alice:" + "s" * 500 + "@example.com")
    trim(event)
    assert parsed(event)["host"] == "example.com"


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [each[:12] for each in ids] == sorted(each[:12] for each in ids)


TOP_LEVEL = [
    "id",
    "author_id",
    "author_name",
    "entity_id",
    "entity_type",
    "entity_path",
    "event_type",
    "ip_address",
    "target_id",
    "target_type",
    "target_details",
    "created_at",
    "details",
]
DETAILS = [
    "event_name",
    "vendor",
    "tool_type",
    "action",
    "request_domains",
    "effective_domains",
    "truncated",
    "search_count",
    "queries",
    "sources",
    "citations",
    "out_of_policy",
    "unverifiable",
    "incomplete",
]


def test_an_audit_event_has_the_streamed_shape() -> None:
    record = audit_record(AuditEvent(event_type="web_search_invoked", group="acme", target="chat-1"))
    assert list(record) == TOP_LEVEL
    assert set(DETAILS) <= set(record["details"])
    assert (record["entity_path"], record["target_details"]) == ("acme", "chat-1")


def test_audit_details_are_cleaned_and_bounded_at_every_depth() -> None:
    deep: object = "x"
    for _ in range(50):
        deep = [deep]
    details = {
        "queries": ["a\x1b[2J" * 2000] * 5000,
        "deep": deep,
        "sources": [{"url\u202e": "\ud800"}],
        "kept": [1] * 10,
    }
    record = audit_record(AuditEvent(event_type="web_search_invoked", details=details))["details"]
    assert [len(query) for query in record["queries"]] == [512] * 10
    whole = json.dumps(details["queries"], separators=(",", ":")).encode()
    assert (record["queries_count"], record["queries_sha256"]) == (5000, hashlib.sha256(whole).hexdigest())
    assert record["kept"] == [1] * 10
    assert "kept_count" not in record
    assert str(record).isprintable()
    assert len(str(record["deep"])) < 20


def test_a_record_is_made_once_and_a_copy_has_its_own() -> None:
    event = Event(host="a.test")
    assert recorded(event) is recorded(event)
    assert recorded(replace(event, host="b.test"))["host"] == "b.test"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-30T12:00:00.007Z", 1_796_040_000_007),
        ("2026-11-30T12:00:00Z", 1_796_040_000_000),
        ("2026-11-30T13:00:00.007+01:00", 1_796_040_000_007),
        ("2026-11-30T12:00:00.007999Z", 1_796_040_000_008),
    ],
)
def test_a_time_is_read_back_however_it_was_written(text: str, expected: int) -> None:
    assert milliseconds(text) == expected
