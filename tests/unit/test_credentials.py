"""JWTs as proxy credentials: GitLab CI and Kubernetes tokens, and everything that only looks like them."""

import base64
import hashlib
import hmac
import json
from ipaddress import ip_address

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from harness.waiting import wait_for
from outward.core.identity import Presented, identify
from outward.core.model import ClientEntry, Credential, Place
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.proxy.credentials import ALGORITHMS, SKEW, JwtVerifier
from outward.proxy.keysets import KeySets

NOW = 1_800_000_000.0


GITLAB = "https://gitlab.example.com"


KUBERNETES = "https://kubernetes.default.svc.cluster.local"


RSA = RSAKey.generate_key(2048, {"kid": "gitlab-1", "use": "sig"})


EC = ECKey.generate_key("P-256", {"kid": "k8s-1"})


ED = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})


CI_CLAIMS = {
    "iss": GITLAB,
    "aud": "outward",
    "sub": "project_path:acme/platform/web:ref_type:branch:ref:main",
    "namespace_path": "acme/platform",
    "namespace_id": "72",
    "project_path": "acme/platform/web",
    "iat": NOW - 60,
    "nbf": NOW - 60,
    "exp": NOW + 3600,
}


POD_CLAIMS = {
    "iss": KUBERNETES,
    "aud": ["outward"],
    "sub": "system:serviceaccount:agents:bot",
    "kubernetes.io": {"namespace": "agents", "serviceaccount": {"name": "bot"}},
    "iat": NOW - 60,
    "nbf": NOW - 60,
    "exp": NOW + 3600,
}


PLACE = Place("outward.yaml", 1)


def key_set(*keys) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def sign(claims, key=RSA, algorithm="RS256", **header) -> str:
    protected = {"alg": algorithm, "kid": key.kid, "typ": "JWT", **header}
    protected = {name: value for name, value in protected.items() if value is not None}
    return jws.serialize_compact(protected, json.dumps(claims), key, algorithms=[algorithm])


@pytest.fixture
def world(tmp_path):
    """A policy with a GitLab entry (file) and a Kubernetes entry (file), and a verifier whose clock stands still."""
    gitlab, kubernetes = tmp_path / "gitlab.json", tmp_path / "kubernetes.json"
    gitlab.write_bytes(key_set(RSA, ED))
    kubernetes.write_bytes(key_set(EC))
    clients = (
        ClientEntry(
            Credential.JWT, PLACE, issuer=GITLAB, audience="outward", jwks=str(gitlab), group_claim=("namespace_path",)
        ),
        ClientEntry(
            Credential.JWT,
            PLACE,
            issuer=KUBERNETES,
            audience="outward",
            jwks=str(kubernetes),
            group_claim=("sub",),
            group_map={"system:serviceaccount:agents:bot": "agents"},
        ),
    )
    policy = Policy(groups={path: Group(path) for path in ("acme", "acme/platform", "agents")}, clients=clients)
    verifier = JwtVerifier(KeySets(), clock=lambda: NOW)
    verifier.use(policy)
    wait_for(lambda: verifier.keysets.get(str(gitlab)) and verifier.keysets.get(str(kubernetes)))
    yield policy, verifier
    verifier.keysets.want(())


def answer(world, token, form="Bearer {}"):
    """Identify a client that presents a token, as the judge does."""
    policy, verifier = world
    authorization = form.format(token)
    if form == "Basic":
        authorization = "Basic " + base64.b64encode(f"chat-1:{token}".encode()).decode()
    claims = verifier.claims(policy, authorization)
    return identify(policy, Presented(ip_address("192.0.2.1"), authorization, claims))


@pytest.mark.parametrize("form", ["Bearer {}", "Basic"])
@pytest.mark.parametrize(
    ("token", "group"),
    [
        (sign(CI_CLAIMS), "acme/platform"),
        (sign({**CI_CLAIMS, "namespace_path": "acme/platform/deeper"}), "acme/platform"),
        (sign(CI_CLAIMS, ED, "Ed25519"), "acme/platform"),
        (sign(CI_CLAIMS, RSA, "PS512"), "acme/platform"),
        (sign(POD_CLAIMS, EC, "ES256"), "agents"),
        (sign(POD_CLAIMS, EC, "ES256", kid=None), "agents"),
        (sign({**CI_CLAIMS, "exp": NOW - SKEW + 1}), "acme/platform"),
        (sign({**CI_CLAIMS, "nbf": NOW + SKEW - 1}), "acme/platform"),
    ],
)
def test_a_valid_token_is_its_group(world, token, group, form):
    """As Bearer, and as the password that HTTPS_PROXY variables can carry; twice, as the second comes from memory."""
    for _ in range(2):
        identity = answer(world, token, form)
        assert identity.refusal is None
        assert identity.group == group
    assert identity.credential.startswith("jwt:https://")


