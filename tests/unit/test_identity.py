"""Identities one by one: precedence, rotation, maps, and what the labels may say."""

import base64
import hashlib
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from outward.core.claims import Claims
from outward.core.identity import Presented, identify, read_secret, trusts
from outward.core.model import ClientEntry, Credential, OptIn, Place
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason

PLACE = Place("outward.yaml", 1)
PEER = ip_address("10.1.2.3")
SPIFFE = "spiffe://example.org/ns/agents/sa/bot"


def sha(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


JWT = ClientEntry(Credential.JWT, PLACE, issuer="https://i", audience="outward", jwks="/k", group_claim=("ns",))
TOKEN = ClientEntry(Credential.TOKEN, PLACE, "token", token_sha256=sha("s3cret"))
CERTIFICATE = ClientEntry(Credential.CERTIFICATE, PLACE, "certificate", certificate=SPIFFE)
SOURCE = ClientEntry(Credential.SOURCE, PLACE, "source", source=ip_network("10.1.0.0/16"))
ANYONE = ClientEntry(Credential.ANYONE, PLACE, "anyone", opt_in=OptIn.ASSUMED)


def policy(*entries: ClientEntry) -> Policy:
    names = ("token", "jwt", "certificate", "source", "anyone", "acme", "acme/platform")
    return Policy(groups={name: Group(name) for name in names}, clients=entries)


EVERYTHING = policy(ANYONE, SOURCE, CERTIFICATE, JWT, TOKEN)


@pytest.mark.parametrize(
    ("presented", "group", "credential"),
    [
        (Presented(PEER, basic("c:s3cret"), None, (SPIFFE,)), "token", "token:"),
        (
            Presented(
                PEER, "Bearer a.b.c", Claims({"iss": "https://i", "aud": ["outward"], "ns": "jwt"}, "/k"), (SPIFFE,)
            ),
            "jwt",
            "jwt:https://i:None",
        ),
        (Presented(PEER, None, None, ("other", SPIFFE)), "certificate", f"certificate:{SPIFFE}"),
        (Presented(PEER, basic("c:"), None, (SPIFFE,)), "certificate", f"certificate:{SPIFFE}"),
        (Presented(PEER), "source", "source:10.1.0.0/16"),
        (Presented(ip_address("::ffff:10.1.2.3")), "source", "source:10.1.0.0/16"),
        (Presented(ip_address("192.0.2.1")), "anyone", "anyone"),
        (Presented(ip_address("2001:db8::1")), "anyone", "anyone"),
    ],
)
def test_precedence(presented, group, credential):
    """Credentials, then certificate, then source, then anyone."""
    identity = identify(EVERYTHING, presented)
    assert identity.group == group
    assert identity.credential.startswith(credential)
    assert identity.client == str(presented.peer)


def test_two_tokens_of_a_group_are_valid_until_one_is_taken_away():
    """Rotation: old and new token work side by side; the old one stops when its entry goes."""
    new = ClientEntry(Credential.TOKEN, PLACE, "token", token_sha256=sha("n3w"))
    for secret in ("s3cret", "n3w"):
        assert identify(policy(TOKEN, new), Presented(PEER, basic(f"c:{secret}"))).group == "token"
    assert identify(policy(new), Presented(PEER, basic("c:s3cret"))).refusal is Reason.BAD_CREDENTIALS
    assert identify(policy(new), Presented(PEER, basic("c:n3w"))).group == "token"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"c:\xff").decode(),
        "Bearer",
        "Bearer ",
        "Digest username=x",
        "Ba\u017fic " + base64.b64encode(b"c:s3cret").decode(),
        "Basic " + base64.b64encode(b"c:s3cret\x00").decode(),
        "Basic " + base64.b64encode(b"c: s3cret").decode(),
    ],
)
def test_malformed_or_nearly_right_credentials_are_wrong(authorization):
    """Nothing that differs from the secret by a byte is the secret; nothing unreadable is ignored."""
    identity = identify(EVERYTHING, Presented(PEER, authorization))
    assert identity.refusal is Reason.BAD_CREDENTIALS
    assert identity.group is None


@pytest.mark.parametrize("scheme", ["basic", "BASIC", "Basic"])
def test_the_user_name_names_the_conversation(scheme):
    """With and without a secret; an empty one names none."""
    credentials = base64.b64encode(b"chat-7:s3cret").decode()
    assert identify(EVERYTHING, Presented(PEER, f"{scheme} {credentials}")).conversation == "chat-7"
    assert identify(EVERYTHING, Presented(PEER, basic(":s3cret"))).conversation is None
    assert identify(EVERYTHING, Presented(PEER, basic("chat-7:"))).conversation == "chat-7"


