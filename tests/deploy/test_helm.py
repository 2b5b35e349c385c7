"""The chart: it renders what the overlays render, and refuses values that nobody meant."""

import re
import shutil
from typing import Any

import pytest
import yaml

from harness.manifests import DEPLOY, NEVER_BUILT_IN, OVERLAYS, rendered

helm = pytest.importorskip("helm_python", reason="the dependency group `deploy` has Helm's renderer")

CHART = DEPLOY / "helm" / "outward"
IMAGES = {
    "image": {"repository": "registry.test/outward"},
    "firewall": {"image": {"repository": "registry.test/firewall"}},
    "agent": {"enabled": True, "image": {"repository": "registry.test/agent", "tag": "1"}},
}
LINKS = {
    "firewall.nft": "kubernetes/overlays/sidecar/firewall.nft",
    "canary.py": "kubernetes/base/scripts/canary.py",
    "trust.py": "kubernetes/base/scripts/trust.py",
    "identity.py": "kubernetes/overlays/gateway-identity/identity.py",
    "admission.yaml": "kubernetes/overlays/gateway-teams/admission.yaml",
    "rules.yaml": "prometheus/rules.yaml",
    "outward.json": "grafana/outward.json",
    "outward-group.json": "grafana/outward-group.json",
    "outward-search.json": "grafana/outward-search.json",
}


LEFT_OUT = {"namespace", "image", "imagePullPolicy", "annotations", "helm.sh/chart"} | {
    f"app.kubernetes.io/{each}" for each in ("instance", "managed-by", "version")
}


