"""What `serve` shows on a terminal."""

import pytest

from outward.cli import serve

EVENT = {
    "time": "2026-11-30T12:34:56.789Z",
    "verdict": "deny",
    "would_deny": False,
    "reason": "no_rule",
    "would_reason": None,
    "group": "acme/dev",
    "method": "GET",
    "host": "evil.test",
    "port": 8443,
    "path": "/a\x1b",
}


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, "12:34:56  denied    acme/dev  GET evil.test:8443/a\\u001b  no_rule"),
        (
            {"verdict": "allow", "reason": "rule", "port": 443, "path": "/"},
            "12:34:56  allowed   acme/dev  GET evil.test/",
        ),
        (
            {"verdict": "allow", "reason": "report_only", "would_deny": True, "would_reason": "no_rule", "path": None},
            "12:34:56  reported  acme/dev  GET evil.test:8443  no_rule",
        ),
        (
            {"time": None, "last_seen": "2026-11-30T12:35:00.000Z", "repeats_of": "01", "count": 3, "host": None},
            "12:35:00  3 more    acme/dev  GET -:8443/a\\u001b  no_rule",
        ),
        ({"scheme": "http", "port": 80}, "12:34:56  denied    acme/dev  GET evil.test/a\\u001b  no_rule"),
        (
            {"group": None, "method": None, "host": None, "port": None, "path": None},
            "12:34:56  denied    -  -  no_rule",
        ),
    ],
)
def test_an_event_is_a_line_for_people(more: dict[str, object], shown: str):
    assert serve._for_people(EVENT | more) == f"{shown}\n".encode()


def test_colour_tells_what_was_denied(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serve, "has_colour", lambda: True)
    assert serve._for_people(EVENT).startswith(b"\x1b[31m12:34:56")
