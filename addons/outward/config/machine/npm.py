"""`@npm`: the registries that npm is set up to use, scoped ones included, as npm itself tells them."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from outward.config.machine.memory import Memory
from outward.config.machine.tool import ToolError, ask, entries
from outward.config.sets import Hosts

_VARIABLES = ("HOME", "PREFIX", "DESTDIR", "XDG_CONFIG_HOME")


def npm_hosts(env: Mapping[str, str], memory: Memory) -> Hosts:
    """Return the hosts of npm's registries, its default included."""
    npm = shutil.which("npm", path=env.get("PATH"))
    if npm is None:
        return Hosts(problem="npm is not installed here")
    node = shutil.which("node", path=env.get("PATH"))
    tools = [Path(tool).resolve() for tool in (npm, node) if tool]
    facts = _facts(tools, env)
    known = memory.recall("npm", facts)
    if known is not None:
        return Hosts(known)
    try:
        settings = json.loads(ask([npm, "config", "list", "--long", "--json"], env))
    except (ToolError, ValueError):
        return Hosts(problem="npm could not be asked for its configuration")
    if not isinstance(settings, dict):
        return Hosts(problem="npm answered with something else than its configuration")
    urls = [value for key, value in settings.items() if key == "registry" or str(key).endswith(":registry")]
    hosts = entries(url for url in urls if isinstance(url, str))
    if facts is not None and not hosts.problem:
        files = _files(tools, settings)
        memory.keep("npm", None if any(map(_refers, files)) else facts, files, hosts.entries)
    return hosts


def _facts(tools: list[Path], env: Mapping[str, str]) -> list[str] | None:
    """Return what decides npm's answer beside files; None where a shim or a project's own file has a say."""
    if [tool.name for tool in tools] not in (["npm-cli.js", "node"], ["npm-cli.js", "nodejs"]):
        return None
    folder = Path.cwd()
    if any(str(each) != env.get("HOME") and (each / ".npmrc").exists() for each in (folder, *folder.parents)):
        return None
    said = [
        f"{key}={env[key]}" for key in sorted(env) if key.lower().startswith(("npm_", "node_")) or key in _VARIABLES
    ]
    return [*map(str, tools), *said]


def _files(tools: Iterable[Path], settings: Mapping[str, Any]) -> list[Path]:
    """Return the files that npm reads: the user's and the system's are where it says."""
    script, program = tools
    package = script.parent.parent
    told = [Path(str(settings.get(key, ""))) for key in ("userconfig", "globalconfig")]
    return [script, program, package / "package.json", package / "npmrc", *told]


def _refers(path: Path) -> bool:
    """Tell whether a configuration file takes values from variables, which may be any."""
    try:
        return path.name.endswith("npmrc") and b"${" in path.read_bytes()
    except OSError:
        return False