def template(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that the chart makes."""
    with helm.Chart.load(str(CHART)) as chart:
        texts = chart.render(values=IMAGES | values, name="outward", namespace="outward")
    manifests = (text for path, text in texts.items() if path.endswith(".yaml"))
    return [each for text in manifests for each in yaml.safe_load_all(text) if each]


def plain(value: Any) -> Any:
    """Return a value without what the two may differ in: namespaces, images, a release's labels and names."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if key not in LEFT_OUT}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"^outward-(agents?|proxy|default-deny)$", r"\1", value.strip())
    return re.sub(r"^(outward-firewall)-[a-z0-9]{10}$", r"\1", value)


def keyed(objects: Any) -> dict[tuple[str, str], Any]:
    """Return objects by kind and name, without the namespace itself: Helm's users bring their own."""
    return {
        (each["kind"], plain(each["metadata"]["name"])): plain(each) for each in objects if each["kind"] != "Namespace"
    }


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl renders the overlays")
@pytest.mark.parametrize("mode", OVERLAYS)
def test_the_chart_makes_what_the_overlay_makes(mode: str) -> None:
    """So whatever is proved of the overlays holds for the chart."""
    made, wanted = keyed(template({"mode": mode})), keyed(rendered(mode))
    assert made.keys() == wanted.keys()
    for key, each in wanted.items():
        own = made[key]["metadata"].pop("labels")
        assert each["metadata"].pop("labels", {}).items() <= own.items(), key
        assert made[key] == each, key


@pytest.mark.parametrize(("name", "original"), LINKS.items())
def test_files_of_the_chart_are_links(name: str, original: str) -> None:
    """Nothing is kept twice; Helm follows links when it packages and when it installs from a checkout."""
    path = CHART / "files" / name
    assert path.is_symlink()
    assert path.resolve() == (DEPLOY / original).resolve()


DIGEST = f"sha256:{'0' * 64}"
REFUSED = {
    "an unknown mode": {"mode": "both"},
    "a misspelt key": {"iamge": {}},
    "no pods": {"gateway": {"autoscaling": {"minReplicas": 0}}},
    "pods counted twice": {"gateway": {"replicas": 3}},
    "a digest in the repository": {"image": {"repository": f"x@{DIGEST}"}},
    "a tag and a digest": {"image": {"repository": "x", "tag": "1", "digest": DIGEST}},
    "a budget that no drain meets": {"gateway": {"podDisruptionBudget": {"maxUnavailable": 0}}},
    "root": {"securityContext": {"runAsUser": 0}},
    "privilege": {"securityContext": {"privileged": True}},
    "a capability": {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
    "root allowed in the pod": {"podSecurityContext": {"runAsNonRoot": False}},
    "an egress rule to everywhere": {"networkPolicy": {"egress": [{"ports": [{"port": 443}]}]}},
    "a user that the firewall does not know": {"mode": "sidecar", "securityContext": {"runAsUser": 10009}},
}
CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "teams without an account": (
        {"teams": {"enabled": True, "image": {"repository": "g"}}, "serviceAccount": {"create": False}},
        "service account of its own",
    ),
    "a name without an agent": ({"agent": {"enabled": False, "identity": {"enabled": True}}}, "no agent in this chart"),
    "teams without an image": ({"teams": {"enabled": True}}, "say teams.image.repository"),
    "no image": ({"image": {"repository": ""}}, "say image.repository"),
    "more at least than at most": ({"gateway": {"autoscaling": {"minReplicas": 20}}}, "minReplicas is above"),
    "a policy that is no YAML": ({"config": "groups: ["}, "config is not YAML"),
    "two times for open streams": ({"config": "server: {grace: 5m}"}, "write `grace` beside it"),
    "a page without TLS": ({"admin": {"urls": ["https://a.test"], "ingress": {"enabled": True}}}, "TLS alone"),
    "a page without a name": (
        {"admin": {"urls": ["http://a.test"], "ingress": {"enabled": True, "tlsSecret": "t"}}},
        "https addresses",
    ),
}


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
def test_values_are_checked(values: dict[str, Any]) -> None:
    """What was misspelt, contradicts itself or would weaken the fence is an error, not a default."""
    assert helm.lint(str(CHART), {"mode": "gateway", **values})["errors"]


@pytest.mark.parametrize(("values", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictions_between_values_are_told(values: dict[str, Any], message: str) -> None:
    """In words that say what to mend."""
    with pytest.raises(helm.HelmRenderError, match=re.escape(message)):
        template(values)


def test_what_is_brought_along_is_used() -> None:
    """An own ConfigMap and an own CA take the place of the chart's."""
    image = IMAGES["image"] | {"pullPolicy": "Never"}
    objects = template({"existingConfigMap": "mine", "ca": {"existingSecret": "my-ca"}, "image": image})
    assert not [each for each in objects if each["kind"] in ("Certificate", "Issuer")]
    assert ("ConfigMap", "outward") not in keyed(objects)
    text = yaml.safe_dump(objects)
    assert "name: mine" in text
    assert "secretName: my-ca" in text
    assert "imagePullPolicy: Never" in text


# What a company sets, whole: each shows in what is made (below), and all of it is valid for Kubernetes.
COMPANY: dict[str, Any] = {
    "image": {"repository": "registry.test/outward", "digest": DIGEST},
    "commonLabels": {"team": "platform"},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraEnvFrom": [{"secretRef": {"name": "keys"}}],
    "extraVolumes": [{"name": "jwks", "configMap": {"name": "jwks"}}],
    "extraVolumeMounts": [{"name": "jwks", "mountPath": "/etc/jwks", "readOnly": True}],
    "podLabels": {"cost-centre": "42"},
    "podAnnotations": {"example.test/scrape": "no"},
    "priorityClassName": "system-cluster-critical",
    "affinity": {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": []}]}}
    },
    "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
    "hostUsers": None,
    "podSecurityContext": {"fsGroup": 20001},
    "securityContext": {"runAsUser": 20001},
    "serviceAccount": {"create": False, "name": "own"},
    "service": {"annotations": {"example.test/zone": "a"}},
    "grace": 600,
    "gateway": {"replicas": 3, "autoscaling": {"enabled": False}, "podDisruptionBudget": {"maxUnavailable": "25%"}},
    "admin": {
        "urls": ["https://outward.test", "http://outward:9090"],
        "tlsSecret": "ops-tls",
        "ingress": {"enabled": True, "className": "inner", "tlsSecret": "page-tls"},
    },
    "networkPolicy": {
        "defaultDeny": False,
        "egress": [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 5432, "protocol": "TCP"}]}],
        "proxyFrom": [{"namespaceSelector": {"matchLabels": {"agents": "yes"}}}],
        "opsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
    },
    "metrics": {
        "monitor": {"labels": {"release": "prom"}, "interval": "15s"},
        "prometheusRule": {"labels": {"release": "prom"}, "runbooks": "https://wiki.test/runbooks"},
        "dashboards": {"labels": {"dashboards": "yes"}},
    },
}


