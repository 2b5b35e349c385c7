"""Webhooks: what they tell, signed and unlinked, that they are bounded, and that nobody waits for them."""

import hashlib
import hmac
import json
import re
import ssl
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import orjson
import pytest
import trustme

from harness.records import denied
from harness.sink import Sink
from harness.waiting import PATIENCE, wait_for
from outward.builders.sending import webhooks_of
from outward.config.load import load_text
from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.core.secrets import MisdirectedError
from outward.ops.buckets import Buckets
from outward.ops.metrics import Metrics
from outward.records.audit import values
from outward.records.audit.events import secret_used
from outward.records.database import migrate, open_database
from outward.records.events import store
from outward.records.events.values import as_record, new_id
from outward.records.sending.destination import Destination, secret_in
from outward.records.sending.webhooks import FORMATS, Hook, Notice, Webhooks, unlinked
from outward.records.state.requests import AccessRequest


class Counts:
    def __init__(self):
        self.of = Counter()

    def webhook(self, outcome):
        self.of[outcome] += 1


@pytest.fixture
def connect(tmp_path):
    database = open_database("sqlite", tmp_path)
    migrate(database)
    database.close()
    return lambda: open_database("sqlite", tmp_path)


@pytest.fixture
def make(connect):
    made = []

    def build(
        url, events=("request", "new_host"), form="json", secret=None, burst=10, retries=(0.01, 0.02), deadline=PATIENCE
    ):
        counts = Counts()
        hook = Hook(Destination(url, deadline=deadline), events, form, secret_in(secret), counts, retries=retries)
        found = Webhooks([hook], connect, Buckets(rate=0.0001, burst=burst), counts)
        made.append(found)
        return found, counts

    yield build
    for each in made:
        each.close()


