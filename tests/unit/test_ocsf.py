"""Denials as OCSF events, held against the schema that OCSF publishes."""

from typing import Any

import jsonschema
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from harness.records import denied
from outward.core.model import Pattern, PatternKind, Place, Rule, Verdict
from outward.core.reasons import Reason
from outward.records.events.values import Event, as_record, repeats_of
from outward.records.sending.ocsf import VERSION, event_of


@pytest.fixture(scope="module")
def schemas() -> dict[int, Any]:
    ocsf = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    return {
        number: jsonschema.Draft202012Validator(ocsf.get_class_schema(class_name=name, profiles=["security_control"]))
        for number, name in ((4001, "network_activity"), (4002, "http_activity"))
    }


RULE = Rule(Pattern(PatternKind.EXACT, "gist.example"), Place("/etc/outward/outward.yaml", 7))
WHOLE = {
    "method": "GET", "scheme": "https", "path": "/x", "rule": RULE, "reason": Reason.DENIED_BY_RULE, "status": 403,
    "generation": "0123", "user_agent": "curl/8", "address": "192.0.2.7", "subject": "alice", "client_name": "agents",
    "claims": (("job", "7"),), "detail": "why", "trace_id": "ab" * 16,
}  # fmt: skip
CASES: dict[str, tuple[int, Event]] = {
    "a request": (4002, denied("gist.example", **WHOLE)),
    "a request of an odd method": (4002, denied("gist.example", **{**WHOLE, "method": "BREW"})),
    "a connection": (4001, denied("gist.example", method="CONNECT", status=403)),
    "an address": (4001, denied("2001:db8::1")),
    "what nobody could read": (4001, Event(group=None)),
    "a client without an address": (4001, denied(client="unix socket", group=None)),
    "report mode": (4001, denied(verdict=Verdict.ALLOW, reason=Reason.REPORT_ONLY, would_deny=True)),
    "repeats": (4002, denied("gist.example", **WHOLE, count=9, last_seen=2e9)),
}


@pytest.mark.parametrize("name", CASES)
def test_events_are_as_published(schemas: dict[int, Any], name: str) -> None:
    number, event = CASES[name]
    found = event_of(as_record(event))
    assert found["class_uid"] == number
    assert [error.message for error in schemas[number].iter_errors(found)] == []
    assert found["metadata"]["uid"] == event.id
    told = event_of(repeats_of(event, 4))
    assert [error.message for error in schemas[told["class_uid"]].iter_errors(told)] == []
    assert told["metadata"]["uid"] != event.id
    assert (told["metadata"]["correlation_uid"], told["count"]) == (event.id, 4)


def test_what_happened_is_told(schemas: dict[int, Any]) -> None:
    found = event_of(as_record(CASES["a request"][1]))
    assert (found["activity_id"], found["action_id"], found["status_code"]) == (3, 2, "denied_by_rule")
    assert found["http_request"]["url"] == {"hostname": "gist.example", "port": 443, "path": "/x", "scheme": "https"}
    assert found["src_endpoint"] == {"ip": "10.0.0.1", "owner": {"uid": "alice", "name": "agents"}}
    assert found["firewall_rule"] == {"name": "gist.example", "uid": "/etc/outward/outward.yaml:7"}
    broken = {**found, "time": "yesterday"}
    assert list(schemas[4002].iter_errors(broken))  # the schema does refuse what is wrong
