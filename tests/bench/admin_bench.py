"""Latency of the admin page and of every API filter over many blocked events and audit rows, through real HTTP.

Run with `PYTHONPATH=tests python tests/bench/admin_bench.py [--url URL] [--state DIR] [--events N] [--audit N]`. A store
that has events is used as it is, so that it can be filled once and asked often.
"""

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
from python_build import described
from records_bench import DAY, fill

from harness.admin import Admin
from outward.records.audit.chain import Chain
from outward.records.audit.values import AuditEvent, as_record
from outward.records.database import Database

GROUPS = "".join(f"  acme/team-{number}: {{allow: [docs.example.com]}}\n" for number in range(20))
POLICY = f"""
version: 1
server: {{{{state: "{{state}}"}}}}
records: {{{{url: "{{url}}"}}}}
groups:
  acme: {{{{ignore: ["*.telemetry.example"]}}}}
{GROUPS.replace("{", "{{").replace("}", "}}")}
clients:
  - {{{{group: acme, anyone: true}}}}
"""


def moment(days: float) -> str:
    """Return the time so many days ago."""
    return datetime.fromtimestamp(time.time() - days * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def questions() -> dict[str, str]:
    """Return what is asked for, by what it shows."""
    filters = {
        "no filter": "",
        "group": "group=acme/team-3",
        "group above": "group=acme",
        "host, frequent": "host=h1.example.com",
        "host, rare": "host=h4711.example.com",
        "host, none": "host=nowhere.example",
        "reason": "reason=port_not_allowed",
        "client": "client=10.1.2.77",
        "client, none": "client=192.0.2.1",
        "conversation": "conversation=chat-77",
        "last day": "since=24h",
        "last week": "since=7d",
        "a day in the middle": f"since={moment(15)}&until={moment(14)}",
        "group, host, reason": "group=acme/team-3&host=h3.example.com&reason=no_rule",
        "group, client": "group=acme/team-3&client=10.1.2.77",
        "group, week": "group=acme/team-3&since=7d",
        "ignored": "ignored=true",
        "would_deny": "would_deny=true",
    }
    page = {
        "page, 24 hours": "/",
        "page, 1 hour": "/?period=1h",
        "page, 7 days": "/?period=7d",
        "page, all": "/?period=all",
        "page, client": "/?period=all&client=10.1.2.77",
        "page, group, 7 days": "/?period=7d&group=acme/team-3",
        "page, part of a name": "/?search=h47",
        "page, most attempts, all": "/?period=all&sort=-count",
        "page, part of a name, a day": f"/?search=h47&since={moment(15)}&until={moment(14)}",
        "page, allowed": "/?view=allowed",
        "page, allowed, all": "/?view=allowed&period=all&sort=-count",
        "page, would be blocked": "/?view=reported",
        "page, conversations": "/conversations",
        "page, audit": "/audit",
    }
    api = {f"blocked: {name}": f"/api/v1/blocked?{query}" for name, query in filters.items()}
    summed = {f"summary: {name}": f"/api/v1/blocked/summary?{query}" for name, query in filters.items()}
    counted = {f"attempts: {name}": f"/api/v1/attempts?{query}" for name, query in filters.items()}
    allowed = {"allowed": "/api/v1/allowed", "allowed, part of a name": "/api/v1/allowed?search=h47"}
    return page | api | summed | counted | allowed


def audit(database: Database, state: Path, total: int) -> None:
    """Append audit rows."""
    chain = Chain(state)
    for first in range(0, total, 1000):
        with database.transaction():
            acts = [
                AuditEvent(event_type="web_search_invoked", group=f"acme/team-{number % 20}", target=f"chat-{number}")
                for number in range(first, min(first + 1000, total))
            ]
            head = chain.append(database, [as_record(act) for act in acts])
        chain.save(head)


def ask(client: httpx.Client, path: str) -> list[float]:
    """Return the milliseconds of the first answer and of four more."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        answer = client.get(path, headers={"Accept": "text/html"})
        seconds.append((time.perf_counter() - start) * 1e3)
        assert answer.status_code == 200, answer.text
    return seconds


def main() -> None:
    """Fill where that is needed, and ask for everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="sqlite")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--audit", type=int, default=100_000)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = arguments.state or Path(folder)
        running = Admin(state, policy=POLICY.replace("{url}", arguments.url))
        database = running.database()
        if not database.execute("SELECT 1 FROM events LIMIT 1"):
            fill(database, arguments.events)
        if not database.execute("SELECT 1 FROM audit_events LIMIT 1"):
            audit(database, state, arguments.audit)
        with running.client() as client:
            client.timeout = httpx.Timeout(60)
            ask(client, "/groups")  # loads the application
            for name, path in questions().items():
                if arguments.only in name:
                    first, *more = ask(client, path)
                    print(f"{name:30} first {first:8.1f} ms   median {statistics.median(more):8.1f} ms")
        database.close()
        running.close()


if __name__ == "__main__":
    print(described())
    main()
