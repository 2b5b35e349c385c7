"""The overlay in which each namespace owns its rules: who may write where, and who holds a token."""

import shutil
from pathlib import Path

import pytest
import yaml

from harness.manifests import DEPLOY, container, containers, of_kind, pods, rendered
from outward.config.load import load
from outward.core.decide import decide
from outward.core.model import Question
from outward.core.names import canonical_host
from outward.core.reasons import Reason

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl renders the overlays")

OVERLAY = "gateway-teams"


def test_only_the_gatherer_holds_a_token_and_writes_the_folder() -> None:
    """The proxy reads; neither has the other's."""
    pod = pods(rendered(OVERLAY))["outward"]
    mounts = {
        (each["name"], mount["name"]): mount.get("readOnly", False)
        for each in containers(pod)
        for mount in each["volumeMounts"]
        if mount["name"] in ("policies", "gatherer-token")
    }
    assert mounts == {
        ("policies", "policies"): False,
        ("policies", "gatherer-token"): True,
        ("outward", "policies"): True,
    }
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert containers(pod)[0]["restartPolicy"] == "Always"
    (role,) = of_kind(rendered(OVERLAY), "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    assert not [
        each for each in rendered(OVERLAY) if each["kind"].startswith("Validating") and "namespace" in each["metadata"]
    ]


def test_a_config_map_chooses_neither_its_file_nor_its_folder() -> None:
    """By the settings of the gatherer; no annotation can be called `/`."""
    env = {each["name"]: each["value"] for each in container(pods(rendered(OVERLAY))["outward"], "policies")["env"]}
    assert (env["UNIQUE_FILENAMES"], env["FOLDER_ANNOTATION"], env["LABEL_VALUE"]) == ("true", "/", "true")
    assert "SCRIPT" not in env
    assert "REQ_URL" not in env


def test_the_files_that_are_gathered_write_their_namespaces_groups(tmp_path: Path) -> None:
    """The names are those of `unique_filename` in kiwigrid/k8s-sidecar 2.9.0."""
    (config,) = (each for each in of_kind(rendered(OVERLAY), "ConfigMap") if each["metadata"]["name"] == "outward")
    text = config["data"]["outward.yaml"]
    assert "/policies/" in text
    (tmp_path / "outward.yaml").write_text(text.replace("/policies/", f"{tmp_path}/"))
    team = yaml.safe_load((DEPLOY / "kubernetes/overlays" / OVERLAY / "example.yaml").read_text())
    ((key, rules),) = team["data"].items()
    where = team["metadata"]
    (tmp_path / f"namespace_{where['namespace']}.configmap_{where['name']}.{key}").write_text(rules)
    loaded = load(tmp_path / "outward.yaml", env={})
    assert loaded.ok, loaded.findings
    assert loaded.kept_back == ()
    assert loaded.policy is not None

    def reason(group: str) -> Reason:
        assert loaded.policy is not None
        return decide(loaded.policy, Question(group, canonical_host("api.example.com"), 443)).reason

    assert (reason("k8s/payments"), reason("k8s/outward")) == (Reason.RULE, Reason.NO_RULE)


@pytest.mark.slow
def test_every_object_is_valid() -> None:
    """Against the schemas of Kubernetes itself."""
    validate = pytest.importorskip("kubernetes_validate", reason="the dependency group `deploy` has the schemas")
    for each in rendered(OVERLAY):
        if each["kind"].startswith(("Validating", "Cluster")) or each["metadata"]["name"].endswith("gatherer"):
            validate.validate(each, validate.latest_version(), strict=True)