POD = {
    "iss": "https://k", "aud": ["outward"], "sub": "system:serviceaccount:team-a:bot",
    "kubernetes.io": {
        "namespace": "team-a", "pod": {"name": "bot-7d4", "uid": "1"}, "serviceaccount": {"name": "bot", "uid": "2"},
        "big": 2**60, "float": 0.5, "nan": float("nan"), "flag": False, "list": ["x"], "deep": {"er": None},
    },
}  # fmt: skip
PODS = ClientEntry(
    Credential.JWT, PLACE, issuer="https://k", audience="outward", jwks="/k", template="k8s/{claim}", name="pods",
    group_claim=("kubernetes.io", "namespace"), record_claims=(("kubernetes.io", "pod", "name"), ("missing",)),
)  # fmt: skip


def identify_pod(*entries, **claims):
    groups = {path: Group(path) for path in ("k8s", "k8s/team-a", "k8s/team-a/below", "other")}
    presented = Presented(PEER, "Bearer a.b.c", Claims({**POD, **claims}, "/k"))
    return identify(Policy(groups=groups, clients=entries), presented)


def test_a_nested_claim_fills_a_template():
    """The group of a pod is that of its namespace, and what is recorded of its token has names."""
    found = identify_pod(PODS)
    assert (found.group, found.subject, found.client_name) == ("k8s/team-a", POD["sub"], "pods")
    assert found.claims == (("kubernetes.io.pod.name", "bot-7d4"),)
    assert found.why == ""
    assert identify_pod(replace(PODS, template="k8s/{claim}/below")).group == "k8s/team-a/below"


@pytest.mark.parametrize(
    ("namespace", "why"),
    [
        ("team-b", "no group is named `k8s/team-b`"),
        *(
            (text, "is not one name of letters")
            for text in ("", ".", "..", "team-a/below", "../other", "a b", "x" * 256)
        ),
        *((value, "has no claim `kubernetes.io / namespace`") for value in (None, True, 1.5, ["team-a"], {"a": 1})),
    ],
)
def test_a_claim_without_a_group_of_its_own_is_an_unknown_client_and_told_why(namespace, why):
    """No ancestor stands in for it. Who it was is known all the same."""
    found = identify_pod(PODS, **{"kubernetes.io": {"namespace": namespace}})
    assert (found.group, found.refusal, found.challenge) == (None, Reason.UNKNOWN_CLIENT, False)
    assert why in found.why
    assert (found.subject, found.client_name) == (POD["sub"], "pods")


def test_the_first_entry_that_gives_a_group_counts_and_the_first_of_all_says_why_none_does():
    """Several entries may be about one issuer."""
    other = replace(PODS, template="k9s/{claim}", name="other")
    assert identify_pod(other, PODS).client_name == "pods"
    found = identify_pod(other, replace(PODS, template="k7s/{claim}"))
    assert (found.client_name, found.why) == ("other", "no group is named `k9s/team-a`, as the token's claim has it")


def test_texts_numbers_and_truth_values_are_recorded_and_nothing_else():
    """Neither lists nor objects, nor numbers that no reader of JSON gets back as they were."""
    names = ("big", "float", "nan", "flag", "list", "deep", "namespace")
    found = identify_pod(replace(PODS, record_claims=tuple(("kubernetes.io", name) for name in names)))
    assert found.claims == (
        ("kubernetes.io.float", 0.5), ("kubernetes.io.flag", False), ("kubernetes.io.namespace", "team-a")
    )  # fmt: skip


@pytest.mark.parametrize("subject", [None, 7, "", ["x"]])
def test_a_token_that_names_nobody_in_a_text_has_no_subject(subject):
    """RFC 7519 4.1.2."""
    assert identify_pod(PODS, sub=subject).subject is None


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("spiffe://example.org/ns/agents/sa/bot", "acme"),
        ("spiffe://example.org/ns/agents/sa/cat", "certificate"),
        *(
            (f"spiffe://example.org/ns/agents/sa{rest}", None)
            for rest in ("", "/", "/.", "/..", "/bot/x", "/a b", "/%2e", "x/bot", "/*")
        ),
        ("spiffe://example.org.evil/ns/agents/sa/bot", None),
        ("https://example.org/ns/agents/sa/bot", None),
    ],
)
def test_a_spiffe_pattern_is_one_segment_and_a_name_in_full_comes_first(name, group):
    """Each name is a client of its own: what is bound to one is not another's."""
    like = replace(CERTIFICATE, certificate="spiffe://example.org/ns/agents/sa/*")
    exact = replace(CERTIFICATE, group="acme")
    found = identify(policy(like, exact), Presented(PEER, None, None, ("dns.example", name)))
    assert found.group == group
    if group is not None:
        assert (found.subject, found.credential) == (name, f"certificate:{name}")
    unstarred = replace(CERTIFICATE, certificate="https://example.org/*")
    assert identify(policy(unstarred), Presented(PEER, None, None, ("https://example.org/x",))).group is None


