"""Whether a file is a configuration at all, and shows all that it says. Of any other nothing is told but that."""

import re

from outward.config.diagnostics import Report
from outward.config.document import MAX_NODES, MappingNode, parse
from outward.core.model import Place

# What tells a file of ours. Not `secrets`, `admin`, `webhooks`: files of other programs begin so too, and nothing of
# those may be shown.
_KNOWN = (
    *("version", "groups", "sets", "clients", "tests", "include"),
    *("server", "records", "upstream", "vendors", "vendor_tables", "mcp"),
)

# YAML ends a line, and so a comment, at characters that editors and reviewers do not see as line ends.
_HIDDEN_CHARACTERS = {
    "\0": "a NUL character",
    "\r": "a carriage return that ends no line",
    "\x85": "a hidden line break (U+0085)",
    "\u2028": "a hidden line break (U+2028)",
    "\u2029": "a hidden line break (U+2029)",
}
_HIDDEN = re.compile(f"[{''.join(_HIDDEN_CHARACTERS)}]")


def document(data: bytes, name: str, report: Report, most: int = MAX_NODES) -> MappingNode | None:
    """Parse a file; of one that is no configuration, whatever it is, nothing is told but that.

    Args:
        data: what it holds.
        name: its name in places.
        report: takes the findings, and the text once it is known to be a configuration.
        most: values that it may hold.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(name, data.count(b"\n", 0, error.start) + 1)
        report.error("E001", "not UTF-8", place, cure="save the file as UTF-8")
        return None
    text = text.replace("\r\n", "\n")
    own = Report(sources={name: text})
    hidden = _HIDDEN.search(text)
    if hidden:
        place = Place(name, text.count("\n", 0, hidden.start()) + 1)
        own.error("E001", _HIDDEN_CHARACTERS[hidden[0]], place, cure="remove it; the file may show less than it says")
    root = None if hidden else parse(text, name, own, most)
    if not (_is_ours(root) if isinstance(root, MappingNode) else own.failed and _seems_ours(text)):
        message = "expected a mapping with `version: 1`"
        report.error("E001", message, Place(name, 1), cure="begin with `version: 1`, as `config/outward.yaml` does")
        return None
    report.sources.update(own.sources)
    report.findings += own.findings
    return root if isinstance(root, MappingNode) else None


def _is_ours(root: MappingNode) -> bool:
    return not root.keys.keys().isdisjoint(_KNOWN)


def _seems_ours(text: str) -> bool:
    """Tell whether a text that cannot be parsed has a line that begins like a configuration's."""
    return re.search(rf"^(?:{'|'.join(_KNOWN)})\s*:", text, re.MULTILINE) is not None
