"""What a soak runs against: `outward serve` as a process of its own, watched from outside, and told about its caches."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from harness.process import environment
from harness.waiting import wait_for

CACHE_BOUNDS = {  # entries; what the code promises
    "parsed heads": 1024,
    "field lines": 4096,
    "answers of the judge": 8193,
    "leaves": 1000,
    "leaf contexts": 256,
    "resolver": 4096,
    "names being asked": 4096,
    "sources": 20_000,
    "record queue": 100_000,
}
_PAGE = os.sysconf("SC_PAGE_SIZE")

# Runs the command line of `outward`, and writes the sizes of the caches whenever it is asked to on standard input.
_OBSERVED = """
import json, sys, threading
from outward import service
from outward.cli.main import main
from outward.http1 import lines

made = []
begin = service.Service.__init__
def remember(self, *args, **kwargs):
    begin(self, *args, **kwargs)
    made.append(self)
service.Service.__init__ = remember

def sizes():
    one = made[0]
    inspection = one._parts.inspection
    gate, engine, authority = one._gate, inspection.engine, inspection.authority
    contexts = engine._contexts
    return {
        "parsed heads": len(gate.resources._known),
        "field lines": len(lines._known),
        "answers of the judge": len(one.judge._memory),
        "leaves": len(authority._leaves),
        "leaf contexts": len(contexts._accepting) if contexts else 0,
        "resolver": len(one.dialer.resolver._cache),
        "names being asked": len(one.dialer.resolver._in_flight),
        "sources": len(gate._by_source),
        "record queue": len(one.recorder),
        "sessions": len(engine._sessions),
        "connections": gate.connections,
    }

def answer():
    for path in sys.stdin:
        with open(path.strip(), "w") as file:
            json.dump(sizes(), file)

threading.Thread(target=answer, daemon=True).start()
main()
"""


def configuration(folder: Path, ports: Mapping[str, int], connections: int, per_client: int) -> str:
    """Return the policy of a soak: two groups by source, one for each lane, and origins on loopback."""
    tls, plain = ports["tls"], ports["plain"]
    allow = (
        f"[{{host: plain.test, ports: [{plain}]}}, {{host: tls.test, ports: [{tls}]}}, "
        f"{{host: search.test, ports: [{tls}]}}, {{host: '*.wild.test', ports: [{tls}]}}]"
    )
    return f"""version: 1
server:
  listen: '127.0.0.1:0'
  ops: '127.0.0.1:0'
  state: '{folder}/state'
  limits: {{connections: {connections}, connections_per_client: {per_client}}}
upstream:
  internal: [127.0.0.1/32]
  trust: ['{folder}/origins.pem']
  dns:
    servers: ['127.0.0.1:{ports["dns"]}']
    hosts: {{plain.test: [127.0.0.1], tls.test: [127.0.0.1], search.test: [127.0.0.1]}}
groups:
  inspected: {{lane: inspect, allow: {allow}, web_search: {{enabled: true, opt_in: assumed}}}}
  tunnelled: {{lane: tunnel, allow: {allow}}}
clients:
  - {{source: 127.2.0.0/16, group: tunnelled}}
  - {{source: 127.0.0.0/8, group: inspected}}
vendors: {{search.test: brave}}
"""


class Stage:
    """A running proxy.

    Attributes:
        proxy, ops: where it listens.
        ca: PEM file of its certificate authority.
        ready: seconds from the start of the process until it was ready.
        peak: the highest figures so far, by name.
        idle_rss: MiB once the engine was loaded and nobody had asked anything.
    """

    def __init__(self, folder: Path, text: str) -> None:
        self._folder = folder
        self._state = folder / "state"
        config = folder / "outward.yaml"
        config.write_text(text)
        self._log = (folder / "log").open("wb")
        began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OBSERVED, "serve", "--config", config],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env=environment(),
        )
        self.ops = self._port("ops port")
        self.proxy = self._port("proxy listens")
        wait_for(lambda: self._get("/readyz"))
        self.ready = time.monotonic() - began
        self.ca = self._state / "ca.pem"
        self.peak: dict[str, float] = {}
        self.idle_rss = 0.0
        self._stopping = threading.Event()
        self._sampler = threading.Thread(target=self._sample)

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self._folder / "log").read_text(errors="replace")

    def _port(self, what: str) -> tuple[str, int]:
        def find() -> re.Match[str] | None:
            assert self._process.poll() is None, self.log
            return re.search(rf"{what}.* on (\S+) port (\d+)", self.log)

        found = wait_for(find)
        return found[1], int(found[2])

    def _get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{self.ops[0]}:{self.ops[1]}{path}", timeout=30) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def rss(self) -> float:
        """Resident memory, MiB."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * _PAGE / 2**20

    def caches(self) -> dict[str, int]:
        """Entries of each cache, now."""
        answer = self._folder / f"caches-{time.monotonic_ns()}"
        assert self._process.stdin is not None
        self._process.stdin.write(f"{answer}\n".encode())
        self._process.stdin.flush()

        def read() -> dict[str, int] | None:
            try:
                found: dict[str, int] = json.loads(answer.read_text())
            except (OSError, ValueError):
                return None
            return found

        sizes = wait_for(read)
        answer.unlink()
        return sizes

    def watch(self) -> None:
        """Begin to take the figures, every two seconds."""
        self._sampler.start()

    def _sample(self) -> None:
        proc = Path(f"/proc/{self._process.pid}")
        while not self._stopping.wait(2.0):
            try:
                threads = len(list((proc / "task").iterdir()))
                files = len(list((proc / "fd").iterdir()))
                figures = {"memory, MiB": self.rss(), "threads": threads, "open files": files}
            except OSError:
                return
            disk = sum(each.stat().st_size for each in self._state.rglob("*") if each.is_file())
            metrics = self._get("/metrics")
            series = [each for each in metrics.splitlines() if each and not each.startswith("#")]
            figures |= {"disk, MiB": disk / 2**20, "metric series": len(series)}
            figures |= {f"cache: {name}": size for name, size in self.caches().items()}
            for name, value in figures.items():
                self.peak[name] = max(self.peak.get(name, 0.0), value)

    def counters(self) -> dict[str, float]:
        """Sums of the counters that tell how it went, by metric."""
        sums: dict[str, float] = {}
        for name, value in re.findall(
            r"^outward_([a-z_]+_total)(?:\{[^}]*\})? (\S+)$", self._get("/metrics"), re.MULTILINE
        ):
            sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def end(self) -> bool:
        """Stop it; tells whether it had not stopped by itself."""
        self._stopping.set()
        if self._sampler.is_alive():
            self._sampler.join()
        alive = self._process.poll() is None
        self._process.kill()
        self._process.wait(10)
        self._log.close()
        return alive
