"""Runs the newest command-line agents behind `outward run`, against stub vendors, and says what each of them shows.

    .venv/bin/python scripts/clients                   # compare with docs/guides/clients.md; exit 1 if a cell differs
    .venv/bin/python scripts/clients --write           # write the table into the guide
    .venv/bin/python scripts/clients --only codex -v   # some of them, with what they printed

    .venv/bin/python scripts/clients --sdks            # the vendors' Python and Node SDKs: a call, a search, a denial
    .venv/bin/python scripts/clients --tools           # programs that are no agents, as they are here (--write)
    .venv/bin/python scripts/clients --hidden          # clients whose keys `run --hide` keeps from them

Needs npm and pip with a registry, and leave to listen on port 443. What cannot be installed is left out, with
the reason.
"""

import argparse
import base64
import re
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "tests")]

from clients import CLIENTS, Client  # noqa: E402
from holders import HOLDERS, VALUE, Holder, variables  # noqa: E402
from install import CannotInstallError, installed, node, node_sdk, sdks  # noqa: E402
from node_sdks import SDKS as NODE_SDKS  # noqa: E402
from node_sdks import NodeSdk  # noqa: E402
from running import ADDRESS, MODES, ROOT, Run, run  # noqa: E402
from sdks import SDKS, Sdk, snippet  # noqa: E402
from tools import HEAD as TOOLS_HEAD  # noqa: E402
from tools import table  # noqa: E402

from harness.vendors_of_agents import ANSWERED, FROM_MEMORY  # noqa: E402

GUIDE = ROOT / "docs" / "guides" / "clients.md"
HOSTS = (
    "api.anthropic.com", "api.openai.com", "chatgpt.com", "generativelanguage.googleapis.com",
    "cloudcode-pa.googleapis.com", "oauth2.googleapis.com", "www.googleapis.com", "mcp.exa.ai",
)  # fmt: skip
HEAD = ["agent", "version", "turn with its tools", *(f"search: {mode}" for mode in MODES)]
_TOOLS = re.compile(r"^\| program \| version \|.*?\n(?=\n|\Z)", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"^\| agent \| version \|.*?\n(?=\n|\Z)", re.MULTILINE | re.DOTALL)
_ASKS = (b'"web_search_2', b"googleSearch", b'"search_query"', b"tools/call")


def turn(client: Client, found: Run) -> str:
    """Say what came of a turn that needs no search."""
    expected = ANSWERED if client.tools else FROM_MEMORY
    if found.code == 0 and expected in found.shown and not found.denied:
        return "passes" if client.tools else "passes (has none)"
    return f"**fails**: exit {found.code}, {found.denied}"


def search(found: Run) -> str:
    """Say what came of a search."""
    denied = ", ".join(f"`{reason}`" for reason in sorted(found.denied))
    if found.code is None:
        return f"**hangs** {denied}"
    if "evil.example.net" in found.shown and "source_outside_allowlist" not in found.denied:
        return "**unfiltered**"
    if "source_outside_allowlist" in found.denied:
        return f"runs; {denied} is recorded"
    if not denied:
        if not any(word in body for body in found.sent for word in _ASKS):
            return "sends no search"
        narrowed = any(re.search(rb'omains"\s*:\s*\["docs\.example\.com"', body) for body in found.sent)
        return "narrowed" if narrowed else "filtered" if "docs.example.com" in found.shown else "**did not search**"
    if any(reason in found.shown for reason in found.denied):
        return f"denied: shows {denied}, {sum(found.denied.values())} attempt, exit {found.code}"
    return f"stripped: {denied}, answers without" if FROM_MEMORY in found.shown else f"**mystery**: {denied}"


def row(client: Client, folder: Path, *, verbose: bool) -> list[str]:
    """Run an agent through everything and return its row.

    Raises:
        CannotInstallError: if it cannot be had here.
    """
    version, program = installed(client, folder)
    programs = str(program) if client.python else f"{program}:{node(folder)}"
    found = [run(partial(client.start, prompt="RUN it, please."), HOSTS, programs, "off")]
    cells = [turn(client, found[0])]
    for mode in MODES:
        if client.searches:
            found.append(run(partial(client.start, prompt="SEARCH it, please."), HOSTS, programs, mode))
        cells.append(search(found[-1]) if client.searches else "has none")
    if verbose:
        for each in found:
            print(f"--- {each.code} {each.seconds:.1f} s {each.denied}\n{each.shown}")
    return [client.title, version, *cells]


