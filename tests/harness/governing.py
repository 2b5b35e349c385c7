"""Builds governance from a few lines of policy, for the tests of hosted search."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from outward.config.load import load_text
from outward.core.policy import Policy
from outward.search.govern import Governance, Governed, SearchRequest
from outward.search.observation import Observation
from outward.search.registry import Registry, registry_of

POLICY = """
version: 1
groups:
  acme:
    allow:
      - docs.example.com
      - example.org
      - "*.example.org"
      - {host: api.github.com, paths: ["/repos/**"]}
      - {host: mcp.example.net, paths: ["/**"]}
    deny: [secret.example.net]
    web_search: {enabled: true, opt_in: required}
clients: [{group: acme, anyone: true}]
"""


def policy_of(text: str = POLICY) -> Policy:
    """Return a compiled policy; the text must be valid."""
    loaded = load_text(text, "policy.yaml")
    assert loaded.policy is not None, loaded.findings
    return loaded.policy


class Desk:
    """Governance over one policy, asked like the proxy asks it."""

    def __init__(self, text: str = POLICY, registry: Registry | None = None, limit: int = 10 << 20) -> None:
        self.policy = policy_of(text)
        self.registry = registry or registry_of({}, (), [("mcp.example.net", {"find": "tavily"})])
        self.governance = Governance(self.registry, limit)

    def ask(
        self,
        host: str,
        path: str,
        body: Any = None,
        *,
        method: str = "POST",
        opted_in: bool = True,
        headers: dict[str, str] | None = None,
        settings: dict[str, Any] | None = None,
        query: str = "",
        raw: bytes | None = None,
        group: str = "acme",
    ) -> Governed:
        """Judge one request."""
        node = self.policy.groups[group]
        sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        request = SearchRequest(
            self.registry.vendor_of(host) or "none", host, method, path, self.policy, node,
            replace(node.web_search, **(settings or {})), opted_in, query=query, headers=headers or {}, body=sent,
        )  # fmt: skip
        return self.governance.judge(request)

    def read(self, outcome: Governed, body: bytes, content_type: str, status: int = 200) -> tuple[Observation, bytes]:
        """Read a whole response; returns the observation and what the client gets."""
        observation = self.governance.observe(outcome, status, {"content-type": content_type})
        assert observation is not None
        if observation.whole:
            return observation, observation.replace(body) or b""
        passed = b"".join(observation.feed(body[at : at + 7]) for at in range(0, len(body), 7))
        return observation, passed + observation.finish()


def cases(folder: Path) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return every case of every table in a folder: an id, the table, the case."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        table = yaml.safe_load(path.read_text())
        found += [(f"{path.stem}: {case['name']}", table, case) for case in table["cases"]]
    return found
