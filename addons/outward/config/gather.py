"""Reading files: the main file and those it includes, merged into one set of sections.

Owns bounds on what is read, the meaning of `include:`, and the generation that names the content.
"""

import glob
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode, parse
from outward.config.nearest import did_you_mean
from outward.core.model import Place

MAX_BYTES = 128 * 1024 * 1024
MAX_FILES = 10_000

_SECTIONS = ("groups", "sets")
_LISTS = ("clients", "tests")
_INCLUDABLE = ("version", *_SECTIONS, *_LISTS)


@dataclass(slots=True)
class Gathered:
    """What the files say.

    Attributes:
        main: the main file.
        groups, sets: nodes by name, with the name's own node.
        clients, tests: entries in the order of the files.
        files: every file that was read.
        digest: over the content of all of them.
    """

    main: MappingNode
    groups: dict[str, tuple[ScalarNode, Node]] = field(default_factory=dict)
    sets: dict[str, tuple[ScalarNode, Node]] = field(default_factory=dict)
    clients: list[Node] = field(default_factory=list)
    tests: list[Node] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def generation(self) -> str:
        """Twelve hex digits that name the content."""
        return self.digest.hexdigest()[:12]


# YAML ends a line, and so a comment, at characters that editors and reviewers do not see as line ends.
_HIDDEN_CHARACTERS = {
    "\0": "a NUL character",
    "\r": "a carriage return that ends no line",
    "\x85": "a hidden line break (U+0085)",
    "\u2028": "a hidden line break (U+2028)",
    "\u2029": "a hidden line break (U+2029)",
}
_HIDDEN = re.compile(f"[{''.join(_HIDDEN_CHARACTERS)}]")


def gather_file(path: Path, report: Report) -> Gathered | None:
    """Read a file and what it includes; None after reporting that the file itself cannot be used."""
    data = _read(path, Place(str(path), 1), report)
    return None if data is None else gather_bytes(data, str(path), path.parent, report, path)


def gather_bytes(data: bytes, name: str, base: Path, report: Report, path: Path | None = None) -> Gathered | None:
    """Read content that is at hand already, under a name, with includes relative to `base`."""
    root = _document(data, name, report)
    if root is None:
        return None
    gathered = Gathered(root, files=[path] if path else [])
    _count(gathered, data)
    _merge(root, gathered, report)
    for node in _include_nodes(root, report):
        for included in _expand(node, base, report):
            _include(included, node, gathered, report)
    return gathered


def _read(path: Path, place: Place, report: Report) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        report.error("E001", f"cannot read `{path}`: {(error.strerror or 'unknown').lower()}", place)
        return None
    if len(data) > MAX_BYTES:
        report.error("E001", f"`{path}` is larger than {MAX_BYTES // 2**20} MiB", place)
        return None
    return data


def _document(data: bytes, name: str, report: Report) -> MappingNode | None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(name, data.count(b"\n", 0, error.start) + 1)
        report.error("E001", "not UTF-8", place, cure="save the file as UTF-8")
        return None
    text = text.replace("\r\n", "\n")
    report.sources[name] = text
    hidden = _HIDDEN.search(text)
    if hidden:
        place = Place(name, text.count("\n", 0, hidden.start()) + 1)
        report.error(
            "E001", _HIDDEN_CHARACTERS[hidden[0]], place, cure="remove it; the file may show less than it says"
        )
        return None
    root = parse(text, name, report)
    if isinstance(root, MappingNode):
        return root
    if not report.failed:
        report.error(
            "E001", "expected a mapping with `version: 1`", Place(name, 1), cure="start from `config/outward.yaml`"
        )
    return None


def _count(gathered: Gathered, data: bytes) -> None:
    gathered.digest.update(len(data).to_bytes(8, "big") + data)


def _include_nodes(root: MappingNode, report: Report) -> list[ScalarNode]:
    node = root.get("include")
    items = node.items if isinstance(node, SequenceNode) else []
    if node is not None and not isinstance(node, SequenceNode):
        report.error("E020", "`include` is a list", node.place, node.length, "write `include: [groups/*.yaml]`")
    return [item for item in items if isinstance(item, ScalarNode) and not item.is_null]


def _expand(node: ScalarNode, base: Path, report: Report) -> list[Path]:
    names = sorted(glob.glob(node.text, root_dir=base, recursive=True))  # noqa: PTH207 - Path.glob walks hidden folders, which in a ConfigMap are the old versions
    found = [path for path in (base / name for name in names) if not path.is_dir()]
    if found or glob.has_magic(node.text):
        if not found:
            report.warning("W101", f"`{node.text}` matches no file", node.place, node.length)
        return found
    return [base / node.text]


def _include(path: Path, node: ScalarNode, gathered: Gathered, report: Report) -> None:
    if path in gathered.files:
        return
    if len(gathered.files) >= MAX_FILES:
        report.error("E020", f"more than {MAX_FILES} files", node.place, node.length)
        return
    data = _read(path, node.place, report)
    if data is None:
        return
    gathered.files.append(path)
    _count(gathered, data)
    if not data.strip():
        return
    root = _document(data, str(path), report)
    if root is not None:
        _check_keys(root, report)
        _merge(root, gathered, report)


def _check_keys(root: MappingNode, report: Report) -> None:
    for key, value in root.items():
        if key.text not in _INCLUDABLE:
            cure = did_you_mean(key.text, _INCLUDABLE)
            report.error("E020", f"`{key.text}` belongs in the main file", key.place, key.length, cure)
        elif key.text == "version" and not (isinstance(value, ScalarNode) and value.text == "1"):
            report.error("E007", "`version` is 1", value.place, value.length)


def _merge(root: MappingNode, gathered: Gathered, report: Report) -> None:
    for section in _SECTIONS:
        node, into = root.get(section), getattr(gathered, section)
        if isinstance(node, MappingNode):
            for key, value in node.items():
                if key.text in into:
                    first = into[key.text][0].place
                    message = f"`{key.text}` is defined twice in `{section}`"
                    report.error("E017", message, key.place, key.length, f"it was first defined at {first}")
                else:
                    into[key.text] = (key, value)
        elif node is not None:
            report.error("E007", f"`{section}` should be a mapping", node.place, node.length)
    for section in _LISTS:
        entries = root.get(section)
        if isinstance(entries, SequenceNode):
            getattr(gathered, section).extend(entries.items)
        elif entries is not None:
            report.error("E007", f"`{section}` should be a list", entries.place, entries.length)
