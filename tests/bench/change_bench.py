"""How long it takes to know what a change of the policy does: `check`, `replay` and `suggest` over many rules and events.

Run with `python tests/bench/change_bench.py [--events N] [--rules N]`; writes to a temporary directory.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from python_build import described

from outward.records.database import migrate, open_database

HOSTS = 5000
INSERT = (
    "INSERT INTO events (id, time_ms, verdict, reason, stage, mode, would_deny, group_path, client, method, scheme, host, port, path,"
    " rule_file, rule_line, rule_pattern) VALUES (?, ?, ?, ?, 'connect', 'enforce', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def policy(rules: int) -> str:
    """Return a policy of twenty groups; the last hosts that are asked for have no rule."""
    lists = "".join(
        f"  team-{team}:\n    allow:\n"
        + "".join(f"      - h{number}.example.com\n" for number in range(team, rules, 20))
        for team in range(20)
    )
    clients = ", ".join(f"{{group: team-{team}, source: 10.0.{team}.0/24}}" for team in range(20))
    return f"version: 1\nserver: {{state: state}}\nclients: [{clients}]\ngroups:\n{lists}"


def fill(folder: Path, events: int) -> None:
    """Write a week's events: a third are denied; a tenth were seen as requests."""
    rng, now = random.Random(1), int(time.time() * 1000)
    (folder / "state").mkdir()
    database = open_database("sqlite", folder / "state")
    migrate(database)
    rows = []
    for number in range(events):
        team, denied = rng.randrange(20), rng.random() < 0.33
        host = f"{'x' if denied else 'h'}{min(int(rng.paretovariate(0.7)), HOSTS) * 20 + team}.example.com"
        seen = rng.random() < 0.1
        request = (
            ("GET", "https", host, 443, f"/v1/{rng.randrange(30)}") if seen else ("CONNECT", None, host, 443, None)
        )
        verdict = ("deny", "no_rule") if denied else ("allow", "rule")
        rule = (None, None, None) if denied else ("outward.yaml", 5, host)
        rows.append(
            (
                f"{number:032x}",
                now - rng.randrange(600_000_000),
                *verdict,
                False,
                f"team-{team}",
                f"10.0.{team}.{rng.randrange(50)}",
                *request,
                *rule,
            )
        )
    with database.transaction():
        database.insert(INSERT, rows)
    database.close()


def main() -> None:
    """Print the seconds of each verb."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rules", type=int, default=100_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "outward.yaml").write_text(policy(chosen.rules))
        fill(folder, chosen.events)
        print(f"{chosen.events:,} events, {chosen.rules:,} rules")
        for words in (
            ("check",),
            ("replay", "--config", "outward.yaml", "--since", "30d", "--json"),
            ("suggest", "--config", "outward.yaml", "--since", "30d", "--json"),
            ("check", "outward.yaml", "--records", "outward.yaml"),
        ):
            given = words if len(words) > 1 else (*words, "outward.yaml")
            began = time.monotonic()
            done = subprocess.run(
                [Path(sys.executable).with_name("outward"), *given], cwd=folder, capture_output=True, check=False
            )
            print(
                f"{' '.join(words[:1]):<8} {time.monotonic() - began:6.1f} s  status {done.returncode}, {len(done.stdout):,} bytes"
            )


if __name__ == "__main__":
    print(described())
    main()