def test_what_a_company_sets_shows() -> None:
    """Each value at its place, and no object that Kubernetes would refuse."""
    objects = template(COMPANY)
    named = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    deployment = named["Deployment", "outward"]
    pod = deployment["spec"]["template"]
    spec, (proxy,) = pod["spec"], pod["spec"]["containers"]
    assert proxy["image"] == f"registry.test/outward@{DIGEST}"
    assert all(each["metadata"]["labels"]["team"] == "platform" for each in objects)
    env = {each["name"]: each["value"] for each in proxy["env"]}
    assert (env["TZ"], env["OUTWARD_GRACE"]) == ("UTC", "600s")
    assert env["OUTWARD_ADMIN_URLS"] == "https://outward.test,http://outward:9090"
    assert {proxy[f"{probe}Probe"]["httpGet"]["scheme"] for probe in ("startup", "readiness", "liveness")} == {"HTTPS"}
    assert {"name": "ops-tls", "secret": {"secretName": "ops-tls", "defaultMode": 0o440}} in spec["volumes"]
    [mount] = [each["mountPath"] for each in proxy["volumeMounts"] if each["name"] == "ops-tls"]
    assert env["OUTWARD_ADMIN_TLS_CERT"] == f"{mount}/tls.crt"
    assert env["OUTWARD_ADMIN_TLS_KEY"] == f"{mount}/tls.key"
    assert named["ServiceMonitor", "outward"]["spec"]["endpoints"][0]["scheme"] == "https"
    assert spec["terminationGracePeriodSeconds"] == 615
    assert proxy["envFrom"] == COMPANY["extraEnvFrom"]
    assert COMPANY["extraVolumes"][0] in spec["volumes"]
    assert COMPANY["extraVolumeMounts"][0] in proxy["volumeMounts"]
    assert pod["metadata"]["labels"]["cost-centre"] == "42"
    assert pod["metadata"]["annotations"]["example.test/scrape"] == "no"
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert set(spec["affinity"]) == {"nodeAffinity", "podAntiAffinity"}
    assert spec["topologySpreadConstraints"] == COMPANY["topologySpreadConstraints"]
    assert "hostUsers" not in spec
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroup": 20001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert (proxy["securityContext"]["runAsUser"], proxy["securityContext"]["readOnlyRootFilesystem"]) == (20001, True)
    assert spec["serviceAccountName"] == "own"
    assert not {("ServiceAccount", "outward"), ("HorizontalPodAutoscaler", "outward")} & named.keys()
    assert deployment["spec"]["replicas"] == 3
    assert named["PodDisruptionBudget", "outward"]["spec"]["maxUnavailable"] == "25%"
    assert named["Service", "outward"]["metadata"]["annotations"] == COMPANY["service"]["annotations"]
    assert named["Ingress", "outward-ops"]["spec"]["tls"] == [{"secretName": "page-tls", "hosts": ["outward.test"]}]
    policies = {name: each["spec"] for (kind, name), each in named.items() if kind == "NetworkPolicy"}
    assert set(policies) == {"outward-agents", "outward-proxy"}
    assert policies["outward-agents"]["policyTypes"] == ["Ingress", "Egress"], "nobody else closes what comes in"
    assert COMPANY["networkPolicy"]["egress"][0] in policies["outward-proxy"]["egress"]
    assert COMPANY["networkPolicy"]["proxyFrom"][0] in policies["outward-proxy"]["ingress"][0]["from"]
    assert COMPANY["networkPolicy"]["opsFrom"][0] in policies["outward-proxy"]["ingress"][1]["from"]
    monitor = named["ServiceMonitor", "outward"]
    assert (monitor["metadata"]["labels"]["release"], monitor["spec"]["endpoints"][0]["interval"]) == ("prom", "15s")
    assert "https://wiki.test/runbooks/OutwardDown" in yaml.safe_dump(named["PrometheusRule", "outward"])
    assert named["ConfigMap", "outward-dashboards"]["metadata"]["labels"]["dashboards"] == "yes"
    assert_valid(objects)


