"""`audit_stream` and `export` of `records`, and `webhooks`: where their secret is, and what `check` says."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, SequenceNode, at
from outward.config.schema import AuditStreamModel, ExportModel, WebhookModel
from outward.config.settings import AuditStreamSettings, ExportTo, Webhook
from outward.config.values import resolve_path
from outward.core.addresses import METADATA, embedded


def audit_stream(
    node: Node | None, model: AuditStreamModel | None, base: Path, env: Mapping[str, str], report: Report
) -> AuditStreamSettings | None:
    """Return where audit events are sent, or None.

    Args:
        node: the section as written, for places.
        model: the section as validated.
        base: folder that relative paths start at.
        env: the environment.
        report: takes the findings.
    """
    if model is None or not isinstance(node, MappingNode):
        return None
    _check_url(node, model.url, report)
    token_file = None
    if model.token_file is not None:
        token_file = _file(node, resolve_path(model.token_file, base, env.get("HOME")), model, report)
    elif model.token_env is not None and not env.get(model.token_env):
        named = at(node, "token_env") or node
        message = f"`{model.token_env}` is not set here"
        report.warning("W119", message, named.place, named.length, "the proxy does not start without it")
    return AuditStreamSettings(model.url, model.token_env, token_file, model.batch, model.denials)


def webhooks(
    node: Node | None, models: Sequence[WebhookModel], base: Path, env: Mapping[str, str], report: Report
) -> tuple[Webhook, ...]:
    """Return who is told of requests and new hosts; the arguments are those of `audit_stream`."""
    found = []
    for each, model in zip(node.items if isinstance(node, SequenceNode) else (), models, strict=False):
        if not isinstance(each, MappingNode):
            continue
        _check_url(each, model.url, report, "notices cross")
        _check_place(each, model.url, report)
        home, cure = env.get("HOME"), "give the path of the secret's file"
        file = (
            _there(each, "secret_file", resolve_path(model.secret_file, base, home), cure, report)
            if model.secret_file
            else None
        )
        found.append(Webhook(model.url, tuple(model.events), model.format, file))
    return tuple(found)


def export(
    node: Node | None, model: ExportModel | None, base: Path, env: Mapping[str, str], report: Report
) -> ExportTo | None:
    """Return where every decision is sent, or None; the arguments are those of `audit_stream`."""
    if model is None or not isinstance(node, MappingNode):
        return None
    _check_url(node, model.otlp, report, "decisions cross", "otlp")
    if model.headers_file is None:
        return ExportTo(model.otlp, None)
    cure = "give the path of a file with `Name: value` on each line"
    path = resolve_path(model.headers_file, base, env.get("HOME"))
    return ExportTo(model.otlp, _there(node, "headers_file", path, cure, report))


def _there(node: MappingNode, key: str, path: Path, cure: str, report: Report) -> Path:
    """Return a path, and report if it is no file."""
    if not path.is_file():
        named = at(node, key) or node
        report.error("E022", f"`{path}` is not a file", named.place, named.length, cure)
    return path


def _file(node: MappingNode, path: Path, model: AuditStreamModel, report: Report) -> Path:
    named = at(node, "token_file") or node
    if model.token_env is not None:
        report.error(
            "E007", "both `token_env` and `token_file` are given", named.place, named.length, "keep one of them"
        )
    elif not path.is_file():
        report.error("E022", f"`{path}` is not a file", named.place, named.length, "give the path of the secret's file")
    return path


def _check_place(node: MappingNode, url: str, report: Report) -> None:
    """Refuse what answers with secrets: no program that takes notices lives there."""
    try:
        address = ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return
    if any(address in METADATA or each in METADATA for each in (address, *embedded(address))):
        named = at(node, "url") or node
        message = "a metadata service takes no notices"
        report.error("E007", message, named.place, named.length, "give the URL of a chat or program", secret=True)


def _check_url(
    node: MappingNode, url: str, report: Report, what: str = "audit events and their token cross", key: str = "url"
) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        near = ip_address(host).is_loopback
    except ValueError:
        near = host == "localhost"
    if parts.scheme == "http" and not near:
        named = at(node, key) or node
        message = f"{what} the network unencrypted"
        report.warning("W118", message, named.place, named.length, "use `https://`", secret=True)
