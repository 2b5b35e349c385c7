"""Rows lost across a database outage under load: a proxy, a PostgreSQL server that is killed and comes back.

Run with `PYTHONPATH=tests python tests/bench/outage_bench.py [--outage SECONDS] [--rate PER_SECOND]`.
"""

import argparse
import tempfile
import time
from pathlib import Path

from python_build import described

from harness.fleet import Load, fleet, written
from harness.postgres import postgres
from harness.waiting import wait_for


def main() -> None:
    """Load, stop the server, wait, start it, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outage", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=300.0)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        postgres() as server,
        fleet(Path(name), server.url, 1) as (proxy,),
    ):
        folder = Path(name)
        load = Load(proxy.proxy, arguments.rate)
        time.sleep(arguments.outage / 6)
        server.stop()
        before = len(load.decisions)
        time.sleep(arguments.outage)
        spilled = sum(file.stat().st_size for file in folder.glob("proxy-0/state/spill/*"))
        during = len(load.decisions) - before
        server.start()
        back = time.monotonic()
        time.sleep(arguments.outage / 6)
        load.stop()
        given = set(load.decisions)
        wait_for(lambda: len(given - written(server.url, folder)) == 0 or time.monotonic() > back + 60, 90)
        caught_up = time.monotonic() - back
        lost = len(given - written(server.url, folder))
        dropped = proxy.metric('outward_records_dropped_total{sink="store"}')
        print(f"{len(given)} denials, {during} of them in {arguments.outage:.0f} s without a database")
        print(f"{spilled} bytes on disk at the end of the outage; all written {caught_up:.1f} s after its end")
        print(f"rows lost: {lost}, dropped by its own count: {dropped or 0:.0f}")


if __name__ == "__main__":
    print(described())
    main()
