"""Decisions as OpenTelemetry logs, at a real receiver: none lost, doubled ones marked, no request delayed."""

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.collector import Collector
from harness.process import Served
from harness.records import Counts, denied
from harness.sink import Sink
from harness.waiting import PATIENCE, wait_for
from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.records.events.recorder import Recorder
from outward.records.events.spill import Spill
from outward.records.events.values import Event
from outward.records.sending import export as exporting
from outward.records.sending.destination import Destination, headers_in
from outward.records.sending.export import Export
from outward.records.sending.otlp import Otlp


class Told(Counts):
    """Counts as the metrics do, those of exports too."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, int] = {}
        self.failures: list[str] = []

    def exported(self, export: str, outcome: str, count: int) -> None:
        assert export == "otlp"
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count

    def export_failed(self, export: str, reason: str) -> None:
        assert export == "otlp"
        self.failures.append(reason)


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.release.set()
    running.stop()


@contextmanager
def exporting_to(collector: Collector, state: Path, counts: Told, **options: Any) -> Iterator[Recorder]:
    bound = options.pop("spool", 64 << 20)
    export = Export(
        "otlp",
        Otlp("gateway-1", {"OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=agents%20one"}),
        Destination(collector.url),
        Spill(state / "export", max_bytes=bound),
        counts,
        retries=(0.02, 0.1),
        **options,
    )
    recorder = Recorder("sqlite", state, counts, retention=30 * 86_400.0, exports=[export])
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.close(10)


def allowed(host: str, **facts: Any) -> Event:
    return denied(host, verdict=Verdict.ALLOW, reason=Reason.RULE, **facts)


def send(recorder: Recorder, count: int) -> set[str]:
    events = [allowed(f"h{number}.example") for number in range(count)]
    for event in events:
        recorder.record(event)
    return {event.id for event in events}


def test_names_follow_the_conventions_and_repeats_are_counted(collector: Collector, tmp_path: Path) -> None:
    with exporting_to(collector, tmp_path, counts := Told()) as recorder:
        event = denied("a.example", method="GET", path="/x?secret=1", trace_id="ab" * 16)
        recorder.record(event)
        for _ in range(4):
            recorder.record(denied("a.example", path="/x", conversation=event.conversation))
        wait_for(lambda: collector.taken)
    wait_for(lambda: counts.outcomes == {"sent": 2})
    first, rest = collector.taken
    assert (
        first
        | {
            "log.record.uid": event.id,
            "server.address": "a.example",
            "server.port": "443",
            "client.address": "10.0.0.1",
            "http.request.method": "GET",
            "url.path": "/x",
            "gen_ai.conversation.id": event.conversation,
            "outward.verdict": "deny",
            "outward.group": "acme/a",
            "body": "deny no_rule GET a.example:443",
            "severity": "WARN",
        }
        == first
    )
    assert (rest["outward.repeats_of"], rest["outward.count"]) == (event.id, "4")
    assert rest["log.record.uid"] != event.id
    (resource, *_) = collector.resources
    assert (resource["service.name"], resource["service.instance.id"]) == ("outward", "gateway-1")
    assert resource["k8s.namespace.name"] == "agents one"


def test_a_receiver_that_is_away_slow_or_failing_loses_nothing(collector: Collector, tmp_path: Path) -> None:
    """It is away at first, answers 429, 500 and 503, hangs, takes a batch and drops the connection, and goes again."""
    collector.stop()
    with exporting_to(collector, tmp_path, counts := Told()) as recorder:
        (export,) = recorder.exports
        sent = send(recorder, 300)
        wait_for(lambda: export.problem and export.waiting)
        assert export.lag() > 0
        collector.answer(429, {"Retry-After": "0"})
        for status in (500, 503, -1, 401):
            collector.answer(status)
        collector.start()
        wait_for(lambda: collector.uids >= sent)
        collector.answer(0)
        sent |= send(recorder, 200)
        wait_for(lambda: not collector.answers)
        sent |= send(recorder, 200)
        collector.release.set()
        wait_for(lambda: collector.uids >= sent)
        collector.stop()
        wait_for(lambda: counts.outcomes["sent"] == 700)
        sent |= send(recorder, 100)
    assert "dropped" not in counts.outcomes
    collector.start()
    with exporting_to(collector, tmp_path, counts := Told()):
        wait_for(lambda: collector.uids == sent and counts.outcomes == {"sent": 100})
    assert len(collector.taken) > len(sent)  # those whose answer was lost came twice, each with the id that it had


def test_a_slow_answer_is_waited_for_as_long_as_it_asks(collector: Collector, tmp_path: Path) -> None:
    collector.answer(429, {"Retry-After": "1"})
    with exporting_to(collector, tmp_path, counts := Told()) as recorder:
        begun = time.monotonic()
        send(recorder, 1)
        wait_for(lambda: collector.taken)
        assert time.monotonic() - begun >= 1
        assert counts.failures == ["status"]


def test_what_a_receiver_rejects_is_counted_and_the_rest_arrives(collector: Collector, tmp_path: Path) -> None:
    """By a partial success, or by refusing the whole request until what it cannot take stands alone."""
    collector.answer(200, rejected=(3, "too old"))
    with exporting_to(collector, tmp_path, counts := Told()) as recorder:
        send(recorder, 10)
        wait_for(lambda: counts.outcomes == {"rejected": 3, "sent": 7})
        collector.poison.add("bad.example")
        recorder.record(allowed("bad.example"))
        sent = send(recorder, 20)
        wait_for(lambda: counts.outcomes == {"rejected": 4, "sent": 27})
        assert collector.uids >= sent
    assert len(collector.requests) > 2


def test_what_a_receiver_says_is_told_once_short_and_printable(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for why in ("\x9b2J" + "A" * 9000, "\x9b2J" + "A" * 9000, "too old"):
        collector.answer(200, rejected=(-5, why))
    with exporting_to(collector, tmp_path, counts := Told()) as recorder:
        for number in range(1, 4):
            send(recorder, 1)
            wait_for(lambda number=number: counts.outcomes == {"rejected": 0, "sent": number})  # type: ignore[misc]
    told = [entry.getMessage() for entry in caplog.records if "for good" in entry.getMessage()]
    assert [len(each) < 300 and each.isprintable() for each in told] == [True, True]


def test_what_a_disk_made_of_a_line_delays_nothing(collector: Collector, tmp_path: Path) -> None:
    """What is no record is dropped, and what cannot be encoded is refused, alone."""
    spool = Spill(tmp_path / "export")
    spool.append([b"5\n", b'{"time": 5}\n', b"[]\n"])
    spool.close()
    with exporting_to(collector, tmp_path, counts := Told()) as recorder:
        send(recorder, 3)
        wait_for(lambda: counts.outcomes.get("sent") == 3)
        assert counts.outcomes["rejected"] == 1
        assert counts.outcomes["dropped"] >= 2


def test_an_error_names_no_password() -> None:
    assert Destination("http://user:pass@logs.example:4318/v1").name == "logs.example:4318"


def test_a_full_disk_drops_loudly_and_strangers_first(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collector.stop()
    with exporting_to(collector, tmp_path, counts := Told(), spool=200_000) as recorder:
        (export,) = recorder.exports
        sources = itertools.count()
        while "dropped" not in counts.outcomes:
            export._keep([denied("s.example", group=None, client=f"source {next(sources)}") for _ in range(5)])
        kept = [allowed("g.example") for _ in range(60)]
        export._keep(list(kept))
        assert {event.id for event in kept} <= _waiting(tmp_path)
        assert counts.outcomes == {"dropped": 5}
        for _ in range(3):
            export._keep([allowed("g.example") for _ in range(60)])
        assert counts.outcomes["dropped"] > 5  # at the bound, groups' too
    assert "keeps nothing more" in caplog.text
    collector.start()


def _waiting(state: Path, folder: str = "export") -> set[str]:
    text = b"".join(path.read_bytes() for path in (state / folder).glob("spill-*.jsonl"))
    return {line.split(b'"id":"')[1][:32].decode() for line in text.splitlines() if b'"id":"' in line}


def test_header_fields_are_read_anew(collector: Collector, tmp_path: Path) -> None:
    file = tmp_path / "headers"

    def write(text: str) -> None:
        (new := tmp_path / "new").write_text(text)
        new.replace(file)

    write("Authorization: Bearer one\n\nX-Tenant: acme\n")
    with exporting_to(collector, tmp_path, counts := Told(), headers=headers_in(file)) as recorder:
        send(recorder, 1)
        wait_for(lambda: collector.requests)
        write("nonsense\n")
        send(recorder, 1)
        wait_for(lambda: "headers" in counts.failures)
        write("Authorization: Bearer two\n")
        wait_for(lambda: len(collector.requests) == 2)
    first, second = (headers for headers, _ in collector.requests)
    assert (first["authorization"], first["x-tenant"], second["authorization"]) == ("Bearer one", "acme", "Bearer two")
    assert (first["content-type"], first["content-encoding"]) == ("application/x-protobuf", "gzip")


def test_served_decisions_arrive_over_a_kill(collector: Collector, tmp_path: Path) -> None:
    """The proxy is killed while the receiver is away; its successor sends what it left. A SIEM gets the denial too."""
    siem = Sink()
    config = tmp_path / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{tmp_path / 'state'}'}}\n"
        f"records: {{keep: denials, export: {{otlp: 'http://127.0.0.1:{collector.port}'}},"
        f" audit_stream: {{url: '{siem.url}', token_env: TOKEN, denials: true}}}}\n"
        "groups: {acme: {allow: [a.example]}}\nclients: [{group: acme, anyone: true}]\n"
    )
    collector.stop()
    served = Served(config, TOKEN="a secret")
    try:
        assert "403" in served.answer("blocked.example")
        wait_for(lambda: _waiting(tmp_path / "state", "export-otlp"))
        wait_for(lambda: "export_otlp" in served.get("/readyz")[1] or 'outcome="sent"' in served.get("/metrics")[1])
        assert served.get("/readyz")[0] == 200
        os.kill(served.process.pid, signal.SIGKILL)
        served.process.wait(PATIENCE)
    finally:
        served.end()
    collector.start()
    served = Served(config, TOKEN="a secret")
    try:
        wait_for(lambda: collector.taken)
        wait_for(lambda: 'outward_export_records_total{export="otlp",outcome="sent"} 1.0' in served.get("/metrics")[1])
        assert collector.taken[0]["server.address"] == "blocked.example"
        denial, *_ = wait_for(
            lambda: [each for each in siem.taken if each.get("class_uid")]
        )  # twice, by chance of the kill
        assert (denial["dst_endpoint"]["hostname"], denial["action_id"]) == ("blocked.example", 2)
        assert siem.requests[0][0]["x-gitlab-event-streaming-token"] == "a secret"
    finally:
        served.end()
        siem.stop()


def test_what_waits_is_bounded_in_memory(collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs costs records of the export, which are counted; what is recorded goes on."""
    monkeypatch.setattr(exporting, "CAPACITY", 100)
    with exporting_to(collector, tmp_path, counts := Told()) as recorder:
        (export,) = recorder.exports
        with export._spool._lock:
            wait_for(lambda: send(recorder, 50) and counts.outcomes.get("dropped"))
        wait_for(lambda: counts.outcomes.get("sent"))
