"""Tokens as a cluster signs them for pods, and a gate that verifies them."""

import json
import time
from pathlib import Path
from typing import Protocol

from joserfc import jws
from joserfc.jwk import ECKey

from harness.loops import until
from outward.core.model import ClientEntry, Credential, Place
from outward.proxy.credentials import JwtVerifier
from outward.proxy.judge import Judge

KEY = ECKey.generate_key("P-256", {"kid": "cluster-1"})
CLUSTER = "https://kubernetes.default.svc.cluster.local"


def pod_token(namespace: str, pod: str = "bot-7d4b9-x2x8k", **claims: object) -> str:
    """Return what the kubelet projects into a pod: signed by the cluster, for our audience, bound to the pod."""
    now = int(time.time())
    bound = {
        "namespace": namespace,
        "node": {"name": "node-1", "uid": "5f2e"},
        "pod": {"name": pod, "uid": "7a1c"},
        "serviceaccount": {"name": "bot", "uid": "0c55"},
        "warnafter": now + 3607,
    }
    payload = {
        "aud": ["outward"], "exp": now + 3600, "iat": now, "nbf": now, "iss": CLUSTER, "jti": "4b2f",
        "kubernetes.io": bound, "sub": f"system:serviceaccount:{namespace}:bot", **claims,
    }  # fmt: skip
    header = {"alg": "ES256", "kid": KEY.kid}
    return jws.serialize_compact(header, json.dumps(payload), KEY, algorithms=["ES256"])


def pod_entry(folder: Path) -> ClientEntry:
    """Return the entry of `clients` for a cluster's pods; its keys are written into a folder."""
    keys = folder / "jwks.json"
    keys.write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
    return ClientEntry(
        Credential.JWT, Place("policy.yaml", 9), issuer=CLUSTER, audience="outward", jwks=str(keys), name="pods",
        template="k8s/{claim}", group_claim=("kubernetes.io", "namespace"),
        record_claims=(("kubernetes.io", "pod", "name"),),
    )  # fmt: skip


class Judging(Protocol):
    """A world of `gates` or of `inspection`."""

    judge: Judge


async def verifying(world: Judging) -> None:
    """Have a gate verify tokens, and wait until it has read the keys."""
    verifier = JwtVerifier()
    verifier.use(world.judge.policy)
    world.judge.verifier = verifier
    await until(lambda: verifier.keysets.get(world.judge.policy.clients[0].jwks or "") is not None)