@pytest.mark.parametrize("mode", ["gateway", "sidecar"])
def test_agents_trust_a_bundle_that_is_kept_for_them(mode: str) -> None:
    """Mounted as a folder, so that a new CA arrives in pods that run; nothing of the Secret is in them then."""
    objects = template({"mode": mode, "ca": {"bundleConfigMap": "agents-trust"}})
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    [pod] = [each for each in pods if any(one["name"] == "agent" for one in each["containers"])]
    [agent] = [each for each in pod["containers"] if each["name"] == "agent"]
    [trust] = [each for each in pod["volumes"] if each["name"] == "trust"]
    assert trust["configMap"] == {"name": "agents-trust", "items": [{"key": "bundle.pem", "path": "bundle.pem"}]}
    [mount] = [each for each in agent["volumeMounts"] if each["name"] == "trust"]
    assert "subPath" not in mount
    env = {each["name"]: each.get("value") for each in agent["env"]}
    assert env["SSL_CERT_FILE"] == f"{mount['mountPath']}/bundle.pem"
    assert "ca-certificate" not in {each["name"] for each in pod["volumes"]}
    assert "trust" not in {each["name"] for each in pod["initContainers"]}
    assert_valid(objects)


def test_a_renewed_ca_keeps_its_key() -> None:
    """Else agents from before it, or after it, refuse what some gateway signs: tests/socket/test_ca.py shows both."""
    [made] = [each for each in template({}) if each["kind"] == "Certificate"]
    assert made["spec"]["privateKey"]["rotationPolicy"] == "Never"


def test_sidecars_share_a_database_if_they_are_given_one() -> None:
    """And ask for a twentieth of a core."""
    objects = template({"mode": "sidecar", "sidecar": {"recordsSecret": "records", "adminSecret": "admin"}})
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    (proxy,) = (each for each in deployment["spec"]["template"]["spec"]["initContainers"] if each["name"] == "outward")
    env = {each["name"] for each in proxy["env"]}
    assert {"OUTWARD_RECORDS_URL_FILE", "OUTWARD_ADMIN_TOKEN_FILE"} <= env
    assert {"records", "admin"} <= {each["name"] for each in proxy["volumeMounts"]}
    assert proxy["resources"]["requests"]["cpu"] == "50m"
    assert_valid(objects)


def test_two_releases_share_a_namespace() -> None:
    """No name is made twice, and neither takes the other's pods."""
    with helm.Chart.load(str(CHART)) as chart:
        both = [
            [
                each
                for path, text in chart.render(values=IMAGES | more, name=name, namespace="outward").items()
                if path.endswith(".yaml")
                for each in yaml.safe_load_all(text)
                if each
            ]
            for name, more in (("red", {}), ("blue", {"networkPolicy": {"defaultDeny": False}}))
        ]
    red, blue = ({(each["kind"], each["metadata"]["name"]) for each in objects} for objects in both)
    assert not red & blue
    selectors = [
        each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"]
        for objects in both
        for each in objects
        if each["kind"] == "Deployment"
    ]
    assert sorted(selectors) == ["blue", "blue", "red", "red"]