@pytest.fixture
def switching():
    """Let threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def at_once(count, work, *args):
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work, *args) for _ in range(count)]:
            done.result()


def asked(host="new.example.org", group="acme/platform", **facts):
    return AccessRequest(
        facts.pop("id", new_id()), group, host, 443, None, None, False, "no_rule", 1, 0, 0, "10.0.0.1", "x",
        ("click http://evil.example/now",), **facts,
    )  # fmt: skip


def told(sink) -> list[dict]:
    return sink.taken


def test_a_request_is_told_without_a_word_of_who_asked(make, sink):
    hooks, counts = make(sink.url)
    request = asked()
    hooks.asked(request)
    wait_for(lambda: counts.of["sent"] == 1)
    (body,) = told(sink)
    assert body == {
        "event": "request", "id": request.id, "time": "1970-01-01T00:00:00.000Z", "group": "acme/platform",
        "host": "new[.]example[.]org", "port": 443, "reason": "no_rule",
    }  # fmt: skip
    assert hooks.problem is None


def test_a_chat_gets_code_that_it_makes_no_link_of(make, sink):
    hooks, counts = make(sink.url, form="slack")
    hooks.asked(asked("a" * 60 + ".example.org"))
    hooks.asked(asked("xn--e1afmkfd.example", group="acme"))
    wait_for(lambda: counts.of["sent"] == 2)
    for body in told(sink):
        assert set(body) == {"text"}
        assert "://" not in body["text"]
        assert not re.search(r"[a-z0-9]\.[a-z]", body["text"])
        assert "evil" not in body["text"]
    assert f"`{'a' * 60}" in told(sink)[0]["text"]


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/x",
        "a`b`<c>",
        "<http://evil.example|click>",
        "@channel",
        "*bold*",
        "x" * 500,
        "ä.example",
        "a\nb",
        "[a](http://b.example)",
        "a\u202eb",
    ],
)
def test_nothing_becomes_a_link_or_markup(text):
    found = unlinked(text)
    assert len(found) <= 64
    assert re.fullmatch(r"[A-Za-z0-9_/:?\[\].-]*", found)
    assert "://" not in found
    assert not re.search(r"(?<!\[)\.(?!\])(?!\.)[a-z]", found)


def test_a_notice_is_signed(make, sink, tmp_path):
    """By a secret that is read anew for each."""
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    hooks, counts = make(sink.url, secret=file)
    for secret in ("s3cret", "another"):
        file.write_text(f"{secret}\n")
        sent = counts.of["sent"]
        hooks.asked(asked())
        wait_for(lambda sent=sent: counts.of["sent"] == sent + 1)
        fields = {name.lower(): value for name, value in sink.requests[-1][0].items()}
        stamp, mac = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", fields["outward-signature"]).groups()
        body = json.dumps(told(sink)[-1], separators=(",", ":")) + "\n"
        assert mac == hmac.new(secret.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
        assert abs(int(stamp) - time.time()) < 60
    file.unlink()
    hooks.asked(asked())
    wait_for(lambda: counts.of["failed"] == 1)
    assert "secret cannot be read" in hooks.problem


def test_a_new_host_is_told_once_and_an_old_one_never(make, sink, connect):
    hooks, counts = make(sink.url)
    database = connect()
    with database.transaction():
        store.write(database, [as_record(denied("old.example", time=time.time() - 3600))])
    database.close()
    for host in ("old.example", "new.example", "new.example"):
        hooks.met(denied(host))
    hooks.met(denied("ended.example", reason=Reason.DENIED_BY_RULE))
    hooks.met(denied("fine.example", verdict=Verdict.ALLOW))
    hooks.met(denied("stranger.example", group=None))
    hooks.met(denied("last.example"))
    wait_for(lambda: counts.of["sent"] == 2)
    assert [body["host"] for body in told(sink)] == ["new[.]example", "last[.]example"]


def used(host="api.example", group="acme/platform"):
    return denied(host, group=group, verdict=Verdict.ALLOW, reason=Reason.RULE)


def test_a_secret_that_is_used_where_it_never_was_is_told_once(make, sink, connect):
    """Never its value, which nobody here has; what the audit log knows already is not told."""
    hooks, counts = make(sink.url, events=("secret_new_use",))
    record = values.as_record(secret_used("key", used("old.example")))
    database = connect()
    with database.transaction():
        database.execute(
            "INSERT INTO audit_events (chain, seq, hash, signature, body, id, time_ms, event_type, group_path, target)"
            " VALUES ('c', 1, '', '', ?, 'i', 1000, 'secret_used', 'acme/platform', 'key')",
            (orjson.dumps(record, option=orjson.OPT_SORT_KEYS).decode(),),
        )
    database.close()
    for host in ("old.example", "new.example", "new.example"):
        hooks.used("key", used(host))
    hooks.used("other", used("old.example"))
    hooks.used("key", used("stranger.example", group=None))
    hooks.met(denied("blocked.example"))
    wait_for(lambda: counts.of["sent"] == 2)
    assert [(body["event"], body["secret"], body["host"]) for body in told(sink)] == [
        ("secret_new_use", "key", "new[.]example"),
        ("secret_new_use", "other", "old[.]example"),
    ]


def test_a_new_use_is_told_in_a_chat_too(make, sink):
    hooks, counts = make(sink.url, events=("secret_new_use",), form="slack")
    hooks.used("key", used("new.example"))
    wait_for(lambda: counts.of["sent"] == 1)
    text = told(sink)[0]["text"]
    assert text.startswith("`acme/platform` used the secret `key` for the first time at `new[.]example` port 443")


@pytest.mark.parametrize("form", ["json", "slack"])
def test_a_placeholder_that_was_refused_is_told_once_an_hour(make, sink, form):
    """By secret, group and host; also a credential that is no placeholder, and nobody's that has no group."""
    hooks, counts = make(sink.url, events=("secret_misdirected",), form=form)

    def refused(host, secret, **facts):
        detail = str(MisdirectedError("the URL", secret))
        return denied(host, reason=Reason.SECRET_MISDIRECTED, detail=detail, time=7200.0, **facts)

    for host, secret in (("a.example", "key"), ("a.example", "key"), ("a.example", None), ("b.example", "key")):
        hooks.met(refused(host, secret))
    hooks.met(refused("c.example", "key", group=None))
    hooks.met(denied("d.example"))
    wait_for(lambda: counts.of["sent"] == 3)
    if form == "json":
        found = [(body["event"], body.get("secret"), body["host"]) for body in told(sink)]
        event = "secret_misdirected"
        assert found == [(event, "key", "a[.]example"), (event, None, "a[.]example"), (event, "key", "b[.]example")]
    else:
        assert told(sink)[0]["text"].startswith("`acme/a` sent the placeholder of the secret `key` where it")
        assert told(sink)[1]["text"].startswith("`acme/a` sent a credential of its own where a secret is set, to `a")


def test_a_flood_is_limited_by_group(make, sink):
    hooks, counts = make(sink.url, burst=3)
    for number in range(50):
        hooks.asked(asked(f"h{number}.example"))
    hooks.asked(asked(group="other"))
    wait_for(lambda: counts.of["sent"] == 4)
    assert counts.of["dropped"] == 47


def test_notices_at_once_start_one_thread(switching):
    started = Barrier(8)

    def offer(hook):
        started.wait()
        hook.offer(Notice("request", "0" * 32, "a", "b.example", 443, "no_rule", 0.0), lambda: False)

    for _ in range(50):
        hook = Hook(Destination("http://127.0.0.1:9/", deadline=2.0), ("request",), "json", lambda: None, Counts())
        before = {each for each in threading.enumerate() if each.name == "outward-webhook"}
        at_once(8, offer, hook)
        running = {each for each in threading.enumerate() if each.name == "outward-webhook"} - before
        hook.close()
        assert len(running) == 1