def test_numeric_claims_go_through_the_map():
    """Where claims are ids a map gives the path; an id outside the map is nobody, even if a group has that name."""
    entry = ClientEntry(
        Credential.JWT,
        PLACE,
        issuer="https://i",
        audience="o",
        jwks="/k",
        group_claim=("id",),
        group_map={"42": "acme"},
    )
    for value, group in ((42, "acme"), ("42", "acme"), (43, None), ("acme", None), (True, None), (4.2e1, None)):
        claims = Claims({"iss": "https://i", "aud": "o", "id": value}, "/k")
        assert identify(policy(entry), Presented(PEER, "Bearer a.b.c", claims)).group == group


def test_an_entry_with_a_group_and_a_claim_keeps_claims_inside_the_group():
    """A subtree may trust an issuer for itself without letting it speak for others."""
    entry = ClientEntry(
        Credential.JWT, PLACE, "acme/platform", issuer="https://i", audience="o", jwks="/k", group_claim=("ns",)
    )
    for path, group in (("acme/platform/x", "acme/platform"), ("acme", None), ("token", None)):
        claims = Claims({"iss": "https://i", "aud": "o", "ns": path}, "/k")
        assert identify(policy(entry), Presented(PEER, "Bearer a.b.c", claims)).group == group


def test_an_entry_without_a_claim_puts_everybody_into_its_group():
    """One issuer may simply be one group."""
    entry = ClientEntry(Credential.JWT, PLACE, "acme", issuer="https://i", audience="o", jwks="/k")
    claims = Claims({"iss": "https://i", "aud": "o"}, "/k")
    assert identify(policy(entry), Presented(PEER, "Bearer a.b.c", claims)).group == "acme"


def test_a_client_entry_carries_its_own_opt_in():
    """Flows that have no person to ask are opted in by their entry."""
    assert identify(policy(ANYONE), Presented(PEER)).opt_in is OptIn.ASSUMED


def test_no_label_and_no_representation_shows_a_secret():
    """Neither the secret nor the digest that the configuration holds."""
    presented = Presented(PEER, basic("c:s3cret"), Claims({"secret": "cl4im"}, "/k"))
    identity = identify(policy(TOKEN), Presented(PEER, basic("c:s3cret")))
    assert identity.group == "token"
    shown = repr(identity) + repr(presented)
    assert not any(secret in shown for secret in ("s3cret", "cl4im", sha("s3cret")[:16], presented.authorization))


UNMAPPED = Claims({"iss": "https://i", "aud": "outward", "ns": "nobody", "sub": "bot"}, "/k")


@pytest.mark.parametrize(
    ("presented", "credential", "refusal", "challenge"),
    [
        (Presented(PEER, "Basic !"), "", Reason.BAD_CREDENTIALS, True),
        (Presented(PEER, basic("c:wrong")), "", Reason.BAD_CREDENTIALS, True),
        (Presented(PEER, basic("c:")), "", Reason.UNKNOWN_CLIENT, True),
        (Presented(PEER), "", Reason.UNKNOWN_CLIENT, True),
        (Presented(PEER, "Bearer a.b.c", UNMAPPED), "jwt:https://i:bot", Reason.UNKNOWN_CLIENT, False),
        (
            Presented(PEER, "Bearer a.b.c", Claims(UNMAPPED.values | {"ns": "jwt"}, "/other")),
            "",
            Reason.BAD_CREDENTIALS,
            True,
        ),
        (
            Presented(PEER, "Bearer a.b.c", Claims(UNMAPPED.values | {"ns": "jwt", "aud": "another"}, "/k")),
            "",
            Reason.BAD_CREDENTIALS,
            True,
        ),
        (
            Presented(PEER, "Bearer a.b.c", Claims(UNMAPPED.values | {"ns": "jwt", "iss": "https://j"}, "/k")),
            "",
            Reason.BAD_CREDENTIALS,
            True,
        ),
    ],
)
def test_a_refusal_says_who_and_why_and_whether_credentials_would_help(presented, credential, refusal, challenge):
    identity = identify(policy(JWT, TOKEN), presented)
    assert (identity.group, identity.client, identity.credential) == (None, "10.1.2.3", credential)
    assert (identity.refusal, identity.challenge) == (refusal, challenge)


