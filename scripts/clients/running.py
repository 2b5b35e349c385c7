"""Runs one command behind `outward run`, in an empty home, against stub vendors, and says what came of it."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from clients import Command

from harness.forge import Forge, repository
from harness.inspection import Seen
from harness.vendors_of_agents import answer, serving

ROOT = Path(__file__).resolve().parent.parent.parent
ADDRESS = f"127.44.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"  # so that two of these can run at once
MODES = {
    "on": "enabled: true, opt_in: assumed",
    "off": "enabled: false",
    "not opted in": "enabled: true",
    "verify": "enabled: true, opt_in: assumed, unfilterable: verify",
}
_SECONDS = 120
_NONE: Mapping[str, str] = MappingProxyType({})
_VENDORS = {"api.anthropic.com", "api.openai.com", "chatgpt.com", "generativelanguage.googleapis.com"}


@dataclass
class Run:
    """What came of one prompt.

    Attributes:
        code: exit status, or None if it did not end.
        shown: what it printed, without the proxy's summary.
        denied: how often, by reason.
        sent: bodies that vendors got.
        seconds: that it took.
        seen: requests that the stubs got.
        leaked: files of its home and working folder that hold the hidden value.
    """

    code: int | None
    shown: str
    denied: dict[str, int]
    sent: list[bytes]
    seconds: float
    seen: list[Seen] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)


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


def run(
    start: Callable[[Path], Command],
    hosts: tuple[str, ...],
    programs: str,
    mode: str,
    hidden: Mapping[str, str] = _NONE,
) -> Run:
    """Run a command; `start` gets its home, and it gets placeholders of what is hidden."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        home, work = folder / "home", folder / "work"
        home.mkdir()
        work.mkdir()
        arguments, more = start(home)
        forge = Forge(repository(folder)) if hidden and not set(hosts) & _VENDORS else None
        with serving(hosts, folder, ADDRESS) as vendor:
            vendor.answer = forge.answer if forge else answer
            (folder / "outward.yaml").write_text(policy(hosts, folder, MODES[mode]))
            environment = {"HOME": str(home), "PATH": f"{programs}:/usr/bin:/bin", "LANG": "C.UTF-8", **more, **hidden}
            command = [
                ROOT / ".venv/bin/outward",
                "run",
                "--config",
                folder / "outward.yaml",
                "--json",
                *(word for name in hidden for word in ("--hide", name)),
                "--",
                *arguments,
            ]
            began = time.monotonic()
            code, out, error = _process(command, work, environment)
            seconds = time.monotonic() - began
        summary = [line for line in error.splitlines() if line.startswith('{"group":')]
        shown = "\n".join([out, *(line for line in error.splitlines() if line not in summary)])
        blocked = json.loads(summary[-1])["blocked"] if summary else []
        denied = _reasons(blocked, every=bool(hidden))
        leaked = [str(each.relative_to(folder)) for each in _holding(folder, hidden.values())]
        return Run(code, shown, denied, [each.body for each in vendor.seen], seconds, vendor.seen, leaked)


def _holding(folder: Path, values: Iterable[str]) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if any(value.encode() in content for value in values):
                yield path


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


def _reasons(blocked: list[dict[str, object]], *, every: bool = False) -> dict[str, int]:
    """Denials of searches, or of secrets too; a WebSocket that fell back is none."""
    found: dict[str, int] = {}
    for each in blocked:
        reason = str(each["reason"])
        if (
            reason == "source_outside_allowlist"
            or (every and reason == "secret_misdirected")
            or (reason.startswith("web_search_") and reason != "web_search_uninspectable")
        ):
            found[reason] = found.get(reason, 0) + int(str(each["count"]))
    return found