def test_who_asks_at_once_gets_no_more_than_the_bucket_holds(switching):
    bucket, taken = Buckets(rate=0.0, burst=100), []
    at_once(8, lambda: taken.extend(bucket.take("a") for _ in range(2000)))
    assert taken.count(True) == 100


def test_a_refusal_is_tried_again_with_bounds(make, sink):
    hooks, counts = make(sink.url)
    sink.answers.extend([(500, {}), (503, {})])
    hooks.asked(asked())
    wait_for(lambda: counts.of["sent"] == 1)
    assert len(sink.requests) == 3
    sink.answers.extend([(500, {})] * 3)
    hooks.asked(asked(group="other"))
    wait_for(lambda: counts.of["failed"] == 1)
    assert len(sink.requests) == 6
    assert "it answered 500" in hooks.problem
    hooks.asked(asked(group="third"))
    wait_for(lambda: counts.of["sent"] == 2)
    assert hooks.problem is None


def test_a_redirect_leads_nowhere(make, sink):
    other = Sink()
    try:
        hooks, counts = make(sink.url)
        sink.answers.extend([(307, {"Location": other.url})] * 3)
        hooks.asked(asked())
        wait_for(lambda: counts.of["failed"] == 1)
        assert other.requests == []
    finally:
        other.stop()


def test_an_endpoint_that_hangs_holds_up_nobody(make, sink):
    hooks, counts = make(sink.url, burst=1000)
    sink.answers.extend([(0, {})] * 3)
    for number in range(300):  # none of them ends if each waits for the endpoint
        hooks.asked(asked(f"h{number}.example"))
    assert counts.of["dropped"] >= 99
    hooks.close()


def test_tls_is_verified_by_upstream_trust(tmp_path: Path):
    """The operator's roots, and no others."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    sink = Sink(context)
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "others.pem")
    try:
        for roots, outcome in (("roots.pem", "sent"), ("others.pem", "connection")):
            text = f"""
version: 1
server: {{state: "{tmp_path}"}}
upstream: {{trust: ["{tmp_path / roots}"]}}
webhooks: [{{url: "{sink.url}", events: [request]}}]
"""
            loaded = load_text(text, env={})
            metrics = Metrics()
            hooks = webhooks_of(loaded.settings, metrics)
            hooks.asked(asked())
            if outcome == "sent":
                wait_for(lambda: sink.taken)
            else:
                wait_for(lambda hooks=hooks: hooks.problem)
                assert "CERTIFICATE_VERIFY_FAILED" in hooks.problem
                assert len(sink.taken) == 1
            hooks.close()
    finally:
        sink.stop()


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("{url: 'https://chat.example/hook'}", []),
        ("{url: 'http://chat.example/hook'}", ["W118"]),
        ("{url: 'http://169.254.169.254/latest', events: [request]}", ["W118", "E007"]),
        ("{url: 'https://[fd00:ec2::254]/'}", ["E007"]),
        ("{url: 'https://[::ffff:169.254.169.254]/'}", ["E007"]),
        ("{url: 'https://u:p@chat.example/'}", ["E007"]),
        ("{url: 'ftp://chat.example/'}", ["E007"]),
        ("{url: 'https://chat.example/', events: [everything]}", ["E007"]),
        ("{url: 'https://chat.example/', format: html}", ["E007"]),
        ("{url: 'https://chat.example/', secret_file: /nowhere}", ["E022"]),
        ("{url: 'https://chat.example/', secret: x}", ["E005"]),
        ("{events: [request]}", ["E006"]),
    ],
)
def test_what_the_configuration_may_say(entry, found):
    loaded = load_text(
        f"version: 1\ngroups: {{a: {{}}}}\nclients: [{{group: a, anyone: true}}]\nwebhooks: [{entry}]\n", env={}
    )
    assert sorted(each.ident for each in loaded.findings if each.ident != "W105") == sorted(found)


@pytest.mark.parametrize("url", ["https://[x", "https://u:hunter2\u2100@chat.example/"])
def test_a_url_that_is_none_is_not_repeated(url):
    loaded = load_text(f"version: 1\nwebhooks: [{{url: '{url}'}}]\n", env={})
    (found,) = [each for each in loaded.findings if each.ident == "E007"]
    assert "expected `https://host/path`" in found.message
    assert "hunter2" not in found.message


def test_every_format_is_known():
    notice = Notice("request", "0" * 32, "a", "b.example", 443, "no_rule", 0.0)
    assert {name: type(form(notice)) for name, form in FORMATS.items()} == {"json": dict, "slack": dict}
