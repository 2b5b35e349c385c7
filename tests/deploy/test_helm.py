"""The chart: it renders what the overlays render, and refuses values that nobody meant."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.manifests import DEPLOY, OVERLAYS, rendered

helm = pytest.importorskip("helm_python", reason="the dependency group `deploy` has Helm's renderer")

CHART = DEPLOY / "helm" / "outward"
SIDECAR = {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}}
COPIES = {
    "firewall.nft": "kubernetes/overlays/sidecar/firewall.nft",
    "canary.py": "kubernetes/base/scripts/canary.py",
    "trust.py": "kubernetes/base/scripts/trust.py",
    "rules.yaml": "prometheus/rules.yaml",
    "outward.json": "grafana/outward.json",
}


def template(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that the chart makes."""
    with helm.Chart.load(str(CHART)) as chart:
        texts = chart.render(values=values, name="outward", namespace="outward")
    return [each for text in texts.values() for each in yaml.safe_load_all(text) if each]


def plain(value: Any) -> Any:
    """Return a value without what the two may differ in: namespaces, images, and the suffix of a name."""
    if isinstance(value, dict):
        left_out = ("namespace", "image", "imagePullPolicy")
        return {key: plain(each) for key, each in value.items() if key not in left_out}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return re.sub(r"^(outward-firewall)-[a-z0-9]{10}$", r"\1", value).strip() if isinstance(value, str) else value


def keyed(objects: Any) -> dict[tuple[str, str], Any]:
    """Return objects by kind and name, without the namespace itself: Helm's users bring their own."""
    return {
        (each["kind"], plain(each["metadata"]["name"])): plain(each) for each in objects if each["kind"] != "Namespace"
    }


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl renders the overlays")
@pytest.mark.parametrize("mode", OVERLAYS)
def test_the_chart_makes_what_the_overlay_makes(mode: str) -> None:
    """So whatever is proved of the overlays holds for the chart."""
    made = keyed(template({"mode": mode, **(SIDECAR if mode == "sidecar" else {})}))
    wanted = keyed(rendered(mode))
    assert made.keys() == wanted.keys()
    for key, each in wanted.items():
        assert made[key] == each, key


@pytest.mark.parametrize(("copy", "original"), COPIES.items())
def test_files_of_the_chart_are_copies(copy: str, original: str) -> None:
    """A chart cannot reach outside its folder; the copies follow the originals to the byte."""
    assert (CHART / "files" / copy).read_bytes() == (DEPLOY / original).read_bytes()


@pytest.mark.parametrize(
    "values",
    [{"mode": "both"}, {"iamge": {}}, {"gateway": {"autoscaling": {"minReplicas": 0}}}, {"image": {"repository": ""}}],
)
def test_values_are_checked(values: dict[str, Any], tmp_path: Path) -> None:
    """A misspelt key is an error, not a default."""
    messages = helm.lint(str(CHART), {"mode": "gateway", **values})
    assert messages["errors"], messages


def test_what_is_brought_along_is_used() -> None:
    """An own ConfigMap and an own CA take the place of the chart's."""
    objects = template(
        {"existingConfigMap": "mine", "ca": {"existingSecret": "my-ca"}, "image": {"pullPolicy": "Never"}}
    )
    assert not [each for each in objects if each["kind"] in ("Certificate", "Issuer")]
    assert ("ConfigMap", "outward") not in keyed(objects)
    text = yaml.safe_dump(objects)
    assert "name: mine" in text
    assert "secretName: my-ca" in text
    assert "imagePullPolicy: Never" in text
