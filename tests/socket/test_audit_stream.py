"""The audit stream: whatever the destination does, every audit event arrives, in order; nobody else gets any."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from harness.sink import Sink
from harness.waiting import PATIENCE, wait_for
from outward.config.settings import AuditStreamSettings as Settings
from outward.records.audit.chain import Chain
from outward.records.audit.stream import AuditStream
from outward.records.audit.values import AuditEvent, as_record
from outward.records.database import Database, migrate, open_database
from outward.records.sending.destination import Destination, secret_of, trusting


class Counts:
    """Counts as the metrics do."""

    def __init__(self) -> None:
        self.sent = 0
        self.failed: list[str] = []

    def audit_sent(self, count: int) -> None:
        self.sent += count

    def audit_failed(self, reason: str) -> None:
        self.failed.append(reason)


class Log:
    """A chain that rows are appended to, and streams of it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.ids: list[str] = []
        self.database: Database = open_database(url, folder)
        migrate(self.database)
        self._chain = Chain(folder)
        self._streams: list[AuditStream] = []

    def append(self, count: int = 1, message: str = "") -> None:
        """Append rows in one transaction."""
        events = [AuditEvent(event_type="web_search_invoked", group="acme", message=message) for _ in range(count)]
        self.ids += [event.id for event in events]
        with self.database.transaction():
            head = self._chain.append(self.database, [as_record(event) for event in events])
        self._chain.save(head)

    def stream(
        self,
        sink: Sink,
        counts: Counts | None = None,
        *,
        batch: int = 100,
        deadline: float = PATIENCE,
        **options: object,
    ) -> AuditStream:
        """Start a stream to a sink, with short waits between tries; where the sink hangs, with a short `deadline` too."""
        destination = Destination(sink.url, deadline=deadline, **options)  # type: ignore[arg-type]
        stream = AuditStream(
            destination,
            lambda: open_database(self.url, self.folder),
            counts or Counts(),
            batch=batch,
            retries=(0.02, 0.1),
        )
        stream.start()
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        for stream in self._streams:
            stream.close(5)
        self.database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    made = Log(request.getfixturevalue("server").url if request.param == "postgres" else "sqlite", tmp_path)
    yield made
    made.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Log]:
    made = Log("sqlite", tmp_path)
    yield made
    made.close()


def test_no_row_is_lost_while_the_destination_fails_hangs_and_restarts(log: Log, sink: Sink) -> None:
    """Nor while the proxy restarts; rows come in their order, and no fewer than there are."""
    sink.answers.extend([(500, {}), (200, {}), (429, {"Retry-After": "0"}), (0, {}), (302, {"Location": sink.url})])
    first = log.stream(sink, batch=7, deadline=0.3)
    for _ in range(10):
        log.append(13)
    wait_for(lambda: len(sink.ids) >= 60)
    sink.stop()
    log.append(50)
    first.close(0.2)
    log.append(20)
    second = log.stream(sink, batch=7, deadline=0.3)
    wait_for(lambda: second.pending >= 70)
    assert second.lag() > 0
    sink.start()
    wait_for(lambda: len(sink.ids) == 200)
    assert sink.ids == log.ids
    wait_for(lambda: (second.pending, second.lag()) == (0, 0.0))


def test_what_was_taken_is_not_sent_again(log: Log, sink: Sink) -> None:
    log.append(30)
    first = log.stream(sink)
    wait_for(lambda: len(sink.taken) == 30)
    first.close(5)
    log.append(5)
    log.stream(sink)
    wait_for(lambda: len(sink.taken) >= 35)
    assert [event["id"] for event in sink.taken] == log.ids


def test_an_answer_that_is_lost_is_asked_for_again(plain: Log, sink: Sink) -> None:
    """At least once: the destination may have what it did not confirm."""
    plain.append(3)
    sink.answers.append((0, {}))
    plain.stream(sink, counts := Counts(), deadline=1.0)
    wait_for(lambda: counts.sent == 3)
    assert {count for _, count in sink.requests} == {3}
    assert len(sink.requests) == 1 + len(counts.failed)
    assert set(counts.failed) == {"timeout"}


def test_one_of_several_proxies_delivers(log: Log, sink: Sink) -> None:
    """The next one takes over where it ends; no row is sent twice."""
    counts = [Counts(), Counts()]
    streams = [log.stream(sink, each) for each in counts]
    log.append(10)
    wait_for(lambda: sum(each.sent for each in counts) == 10)
    assert sorted(each.sent for each in counts) == [0, 10]
    streams[0 if counts[0].sent else 1].close(5)
    log.append(10)
    wait_for(lambda: len(sink.ids) == 20)
    assert [event["id"] for event in sink.taken] == log.ids


def test_chains_of_several_proxies_are_all_delivered(log: Log, sink: Sink, tmp_path: Path) -> None:
    """Each in its own order, none waiting for another's end."""
    other = Log(log.url if log.url != "sqlite" else f"sqlite:///{log.folder}/records.sqlite", tmp_path / "other")
    for _ in range(5):
        log.append(10)
        other.append(10)
    log.stream(sink, batch=10)
    wait_for(lambda: len(sink.ids) == 100)
    for each in (log, other):
        assert [ident for ident in sink.ids if ident in set(each.ids)] == each.ids
    assert not {sink.ids[0], sink.ids[10]} <= set(log.ids)
    other.close()


def test_one_event_in_a_request_has_gitlabs_form(plain: Log, sink: Sink) -> None:
    """With `batch: 1` a receiver of GitLab's audit streams understands it: one JSON object, and its two headers."""
    plain.append(2)
    plain.stream(sink, batch=1, token=lambda: "s3cret")
    wait_for(lambda: len(sink.taken) == 2)
    for headers, count in sink.requests:
        assert count == 1
        assert headers["content-type"] == "application/json"
        assert headers["x-gitlab-event-streaming-token"] == "s3cret"
        assert headers["x-gitlab-audit-event-type"] == "web_search_invoked"
    assert len(sink.taken[0]) == 13


