"""A running administrator's side: real sockets, a real database, a policy with a hierarchy."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import httpx
import orjson

from harness.records import unaudited
from harness.waiting import PATIENCE
from outward.config.load import load_text
from outward.core.model import Mode, Stage, Verdict
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.ops.administration import Administration
from outward.ops.health import Health
from outward.ops.metrics import Metrics
from outward.ops.server import OpsServer
from outward.records.audit.events import secret_used
from outward.records.audit.values import SECRET_USED
from outward.records.audit.values import as_record as as_audit
from outward.records.database import migrate, open_database
from outward.records.events import store
from outward.records.events.values import Event, as_record, new_id
from outward.records.state import receipts, runtime_settings
from outward.records.state.runtime_settings import StoredToken

_NUMBERS = count()

TOKEN = "owt_test-all-0123456789"

POLICY = """
version: 1
server: {{state: "{state}"}}
secrets:
  github: {{env: GITHUB_TOKEN, hosts: [api.github.com], groups: [acme/platform]}}
  mirror: {{file: mirror-key, hosts: ["*.example.com", example.net]}}
groups:
  acme:
    allow: [docs.python.org, "*.example.com"]
    deny: [gist.github.com]
    ignore: ["*.telemetry.example"]
    ceiling: ["*.example.com", docs.python.org, api.github.com]
  acme/platform:
    allow:
      - {{host: api.github.com, methods: [GET, HEAD], paths: ["/repos/**"], inject: {{header: Authorization, value: "Bearer {{github}}"}}}}
      - db.example.com:5432
      - above.example.org
    web_search: {{enabled: true, opt_in: required, max_searches: 3}}
  acme/platform/payments:
    allow: [secret.example.com]
  acme/locked:
    web_search: {{enabled: false, locked: true}}
  other:
    allow: [example.net]
    grants: allowed
    limits: {{requests_per_second: 2.5, connections: 20}}
clients:
  - {{group: acme, anyone: true}}
"""


class Admin:
    """What tests drive.

    Attributes:
        url: of the ops port.
        administration: the subject.
    """

    def __init__(self, state: Path, environ: dict[str, str] | None = None, policy: str = POLICY):
        self.state = state
        loaded = load_text(policy.format(state=state), env={})
        assert loaded.settings is not None, loaded.findings
        self.settings = loaded.settings
        self.policy: Policy = loaded.policy
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        environ = {"OUTWARD_ADMIN_TOKEN": TOKEN} if environ is None else environ
        self.errors: list[str] = []
        self.administration = Administration(self.settings, lambda: self.policy, environ)
        self.run(self.administration.start())
        self.server = OpsServer(Health(Metrics(), {}, self.administration), self.errors.append)
        self.run(self.server.start("127.0.0.1", 0))
        self.port = self.server.address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def used(self, secret: str, event: Event, time: float) -> None:
        """Store the audit event of a secret's use."""
        database = self.database()
        record = as_audit(replace(secret_used(secret, event), time=time))
        with database.transaction():
            database.execute(
                "INSERT INTO audit_events (chain, seq, hash, signature, body, id, time_ms, event_type, group_path, target)"
                " VALUES ('c', ?, '', '', ?, ?, ?, ?, ?, ?)",
                (
                    next(_NUMBERS), orjson.dumps(record, option=orjson.OPT_SORT_KEYS).decode(), record["id"],
                    round(time * 1000), SECRET_USED, event.group, secret,
                ),
            )  # fmt: skip
        database.close()

    def close(self) -> None:
        self.run(self.server.close())
        self.administration.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        assert not self.errors

    def client(self, token: str | None = TOKEN) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE)

    def database(self):
        database = open_database(self.settings.records_url, self.settings.state)
        migrate(database)
        return database

    def write(self, events: Iterable[Event]) -> None:
        """Store events, as the recorder does."""
        database = self.database()
        with database.transaction():
            store.write(database, [as_record(event) for event in events])
        database.close()

    def publish(self, event: Event) -> None:
        """Show an event to those who watch, as the judge does."""
        self.loop.call_soon_threadsafe(self.administration.stream.publish, event)

    def receipt(self, time: float, **fields: object) -> None:
        """Store the receipt of one request."""
        database = self.database()
        with database.transaction():
            empty = {"queries": [], "sources": [], "citations": [], "incomplete": False}
            receipts.write(database, empty | fields, time, new_id())
        database.close()


@contextmanager
def admin(state: Path, **options: object) -> Iterator[Admin]:
    """Run an administrator's side for a while."""
    running = Admin(state, **options)
    try:
        yield running
    finally:
        running.close()


def denied(**facts: object) -> Event:
    """Return a denied CONNECT, or whatever the facts say."""
    usual = {
        "verdict": Verdict.DENY,
        "reason": Reason.NO_RULE,
        "stage": Stage.CONNECT,
        "mode": Mode.ENFORCE,
        "group": "acme/platform/payments",
        "client": "10.1.2.3",
        "method": "CONNECT",
        "host": "blocked.example.net",
        "port": 443,
        "generation": "0123456789ab",
        "status": 403,
    }
    return Event(**(usual | facts))


def rows(found: httpx.Response) -> list[SimpleNamespace]:
    """Return the items of a list."""
    assert found.status_code == 200, found.text
    return [SimpleNamespace(**item) for item in found.json()["items"]]


def grant(running: Admin, secret: str, scope: str, *, expires: float | None = None, role: str = "admin") -> str:
    """Keep a token as `outward token create` does, and wait until it counts."""
    sha256 = hashlib.sha256(secret.encode()).hexdigest()
    database = running.database()
    runtime_settings.add_token(
        database, StoredToken(f"id-{secret}", sha256, scope, secret, time.time(), expires, False, role), unaudited
    )
    database.close()
    running.administration.state.refresh()
    return secret