def test_a_change_of_the_server_rolls_the_pods_and_one_of_the_policy_does_not() -> None:
    """The proxy takes the policy up by itself, and reads `server` when it starts."""

    def checksum(config: str) -> str:
        (deployment,) = (
            each
            for each in template({"config": config})
            if each["metadata"]["name"] == "outward" and each["kind"] == "Deployment"
        )
        found: str = deployment["spec"]["template"]["metadata"]["annotations"]["checksum/server"]
        return found

    first = checksum("server: {ca: {cert: a, key: b}}\ngroups: {}")
    assert checksum("server: {ca: {cert: a, key: b}}\ngroups: {a: {}}") == first
    assert checksum("server: {ca: {cert: a, key: c}}\ngroups: {}") != first


def test_no_agent_comes_unasked() -> None:
    """Whoever installs a gateway has agents of their own."""
    objects = template({"agent": {"enabled": False}})
    assert [each["metadata"]["name"] for each in objects if each["kind"] == "Deployment"] == ["outward"]


def assert_valid(objects: list[dict[str, Any]]) -> None:
    """Raise unless Kubernetes itself would take them."""
    validate = pytest.importorskip("kubernetes_validate", reason="the dependency group `deploy` has the schemas")
    for each in objects:
        if each["kind"] not in NEVER_BUILT_IN:
            validate.validate(each, validate.latest_version(), strict=True)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl renders the overlays")
def test_teams_are_gathered_as_in_the_overlay() -> None:
    """The same container, volumes, right and admission policy."""
    made = keyed(template({"teams": {"enabled": True, "image": {"repository": "registry.test/k8s-sidecar"}}}))
    wanted = keyed(rendered("gateway-teams"))
    own, theirs = (each["Deployment", "outward"]["spec"]["template"]["spec"] for each in (made, wanted))
    assert own["initContainers"] == theirs["initContainers"]
    names = ("policies", "gatherer-token")
    for where in (own, theirs):
        where["volumes"] = [each for each in where["volumes"] if each["name"] in names]
        (proxy,) = (each for each in where["containers"] if each["name"] == "outward")
        where["containers"] = [each for each in proxy["volumeMounts"] if each["name"] in names]
    assert (own["volumes"], own["containers"]) == (theirs["volumes"], theirs["containers"])
    kinds = ("ClusterRole", "ValidatingAdmissionPolicy")
    rules = [
        {kind: each.get("rules", each.get("spec")) for (kind, _), each in all_of.items() if kind in kinds}
        for all_of in (made, wanted)
    ]
    assert rules[0] == rules[1]
    (binding,) = (each for (kind, _), each in made.items() if kind == "ValidatingAdmissionPolicyBinding")
    assert ("ValidatingAdmissionPolicy", binding["spec"]["policyName"]) in made
    (bound,) = (each for (kind, _), each in made.items() if kind == "ClusterRoleBinding")
    assert (bound["roleRef"]["name"], bound["subjects"][0]["name"]) == ("outward-outward-gatherer", "outward")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl renders the overlays")
def test_the_agent_gets_a_name_as_in_the_overlay() -> None:
    """The same pod and the same script; the agent's container never sees the token."""
    agent = IMAGES["agent"] | {"identity": {"enabled": True}}
    made, wanted = keyed(template({"agent": agent})), keyed(rendered("gateway-identity"))
    own, theirs = (each["Deployment", "agent"]["spec"]["template"]["spec"] for each in (made, wanted))

    def named(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {kind: {each["name"]: each for each in pod.pop(kind)} for kind in ("initContainers", "volumes")}

    assert named(own) == named(theirs)
    assert own == theirs
    script = ("ConfigMap", "outward-identity")
    assert made[script]["data"]["identity.py"].strip() == wanted[script]["data"]["identity.py"].strip()
