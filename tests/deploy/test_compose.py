"""The compose file: the agent's only network is one without a way out, shared with nobody but the proxy."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.manifests import DEPLOY
from outward.config.load import load

FOLDER = DEPLOY / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_the_file_is_valid() -> None:
    """By the schema of the Compose specification."""
    pytest.importorskip("check_jsonschema", reason="the dependency group `deploy` has the schemas")
    words = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        FOLDER / "compose.yaml",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_agent_has_no_other_route() -> None:
    """Its networks are internal, and the proxy is its only neighbour."""
    (network,) = SERVICES["agent"]["networks"]
    assert COMPOSE["networks"][network] == {"internal": True}
    assert {name for name, each in SERVICES.items() if network in each.get("networks", [])} == {"agent", "proxy"}
    assert "ports" not in SERVICES["agent"]
    assert SERVICES["agent"]["environment"]["NO_PROXY"] == ""


def test_nobody_else_is_on_the_way_out() -> None:
    """Only the proxy is on the network that leads outside; what is published is for this machine only."""
    assert [name for name, each in SERVICES.items() if "outside" in each.get("networks", [])] == ["proxy"]
    published = [port for each in SERVICES.values() for port in each.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_secrets_are_files_and_not_the_agents() -> None:
    """None is in the environment, none is committed, and the agent has none."""
    assert "secrets" not in SERVICES["agent"]
    assert SERVICES["agent"]["volumes"] == ["trust:/trust:ro"], "a bundle of certificates, and no key"
    assert {path.name for path in (FOLDER / "secrets").iterdir() if path.name == ".gitignore"} == {".gitignore"}
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            assert not name.endswith(("PASSWORD", "TOKEN", "RECORDS_URL")), name


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_mounted_exists(name: str) -> None:
    """Every path of the file, from here."""
    for volume in SERVICES[name].get("volumes", []):
        source = volume.partition(":")[0]
        assert source in COMPOSE["volumes"] or (FOLDER / source).exists(), source


def test_the_policy_loads() -> None:
    """Without an error."""
    loaded = load(Path(FOLDER / "outward.yaml"), env={})
    assert loaded.ok, loaded.findings


def test_git_keeps_no_key_that_is_put_among_the_certificates() -> None:
    """The folder is there after a clone, and whatever an operator puts into it stays out of the repository."""
    folder = FOLDER.parent.parent / "certs"
    assert (folder / "README.md").is_file()
    assert (folder / ".gitignore").read_text().splitlines() == ["*", "!.gitignore", "!README.md"]


def test_the_agent_trusts_what_the_proxy_shows(tmp_path: Path) -> None:
    """The bundle is made from the very file that the proxy signs with, by a container without a network."""
    trust = SERVICES["trust"]
    assert trust["network_mode"] == "none"
    assert "../../certs:/certs:ro" in trust["volumes"]
    assert "../../certs:/etc/outward/certs:ro" in SERVICES["proxy"]["volumes"]
    loaded = load(Path(FOLDER / "outward.yaml"), env={})
    assert loaded.settings.ca[0] == FOLDER / "certs/ca.pem", (
        "relative to the configuration file, /etc/outward in the image"
    )
    environment = SERVICES["agent"]["environment"]
    assert {environment[name] for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")} == {trust["entrypoint"][-1]}