def written() -> dict[str, list[str]]:
    """Return the rows that the guide has, by agent."""
    table = _TABLE.search(GUIDE.read_text("utf-8"))
    lines = table[0].splitlines()[2:] if table else []
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {cells[0]: cells for cells in rows}


def tried(sdk: Sdk, python: Path, *, verbose: bool) -> list[str]:
    """Run an SDK's calls, and return what is not as it should be."""
    wrong: list[str] = []
    for mode in ("on", "off"):
        code = snippet(sdk, mode)
        if not code:
            continue
        found = run(lambda _home, code=code: ([str(python), "-c", code], {}), (sdk.host,), str(python.parent), mode)
        if verbose:
            print(found.shown)
        said = dict(re.findall(r"^@(\w+) (.*)$", found.shown, re.MULTILINE))
        if mode == "off":
            said_so = sdk.raises in said.get("denied", "").partition(": ")[0] and sdk.reason in said.get("denied", "")
            wrong += [] if said_so else [f"denied: {said.get('denied', found.shown[-200:])[:300]}"]
            continue
        wrong += [f"{name}: {what[:300]}" for name, what in said.items() if what != "passes"]
        if sdk.search and sdk.narrows and not any(b"docs.example.com" in body for body in found.sent):
            wrong.append("search: not narrowed")
    return wrong


def tried_in_node(sdk: NodeSdk, into: Path, programs: Path, *, verbose: bool) -> list[str]:
    """Run a Node SDK's calls, and return what is not as it should be."""
    wrong: list[str] = []
    for mode in ("on", "off") if sdk.usual else ("off",):
        script = into / f"{mode}.mjs"
        script.write_text(sdk.script(mode))
        found = run(lambda _home, script=script: (["node", str(script)], {}), (sdk.host,), str(programs), mode)
        if verbose:
            print(found.shown)
        said = re.search(r"^@\w+ (.*)$", found.shown, re.MULTILINE)
        what = said[1] if said else found.shown[-300:]
        right = what.startswith(sdk.raises) and sdk.reason in what if mode == "off" else what == "passes"
        wrong += [] if right else [f"{mode}: {what[:300]}"]
    return wrong


def all_sdks(only: str, folder: Path, *, verbose: bool) -> int:
    """Try the SDKs and return how many do not do what they should."""
    differs = 0
    for sdk in SDKS:
        if only.lower() in sdk.package:
            version, python = sdks(sdk.package, folder)
            wrong = tried(sdk, python, verbose=verbose)
            differs += bool(wrong)
            print(f"{sdk.package} {version}: {'; '.join(wrong) or f'denied as {sdk.raises}'}", flush=True)
    for each in NODE_SDKS:
        if only.lower() in each.package:
            version, into = node_sdk(each.package, each.more, folder)
            wrong = tried_in_node(each, into, node(folder), verbose=verbose)
            differs += bool(wrong)
            print(f"{each.package} {version} (Node): {'; '.join(wrong) or f'denied as {each.raises}'}", flush=True)
    return differs


def _programs(holder: Holder, folder: Path) -> str:
    """Return the folders of what a client needs, installed."""
    if holder.client is not None:
        _, programs = installed(holder.client, folder)
        return str(programs) if holder.client.python else f"{programs}:{node(folder)}"
    if holder.package:
        return str(sdks(holder.package, folder)[1].parent)
    found = shutil.which(holder.program)
    if found is None:
        raise CannotInstallError(f"there is no {holder.program}")
    return str(Path(found).parent)


