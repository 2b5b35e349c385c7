"""`clients` entries: each identifies by exactly one thing and maps to a group that exists."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node
from outward.config.nearest import did_you_mean
from outward.config.schema import ClientModel
from outward.config.validate import validate
from outward.core.claims import PLACEHOLDER
from outward.core.model import ClientEntry, Credential

_KINDS: dict[str, Credential] = {
    "token_sha256": Credential.TOKEN,
    "issuer": Credential.JWT,
    "certificate": Credential.CERTIFICATE,
    "source": Credential.SOURCE,
    "anyone": Credential.ANYONE,
}
_JWT_ONLY = ("audience", "jwks", "group_claim", "group_map", "record_claims")


def compile_clients(
    nodes: Iterable[Node],
    groups: Collection[str],
    base: Path,
    report: Report,
    covers: Callable[[str], bool] = lambda _path: False,
) -> tuple[ClientEntry, ...]:
    """Return the entries in their order.

    Args:
        nodes: the entries.
        groups: paths that there are.
        base: where relative paths of key sets start.
        report: takes the findings.
        covers: whether a path may come and go with other files: a client of a group that is not there is refused.
    """
    return tuple(filter(None, (_entry(node, groups, base, report, covers) for node in nodes)))


def _entry(
    node: Node, groups: Collection[str], base: Path, report: Report, covers: Callable[[str], bool]
) -> ClientEntry | None:
    model = validate(ClientModel, node, report, what="an entry of `clients`")
    if model is None or not isinstance(node, MappingNode):
        return None
    kinds = [key for key in _KINDS if getattr(model, key)]
    if len(kinds) != 1:
        told = "identifies by nothing" if not kinds else "identifies by " + " and ".join(f"`{kind}`" for kind in kinds)
        cure = "write exactly one of " + ", ".join(f"`{kind}`" for kind in _KINDS)
        report.error("E018", f"a client entry {told}", node.place, node.length, cure)
        return None
    problem = _problem(model, kinds[0])
    if problem:
        report.error("E018", problem, node.place, node.length)
        return None
    _check_groups(node, model, groups, report, covers)
    template = model.group if model.group and PLACEHOLDER in model.group else None
    return ClientEntry(
        kind=_KINDS[kinds[0]],
        place=node.place,
        group=None if template else model.group,
        token_sha256=model.token_sha256,
        source=model.source,
        issuer=model.issuer,
        audience=model.audience,
        jwks=model.jwks if model.jwks is None or "://" in model.jwks else str(base / model.jwks),
        group_claim=model.group_claim,
        group_map=model.group_map or {},
        template=template,
        record_claims=tuple(model.record_claims or ()),
        certificate=model.certificate,
        opt_in=model.opt_in,
        name=model.name,
    )


def _problem(model: ClientModel, kind: str) -> str:
    """Return what the kind forbids or lacks, or nothing."""
    if kind != "issuer":
        stray = [key for key in _JWT_ONLY if getattr(model, key) is not None]
        if stray:
            return f"`{stray[0]}` belongs to an entry with `issuer`"
        if model.group and PLACEHOLDER in model.group:
            return f"`{PLACEHOLDER}` belongs to an entry with `issuer`"
        return "" if model.group else "`group` is missing in a client entry"
    if not model.audience or not model.jwks:
        return "an entry with `issuer` needs `audience` and `jwks`"
    if model.jwks.startswith("http://"):
        return "`jwks` is fetched over HTTPS only"
    if model.group and "{" in model.group:
        return _template_problem(model, model.group)
    if not model.group and not model.group_claim:
        return "an entry with `issuer` needs `group`, `group_claim` or both"
    return "`group_map` needs `group_claim`" if model.group_map and not model.group_claim else ""


def _template_problem(model: ClientModel, template: str) -> str:
    """Return what a template lacks, so that a claim can be nothing but one segment below a path that is written."""
    segments = template.split("/")
    if segments.count(PLACEHOLDER) != 1 or template.count("{") != 1 or segments[0] == PLACEHOLDER:
        return f"`{PLACEHOLDER}` is one whole segment of `group`, and not the first, such as `k8s/{PLACEHOLDER}`"
    if not model.group_claim:
        return f"`{PLACEHOLDER}` in `group` needs `group_claim`"
    return f"`group_map` has no meaning beside `{PLACEHOLDER}` in `group`" if model.group_map else ""


def _check_groups(
    node: MappingNode, model: ClientModel, groups: Collection[str], report: Report, covers: Callable[[str], bool]
) -> None:
    named = [(node.values["group"], model.group)] if model.group and PLACEHOLDER not in model.group else []
    mapped = node.get("group_map")
    if isinstance(mapped, MappingNode):
        named += [(value, (model.group_map or {})[key.text]) for key, value in mapped.items()]
    for at, path in named:
        if path in groups:
            continue
        if covers(path):
            message = f"these clients are refused: no file writes the group `{path}` now"
            report.warning("W171", message, at.place, at.length)
        else:
            report.error("E019", f"no group is named `{path}`", at.place, at.length, did_you_mean(path, groups))
