"""The manifests, rendered: valid, restricted, and closed against each way around that the threat model lists."""

import shutil
from ipaddress import ip_network
from typing import Any

import pytest

from harness.manifests import DEPLOY, NEVER_BUILT_IN, OVERLAYS, container, containers, of_kind, pods, rendered, volumes
from outward.config.load import load
from outward.core.addresses import METADATA, SPECIAL

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl renders the overlays")

FIREWALL = "firewall"  # the one container that is more than restricted
PODS = [(overlay, name) for overlay, name in (("gateway", "outward"), ("gateway", "agent"), ("sidecar", "agent"))]
WITH_AGENT = [("gateway", "agent"), ("sidecar", "agent")]
WITH_PROXY = [("gateway", "outward"), ("sidecar", "agent")]

each_pod = pytest.mark.parametrize(("overlay", "name"), PODS)
each_agent = pytest.mark.parametrize(("overlay", "name"), WITH_AGENT)
each_proxy = pytest.mark.parametrize(("overlay", "name"), WITH_PROXY)
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def policy(overlay: str, name: str) -> dict[str, Any]:
    """Return a NetworkPolicy's spec."""
    found = next(each for each in of_kind(rendered(overlay), "NetworkPolicy") if each["metadata"]["name"] == name)
    spec: dict[str, Any] = found["spec"]
    return spec


# Validity ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@each_overlay
def test_every_object_is_valid_for_the_last_three_minors(overlay: str) -> None:
    """Against the schemas of Kubernetes itself; a misspelt field is an error."""
    validate = pytest.importorskip("kubernetes_validate", reason="the dependency group `deploy` has the schemas")
    minor = int(validate.latest_version().split(".")[1])
    for version in (f"1.{minor - 2}", f"1.{minor - 1}", f"1.{minor}"):
        for each in rendered(overlay):
            if each["kind"] not in NEVER_BUILT_IN:
                validate.validate(each, version, strict=True)


@each_overlay
def test_the_policy_loads(overlay: str, tmp_path: Any) -> None:
    """What the ConfigMap holds is a configuration without errors."""
    (config,) = (each for each in of_kind(rendered(overlay), "ConfigMap") if each["metadata"]["name"] == "outward")
    (tmp_path / "outward.yaml").write_text(config["data"]["outward.yaml"])
    loaded = load(tmp_path / "outward.yaml", env={})
    assert loaded.ok, loaded.findings