def hidden(holder: Holder, folder: Path, *, verbose: bool) -> list[str]:
    """Run a client with a placeholder, and return what is not as it should be.

    Raises:
        CannotInstallError: if it cannot be had here.
    """
    found = run(holder.start, holder.hosts, _programs(holder, folder), "on", variables(holder))
    if verbose:
        print(f"--- {found.code} {found.seconds:.1f} s {found.denied}\n{found.shown}")
        print("\n".join(f"{each.line} {each.fields}" for each in found.seen))
    name, form = holder.field
    if name == "basic":
        name, text = "authorization", base64.b64encode(f"{form}:{VALUE}".encode()).decode()
        expected = f"Basic {text}"
    else:
        expected = form.format(VALUE)
    wrong = [] if found.code == 0 else [f"exit {found.code}: {found.shown[-300:]}"]
    if not any(expected in each.all(name) for each in found.seen):
        wrong.append(f"nobody was sent the key in {name}")
    sent = "".join(f"{each.line}{each.fields}" for each in found.seen)
    wrong += ["a placeholder went out"] if f"outward-secret-{holder.variable}" in sent else []
    wrong += [f"denied: {found.denied}"] if found.denied else []
    wrong += ["the key was shown"] if VALUE in found.shown else []
    return wrong + [f"the key stands in {path}" for path in found.leaked]


def all_hidden(only: str, folder: Path, *, verbose: bool) -> int:
    """Try clients that hold placeholders, and return how many do not do what they should."""
    differs = 0
    for holder in HOLDERS:
        if only.lower() in holder.title.lower():
            try:
                wrong = hidden(holder, folder, verbose=verbose)
            except CannotInstallError as error:
                print(f"skipped {holder.title}: {error}")
                continue
            differs += bool(wrong)
            print(f"{holder.title}: {'; '.join(wrong) or 'works, and never has the key'}", flush=True)
    return differs


def all_tools(only: str, *, write: bool) -> int:
    """Try what is no agent, write the table if that is wanted, and return 1 if one fails."""
    rows = table(only)
    if write:
        lines = ["| " + " | ".join(cells) + " |" for cells in (TOOLS_HEAD, ["---"] * len(TOOLS_HEAD), *rows)]
        text = GUIDE.read_text("utf-8")
        GUIDE.write_text(_TOOLS.sub(lambda _: "\n".join(lines) + "\n", text), "utf-8")
    return int(any("**" in cell for cells in rows for cell in cells))


def main() -> int:
    """Run, compare, and return 1 if an agent does not do what the guide says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="agents whose name has this in it")
    parser.add_argument("--cache", type=Path, help="folder to install into; default: a temporary one")
    parser.add_argument("--write", action="store_true", help="write the rows into the guide")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what the agents printed")
    parser.add_argument("--sdks", action="store_true", help="the vendors' SDKs instead")
    parser.add_argument("--hidden", action="store_true", help="clients whose keys are hidden instead")
    parser.add_argument("--tools", action="store_true", help="programs that are no agents instead")
    args = parser.parse_args()
    if args.tools:
        return all_tools(args.only, write=args.write)
    rows, differs = written(), 0
    with tempfile.TemporaryDirectory() as temporary:
        if args.hidden:
            return int(all_hidden(args.only, (args.cache or Path(temporary)).resolve(), verbose=args.verbose) > 0)
        if args.sdks:
            return int(all_sdks(args.only, (args.cache or Path(temporary)).resolve(), verbose=args.verbose) > 0)
        for client in CLIENTS:
            if args.only.lower() not in client.title.lower():
                continue
            try:
                cells = row(client, (args.cache or Path(temporary)).resolve(), verbose=args.verbose)
            except CannotInstallError as error:
                print(f"skipped {client.title}: {error}")
                continue
            except PermissionError:
                print(f"skipped: nobody may listen on port 443 of {ADDRESS} here")
                return 0
            print("| " + " | ".join(cells) + " |", flush=True)
            before = rows.get(client.title, [])
            if before[2:] != cells[2:]:
                differs += 1
                print(f"  the guide says: {' | '.join(before[2:])}")
            rows[client.title] = cells
    if args.write:
        lines = ["| " + " | ".join(cells) + " |" for cells in (HEAD, ["---"] * len(HEAD), *rows.values())]
        GUIDE.write_text(_TABLE.sub(lambda _: "\n".join(lines) + "\n", GUIDE.read_text("utf-8")))
        return 0
    return int(differs > 0)


if __name__ == "__main__":
    sys.exit(main())