def confused() -> str:
    """Sign with HMAC, the public key as secret: the classic confusion of algorithms (RFC 8725 2.1)."""

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    signed = part({"alg": "HS256", "kid": "gitlab-1"}) + b"." + part(CI_CLAIMS)
    mac = hmac.new(RSA.as_pem(private=False), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def unsigned(algorithm: str) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": "gitlab-1"}).encode()).rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(json.dumps(CI_CLAIMS).encode()).rstrip(b"=").decode()
    return f"{head}.{body}."


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in CI_CLAIMS.items() if key != name}


STRANGER = RSAKey.generate_key(2048, {"kid": "gitlab-1"})


GOOD = sign(CI_CLAIMS)


WRONG = {
    "expired": sign({**CI_CLAIMS, "exp": NOW - SKEW - 1}),
    "not yet valid": sign({**CI_CLAIMS, "nbf": NOW + SKEW + 1}),
    "issued in the future": sign({**CI_CLAIMS, "iat": NOW + 3600}),
    "without expiry": sign(without("exp")),
    "expiry is text": sign({**CI_CLAIMS, "exp": "never"}),
    "expiry is true": sign({**CI_CLAIMS, "exp": True}),
    "expiry is infinite": sign({**CI_CLAIMS, "exp": float("inf")}),
    "another audience": sign({**CI_CLAIMS, "aud": "vault"}),
    "no audience": sign(without("aud")),
    "another issuer": sign({**CI_CLAIMS, "iss": "https://evil.example"}),
    "no issuer": sign(without("iss")),
    "another key with the same id": sign(CI_CLAIMS, STRANGER),
    "another issuer's key": sign(CI_CLAIMS, EC, "ES256"),
    "unknown key id": sign(CI_CLAIMS, RSA, kid="gitlab-2"),
    "no key id among several keys": sign(CI_CLAIMS, RSA, kid=None),
    "unsigned": unsigned("none"),
    "unsigned, other case": unsigned("None"),
    "hmac with the public key": confused(),
    "key in its own header": sign(CI_CLAIMS, STRANGER, jwk=STRANGER.as_dict(private=False), kid=None),
    "unknown critical extension": GOOD.replace(
        GOOD.partition(".")[0],
        base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"gitlab-1","crit":["exp"],"exp":1}').rstrip(b"=").decode(),
    ),
    "signature cut": GOOD[:-2],
    "claims changed": ".".join(
        [
            GOOD.split(".")[0],
            base64.urlsafe_b64encode(json.dumps({**CI_CLAIMS, "namespace_path": "agents"}).encode())
            .rstrip(b"=")
            .decode(),
            GOOD.split(".")[2],
        ]
    ),
    "four parts": GOOD + ".x",
    "claims are a list": sign([1]),
    "too large": sign({**CI_CLAIMS, "padding": "x" * 20_000}),
    "not ASCII": GOOD + "é",
    "empty parts": "..",
}


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("form", ["Bearer {}", "Basic"])
def test_a_token_that_is_not_valid_is_a_wrong_credential(world, token, form):
    """Refused with a challenge, because a fresh token would help."""
    identity = answer(world, token, form)
    assert identity.group is None
    assert identity.refusal is Reason.BAD_CREDENTIALS
    assert identity.challenge


def test_a_valid_token_without_a_group_is_unknown(world):
    """It would not help to send it again."""
    identity = answer(world, sign({**CI_CLAIMS, "namespace_path": "stranger/project"}))
    assert identity.refusal is Reason.UNKNOWN_CLIENT
    assert not identity.challenge


def test_only_asymmetric_signatures_are_known():
    """No HMAC and no `none`, whatever the library learns."""
    assert all(name[:2] in ("RS", "PS", "ES", "Ed") for name in ALGORITHMS)


def test_a_remembered_token_expires(world):
    """Memory of a verification never outlives the token."""
    policy, verifier = world
    token = f"Bearer {sign({**CI_CLAIMS, 'exp': NOW + 10})}"
    assert verifier.claims(policy, token)
    verifier._clock = lambda: NOW + 10 + SKEW
    assert verifier.claims(policy, token) is None


def test_a_key_that_its_issuer_withdrew_counts_no_longer(world):
    """Also for tokens that were verified before."""
    policy, verifier = world
    assert answer(world, GOOD).group == "acme/platform"
    verifier.keysets._read = lambda _name: key_set(ED)
    verifier.keysets._load(policy.clients[0].jwks, verifier.keysets._sources[policy.clients[0].jwks])
    assert answer(world, GOOD).refusal is Reason.BAD_CREDENTIALS
