"""Reads the sources of an SDK: the endpoints that it calls, the types of tools and the keys of addresses that it names.

Nothing of it is run. Each form of generated client is one function here.
"""

import ast
import gzip
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_VERBS = {f"_{verb}": verb.upper() for verb in ("get", "post", "put", "patch", "delete")}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TOOL = re.compile(r"Tool(Param|TypedDict|Dict|Union)?s?(_?\d{8})?(Param|TypedDict|Dict)?$")
_ADDRESS = re.compile(
    r"(^|_)(ur[il]s?|webhooks?|callbacks?|endpoints?|domains?|hosts?|hostnames?|server_address)(_|$)", re.IGNORECASE
)
_CHOICE = re.compile(r"Filter|Choice|Format|Thinking|Location|Compound|Comparison|Schema")
_TESTS = re.compile(r"(^|/)(tests?|__tests__|examples?)/")
_REQUEST = re.compile(r"(Params?|TypedDict|Dict|Config|Request)$")


@dataclass(slots=True)
class Named:
    """What an SDK names, each with the file that names it.

    Attributes:
        endpoints: by method and path; `{}` stands for a part of the path that the caller gives.
        tools: by type.
        addresses: keys of requests whose name says that an address stands under them.
    """

    endpoints: dict[tuple[str, str], str] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)


def read(folder: Path, only: str = "") -> Named:
    """Read the Python files and service models below a folder whose path matches `only`."""
    named, wanted = Named(), re.compile(only)
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or not wanted.search(name) or _TESTS.search(name):
            continue
        if path.suffix == ".py":
            _python(ast.parse(path.read_text("utf-8", "replace")), name, named)
        elif path.name == "service-2.json.gz":
            _model(json.loads(gzip.decompress(path.read_bytes())), name, named)
    return named


def _python(tree: ast.Module, name: str, named: Named) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for method, path in _called(node):
                named.endpoints.setdefault((method, _plain(path)), name)
        elif isinstance(node, ast.Dict):
            for method, path in _http_rule(node):
                named.endpoints.setdefault((method, _plain(path)), name)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for method, path in _later(node):
                named.endpoints.setdefault((method, _plain(path)), name)
        elif isinstance(node, ast.ClassDef):
            _shape(node, name, named)


def _called(node: ast.Call) -> Iterator[tuple[str, str]]:
    """Yield what a call asks, in the forms of the usual generators."""
    function = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    words = {each.arg: _text(each.value) for each in node.keywords if each.arg}
    first = _text(node.args[0]) if node.args else None
    method, path = words.get("method"), words.get("path")
    if function in _VERBS and first:
        yield _VERBS[function], first
    elif function == "_get_api_list" and first:
        yield (method or "get").upper(), first
    elif method and path:
        yield method.upper(), path
    elif function == "request" and first and "/" in first:
        second = _text(node.args[1]) if len(node.args) > 1 else None
        given = (method or second or "POST").upper()
        yield given if given in _METHODS else "POST", first
    elif function in ("unary_unary", "unary_stream", "stream_unary", "stream_stream") and first:
        yield "POST", first
    elif (
        function in ("post", "get", "put", "patch", "delete")
        and first
        and re.match(r"(\{\})?/[a-z]", _plain(first, ""))
    ):
        yield function.upper(), first.removeprefix("{}")


def _later(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
    """Yield what a function asks that first puts the path into a variable `path`."""
    methods = {
        str(_text(each.args[0])).upper()
        for each in ast.walk(function)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and "request" in each.func.attr
        and each.args
    } & _METHODS
    for each in ast.walk(function):
        if isinstance(each, ast.Assign) and any(isinstance(it, ast.Name) and it.id == "path" for it in each.targets):
            path = _text(each.value)
            if path and path != "{}?{}":
                yield from ((method, path) for method in methods)


def _http_rule(node: ast.Dict) -> Iterator[tuple[str, str]]:
    """Yield the method and path of Google's `{"method": …, "uri": …}`."""
    words = {_text(key): _text(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None}
    if "uri" in words and "method" in words and words["uri"] and words["method"]:
        yield words["method"].upper(), words["uri"]


def _text(node: ast.expr) -> str | None:
    """Return a string that the source writes, `{}` for what it computes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.Call):  # path_template("…"), "…".format_map(…)
        inner = node.func.value if isinstance(node.func, ast.Attribute) else None
        return _text(inner) if isinstance(inner, ast.Constant) else _text(node.args[0]) if node.args else None
    return None


def _plain(path: str, start: str = "/") -> str:
    """Return a path without query and fragment, `{}` for each part that the caller gives."""
    path = re.sub(r"\{[^{}]*\}", "{}", path.partition("?")[0].partition("#")[0])
    return path if path.startswith("/") else start + path


def _shape(node: ast.ClassDef, name: str, named: Named) -> None:
    tool = _TOOL.search(node.name) is not None or re.search(r"tool(_param)?\.py$", name) is not None
    for each in node.body:
        if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name):
            continue
        key = each.target.id
        if tool and key == "type":
            for kind in _literals(each.annotation) if not _CHOICE.search(node.name) else ():
                named.tools.setdefault(kind, f"{name}:{each.lineno}")
        if _REQUEST.search(node.name) and _ADDRESS.search(key):
            named.addresses.setdefault(key, f"{name}:{each.lineno}")


def _literals(annotation: ast.expr) -> Iterable[str]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal"):
            for each in ast.walk(node.slice):
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    yield each.value


def _model(model: dict, name: str, named: Named) -> None:
    """Read a service model of AWS."""
    for operation in model["operations"].values():
        http = operation["http"]
        named.endpoints.setdefault((http["method"], _plain(http["requestUri"])), name)
    inputs = {each["input"]["shape"] for each in model["operations"].values() if "input" in each}
    seen: set[str] = set()
    while inputs:
        shape = inputs.pop()
        if shape in seen:
            continue
        seen.add(shape)
        members = model["shapes"][shape].get("members", {})
        for key, member in members.items():
            if _ADDRESS.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key)):
                named.addresses.setdefault(key, f"{name}:{shape}")
            inputs.add(member["shape"])
        inputs |= {model["shapes"][shape][key]["shape"] for key in ("member", "value") if key in model["shapes"][shape]}
