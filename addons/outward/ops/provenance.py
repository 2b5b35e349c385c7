"""Where a policy comes from, and what is new in it: for the audit event of its reload.

A file `outward.revision` beside the configuration says it (`commit: …` and `author: …`, or the lines that Kubernetes
writes for annotations, `key="value"`); else the git checkout that the file lies in. Of that only small files are read:
git is not run, for a checkout can make it run something else. Values only; never raises.
"""

import re
import zlib
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from outward.core.model import Place, Rule
from outward.core.policy import Policy, layers
from outward.core.rules import Rules
from outward.files import read_regular

NAME = "outward.revision"
MOST = 100  # groups that an event names

_HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REF = re.compile(r"refs/[\w./-]{1,200}")
_FIELD = re.compile(r"""(?:.*/)?(commit|author)["']?\s*[:=]\s*["']?(.{1,256}?)["']?\s*""")
_AUTHOR = re.compile(rb"^author (.{1,256}?) \d+ [+-]\d{4}$", re.MULTILINE)
_MOST_BYTES = 1 << 20
_NOWHERE = Place("", 0)


@dataclass(frozen=True, slots=True)
class Revision:
    """What is known of where a file comes from; None for what is not."""

    commit: str | None = None
    author: str | None = None


def revision_of(file: Path) -> Revision:
    """Return where a configuration file comes from."""
    with suppress(OSError, ValueError):
        said = _said(read_regular(file.parent / NAME).decode()[:4096])
        if said != Revision():
            return said
    with suppress(OSError, ValueError, zlib.error):
        for folder in list(file.resolve().parents)[:20]:
            if (folder / ".git").exists():
                return _of_checkout(folder / ".git")
    return Revision()


def changes(before: Policy, now: Policy) -> Mapping[str, Mapping[str, int]]:
    """Return for each group how many rules were added and removed; groups without a change are left out."""
    found: dict[str, Mapping[str, int]] = {}
    for path in sorted(before.groups.keys() | now.groups.keys()):
        lists = _lists(before, path), _lists(now, path)
        if all(one[1] is other[1] for one, other in zip_longest(*lists, fillvalue=("", None))):
            continue  # of files that have not changed
        old, new = map(_rules, lists)
        added, removed = (new - old).total(), (old - new).total()
        if added or removed:
            found[path] = {"added": added, "removed": removed}
    return found


def told(before: Policy, now: Policy, file: Path) -> dict[str, object]:
    """Return what the event of a reload says of a policy: commit and author, and the groups whose rules changed."""
    revision, changed = revision_of(file), changes(before, now)
    return {
        "commit": revision.commit,
        "commit_author": revision.author,
        "rules": dict(list(changed.items())[:MOST]),
        "groups_changed": len(changed),
    }


def _lists(policy: Policy, path: str) -> list[tuple[str, Rules | None]]:
    """Return the lists that are written at a path, which several files may do."""
    nodes = layers([policy.groups[path]] if path in policy.groups else [])
    return [each for node in nodes for each in (("allow", node.allow), ("deny", node.deny), ("ceiling", node.ceiling))]


def _rules(lists: list[tuple[str, Rules | None]]) -> Counter[tuple[str, Rule]]:
    return Counter((name, replace(rule, place=_NOWHERE)) for name, rules in lists if rules for rule in rules.all)


def _said(text: str) -> Revision:
    matches = (_FIELD.fullmatch(line.strip()) for line in text.splitlines())
    found = {match[1]: match[2] for match in matches if match}
    return Revision(found.get("commit"), found.get("author"))


def _of_checkout(git: Path) -> Revision:
    """Return the commit that is checked out, and its author where the commit is a file of its own."""
    if git.is_file():  # a worktree
        git = git.parent / _text(git).removeprefix("gitdir:").strip()
    common = git / _text(git / "commondir") if (git / "commondir").exists() else git
    head = _text(git / "HEAD")
    commit = _commit(git, common, head.removeprefix("ref:").strip()) if head.startswith("ref:") else head
    if commit is None or not _HASH.fullmatch(commit):
        return Revision()
    author = None
    with suppress(OSError):  # it is in a pack
        packed = read_regular(common / "objects" / commit[:2] / commit[2:])
        match = _AUTHOR.search(zlib.decompressobj().decompress(packed, _MOST_BYTES))
        author = match[1].decode("utf-8", "replace") if match else None
    return Revision(commit, author)


def _commit(git: Path, common: Path, ref: str) -> str | None:
    if not _REF.fullmatch(ref) or ".." in ref:
        return None
    for folder in (git, common):
        with suppress(OSError):
            return _text(folder / ref)
    for line in read_regular(common / "packed-refs").decode().splitlines():
        if line.endswith(f" {ref}"):
            return line.partition(" ")[0]
    return None


def _text(file: Path) -> str:
    return read_regular(file)[:_MOST_BYTES].decode().strip()
