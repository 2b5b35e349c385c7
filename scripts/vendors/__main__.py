"""Holds the vendors' tables against their newest SDKs and command-line tools: what those name, and no table does.

    .venv/bin/python scripts/vendors                 # compare; a line for each difference; exit 1 if there is any
    .venv/bin/python scripts/vendors --only openai   # one package
    .venv/bin/python scripts/vendors --table         # vendors, versions and endpoints by class, as Markdown

Each line is something to act on: add it to the table that it names, with what it is (`usual`, `governed`, `denied`).
"""

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import fetch  # noqa: E402
from read import Named, read  # noqa: E402

from outward.search.jsonbody import folded  # noqa: E402
from outward.search.registry import vendor_of  # noqa: E402
from outward.search.surface import Surface  # noqa: E402
from outward.search.tables import surface  # noqa: E402

_READING = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_URL = re.compile(rb"""https://([a-z0-9.-]+\.[a-z]{2,})(/[A-Za-z0-9_./:${}-]*)?""")


def main() -> int:
    """Compare, print, and return 1 if a table lacks something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="one package")
    parser.add_argument("--cache", type=Path, help="folder for downloads; default: a temporary one")
    parser.add_argument("--table", action="store_true", help="print the table of vendors instead")
    args = parser.parse_args()
    sources = yaml.safe_load((HERE / "sources.yaml").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.cache or Path(temporary)
        lines, rows = [], []
        for package, entry in sources["python"].items():
            if args.only not in (None, package):
                continue
            version, files = fetch.python(package, folder)
            named = read(files, entry.get("only", ""))
            surfaces = [surface(name) for name in entry["tables"]]
            lines += _kept(sources, package, version, missing(named, surfaces))
            rows.append((package, version, ", ".join(entry["tables"]), classes(named, surfaces)))
        for package in sources["commands"]:
            if args.only in (None, package):
                version, files = fetch.npm(package, folder)
                lines += _kept(sources, package, version, unknown_urls(files))
    if args.table:
        print_table(rows)
        return 0
    print("\n".join(lines) if lines else "every endpoint, tool and address is in a table")
    return 1 if lines else 0


def _kept(sources: Mapping[str, Any], package: str, version: str, lines: Iterator[str]) -> list[str]:
    """Return what is not known to be left closed."""
    fields = [f"field {key} " for key in sources["closed_fields"].get(package, ())]
    known = [re.compile(each) for each in (*sources["skip"]["all"], *sources["skip"].get(package, ()), *fields)]
    return [f"{package} {version}: {line}" for line in lines if not any(each.match(line) for each in known)]


def missing(named: Named, surfaces: list[Surface]) -> Iterator[str]:
    """Yield what an SDK names and no table does."""
    names = "/".join(each.name for each in surfaces)
    for (method, path), file in sorted(named.endpoints.items()):
        reads = method in _READING and not any(each.closed for each in surfaces)
        if not reads and endpoint(surfaces, method, path) is None:
            yield f"endpoint {method} {path} is not in table {names}  ({file})"
    for kind, file in sorted(named.tools.items()):
        if all(each.tool(kind) is None for each in surfaces):
            yield f"tool {kind} is not in table {names}  ({file})"
    for key, file in sorted(named.addresses.items()):
        if not any(knows(each, key) for each in surfaces):
            yield f"field {key} is not in table {names}  ({file})"


def endpoint(surfaces: list[Surface], method: str, path: str) -> str | None:
    """Return what the first table that names an endpoint says of it."""
    concrete = path.replace("/{}:", "/models/x:").replace("{}", "x")
    for each in surfaces:
        found = each.anywhere(method, concrete) or each.loose.find(method, concrete)
        if found is not None:
            return str(found.kind)
    return None


def knows(vendor: Surface, key: str) -> bool:
    """Tell whether a table names a key, anywhere or within another."""
    plain, fields = folded(key), vendor.fields
    return plain in fields.plain or any(plain in each for each in (*fields.nested.values(), *fields.typed.values()))


def unknown_urls(files: Path) -> Iterator[str]:
    """Yield the interfaces at governed hosts that a command's bundle names, and no table does."""
    found: set[tuple[str, str]] = set()
    for path in files.rglob("*"):
        if path.is_file():
            for match in _URL.finditer(path.read_bytes()):
                found.add((match[1].decode(), re.sub(r"\$?\{[^}]*\}", "x", (match[2] or b"/").decode())))
    for host, path in sorted(found):
        vendor = vendor_of(host)
        if vendor is None or not looks_like_api(path):
            continue
        table = surface(vendor)
        if all(table.anywhere(method, path) is None for method in ("POST", "GET", "PUT")):
            yield f"https://{host}{path} is not in table {vendor}"


def looks_like_api(path: str) -> bool:
    """Tell whether a path is an interface's, not a document's."""
    return re.match(r"/(api/|openai/|backend-api/)?v\d", path) is not None


def classes(named: Named, surfaces: list[Surface]) -> Counter[str]:
    """Count an SDK's endpoints by what the tables say of them."""
    counts: Counter[str] = Counter()
    for method, path in named.endpoints:
        kind = endpoint(surfaces, method, path)
        counts[kind or ("usual" if method in _READING else "missing")] += 1
    return counts


def print_table(rows: list[tuple[str, str, str, Counter[str]]]) -> None:
    """Print packages, versions and endpoints by class."""
    print("| package | version | tables | endpoints | usual | governed | denied |\n|---|---|---|---|---|---|---|")
    for package, version, tables, counts in rows:
        kinds = " | ".join(str(counts[kind]) for kind in ("usual", "governed", "denied"))
        print(f"| {package} | {version} | {tables} | {counts.total()} | {kinds} |")


if __name__ == "__main__":
    sys.exit(main())
