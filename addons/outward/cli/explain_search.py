"""What `outward explain --search` prints for people: vendors that get the same list together, codes in words, wrapped.

Long lists are cut; the JSON form is complete.
"""

import shutil
import textwrap
from collections.abc import Iterator, Sequence

from outward.core.model import Unfilterable
from outward.core.policy import Group
from outward.search.explain import Explained
from outward.search.narrowing import Dropped, Inexpressible

_MOST = 16  # entries of one list
_WORDS = {
    Inexpressible.MALFORMED: "not a domain",
    Inexpressible.PUBLIC_SUFFIX: "a public suffix, under which anybody may have a name",
    Inexpressible.NOT_ALLOWED: "not allowed as a whole, as the vendor would read it",
    Inexpressible.SUBDOMAINS_NOT_ALLOWED: "names below are not allowed, and the vendor would search them",
    Inexpressible.TOUCHES_DENY: "a deny rule lies within, and the vendor would search what it denies",
    Inexpressible.PATH_NOT_SUPPORTED: "this vendor's filter knows no paths",
    Inexpressible.NOT_REGISTRABLE: "this vendor takes registrable domains only; such a line allows more",
    Inexpressible.CALLER_BLOCKS: "the caller's own filter blocks it",
    Inexpressible.VENDOR_REFUSES: "the vendor does not search it",
}


def as_text(group: Group, tools: Sequence[Explained]) -> str:
    """Return the explanation of a group's searches, wrapped to the terminal."""
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))
    settings = group.web_search
    switched = "on" if settings.enabled else "off: no search happens, whatever is sent"
    told = f"{group.path}: web search is {switched}; filter {settings.filter}, opt-in {settings.opt_in}"
    lines = _broken(told, "", width)
    alike: dict[object, list[Explained]] = {}
    for tool in tools:
        if tool.sent is not None and tool.sent.sayable:
            alike.setdefault((tool.sent, tool.unsaid), []).append(tool)
    for same in alike.values():
        lines += ["", *_sent(same, width)]
    unsayable = [tool for tool in tools if tool.sent is None or not tool.sent.sayable]
    verified = settings.unfilterable is Unfilterable.VERIFY
    fate = "they search, and what they find is judged" if verified else "taken out, or refused"
    for head, rest in (
        ("No filter, but what lies outside the policy is taken out of the response:", True),
        (f"No filter that could say this policy (`unfilterable: {settings.unfilterable}`: {fate}):", False),
    ):
        if names := [_name(tool) for tool in unsayable if tool.filtered is rest]:
            lines += ["", *_broken(head, "", width), *_wrapped(names, "  ", width)]
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
        count = len(sent.allowed)
        more = f", the limit; {sent.truncated} more are left out" if sent.truncated else ""
        yield from _broken(f"is sent {count} domain{'' if count == 1 else 's'}{more}:", "  ", width)
        yield from _wrapped(sent.allowed, "    ", width)
    for why in dict.fromkeys(each.why for each in unsaid):
        yield from _broken(f"is not sent ({_WORDS[why]}):", "  ", width)
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
    return [line.replace("\u00a0", " ") for line in _broken(text, indent, width)]


def _broken(text: str, indent: str, width: int) -> list[str]:
    below = " " * len(indent)
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=below, break_long_words=False, break_on_hyphens=False
    )