@each_pod
def test_every_volume_and_service_account_exists(overlay: str, name: str) -> None:
    """Names agree between objects; Secrets that the operator brings are the ones that the README lists."""
    objects, pod = rendered(overlay), pods(rendered(overlay))[name]
    maps = {each["metadata"]["name"] for each in of_kind(objects, "ConfigMap")}
    secrets = {each["spec"]["secretName"] for each in of_kind(objects, "Certificate")} | {
        "outward-records",
        "outward-admin",
    }
    for volume in pod["spec"]["volumes"]:
        assert volume.get("configMap", {"name": next(iter(maps))})["name"] in maps
        assert volume.get("secret", {"secretName": "outward-ca"})["secretName"] in secrets
    accounts = {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")}
    assert pod["spec"]["serviceAccountName"] in accounts


# Pod Security: restricted -----------------------------------------------------------------------------------------


@each_pod
def test_pods_share_nothing_with_the_node(overlay: str, name: str) -> None:
    """No host namespaces, paths or ports."""
    spec = pods(rendered(overlay))[name]["spec"]
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"))
    assert spec["hostUsers"] is False
    allowed = {"configMap", "secret", "emptyDir"}
    assert all(set(volume) - {"name"} <= allowed for volume in spec["volumes"])
    assert not any("hostPort" in port for each in containers({"spec": spec}) for port in each.get("ports", []))


@each_pod
def test_containers_are_restricted(overlay: str, name: str) -> None:
    """Everything dropped, read-only, no way to more privilege; the firewall's loader alone has one capability."""
    for each in containers(pods(rendered(overlay))[name]):
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["capabilities"]["drop"] == ["ALL"]
        assert "privileged" not in context
        if each["name"] == FIREWALL:
            assert context["capabilities"]["add"] == ["NET_ADMIN"]
        else:
            assert "add" not in context["capabilities"]
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 10_000
        assert each["resources"]["limits"]["memory"]


def test_the_namespace_says_what_it_admits() -> None:
    """The gateway's admits nothing but restricted pods; the sidecar's cannot, and warns."""
    levels = {overlay: of_kind(rendered(overlay), "Namespace")[0]["metadata"]["labels"] for overlay in OVERLAYS}
    enforce = "pod-security.kubernetes.io/enforce"
    assert (levels["gateway"][enforce], levels["sidecar"][enforce]) == ("restricted", "privileged")
    assert levels["sidecar"]["pod-security.kubernetes.io/warn"] == "restricted"


# One test for each way around -------------------------------------------------------------------------------------


@each_overlay
def test_whatever_a_pod_is_called_it_gets_nothing_by_default(overlay: str) -> None:
    """Relabelling a pod, or making another one, opens nothing; there is no further policy that widens."""
    assert policy(overlay, "default-deny") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    names = {each["metadata"]["name"] for each in of_kind(rendered(overlay), "NetworkPolicy")}
    assert names == ({"default-deny", "agents", "proxy"} if overlay == "gateway" else {"default-deny", "agents"})


def test_gateway_agents_reach_the_proxys_port_only() -> None:
    """No DNS, no UDP, no metadata, no node, no API server: one peer, one port."""
    spec = policy("gateway", "agents")
    proxy = pods(rendered("gateway"))["outward"]["metadata"]["labels"]
    assert spec["egress"] == [
        {"to": [{"podSelector": {"matchLabels": proxy}}], "ports": [{"protocol": "TCP", "port": 8080}]}
    ]
    assert (
        spec["podSelector"]["matchLabels"].items() <= pods(rendered("gateway"))["agent"]["metadata"]["labels"].items()
    )


def test_gateway_agents_have_no_resolver() -> None:
    """A lookup fails at once; the proxy is found by address."""
    spec = pods(rendered("gateway"))["agent"]["spec"]
    assert (spec["dnsPolicy"], spec["dnsConfig"]) == ("None", {"nameservers": ["127.0.0.1"]})
    env = {each["name"]: each["value"] for each in spec["containers"][0]["env"]}
    assert env["HTTPS_PROXY"] == "http://$(OUTWARD_SERVICE_HOST):8080"
    assert spec["enableServiceLinks"] is True


def test_only_agents_reach_the_gateway() -> None:
    """Other pods of the cluster do not, and only monitoring reaches the ops port."""
    ingress = policy("gateway", "proxy")["ingress"]
    assert [(each["ports"][0]["port"], next(iter(each["from"][0]))) for each in ingress] == [
        (8080, "podSelector"),
        (9090, "namespaceSelector"),
    ]


@pytest.mark.parametrize(("overlay", "name"), [("gateway", "proxy"), ("sidecar", "agents")])
def test_the_proxys_own_egress_leaves_the_inside_out(overlay: str, name: str) -> None:
    """No network that is special, and no metadata service, lies within the blocks that are open; both families."""
    blocks = [
        (ip_network(peer["ipBlock"]["cidr"]), [ip_network(each) for each in peer["ipBlock"]["except"]])
        for rule in policy(overlay, name)["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert {block.version for block, _ in blocks} == {4, 6}
    closed = [network for network, what in SPECIAL if what not in ("AS112", "AMT", "6to4 relay anycast")]
    closed += [ip_network(address) for address in METADATA]
    for network in closed:
        for block, holes in blocks:
            if block.version == network.version and network.subnet_of(block):  # type: ignore[arg-type]
                assert any(network.subnet_of(hole) for hole in holes if hole.version == network.version), network  # type: ignore[arg-type]
    ports = [port for rule in policy(overlay, name)["egress"] if "ipBlock" in rule["to"][0] for port in rule["ports"]]
    assert {port["protocol"] for port in ports} == {"TCP"}


@each_pod
def test_users_are_distinct(overlay: str, name: str) -> None:
    """The proxy's user id is the proxy's container's and nobody else's, and the firewall's."""
    for each in containers(pods(rendered(overlay))[name]):
        assert (each["securityContext"]["runAsUser"] == 10001) is (each["name"] == "outward"), each["name"]
    assert "define PROXY = 10001 " in (DEPLOY / "kubernetes/overlays/sidecar/firewall.nft").read_text()


def test_the_sidecar_starts_in_the_order_that_leaves_no_gap() -> None:
    """Firewall, proxy (native, with a startup probe), canary, and the agent last."""
    pod = pods(rendered("sidecar"))["agent"]
    assert [each["name"] for each in containers(pod)] == ["firewall", "outward", "canary", "trust", "agent"]
    proxy = container(pod, "outward")
    assert proxy["restartPolicy"] == "Always"
    assert proxy["startupProbe"]["httpGet"]["path"] == "/readyz"


def test_the_firewall_is_the_one_that_is_tested() -> None:
    """The ConfigMap holds the file that the network proof loads."""
    (found,) = (
        each
        for each in of_kind(rendered("sidecar"), "ConfigMap")
        if each["metadata"]["name"].startswith("outward-firewall-")
    )
    assert found["data"]["firewall.nft"] == (DEPLOY / "kubernetes/overlays/sidecar/firewall.nft").read_text()


@each_agent
def test_a_canary_runs_as_the_agent_before_it(overlay: str, name: str) -> None:
    """A network plug-in that ignores policies, or programs them late, keeps the pod from starting."""
    pod = pods(rendered(overlay))[name]
    names = [each["name"] for each in containers(pod)]
    assert names.index("canary") < names.index("agent")
    assert (
        container(pod, "canary")["securityContext"]["runAsUser"]
        == container(pod, "agent")["securityContext"]["runAsUser"]
    )


@each_pod
def test_no_pod_holds_a_token_for_the_api_server(overlay: str, name: str) -> None:
    """Neither by its account nor by a projected volume, and no role is bound."""
    assert pods(rendered(overlay))[name]["spec"]["automountServiceAccountToken"] is False
    assert all(each["automountServiceAccountToken"] is False for each in of_kind(rendered(overlay), "ServiceAccount"))
    assert not [each for each in rendered(overlay) if each["kind"].endswith(("Role", "RoleBinding"))]


@each_agent
def test_agents_get_the_certificate_and_never_the_key(overlay: str, name: str) -> None:
    """Of the CA's Secret the agent's side sees one file; policy and state it does not see at all."""
    pod = pods(rendered(overlay))[name]
    for each in ("canary", "trust", "agent"):
        for volume in volumes(pod, each).values():
            secret = volume.get("secret")
            assert secret is None or [item["key"] for item in secret["items"]] == ["ca.crt"]
            assert volume["name"] not in ("config", "ca", "state", "records", "admin")


@each_proxy
def test_the_key_is_read_only_and_not_for_others(overlay: str, name: str) -> None:
    """Mounted in the proxy's container, mode 0440."""
    pod = pods(rendered(overlay))[name]
    assert volumes(pod, "outward")["ca"]["secret"]["defaultMode"] == 0o440
    mounts = {each["name"]: each for each in container(pod, "outward")["volumeMounts"]}
    assert mounts["ca"]["readOnly"] is True
    assert mounts["config"]["readOnly"] is True
    assert not any("subPath" in each for each in mounts.values()), "a subPath never sees a changed file"


@each_agent
def test_nothing_is_exempt_from_the_proxy(overlay: str, name: str) -> None:
    """An agent's NO_PROXY is empty: there is no other route anyway."""
    env = {each["name"]: each["value"] for each in container(pods(rendered(overlay))[name], "agent")["env"]}
    assert (env["NO_PROXY"], env["no_proxy"]) == ("", "")
    assert env["HTTPS_PROXY"] == env["https_proxy"] == env["HTTP_PROXY"] == env["http_proxy"]


@each_proxy
def test_the_grace_period_fits_into_the_pods(overlay: str, name: str) -> None:
    """Streams are drained before the kubelet kills."""
    env = {each["name"]: each["value"] for each in container(pods(rendered(overlay))[name], "outward")["env"]}
    grace = int(env["OUTWARD_GRACE"].removesuffix("s"))
    assert pods(rendered(overlay))[name]["spec"]["terminationGracePeriodSeconds"] >= grace + 5 + 5


def test_the_gateway_survives_nodes() -> None:
    """Spread, budgeted, scaled, and rolled without a gap."""
    objects = rendered("gateway")
    (deployment,) = (each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "outward")
    spec = deployment["spec"]["template"]["spec"]
    assert spec["topologySpreadConstraints"]
    assert spec["affinity"]["podAntiAffinity"]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert of_kind(objects, "PodDisruptionBudget")[0]["spec"]["maxUnavailable"] == 1
    assert "replicas" not in deployment["spec"], "an apply would set back what the autoscaler did"
    assert of_kind(objects, "HorizontalPodAutoscaler")[0]["spec"]["minReplicas"] >= 2
