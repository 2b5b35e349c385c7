"""Who used which secret: from the audit log; and placeholders that go by in bodies."""

import os
import random
from collections import Counter
from dataclasses import replace
from itertools import count
from unittest import mock

import orjson
import pytest

from outward.config.settings import SecretEntry
from outward.proxy import secrets as subject
from outward.proxy.secrets import Lookout, SecretError, Secrets
from outward.records.audit.events import secret_used
from outward.records.audit.values import SECRET_USED, as_record
from outward.records.database import migrate, open_database
from outward.records.events.values import Event
from outward.records.state.uses import UsesQuery, used_before, uses

HOUR = 3600.0


class Counts:
    def __init__(self):
        self.bodies = Counter()

    def secret_used(self, secret):
        raise AssertionError(secret)

    def secret_misdirected(self, secret):
        raise AssertionError(secret)

    def secret_in_body(self, secret):
        self.bodies[secret] += 1


@pytest.fixture
def database(tmp_path):
    found = open_database("sqlite", tmp_path)
    migrate(found)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"has\nits own line 2", "holds what no header can hold"),
        (b"the-value\0-0123", "holds what no header can hold"),
        (b"the-value-0123\x7f", "holds what no header can hold"),
        ("the-value-é-0123".encode(), "cannot be read: it is not ASCII"),
        (b" the-value-0123", "begins or ends with a blank"),
        (b"the-value-0123 \n", "begins or ends with a blank"),
        (b"short", "fewer than 8 characters"),
        (b"\r\n", "is empty"),
        (b"x" * 70_000, "cannot be read: too large"),
        (os.mkfifo, "cannot be read: not a regular file"),
        (os.mkdir, "cannot be read: Is a directory"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_holds_no_value_is_told_and_changes_nothing(tmp_path, content, told):
    """Nor does a pipe make anybody wait; what a link leads to is read as itself."""
    good, bad, link = tmp_path / "good", tmp_path / "bad", tmp_path / "link"
    good.write_bytes(b"the-value-0123\r\n")
    link.symlink_to(good)
    secrets = Secrets(Counts())
    secrets.use([SecretEntry("key", None, link, ())])
    if callable(content):
        content(bad)
    elif content is not None:
        bad.write_bytes(content)
    with pytest.raises(SecretError, match=told) as caught:
        secrets.use([SecretEntry("key", None, bad, ())])
    assert "value" not in str(caught.value).replace("no value", "")
    assert (secrets.values, secrets.files, repr(secrets)) == ({"key": "the-value-0123"}, (link,), "Secrets(key)")


def test_uses_beyond_a_bound_are_told_by_group(monkeypatch):
    """Clients choose the names of conversations: nobody fills the audit log with them."""
    monkeypatch.setattr(subject, "_MOST_KNOWN", 3)
    told, counts = [], mock.Mock()
    secrets = Secrets(counts)
    secrets.tell = told.append
    for number in range(10):
        secrets.used(["key"], Event(group="dev", client="10.0.0.1", host="a.example", conversation=f"chat-{number}"))
        secrets.used(["key"], Event(group="ops", client="10.0.0.1", host="a.example"))
    assert len(told) == 4  # three apart, and one for the group that came after
    assert counts.secret_used.call_count == 20


NUMBERS = count()


def use(database, hour, secret="key", group="acme/dev", client="10.0.0.1", host="a.example"):
    event = Event(group=group, client=client, host=host, port=443)
    record = as_record(replace(secret_used(secret, event), time=hour * HOUR))
    with database.transaction():
        database.execute(
            "INSERT INTO audit_events (chain, seq, hash, signature, body, id, time_ms, event_type, group_path, target)"
            " VALUES ('c', ?, '', '', ?, ?, ?, ?, ?, ?)",
            (
                next(NUMBERS), orjson.dumps(record, option=orjson.OPT_SORT_KEYS).decode(), record["id"],
                round(hour * HOUR * 1000), SECRET_USED, group, secret,
            ),
        )  # fmt: skip


def test_uses_are_summed_by_client_and_host(database):
    use(database, 1)
    use(database, 2, client="10.0.0.2")
    use(database, 5)
    use(database, 6, secret="other", group="acme")
    found = [
        (each.secret, each.client, each.first[11:13], each.last[11:13], each.hours)
        for each in uses(database, UsesQuery())
    ]
    assert found == [
        ("other", "10.0.0.1", "06", "06", 1),
        ("key", "10.0.0.1", "01", "05", 2),
        ("key", "10.0.0.2", "02", "02", 1),
    ]
    assert [each.secret for each in uses(database, UsesQuery(since=5.5 * HOUR))] == ["other"]
    assert {each.secret for each in uses(database, UsesQuery(scope="acme/dev"))} == {"key"}


@pytest.mark.parametrize(
    ("host", "group", "secret", "hour", "known"),
    [
        ("a_b.example", "acme/dev", "key", 3, True),
        ("a_b.example", "acme/dev", "key", 2, False),
        ("axb.example", "acme/dev", "key", 3, False),
        ("%", "acme/dev", "key", 3, False),
        ("b.example", "acme/dev", "key", 3, False),
        ("a_b.example", "acme", "key", 3, False),
        ("a_b.example", "acme/dev", "ke", 3, False),
    ],
)
def test_a_use_is_known_by_secret_group_and_host(database, host, group, secret, hour, known):
    use(database, 2, host="a_b.example")
    assert used_before(database, secret, group, host, hour * HOUR) is known


def test_a_host_that_only_looks_alike_is_another(database):
    use(database, 2, host="axb.example")
    assert not used_before(database, "key", "acme/dev", "a_b.example", 3 * HOUR)


@pytest.mark.parametrize("seed", range(20))
def test_placeholders_are_counted_wherever_a_body_is_cut(seed):
    """Each secret once; a name that begins as another is its own."""
    body = (
        b"x outward-secret-git, outward-secret-github outward-secret-gone outward-secret-git\noutward-secret-github-2"
    )
    rng, counts = random.Random(seed), Counts()
    lookout = Lookout(["git", "github", "github-2"], counts)
    at = 0
    while at < len(body):
        size = rng.choice((1, 2, 7, 30))
        lookout.look(body[at : at + size])
        at += size
    assert counts.bodies == {"git": 1, "github": 1}
    lookout.look(b"", last=True)
    assert counts.bodies == {"git": 1, "github": 1, "github-2": 1}
