"""Identities: whatever is unknown or wrong is refused, whatever else the client may be."""

import base64
import hashlib
from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from hypothesis import assume, given
from hypothesis import strategies as st

from outward.core.claims import Claims
from outward.core.identity import Presented, identify
from outward.core.model import ClientEntry, Credential, Place
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason

PLACE = Place("outward.yaml", 1)
GROUPS = ("acme", "acme/platform", "acme/platform/payments", "other")
ISSUER, AUDIENCE, JWKS = "https://gitlab.example.com", "outward", "/keys.json"

groups = st.sampled_from(GROUPS)
secrets = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
addresses = st.integers(0, 2**32 - 1).map(IPv4Address)


def policy(*entries: ClientEntry) -> Policy:
    return Policy(groups={path: Group(path) for path in GROUPS}, clients=entries)


def token_entry(secret: str, group: str) -> ClientEntry:
    return ClientEntry(Credential.TOKEN, PLACE, group, token_sha256=hashlib.sha256(secret.encode()).hexdigest())


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


tokens = st.dictionaries(secrets, groups, min_size=1, max_size=4)
networks = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(
    lambda pair: ip_network((pair[0], pair[1]), strict=False)
)
open_entries = st.lists(
    st.one_of(
        st.builds(lambda group: ClientEntry(Credential.ANYONE, PLACE, group), groups),
        st.builds(lambda group, source: ClientEntry(Credential.SOURCE, PLACE, group, source=source), groups, networks),
    ),
    max_size=3,
)


@given(tokens, open_entries, secrets, addresses, st.booleans())
def test_a_wrong_secret_never_falls_through_to_a_lesser_identity(known, others, wrong, peer, as_bearer):
    """A wrong token is refused even where the source network or `anyone` would have let the client in."""
    assume(wrong not in known and wrong.strip(" "))
    entries = [*others, *(token_entry(secret, group) for secret, group in known.items())]
    authorization = f"Bearer {wrong}" if as_bearer else basic("chat-1", wrong)
    identity = identify(policy(*entries), Presented(peer, authorization))
    assert identity.group is None
    assert identity.refusal is Reason.BAD_CREDENTIALS
    assert identity.challenge


@given(tokens, open_entries, st.randoms(), addresses, st.booleans())
def test_every_valid_token_is_its_group_in_any_order(known, others, random, peer, as_bearer):
    """Several tokens are valid at a time, and the order of entries does not matter."""
    entries = [*others, *(token_entry(secret, group) for secret, group in known.items())]
    random.shuffle(entries)
    for secret, group in known.items():
        authorization = f"Bearer {secret}" if as_bearer and secret == secret.strip(" ") else basic("chat-1", secret)
        identity = identify(policy(*entries), Presented(peer, authorization))
        assert identity.group == group
        assert identity.refusal is None


@given(st.lists(networks, min_size=1, max_size=4, unique=True), st.randoms(), addresses)
def test_the_narrowest_source_network_decides_in_any_order(sources, random, peer):
    """Overlapping networks do not depend on who was written first; outside all of them a client is unknown."""
    entries = [
        ClientEntry(Credential.SOURCE, PLACE, GROUPS[index % len(GROUPS)], source=source)
        for index, source in enumerate(sources)
    ]
    within = [entry for entry in entries if peer in entry.source]
    random.shuffle(entries)
    identity = identify(policy(*entries), Presented(peer))
    if within:
        assert identity.group == max(within, key=lambda entry: entry.source.prefixlen).group
    else:
        assert identity.group is None
        assert identity.refusal is Reason.UNKNOWN_CLIENT
        assert not identity.challenge


@given(tokens, addresses, st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40))
def test_without_credentials_a_client_of_a_token_policy_is_unknown(known, peer, conversation):
    """Nothing presented, or a user name alone, is no identity where only tokens identify; credentials would help."""
    entries = [token_entry(secret, group) for secret, group in known.items()]
    assume(":" not in conversation)
    for authorization in (None, basic(conversation, "")):
        identity = identify(policy(*entries), Presented(peer, authorization))
        assert identity.group is None
        assert identity.refusal is Reason.UNKNOWN_CLIENT
        assert identity.challenge


