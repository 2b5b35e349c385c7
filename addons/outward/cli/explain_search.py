"""What `outward explain --search` prints for people: vendors that get the same list together, codes in words, wrapped.

Long lists are cut; the JSON form is complete.
"""

import shutil
import textwrap
from collections.abc import Iterator, Sequence

from outward.core.policy import Group
from outward.search.explain import Explained
from outward.search.narrowing import Dropped, Unsaid

_MOST = 16  # entries of one list
_WORDS = {
    Unsaid.MALFORMED: "not a domain",
    Unsaid.PUBLIC_SUFFIX: "a public suffix, under which anybody may have a name",
    Unsaid.NOT_ALLOWED: "not allowed as a whole, as the vendor would read it",
    Unsaid.SUBDOMAINS_NOT_ALLOWED: "names below are not allowed, and the vendor would search them",
    Unsaid.TOUCHES_DENY: "a deny rule lies within, and the vendor would search what it denies",
    Unsaid.PATH_NOT_SUPPORTED: "this vendor's filter knows no paths",
    Unsaid.NOT_REGISTRABLE: "this vendor takes registrable domains only",
    Unsaid.CALLER_BLOCKS: "the caller's own filter blocks it",
    Unsaid.VENDOR_REFUSES: "the vendor does not search it",
}


def as_text(group: Group, tools: Sequence[Explained]) -> str:
    """Return the explanation of a group's searches, wrapped to the terminal."""
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))
    settings = group.web_search
    switched = "on" if settings.enabled else "off: no search happens, whatever is sent"
    lines = [f"{group.path}: web search is {switched}; filter {settings.filter}, opt-in {settings.opt_in}"]
    alike: dict[object, list[Explained]] = {}
    for tool in tools:
        if tool.sent is not None and tool.sent.sayable:
            alike.setdefault((tool.sent, tool.unsaid), []).append(tool)
    for same in alike.values():
        lines += ["", *_sent(same, width)]
    rest = [tool for tool in tools if tool.sent is None or not tool.sent.sayable]
    filtered = _wrapped([_name(tool) for tool in rest if tool.filtered], "  ", width)
    blind = _wrapped([_name(tool) for tool in rest if not tool.filtered], "  ", width)
    if filtered:
        lines += ["", "No filter, but what lies outside the policy is taken out of the response:", *filtered]
    if blind:
        kept = (
            "they search, and what they find is judged"
            if settings.unfilterable == "verify"
            else "taken out, or refused"
        )
        lines += [
            "",
            f"No filter that could say this policy (`unfilterable: {settings.unfilterable}`: {kept}):",
            *blind,
        ]
    return "\n".join(lines)


def _sent(same: Sequence[Explained], width: int) -> Iterator[str]:
    """Yield the lines of tools that are sent the same."""
    sent, unsaid = same[0].sent, same[0].unsaid
    if sent is None:
        return
    yield from _wrapped([_name(tool) for tool in same], "", width, cut=False)
    if sent.unrestricted:
        yield from _wrapped(sent.blocked, "  every public host, except ", width) or ["  every public host"]
    elif not sent.allowed:
        yield "  nothing can be sent, so no search is possible"
    else:
        more = f", the limit; {sent.truncated} more are left out" if sent.truncated else ""
        yield f"  is sent {len(sent.allowed)} domain{'s' if len(sent.allowed) != 1 else ''}{more}:"
        yield from _wrapped(sent.allowed, "    ", width)
    for why in dict.fromkeys(each.why for each in unsaid):
        yield f"  is not sent ({_WORDS[why]}):"
        yield from _wrapped([_entry(each) for each in dict.fromkeys(unsaid) if each.why is why], "    ", width)


def _name(tool: Explained) -> str:
    return f"{tool.vendor} {tool.tool}"


def _entry(each: Dropped) -> str:
    return f"{each.entry} [add {each.line}]" if each.line else each.entry


def _wrapped(entries: Sequence[str], indent: str, width: int, *, cut: bool = True) -> list[str]:
    """Return entries as lines that break between entries only; nothing where there is none."""
    shown = list(entries[:_MOST]) if cut else list(entries)
    if len(entries) > len(shown):
        shown.append(f"and {len(entries) - len(shown)} more (--json lists all)")
    text = ", ".join(entry.replace(" ", "\u00a0") for entry in shown)
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\u00a0", " ") for line in lines]
