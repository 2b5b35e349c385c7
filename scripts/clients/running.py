"""Runs one command behind `outward run`, in an empty home, against stub vendors, and says what came of it."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clients import Command

from harness.vendors_of_agents import serving

ROOT = Path(__file__).resolve().parent.parent.parent
ADDRESS = f"127.44.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"  # so that two of these can run at once
MODES = {
    "on": "enabled: true, opt_in: assumed",
    "off": "enabled: false",
    "not opted in": "enabled: true",
    "verify": "enabled: true, opt_in: assumed, unfilterable: verify",
}
_SECONDS = 120


@dataclass
class Run:
    """What came of one prompt.

    Attributes:
        code: exit status, or None if it did not end.
        shown: what it printed, without the proxy's summary.
        denied: how often, by reason.
        sent: bodies that vendors got.
        seconds: that it took.
    """

    code: int | None
    shown: str
    denied: dict[str, int]
    sent: list[bytes]
    seconds: float


def policy(hosts: tuple[str, ...], folder: Path, search: str) -> str:
    """The policy of a run."""
    group = {
        "denial": "inside",
        "web_search": "SEARCH",
        "allow": [*hosts, "docs.example.com", "example.org", "*.example.org"],
    }
    upstream = {
        "trust": [str(folder / "vendors.pem")],
        "internal": [f"{ADDRESS}/32"],
        "dns": {"hosts": {host: [ADDRESS] for host in hosts}},
    }
    document = {
        "version": 1,
        "upstream": upstream,
        "groups": {"agent": group},
        "clients": [{"group": "agent", "anyone": True}],
    }
    sources = 'sources: [docs.example.com, example.org, "*.example.org"]'
    return json.dumps(document).replace('"SEARCH"', "{" + f"{search}, {sources}" + "}")


def run(start: Callable[[Path], Command], hosts: tuple[str, ...], programs: str, mode: str) -> Run:
    """Run a command; `start` gets its home."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        home, work = folder / "home", folder / "work"
        home.mkdir()
        work.mkdir()
        arguments, more = start(home)
        with serving(hosts, folder, ADDRESS) as vendor:
            (folder / "outward.yaml").write_text(policy(hosts, folder, MODES[mode]))
            environment = {"HOME": str(home), "PATH": f"{programs}:/usr/bin:/bin", "LANG": "C.UTF-8", **more}
            command = [
                ROOT / ".venv/bin/outward",
                "run",
                "--config",
                folder / "outward.yaml",
                "--json",
                "--",
                *arguments,
            ]
            began = time.monotonic()
            code, out, error = _process(command, work, environment)
            seconds = time.monotonic() - began
        summary = [line for line in error.splitlines() if line.startswith('{"group":')]
        shown = "\n".join([out, *(line for line in error.splitlines() if line not in summary)])
        blocked = json.loads(summary[-1])["blocked"] if summary else []
        return Run(code, shown, _reasons(blocked), [each.body for each in vendor.seen], seconds)


def _process(command: list[object], work: Path, environment: dict[str, str]) -> tuple[int | None, str, str]:
    words = [str(word) for word in command]
    with subprocess.Popen(
        words,
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, error = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()  # `run` takes what it started with it
            out, error = process.communicate(timeout=_SECONDS)
            return None, out, error
        return process.returncode, out, error


def _reasons(blocked: list[dict[str, object]]) -> dict[str, int]:
    """Denials of searches; a WebSocket that fell back is none."""
    found: dict[str, int] = {}
    for each in blocked:
        reason = str(each["reason"])
        if reason == "source_outside_allowlist" or (
            reason.startswith("web_search_") and reason != "web_search_uninspectable"
        ):
            found[reason] = found.get(reason, 0) + int(str(each["count"]))
    return found