@given(st.text(max_size=60), addresses)
def test_credentials_that_cannot_be_read_are_refused(authorization, peer):
    """Any text in the field is either read strictly or refused; it is never ignored where credentials count."""
    token = ClientEntry(Credential.TOKEN, PLACE, "acme", token_sha256="0" * 64)
    identity = identify(policy(token, ClientEntry(Credential.ANYONE, PLACE, "acme")), Presented(peer, authorization))
    named = authorization.partition(" ")[0].lower() == "basic" and identity.refusal is None
    assert named or identity.refusal is Reason.BAD_CREDENTIALS


@given(st.text(max_size=60), addresses)
def test_credentials_that_nothing_asks_for_change_nothing(authorization, peer):
    """Tools send the credentials of their proxy URL everywhere; without a token entry they only name a conversation."""
    subject = policy(ClientEntry(Credential.ANYONE, PLACE, "acme"))
    identity, plain = identify(subject, Presented(peer, authorization)), identify(subject, Presented(peer))
    assert replace(identity, conversation=None) == plain


CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "job"}


def jwt_entry(**changes: object) -> ClientEntry:
    entry = ClientEntry(
        Credential.JWT, PLACE, issuer=ISSUER, audience=AUDIENCE, jwks=JWKS, group_claim=("namespace_path",)
    )
    return replace(entry, **changes)


segments = st.one_of(
    st.sampled_from(("payments", "platform", "..", ".", "", "../other", "platform/payments", "{claim}", "acme")),
    st.text(max_size=12),
    st.text(st.sampled_from("./-_{}ab"), max_size=8),
    st.integers(),
)


@given(segments, st.sampled_from(("acme/{claim}", "acme/{claim}/payments", "acme/platform/{claim}")), addresses)
def test_a_template_never_leaves_its_path(value, template, peer):
    """Whatever an issuer writes into a claim, it fills one segment, and the group is one that the policy has."""
    entry = jwt_entry(template=template, group_claim=("io", "ns"))
    claims = Claims({**CLAIMS, "io": {"ns": value}}, JWKS)
    identity = identify(policy(entry), Presented(peer, "Bearer x.y.z", claims))
    written, found = template.split("/"), (identity.group or "").split("/")
    if identity.group is None:
        assert identity.refusal is Reason.UNKNOWN_CLIENT
        assert identity.why
    else:
        assert identity.group in GROUPS
        assert len(written) == len(found)
        assert all(want in (has, "{claim}") for want, has in zip(written, found, strict=True))
        assert found[written.index("{claim}")] == value


@given(st.sampled_from(GROUPS), st.lists(st.sampled_from(("a", "b", "..", "")), max_size=3), addresses)
def test_a_claimed_path_is_its_nearest_group(group, below, peer):
    """A namespace without a policy of its own belongs to the nearest ancestor that has one."""
    claims = Claims({**CLAIMS, "namespace_path": "/".join([group, *below])}, JWKS)
    identity = identify(policy(jwt_entry()), Presented(peer, "Bearer x.y.z", claims))
    assert identity.group == group


@given(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text()), st.just("acmeevil/platform")),
    addresses,
)
def test_a_claim_that_names_no_group_is_an_unknown_client(value, peer):
    """A valid token without a group is refused, and no challenge invites to send it again."""
    assume(not isinstance(value, str) or value.partition("/")[0] not in GROUPS)
    claims = Claims({**CLAIMS, "namespace_path": value}, JWKS)
    anyone = ClientEntry(Credential.ANYONE, PLACE, "acme")
    identity = identify(policy(anyone, jwt_entry()), Presented(peer, "Bearer x.y.z", claims))
    assert identity.group is None
    assert identity.refusal is Reason.UNKNOWN_CLIENT
    assert not identity.challenge


@given(st.sampled_from([("iss", "https://evil.example"), ("aud", "another"), ("aud", None), ("aud", ["x"])]), addresses)
def test_verified_claims_of_another_issuer_or_audience_are_refused(change, peer):
    """Claims count only for the entry whose issuer, audience and keys they were verified with."""
    values = {**CLAIMS, "namespace_path": "acme", change[0]: change[1]}
    identity = identify(policy(jwt_entry()), Presented(peer, "Bearer x.y.z", Claims(values, JWKS)))
    assert identity.refusal is Reason.BAD_CREDENTIALS
    other_keys = Claims({**CLAIMS, "namespace_path": "acme"}, "/other.json")
    identity = identify(policy(jwt_entry()), Presented(peer, "Bearer x.y.z", other_keys))
    assert identity.refusal is Reason.BAD_CREDENTIALS
