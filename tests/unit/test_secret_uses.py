"""Who used which secret: from the audit log; and placeholders that go by in bodies."""

import random
from collections import Counter
from dataclasses import replace
from itertools import count

import orjson
import pytest

from outward.proxy.secrets import Lookout
from outward.records.acts import secret_used
from outward.records.audit import SECRET_USED, as_record
from outward.records.database import migrate, open_database
from outward.records.events import Event
from outward.records.uses import Wanted, used_before, uses

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
        (each.secret, each.client, each.first[11:13], each.last[11:13], each.hours) for each in uses(database, Wanted())
    ]
    assert found == [
        ("other", "10.0.0.1", "06", "06", 1),
        ("key", "10.0.0.1", "01", "05", 2),
        ("key", "10.0.0.2", "02", "02", 1),
    ]
    assert [each.secret for each in uses(database, Wanted(since=5.5 * HOUR))] == ["other"]
    assert {each.secret for each in uses(database, Wanted(scope="acme/dev"))} == {"key"}


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
