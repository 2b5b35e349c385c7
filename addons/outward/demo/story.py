"""The demo as text: five scenes, each a line of what happens and what Outward made of it."""

from collections.abc import AsyncIterator
from typing import Any

from outward.demo.chat import Chat
from outward.demo.small_web import QUESTION

BLOCKED_HOST = "paste.example.net"


async def story(chat: Chat) -> AsyncIterator[str]:
    """Play the scenes and yield lines."""
    yield "1. Search is on for the group, but nobody has opted this conversation in"
    async for line in _turn(chat, "anthropic"):
        yield line
    await chat.opt_in(active=True)
    yield "\n2. The developer opts in: one search, permitted sources only"
    async for line in _turn(chat, "anthropic"):
        yield line
    yield "\n3. The same with another vendor"
    async for line in _turn(chat, "openai"):
        yield line
    yield "\n4. A vendor that disregards the filter: its source is flagged"
    async for line in _turn(chat, "anthropic", careless=True):
        yield line
    yield f"\n5. The agent fetches {BLOCKED_HOST} itself"
    problem = (await chat.fetch(BLOCKED_HOST))["denied"]
    yield f"   {problem['status']} {problem['reason']}: {problem['title']}; to allow it: {problem['suggestion']}"
    await chat.recorded(problem["decision_id"])
    await chat.opt_in(active=False)
    yield "\nBlocked log, the newest first"
    for row in await chat.blocked():
        yield f"   {row['reason']:28} {row['host']:20} {row['conversation']}  {row['id']}"
    yield "\nAudit log, the newest first"
    for row in await chat.audit():
        details = row["details"]
        shown = " ".join(str(details[key]) for key in ("vendor", "action", "reason") if details.get(key))
        yield f"   {details['event_name']:28} {shown}"


async def _turn(chat: Chat, vendor: str, *, careless: bool = False) -> AsyncIterator[str]:
    """Ask the question once and yield what a chat would show."""
    yield f"   > {QUESTION}"
    text, receipt, denied = "", None, None
    async for event in chat.ask(vendor, QUESTION, careless=careless):
        text += " " * ("cited" in event) + event.get("text", "")
        receipt, denied = event.get("receipt", receipt), event.get("denied", denied)
    if denied:
        yield f"   denied: {denied['reason']}"
    yield f"   {vendor}: {text.strip()}"
    yield f"   {vendor} was sent: {_filter(chat.sent(vendor))}"
    if receipt:
        times = receipt["this_turn"]
        yield f"   Searched the web ({times} search{'' if times == 1 else 'es'})"
        for source in receipt["sources"]:
            flag = "" if source["permitted"] else f"   ! {source['reason']}"
            yield f"     {source['url']}{flag}"


def _filter(tool: dict[str, Any] | None) -> str:
    """Say the domain filter of a search tool."""
    if tool is None:
        return "no search tool"
    domains = tool.get("allowed_domains") or tool.get("filters", {}).get("allowed_domains")
    return "allowed_domains: " + ", ".join(domains or ())
