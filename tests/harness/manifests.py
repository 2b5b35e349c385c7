"""The rendered manifests, as the tests look at them."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ("gateway", "sidecar")
NEVER_BUILT_IN = {"Certificate", "Issuer", "PrometheusRule", "ServiceMonitor", "PodMonitor"}


@cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    """Return what `kubectl apply -k` would send."""
    kubectl = shutil.which("kubectl")
    assert kubectl, "needs kubectl"
    folder = DEPLOY / "kubernetes" / "overlays" / overlay
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(objects: tuple[dict[str, Any], ...], kind: str) -> list[dict[str, Any]]:
    """Return the objects of a kind."""
    return [each for each in objects if each["kind"] == kind]


def pods(objects: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    """Return the pod templates by the name of their Deployment."""
    return {each["metadata"]["name"]: each["spec"]["template"] for each in of_kind(objects, "Deployment")}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod, in the order in which they start."""
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a container by name."""
    return next(each for each in containers(pod) if each["name"] == name)


def volumes(pod: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Return the volumes that a container mounts."""
    known = {each["name"]: each for each in pod["spec"].get("volumes", [])}
    return {each["name"]: known[each["name"]] for each in container(pod, name).get("volumeMounts", [])}
