"""Installs command-line agents from the registries that this machine is set up to use, each in a folder of its own."""

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from clients import Client

_NODE = 22  # the oldest that the newest of them all run on
_PYTHONS = ("python3.12", "python3.11", "python3.10")  # aider installs on nothing newer


class CannotInstallError(Exception):
    """Why an agent cannot be had here."""


@functools.cache
def installed(client: Client, folder: Path) -> tuple[str, Path]:
    """Install an agent, if it is not there; return its version and the folder of its program.

    Raises:
        CannotInstallError: if the registry, or what it takes, is missing.
    """
    into = folder / client.package.replace("/", "+")
    into.mkdir(parents=True, exist_ok=True)
    return _python(client, into) if client.python else _npm(client, into, folder)


def _python(client: Client, into: Path) -> tuple[str, Path]:
    programs = into / "bin"
    if not (programs / client.package.removesuffix("-chat")).exists():
        found = [path for name in (sys.executable, *_PYTHONS) if (path := shutil.which(name))]
        for python in dict.fromkeys(reversed(found)):
            if _try(python, "-m", "venv", "--clear", str(into)):
                break
        _run(str(programs / "python"), "-m", "pip", "install", "--quiet", client.package, *client.more)
    says = f"from importlib.metadata import version; print(version({client.package!r}))"
    return _run(str(programs / "python"), "-c", says).strip(), programs


def _npm(client: Client, into: Path, folder: Path) -> tuple[str, Path]:
    package = into / "node_modules" / client.package
    if not package.exists():
        with_node = {"PATH": f"{node(folder)}:{os.environ['PATH']}"}
        _run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(into), client.package, more=with_node)
        if client.script:  # some npm leave out what a package would run by itself
            _run("node", client.script, at=package, more=with_node)
    return json.loads((package / "package.json").read_text("utf-8"))["version"], into / "node_modules" / ".bin"


def sdks(package: str, folder: Path) -> tuple[str, Path]:
    """Install a vendor's Python SDK; return its version and the Python that has it.

    Raises:
        CannotInstallError: if the registry is missing.
    """
    python = folder / "sdks" / "bin" / "python"
    if not python.exists():
        _run(sys.executable, "-m", "venv", str(python.parent.parent))
    _run(str(python), "-m", "pip", "install", "--quiet", package)
    return _run(
        str(python), "-c", f"from importlib.metadata import version; print(version({package!r}))"
    ).strip(), python


def node_sdk(package: str, more: tuple[str, ...], folder: Path) -> tuple[str, Path]:
    """Install a vendor's Node SDK; return its version and the folder that has it.

    Raises:
        CannotInstallError: if the registry is missing.
    """
    into = folder / "node-sdks" / package.replace("/", "+")
    into.mkdir(parents=True, exist_ok=True)
    with_node = {"PATH": f"{node(folder)}:{os.environ['PATH']}"}
    _run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(into), package, *more, more=with_node)
    manifest = into / "node_modules" / package / "package.json"
    return json.loads(manifest.read_text("utf-8"))["version"], into


@functools.cache
def node(folder: Path) -> Path:
    """Return the folder of a Node that is new enough.

    Raises:
        CannotInstallError: if there is none.
    """
    kind = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    into = folder / "node"
    programs = into / "node_modules" / f"node-linux-{kind}" / "bin"
    if not programs.exists():
        into.mkdir(parents=True, exist_ok=True)
        _run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(into), f"node-linux-{kind}@{_NODE}")
    return programs


def _try(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _run(*words: str, at: Path | None = None, more: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, cwd=at, env={**os.environ, **(more or {})}, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstallError(str(error)) from error
    if done.returncode:
        raise CannotInstallError(f"{' '.join(words[:3])} …: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
