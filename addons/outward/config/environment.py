"""Settings from the environment: `OUTWARD_…` variables lie over the file, secrets also as `…_FILE`.

A variable becomes a node like any other, named after the variable, so that its errors have a place too.
"""

from collections.abc import Mapping
from pathlib import Path

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode
from outward.core.model import Place
from outward.files import read_regular

VARIABLES: dict[str, tuple[str, ...]] = {
    "OUTWARD_LISTEN": ("server", "listen"),
    "OUTWARD_TRANSPARENT": ("server", "transparent"),
    "OUTWARD_OPS": ("server", "ops"),
    "OUTWARD_STATE": ("server", "state"),
    "OUTWARD_INSTANCE": ("server", "instance"),
    "OUTWARD_WORKERS": ("server", "workers"),
    "OUTWARD_GRACE": ("server", "grace"),
    "OUTWARD_LOG_LEVEL": ("server", "log_level"),
    "OUTWARD_RECORDS_URL": ("records", "url"),
    "OUTWARD_RECORDS_RETENTION": ("records", "retention"),
    "OUTWARD_UPSTREAM_PROXY": ("upstream", "proxy"),
    "OUTWARD_UPSTREAM_NO_PROXY": ("upstream", "no_proxy"),
    "OUTWARD_UPSTREAM_TRUST": ("upstream", "trust"),
    "OUTWARD_DNS_SERVERS": ("upstream", "dns", "servers"),
    "OUTWARD_ADMIN_URLS": ("admin", "urls"),
    "OUTWARD_ADMIN_TLS_CERT": ("admin", "tls", "cert"),
    "OUTWARD_ADMIN_TLS_KEY": ("admin", "tls", "key"),
}
_SECRETS = ("OUTWARD_RECORDS_URL", "OUTWARD_UPSTREAM_PROXY")
_LISTS = ("OUTWARD_UPSTREAM_NO_PROXY", "OUTWARD_UPSTREAM_TRUST", "OUTWARD_DNS_SERVERS", "OUTWARD_ADMIN_URLS")
SETTINGS = (*VARIABLES, *(f"{name}_FILE" for name in _SECRETS))
_MAX_SECRET = 65_536


def overlay(root: MappingNode, env: Mapping[str, str], report: Report) -> list[Path]:
    """Lay the environment over a document; return the secret files that were read."""
    files: list[Path] = []
    for name, path in VARIABLES.items():
        text, secret = env.get(name), env.get(f"{name}_FILE") if name in _SECRETS else None
        if text and secret:
            report.error(
                "E021", f"both `{name}` and `{name}_FILE` are set", Place(f"${name}", 1), cure="unset one of them"
            )
        elif secret:
            text = _read_secret(Path(secret), name, report)
            files.append(Path(secret))
        if text:
            _set(root, path, _node(name, text, report))
    return files


def _read_secret(path: Path, name: str, report: Report) -> str | None:
    try:
        return read_regular(path, _MAX_SECRET).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        report.error("E021", f"cannot read the file that `{name}_FILE` names: {why.lower()}", Place(f"${name}_FILE", 1))
        return None


def _node(name: str, text: str, report: Report) -> Node:
    file = f"${name}"
    if name not in _SECRETS:
        report.sources[file] = text
    scalar = ScalarNode(file, 1, 1, len(text), text, bare=False)
    if name not in _LISTS:
        return scalar
    items: list[Node] = [ScalarNode(file, 1, 1, len(text), item.strip(), bare=False) for item in text.split(",")]
    return SequenceNode(file, 1, 1, len(text), items)


def _set(root: MappingNode, path: tuple[str, ...], value: Node) -> None:
    node = root
    for step in path[:-1]:
        inner = node.get(step)
        if inner is None:
            inner = MappingNode(value.file, 1, 1, 1)
            node.keys[step], node.values[step] = ScalarNode(value.file, 1, 1, 1, step, bare=True), inner
        if not isinstance(inner, MappingNode):
            return  # the schema reports the file's own mistake
        node = inner
    node.keys[path[-1]], node.values[path[-1]] = ScalarNode(value.file, 1, 1, 1, path[-1], bare=True), value