def test_several_events_in_a_request_are_lines(plain: Log, sink: Sink) -> None:
    plain.append(250)
    plain.stream(sink)
    wait_for(lambda: len(sink.taken) == 250)
    assert [count for _, count in sink.requests] == [100, 100, 50]
    assert sink.requests[0][0]["content-type"] == "application/x-ndjson"
    assert "x-gitlab-audit-event-type" not in sink.requests[0][0]


def test_a_destination_that_finds_a_request_too_large_gets_smaller_ones(plain: Log, sink: Sink) -> None:
    plain.append(20)
    sink.answers.extend([(413, {}), (413, {})])
    plain.stream(sink, batch=20)
    wait_for(lambda: len(sink.ids) == 20)
    assert [count for _, count in sink.requests] == [20, 10, 5, 5, 5, 5]


def test_requests_grow_again_once_enough_of_them_were_taken(plain: Log, sink: Sink) -> None:
    """One bad hour at the destination does not cost a request for each event for ever."""
    plain.append(200)
    sink.answers.extend([(413, {}), (413, {})])
    plain.stream(sink, batch=8)
    wait_for(lambda: len(sink.ids) == 200)
    counts = [count for _, count in sink.requests]
    assert counts[:3] == [8, 4, 2]
    assert counts[2:18] == [2] * 16
    assert counts[18:34] == [4] * 16
    assert counts[34] == 8
    assert sink.ids == plain.ids


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_event_that_is_refused_by_itself_is_named_and_holds_its_own_chain_only(
    plain: Log, sink: Sink, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """What stands before it is delivered; what follows it waits, and arrives in order once it is taken."""
    other = Log(f"sqlite:///{plain.folder}/records.sqlite", tmp_path / "other")
    plain.append(20)
    bad = plain.ids[9]
    sink.refused[bad] = status
    stream = plain.stream(sink, counts := Counts(), batch=16)
    wait_for(lambda: stream.problem)
    assert sink.ids == plain.ids[:9]
    assert bad in (stream.problem or "")
    assert str(status) in (stream.problem or "")
    assert [each.levelname for each in caplog.records if bad in each.getMessage()] == ["ERROR"]
    other.append(50)
    wait_for(lambda: len(sink.ids) == 59)
    wait_for(lambda: counts.failed.count("refused") >= 3)
    wait_for(lambda: stream.pending == 11)
    assert stream.lag() > 0
    sink.refused.clear()
    wait_for(lambda: len(sink.ids) == 70)
    assert [ident for ident in sink.ids if ident in set(plain.ids)] == plain.ids
    wait_for(lambda: stream.problem is None)
    other.close()


def test_long_events_make_small_batches(plain: Log, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outward.records.audit.stream.MAX_BYTES", 5000)
    plain.append(6, "x" * 2000)
    plain.stream(sink)
    wait_for(lambda: len(sink.ids) == 6)
    assert max(count for _, count in sink.requests) == 1


def test_the_destination_says_when_to_come_back(plain: Log, sink: Sink) -> None:
    plain.append()
    sink.answers.append((503, {"Retry-After": "1"}))
    began = time.monotonic()
    plain.stream(sink)
    wait_for(lambda: sink.ids == plain.ids)
    assert time.monotonic() - began >= 1


def test_waits_grow_to_a_bound_and_are_spread(plain: Log, sink: Sink) -> None:
    stream = AuditStream(Destination(sink.url), lambda: plain.database, counts := Counts(), retries=(1.0, 60.0))
    waits = [stream._retry("status", 0.0) for _ in range(40)]
    assert all(min(60, 2**number) / 2 <= wait <= min(60, 2**number) for number, wait in enumerate(waits))
    assert len(set(waits[10:])) > 10
    assert len(counts.failed) == 40
    assert stream._retry("status", 90.0) == 90
    assert stream._retry("status", 1e9) == 3600


def test_nothing_is_sent_through_a_proxy_or_to_where_a_redirect_points(
    plain: Log, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is for the configured destination."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    elsewhere = Sink()
    plain.append()
    sink.answers.append((307, {"Location": elsewhere.url}))
    plain.stream(sink)
    wait_for(lambda: sink.ids == plain.ids)
    assert elsewhere.requests == []
    elsewhere.stop()


def test_tls_is_verified_with_the_operators_trust(plain: Log, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    sink = Sink(context)
    plain.append()
    wary = plain.stream(sink, counts := Counts())
    wait_for(lambda: counts.failed)
    wary.close(5)
    assert sink.requests == []
    plain.stream(sink, context=lambda: trusting([str(tmp_path / "ca.pem")]))
    wait_for(lambda: sink.ids == plain.ids)
    sink.stop()


def test_a_token_file_is_read_for_each_request(plain: Log, sink: Sink, tmp_path: Path) -> None:
    """So that it can be rotated; while it cannot be read, nothing is sent without it."""
    (tmp_path / "token").write_text("old\n")
    plain.append()
    plain.stream(sink, counts := Counts(), token=secret_of(Settings(sink.url, token_file=tmp_path / "token"), {}))
    wait_for(lambda: len(sink.ids) == 1)
    (tmp_path / "token").write_text("")
    plain.append()
    wait_for(lambda: "token" in counts.failed)
    (tmp_path / "token").write_text("new\n")
    wait_for(lambda: len(sink.ids) == 2)
    assert [headers["x-gitlab-event-streaming-token"] for headers, _ in sink.requests] == ["old", "new"]
