"""`@pip`: the indexes that pip and uv are set up to use, and the hosts that serve their files.

pip itself is asked, in its own interpreter, for its configuration, its default index and that index's file host. Where
another index is configured, its page for pip's own project is read once, and the hosts that it links to are added.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outward.config.machine.memory import Memory
from outward.config.machine.tool import ToolError, ask, entries
from outward.config.machine.uv import uv_indexes
from outward.config.sets import Hosts

_PROBE = """
import sys
sys.path[:] = filter(None, sys.path)  # whatever lies in the working folder is not pip
import json, os, pip
from pip._internal.configuration import Configuration, get_configuration_files
from pip._internal.models.index import PyPI
configuration = Configuration(isolated=False)
configuration.load()
read = [path for paths in get_configuration_files().values() for path in paths]
print(json.dumps({
    "settings": list(configuration.items()), "index": PyPI.simple_url, "files": PyPI.file_storage_domain,
    "read": [*read, *filter(None, [os.environ.get("PIP_CONFIG_FILE")]), pip.__file__, sys.executable],
}))
"""
_VARIABLES = ("HOME", "VIRTUAL_ENV", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS")
_ELSEWHERE = frozenset({"PYTHONPATH", "PYTHONHOME"})
_SECTIONS = ("global", "install", "download", "wheel")


@dataclass(frozen=True, slots=True)
class _Pip:
    """What pip told.

    Attributes:
        settings: values by section and key, `:env:` being the environment.
        index: URL of the default index.
        files: host of the default index's files.
        read: what it read or would have read, itself included.
        first: whether it was the first one to be asked.
    """

    settings: Mapping[tuple[str, str], str]
    index: str
    files: str
    read: tuple[Path, ...]
    first: bool

    def values(self, key: str) -> list[str]:
        """Return the words of a setting: the environment's, else those of every section that pip installs by."""
        if (":env:", key) in self.settings:
            return self.settings[":env:", key].split()
        return [word for section in _SECTIONS for word in self.settings.get((section, key), "").split()]


def pip_hosts(env: Mapping[str, str], memory: Memory) -> Hosts:
    """Return the hosts of the indexes, of what they link to, and of `find-links` pages."""
    own = uv_indexes(env)
    interpreters = list(dict.fromkeys(_interpreters(env)))
    facts = None if own else _facts(interpreters[0], env)
    known = memory.recall("pip", facts)
    if known is not None:
        return Hosts(known)
    pip = next(_answers(interpreters, env), None)
    if pip is None and not own:
        return Hosts(problem="pip is not installed here, or could not be asked")
    urls, files, problem = list(own), list[str](), ""
    if pip is not None:
        indexed = not pip.values("no-index") or pip.values("no-index")[-1].lower() in ("0", "false", "no", "off")
        indexes = pip.values("index-url") or [pip.index]
        urls += [*(indexes if indexed else ()), *pip.values("extra-index-url"), *pip.values("find-links")]
    for url in dict.fromkeys(each for each in urls if each.startswith(("http://", "https://"))):
        if pip is not None and url.rstrip("/") == pip.index.rstrip("/"):
            files.append(f"https://{pip.files}")
            continue
        facts = None  # what a page says may change at any time
        linked = _linked(url, next(iter(pip.values("cert")), None) if pip else None)
        if linked is None:
            problem = "the host of an index's files is not known: its page could not be read"
        files += linked or ()
    hosts = entries([*urls, *files], problem)
    if pip is not None and pip.first and not hosts.problem:
        memory.keep("pip", facts, pip.read, hosts.entries)
    return hosts


def _facts(interpreter: str, env: Mapping[str, str]) -> list[str] | None:
    """Return what decides pip's answer beside files; None where a shim, or code from elsewhere, has a say."""
    program = Path(interpreter).resolve()
    try:
        with program.open("rb") as file:
            shim = file.read(2) == b"#!"
    except OSError:
        return None
    if shim or not _ELSEWHERE.isdisjoint(env):
        return None
    said = [f"{key}={env[key]}" for key in sorted(env) if key.startswith(("PIP_", "PYTHON")) or key in _VARIABLES]
    return [interpreter, str(program), *said]


def _linked(url: str, certificates: str | None) -> list[str] | None:
    from outward.config.machine.simple import linked_urls  # noqa: PLC0415 - loads an HTTP client, which few need

    return linked_urls(url, certificates)


def _answers(interpreters: Sequence[str], env: Mapping[str, str]) -> Iterator[_Pip]:
    """Yield what each interpreter that may have pip tells; the first one counts."""
    for interpreter in interpreters:
        try:
            yield _read(json.loads(ask([interpreter, "-c", _PROBE], env)), first=interpreter is interpreters[0])
        except (ToolError, ValueError, KeyError, TypeError):
            continue


def _read(answer: dict[str, Any], *, first: bool) -> _Pip:
    settings: dict[tuple[str, str], str] = {}
    for name, value in answer["settings"]:
        # From pip 25.2 on, values are grouped by the file that they come from.
        for key, each in value.items() if isinstance(value, dict) else ((name, value),):
            section, _, option = str(key).rpartition(".")
            settings[section, option] = str(each)
    read = tuple(Path(str(each)) for each in answer["read"])
    return _Pip(settings, str(answer["index"]), str(answer["files"]), read, first)


def _interpreters(env: Mapping[str, str]) -> Iterator[str]:
    """Yield interpreters: of the active environment, of the `pip` on the path, then any on the path, then our own."""
    if "VIRTUAL_ENV" in env:
        yield str(Path(env["VIRTUAL_ENV"]) / "bin/python")
    for name in ("pip", "pip3"):
        script = shutil.which(name, path=env.get("PATH"))
        if script and (interpreter := _shebang(Path(script))):
            yield interpreter
    for name in ("python3", "python"):
        if found := shutil.which(name, path=env.get("PATH")):
            yield found
    yield sys.executable


def _shebang(script: Path) -> str | None:
    """Return the Python that a script names in its first line, or None."""
    try:
        with script.open("rb") as file:
            line = file.readline(512).decode("utf-8", "replace").strip()
    except OSError:
        return None
    words = line.removeprefix("#!").split()
    return words[0] if line.startswith("#!") and words and "python" in Path(words[0]).name else None
