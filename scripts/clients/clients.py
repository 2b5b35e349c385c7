"""The command-line agents: where they come from, how they are told to answer one prompt, and what they need at home."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Command = tuple[list[str], Mapping[str, str]]


@dataclass(frozen=True)
class Client:
    """A command-line agent.

    Attributes:
        title: its row in the table.
        package: of the registry.
        python: whether that is Python's; else npm's.
        start: from its home, an empty folder, and a prompt to the arguments and the environment; writes what it needs.
        script: that the package runs once it is installed, beside its `package.json`.
        more: packages that it takes with it.
        tools: whether it has tools of its own.
        searches: whether it can search.
    """

    title: str
    package: str
    start: Callable[[Path, str], Command]
    python: bool = False
    script: str = ""
    more: tuple[str, ...] = ()
    tools: bool = True
    searches: bool = True
    program: str = field(default="")


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _claude(home: Path, prompt: str) -> Command:
    _write(home / ".claude.json", {"hasCompletedOnboarding": True})
    return ["claude", "-p", prompt, "--allowedTools", "Bash,WebSearch"], {"ANTHROPIC_API_KEY": "key"}


_CODEX = ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-c"]


def _codex(home: Path, prompt: str) -> Command:
    _write(home / ".codex" / "auth.json", {"OPENAI_API_KEY": "key", "auth_mode": "apikey"})
    return [*_CODEX, 'web_search="live"', prompt], {}


def _codex_signed_in(home: Path, prompt: str) -> Command:
    token = _token()
    tokens = {"id_token": token, "access_token": token, "refresh_token": "r", "account_id": "acc-1"}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    about = {"OPENAI_API_KEY": None, "auth_mode": "chatgpt", "tokens": tokens, "last_refresh": now}
    _write(home / ".codex" / "auth.json", about)
    return [*_CODEX, 'web_search="live"', "-c", "features.apps=false", prompt], {}


def _token() -> str:
    """A token that nobody signed, as it looks for a subscription."""
    claims = {
        "exp": int(time.time()) + 86400,
        "email": "a@example.com",
        "https://api.openai.com/auth": {"chatgpt_plan_type": "pro", "chatgpt_account_id": "acc-1", "user_id": "u"},
    }
    parts = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)
    )
    return ".".join([*parts, "c2ln"])


def _gemini(kind: str, environment: Mapping[str, str]) -> Callable[[Path, str], Command]:
    def start(home: Path, prompt: str) -> Command:
        _write(home / ".gemini" / "settings.json", {"security": {"auth": {"selectedType": kind}}})
        return ["gemini", "--yolo", "--skip-trust", "-p", prompt], environment

    return start


def _opencode(_home: Path, prompt: str) -> Command:
    environment = {"ANTHROPIC_API_KEY": "key", "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_ENABLE_EXA": "1"}
    return ["opencode", "run", "-m", "anthropic/claude-sonnet-4-5", prompt], environment


def _qwen(home: Path, prompt: str) -> Command:
    _write(home / ".qwen" / "settings.json", {"security": {"auth": {"selectedType": "openai"}}})
    address = {"OPENAI_BASE_URL": "https://api.openai.com/v1", "OPENAI_MODEL": "gpt-5"}
    return ["qwen", "--yolo", "-p", prompt], {"OPENAI_API_KEY": "key", **address}


def _aider(_home: Path, prompt: str) -> Command:
    quiet = ["--yes-always", "--no-git", "--no-check-update", "--no-show-model-warnings", "--analytics-disable"]
    return ["aider", "--model", "openai/gpt-4o", *quiet, "--message", prompt], {"OPENAI_API_KEY": "key"}


def _llm(model: str, tool: str, key: str) -> Callable[[Path, str], Command]:
    def start(_home: Path, prompt: str) -> Command:
        return ["llm", "-m", model, *(("-T", tool) if "SEARCH" in prompt else ()), prompt], {key: "key"}

    return start


_SIGNED_IN = {"GOOGLE_GENAI_USE_GCA": "true", "GOOGLE_CLOUD_ACCESS_TOKEN": "t", "GOOGLE_CLOUD_PROJECT": "p-1"}
_PLUGINS = ("llm-anthropic", "llm-gemini")
CLIENTS = (
    Client("Claude Code", "@anthropic-ai/claude-code", _claude, script="install.cjs"),
    Client("Codex, API key", "@openai/codex", _codex),
    Client("Codex, subscription", "@openai/codex", _codex_signed_in),
    Client("Gemini CLI, API key", "@google/gemini-cli", _gemini("gemini-api-key", {"GEMINI_API_KEY": "key"})),
    Client("Gemini CLI, signed in", "@google/gemini-cli", _gemini("oauth-personal", _SIGNED_IN)),
    Client("opencode, Exa", "opencode-ai", _opencode, script="postinstall.mjs"),
    Client("Qwen Code", "@qwen-code/qwen-code", _qwen, searches=False),
    Client("aider", "aider-chat", _aider, python=True, tools=False, searches=False),
    Client(
        "llm, Anthropic", "llm", _llm("claude-sonnet-4.5", "WebSearch", "ANTHROPIC_API_KEY"),
        python=True, more=_PLUGINS, tools=False,
    ),
    Client(
        "llm, Gemini", "llm", _llm("gemini-3.6-flash", "GoogleSearch", "LLM_GEMINI_KEY"),
        python=True, more=_PLUGINS, tools=False,
    ),
)  # fmt: skip
