"""Clients whose keys `run --hide` keeps from them: each must work with a placeholder, and its host get the key."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clients import CLIENTS, Client, Command
from sdks import SDKS

_WHEEL = "acme_tool-1.0-py3-none-any.whl"
NPM, PIP = "npm.registry.example", "pip.index.example"
VALUE = "real-Value-0123456789abcdef"
_ANTHROPIC, _OPENAI, _GEMINI = "api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com"
_GITHUB = ("github.com", "api.github.com")


@dataclass(frozen=True)
class Holder:
    """A client that holds a placeholder.

    Attributes:
        title: its name.
        variable: that is hidden.
        field: of a request, in lower case, and its value, `{}` standing for the key; `basic user` for Basic.
        hosts: that it asks.
        start: from its home to the arguments and the environment without the variable; writes what it needs.
        client: the agent that is to be installed, or None.
        package: of Python's registry that is to be installed, or "".
        program: of the machine, or "".
    """

    title: str
    variable: str
    field: tuple[str, str]
    hosts: tuple[str, ...]
    start: Callable[[Path], Command]
    client: Client | None = None
    package: str = ""
    program: str = ""


def _shell(script: str, **more: str) -> Callable[[Path], Command]:
    return lambda _home: (["sh", "-ec", script], more)


_GIT = """
git clone -q "https://x-access-token:$GITHUB_TOKEN@github.com/acme/tool.git" tool
cd tool
git -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m more
git push -q origin HEAD:refs/heads/more
"""


def _npm(home: Path) -> Command:
    (home / ".npmrc").write_text(f"registry=https://{NPM}/\n//{NPM}/:_authToken=${{NPM_TOKEN}}\n")
    package = home / "package"
    package.mkdir()
    (package / "package.json").write_text(json.dumps({"name": "acme-tool", "version": "1.0.0"}))
    return ["npm", "publish", "--no-audit", str(package)], {}


def _twine(home: Path) -> Command:
    with zipfile.ZipFile(home / _WHEEL, "w") as archive:
        archive.writestr("acme_tool-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme-tool\nVersion: 1.0\n")
    where = {"TWINE_REPOSITORY_URL": f"https://upload.{PIP}/legacy/", "PIP_INDEX_URL": f"https://{PIP}/simple"}
    words = ["python", "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar"]
    return [*words, str(home / _WHEEL)], {"TWINE_USERNAME": "__token__", **where}


def _sdk(package: str, variable: str, field: tuple[str, str]) -> Holder:
    """An SDK that finds its key by itself."""
    sdk = next(each for each in SDKS if each.package == package)
    made = sdk.make.replace("api_key='k'", "")
    start: Callable[[Path], Command] = lambda _home: (["python", "-c", f"{made}\n{sdk.usual}"], {})  # noqa: E731
    return Holder(f"{package} (SDK)", variable, field, (sdk.host,), start, package=package)


def _agent(title: str, variable: str, field: tuple[str, str], host: str) -> Holder:
    client = next(each for each in CLIENTS if each.title == title)

    def start(home: Path) -> Command:
        words, more = client.start(home, "RUN it, please.")
        return words, {name: text for name, text in more.items() if name != variable}

    return Holder(title, variable, field, (host,), start, client=client)


def _codex(variable: str, sign_in: str) -> Holder:
    client = next(each for each in CLIENTS if each.title == "Codex, API key")

    def start(home: Path) -> Command:
        words, more = client.start(home, "RUN it, please.")
        (home / ".codex" / "auth.json").unlink()
        return ["sh", "-ec", f'{sign_in}\nexec "$@"', "sh", *words], more

    field = ("authorization", "Bearer {}")
    return Holder(f"Codex, {variable}", variable, field, (_OPENAI, "chatgpt.com"), start, client=client)


_BEARER: tuple[str, str] = ("authorization", "Bearer {}")
HOLDERS = (
    Holder(
        "curl", "GITHUB_TOKEN", _BEARER, _GITHUB,
        _shell('curl -fsS -H "Authorization: Bearer $GITHUB_TOKEN" https://api.github.com/user'), program="curl",
    ),
    Holder("git clone and push", "GITHUB_TOKEN", ("basic", "x-access-token"), _GITHUB, _shell(_GIT), program="git"),
    Holder(
        "gh", "GH_TOKEN", ("authorization", "token {}"), _GITHUB,
        _shell("gh api user; gh api graphql -f query='{viewer{login}}'"), program="gh",
    ),
    Holder("npm publish", "NPM_TOKEN", _BEARER, (NPM,), _npm, program="npm"),
    Holder("twine upload", "TWINE_PASSWORD", ("basic", "__token__"), (f"upload.{PIP}",), _twine, package="twine"),
    _sdk("anthropic", "ANTHROPIC_API_KEY", _BEARER),
    _sdk("openai", "OPENAI_API_KEY", _BEARER),
    _sdk("google-genai", "GEMINI_API_KEY", ("x-goog-api-key", "{}")),
    _agent("Claude Code", "ANTHROPIC_API_KEY", ("x-api-key", "{}"), _ANTHROPIC),
    _codex("OPENAI_API_KEY", "printenv OPENAI_API_KEY | codex login --with-api-key"),
    _codex("CODEX_API_KEY", ":"),
    _agent("Gemini CLI, API key", "GEMINI_API_KEY", ("x-goog-api-key", "{}"), _GEMINI),
    _agent("opencode, Exa", "ANTHROPIC_API_KEY", ("x-api-key", "{}"), _ANTHROPIC),
    _agent("aider", "OPENAI_API_KEY", _BEARER, _OPENAI),
)  # fmt: skip


def variables(holder: Holder) -> Mapping[str, str]:
    """Return what is set outside: the real key."""
    return {holder.variable: VALUE}
