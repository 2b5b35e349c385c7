"""The compose file: the agent's only network is one without a way out, shared with nobody but the proxy."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.manifests import DEPLOY
from outward.config.load import load

FOLDER = DEPLOY / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_the_agent_has_no_other_route() -> None:
    """Its networks are internal, and the proxy is its only neighbour."""
    (network,) = SERVICES["agent"]["networks"]
    assert COMPOSE["networks"][network] == {"internal": True}
    assert {name for name, each in SERVICES.items() if network in each["networks"]} == {"agent", "proxy"}
    assert "ports" not in SERVICES["agent"]
    assert SERVICES["agent"]["environment"]["NO_PROXY"] == ""


def test_nobody_else_is_on_the_way_out() -> None:
    """Only the proxy is on the network that leads outside; what is published is for this machine only."""
    assert [name for name, each in SERVICES.items() if "outside" in each["networks"]] == ["proxy"]
    published = [port for each in SERVICES.values() for port in each.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_secrets_are_files_and_not_the_agents() -> None:
    """None is in the environment, none is committed, and the agent has none."""
    assert "secrets" not in SERVICES["agent"]
    assert "volumes" not in SERVICES["agent"]
    assert {path.name for path in (FOLDER / "secrets").iterdir() if path.name == ".gitignore"} == {".gitignore"}
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            assert not name.endswith(("PASSWORD", "TOKEN", "RECORDS_URL")), name


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_mounted_exists(name: str) -> None:
    """Every path of the file, from here."""
    for volume in SERVICES[name].get("volumes", []):
        source = volume.partition(":")[0]
        assert source in COMPOSE["volumes"] or (FOLDER / source).is_file(), source


def test_the_policy_loads() -> None:
    """Without an error."""
    loaded = load(Path(FOLDER / "outward.yaml"), env={})
    assert loaded.ok, loaded.findings
