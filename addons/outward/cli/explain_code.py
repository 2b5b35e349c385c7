"""`outward explain E012` and `outward explain no_rule`: what a code means, with an example and the cure."""

import json
import re
from difflib import get_close_matches

import click

from outward.cli.check import checked
from outward.config.findings import FindingMeaning, meanings
from outward.config.render import render_text
from outward.core.reasons import MEANINGS, Reason

FILE = "outward.yaml"
_FINDING = re.compile(r"[EW]\d{3}", re.IGNORECASE)
_REASON = re.compile(r"(?=[a-z]*_)[a-z_]+", re.IGNORECASE)


def is_code(text: str) -> bool:
    """Tell whether a text is a finding of `check` or a reason of a decision, and no host."""
    return _FINDING.fullmatch(text) is not None or text.lower() in set(Reason)


def no_reason(text: str) -> str | None:
    """Return what to say of a misspelt reason, or None; a host of one's own network may have an underscore too."""
    near = get_close_matches(text.lower(), list(Reason), n=1, cutoff=0.8) if _REASON.fullmatch(text) else ()
    return f"no reason is called `{text}`: did you mean the reason `{near[0]}`?" if near else None


def explain_code(code: str, *, as_json: bool) -> None:
    """Print what a code means."""
    about: dict[str, object]
    if code.lower() not in set(Reason):
        meaning = meanings().get(code.upper())
        if meaning is None:
            raise click.UsageError(f"there is no finding {code}")
        about = {"code": code, "means": meaning.means, "example": meaning.example, "check": said(meaning)}
        text = page(meaning)
    else:
        reason = Reason(code.lower())
        told = MEANINGS[reason]
        about = {"reason": code, "status": told.status, "title": told.title, "cure": told.cure}
        text = f"{code}: {told.title} (HTTP {told.status})\n  {told.cure}"
    click.echo(json.dumps(about, indent=2) if as_json else text)


def said(meaning: FindingMeaning) -> str:
    """Return what `check` says of a code's example."""
    if meaning.example is None:
        return ""
    findings = [each for each in checked(meaning.example, FILE).findings if each.ident == meaning.code]
    return render_text(findings[:1], {FILE: meaning.example})


def page(meaning: FindingMeaning) -> str:
    """Return all about a code, for people."""
    level = "error" if meaning.code.startswith("E") else "warning"
    parts = [f"{meaning.code} ({level}): {meaning.means}"]
    if meaning.example is not None:
        indented = "".join(f"    {line}\n" for line in meaning.example.rstrip("\n").split("\n"))
        answer = "".join(f"    {line}\n" for line in said(meaning).split("\n"))
        parts += ["", "  This file brings it:", "", indented.rstrip("\n"), "", "  Check says:", "", answer.rstrip("\n")]
    return "\n".join(parts)