def test_credentials_that_nothing_takes_still_name_the_conversation():
    """A wrong scheme or password is no refusal where the policy takes none."""
    assert identify(policy(ANYONE), Presented(PEER, basic("c:whatever"))).conversation == "c"
    assert identify(policy(ANYONE), Presented(PEER, "Digest x")).group == "anyone"


def test_a_group_that_is_gone_is_an_unknown_client():
    gone = ClientEntry(Credential.ANYONE, PLACE, "gone")
    identity = identify(policy(gone), Presented(PEER))
    assert (identity.group, identity.refusal, identity.credential) == (None, Reason.UNKNOWN_CLIENT, "anyone")


def test_the_narrowest_network_wins_whatever_the_order():
    wide = ClientEntry(Credential.SOURCE, PLACE, "anyone", source=ip_network("10.0.0.0/8"))
    for entries in ((wide, SOURCE), (SOURCE, wide)):
        assert identify(policy(*entries), Presented(PEER)).group == "source"


def test_a_token_with_bytes_that_are_no_text_is_merely_wrong():
    """The head is read as Latin-1 or with surrogates; hashing it must not raise."""
    assert identify(EVERYTHING, Presented(PEER, "Bearer \udcff")).refusal is Reason.BAD_CREDENTIALS


@pytest.mark.parametrize(
    ("change", "claims"),
    [
        ({"issuer": None}, {"aud": "outward"}),
        ({"issuer": ""}, {"iss": "", "aud": "outward"}),
        ({"audience": None}, {"iss": "https://i"}),
        ({"audience": ""}, {"iss": "https://i", "aud": [""]}),
        ({"kind": Credential.SOURCE}, {"iss": "https://i", "aud": "outward"}),
        ({}, {"iss": "https://i", "aud": "outward-staging"}),
        ({}, {"iss": "https://i", "aud": ["staging"]}),
        ({}, {"iss": "https://i", "aud": {"outward": True}}),
    ],
)
def test_an_entry_trusts_tokens_of_its_own_issuer_for_its_own_audience_and_no_others(change, claims):
    """What the entry leaves open is closed; a longer audience is another one."""
    assert not trusts(replace(JWT, **change), claims)
    assert trusts(JWT, {"iss": "https://i", "aud": "outward"})
    assert trusts(JWT, {"iss": "https://i", "aud": ["x", "outward"]})


@pytest.mark.parametrize("value", [True, ["acme"], 1.5, None])
def test_a_claim_that_is_no_text_and_no_number_names_no_group(value):
    """However the map spells it."""
    entry = replace(JWT, group_map={str(value): "acme"})
    claims = Claims({"iss": "https://i", "aud": "outward", "ns": value}, "/k")
    assert identify(policy(entry), Presented(PEER, "Bearer a.b.c", claims)).group is None


def test_the_label_of_a_token_is_half_a_digest_of_its_digest():
    """Opt-ins are bound to it: it must not change from one version to the next."""
    assert identify(policy(TOKEN), Presented(PEER, "Bearer s3cret")).credential == f"token:{sha(sha('s3cret'))[:16]}"


@pytest.mark.parametrize(
    ("authorization", "secret"),
    [
        (basic("u:a:b"), ("u", "a:b")),
        (basic("c:"), ("c", "")),
        (basic(":p"), (None, "p")),
        (basic("u:p").replace(" ", "   "), ("u", "p")),
        ("bearer  XtokenX ", (None, "XtokenX")),
        ("Bearer a b", (None, "a b")),
        ("Bearer ", None),
        (basic("u:p").replace("Basic", "Digest"), None),
        (basic("u:p").replace(" ", " \t"), None),
        (basic("u:p").replace(" ", " !"), None),
        (basic("no colon"), None),
        ("Basic /w==", None),
        ("\N{KELVIN SIGN}asic dTpw", None),
        ("", None),
    ],
)
def test_credentials_are_read_in_one_way_or_not_at_all(authorization, secret):
    found = read_secret(authorization)
    assert (found and (found.conversation, found.token)) == secret
