"""Alerts, runbooks and dashboards: they load, they fire, and they ask for metrics that exist."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from harness.manifests import DEPLOY, ROOT
from outward.core.policy import Policy
from outward.ops.metrics import GAUGES, Metrics

RULES = DEPLOY / "prometheus" / "rules.yaml"
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
NAME = re.compile(r"\b(?:outward|process)_[a-z_]+")


def exposed() -> set[str]:
    """Return the names of the series that a proxy exposes, those without a value yet included."""
    metrics = Metrics()
    metrics.use_policy(Policy())
    for gauge in GAUGES:
        metrics.set(gauge, 0)
    metrics.reloaded(successful=True)
    text = metrics.render()[0].decode()
    found: set[str] = set()
    for name, kind in re.findall(r"^# TYPE ((?:outward|process)_\w+) (\w+)$", text, re.MULTILINE):
        found |= {f"{name}{suffix}" for suffix in ("_bucket", "_count", "_sum")} if kind == "histogram" else {name}
    return found


def rules(kind: str) -> list[dict[str, object]]:
    found = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    return [each for each in found if kind in each]


def alerts() -> list[dict[str, object]]:
    return rules("alert")


def test_alerts_ask_for_metrics_that_exist() -> None:
    """A renamed metric would silence its alert for ever; so would a renamed rule."""
    asked = " ".join(str(each["expr"]) for each in rules("expr"))
    assert set(NAME.findall(asked)) <= exposed()
    assert set(re.findall(r"outward:[a-z0-9_:]+", asked)) <= {each["record"] for each in rules("record")}


def test_every_alert_has_a_runbook_and_a_severity() -> None:
    """And every runbook an alert."""
    assert {f"{each['alert']}.md" for each in alerts()} == {path.name for path in (ROOT / "docs/runbooks").glob("*.md")}
    for each in alerts():
        annotations = each["annotations"]
        assert isinstance(annotations, dict)
        assert {"summary", "description", "runbook_url"} <= set(annotations)
        assert annotations["runbook_url"].endswith(f"/{each['alert']}")
        assert each["labels"] in [{"severity": severity} for severity in ("critical", "warning", "info")]


def test_every_alert_is_seen_to_fire_and_to_stay_quiet() -> None:
    """In `rules.test.yaml`: once with what it is about, and once nearly so."""
    cases = yaml.safe_load(RULES.with_name("rules.test.yaml").read_text())["tests"]
    fired = {each["alertname"] for case in cases for each in case.get("alert_rule_test", []) if each["exp_alerts"]}
    asked = [each for case in cases for each in case.get("promql_expr_test", []) if each["exp_samples"]]
    fired |= {name for each in asked for name in re.findall(r'alertname="(\w+)"', each["expr"])}
    assert fired == {each["alert"] for each in alerts()}
    quiet = cases[-1]["promql_expr_test"]
    assert {each["expr"] for each in quiet} == {'ALERTS{alertstate="firing"}'}
    assert all(each["exp_samples"] == [] for each in quiet)
    near = " ".join(each["series"] for each in cases[-1]["input_series"])
    for each in alerts():
        about = re.findall(r"\b(?:outward_[a-z_]+|process_[a-z_]+|up\b)", str(each["expr"]))
        assert not about or any(name in near for name in about), each["alert"]


def test_the_operators_rules_are_the_same() -> None:
    """prometheusrule.yaml wraps rules.yaml."""
    wrapped = yaml.safe_load((DEPLOY / "prometheus" / "prometheusrule.yaml").read_text())
    assert wrapped["spec"] == yaml.safe_load(RULES.read_text())


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool comes with Prometheus")
def test_alerts_fire_when_they_should() -> None:
    """By Prometheus' own tool."""
    done = subprocess.run(
        ["promtool", "test", "rules", RULES.with_name("rules.test.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboards_ask_for_metrics_that_exist(path: object) -> None:
    """Each panel has a query, and each query only metrics that the proxy has."""
    dashboard = json.loads(path.read_text())  # type: ignore[attr-defined]
    assert dashboard["uid"]
    assert {each["name"] for each in dashboard["templating"]["list"]} == {"datasource", "namespace", "group"}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert set(NAME.findall(target["expr"])) <= exposed(), panel["title"]
            assert NAME.search(target["expr"]), panel["title"]
