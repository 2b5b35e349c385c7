"""From nodes to models: pydantic's errors become findings at their places, with a cure."""

from typing import Any

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, SequenceNode
from outward.config.nearest import did_you_mean
from outward.config.shapes import Model, OddError
from outward.core.model import Place

_SECRET_KEYS = frozenset({"proxy", "url", "token_sha256"})
_SHAPES = {
    "model_type": "a mapping", "model_attributes_type": "a mapping", "dict_type": "a mapping", "list_type": "a list",
    "string_type": "text",
}  # fmt: skip


def validate[M: Model](
    model: type[M], node: Node, report: Report, skip: frozenset[str] = frozenset(), what: str = "the file"
) -> M | None:
    """Return the model of a node, or None after reporting every error in it.

    Args:
        model: what the node should be.
        node: where the values come from.
        report: takes the findings.
        skip: keys at the top that are read elsewhere.
        what: the node in words, for a message about itself.
    """
    data = node.plain(skip)
    try:
        return model.model_validate(data)
    except OddError:
        return _explained(model, data, node, report, what)


def _explained[M: Model](model: type[M], data: Any, node: Node, report: Report, what: str) -> M | None:
    """Let pydantic say what is wrong, if it is."""
    from pydantic import ValidationError  # noqa: PLC0415 - takes a third of a start

    from outward.config.twins import read  # noqa: PLC0415 - loads pydantic

    try:
        return read(model, data)
    except ValidationError as failure:
        for error in failure.errors(include_url=False, include_input=True):
            _report(error, model, node, report, what)
        return None


def _report(error: Any, model: type[Model], root: Node, report: Report, what: str) -> None:
    loc, kind = error["loc"], error["type"]
    place, length = _locate(root, loc, key=kind == "extra_forbidden")
    name = next((str(step) for step in reversed(loc) if isinstance(step, str)), "")
    secret = not _SECRET_KEYS.isdisjoint(map(str, loc))
    if kind == "extra_forbidden":
        cure = _home(model, loc) or did_you_mean(name, _known_keys(model, loc[:-1]))
        report.error("E005", f"unknown key `{name}`", place, length, cure)
    elif kind == "missing":
        cure = "write `version: 1` on the first line" if loc == ("version",) else ""
        report.error("E006", f"`{name}` is missing", place, length, cure)
    elif kind in ("literal_error", "enum"):
        wanted = error["ctx"]["expected"].replace("'", "`")
        report.error("E007", f"`{name}` cannot be this", place, length, f"it is {wanted}", secret=secret)
    elif kind in _SHAPES:
        which = f"an entry of `{name}`" if loc and isinstance(loc[-1], int) else f"`{name}`" if name else what
        report.error("E007", f"{which} should be {_SHAPES[kind]}", place, length, secret=secret)
    else:
        report.error("E007", f"`{name}`: {_sentence(error)}", place, length, secret=secret)


def _sentence(error: Any) -> str:
    cause = error.get("ctx", {}).get("error")
    if cause is not None:
        return str(cause)
    if error["type"] == "string_pattern_mismatch" and "[0-9a-f]{64}" in error["ctx"]["pattern"]:
        return "expected 64 lower-case hex digits: the SHA-256 of the secret"
    message: str = error["msg"]
    return message[:1].lower() + message[1:]


def _locate(root: Node, loc: tuple[Any, ...], *, key: bool) -> tuple[Place, int]:
    """Return the place of a location; steps that pydantic adds for unions and keys lead nowhere and are skipped."""
    node: Node = root
    place, length = root.place, root.length
    for step in loc:
        if isinstance(node, MappingNode) and step in node.values:
            name, node = node.keys[step], node.values[step]
            at = name if key else node
            place, length = at.place, at.length
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            place, length = node.place, node.length
    return place, length


def _home(model: type[Model], loc: tuple[Any, ...]) -> str:
    """Return where a key at the top belongs, if a section, or a group, has one of its name; else nothing."""
    sections = [each for each in _known_keys(model, ()) if len(loc) == 1 and loc[0] in _known_keys(model, (each,))]
    homes = [f"`{each}`" if each != "groups" else "a group" for each in sections]
    return f"it belongs in {' or '.join(homes)}" if homes else ""


def _known_keys(model: type[Model], loc: tuple[Any, ...]) -> list[str]:
    """Return the keys of the model at a location."""
    from outward.config.twins import models_in  # noqa: PLC0415 - loads pydantic

    models = [model]
    for step in loc:
        fields = [each.model_fields[step] for each in models if step in each.model_fields]
        if fields:
            models = [each for field in fields for each in models_in(field)]
    return sorted({name for each in models for name in each.model_fields})
