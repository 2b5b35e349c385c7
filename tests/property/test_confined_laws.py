"""The law of confined files: whatever one says, no decision outside its subtree changes, and nobody else is held up."""

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outward.config.load import Loaded, load, load_confined
from outward.core.decide import decide
from outward.core.model import Question
from outward.core.names import canonical_host

MAIN = """\
version: 1
include: [{files: "none/*.yaml", under: acme/payments, may: [%s]}]
sets: {mine: [a.test]}
groups:
  acme: {allow: ["@mine", "@developer"], deny: [never.test], web_search: {enabled: true}}
  acme/ads: {allow: [ads.test]}
  acme/pay: {}
  acme/payments/web: {allow: [web.test]}
clients: [{group: acme/ads, anyone: true}]
tests: [{group: acme/ads, url: a.test, expect: allow}, {group: acme/payments, url: never.test, expect: deny}]
"""
OUTSIDE = ("acme", "acme/ads", "acme/pay")
HOSTS = ("a.test", "ads.test", "never.test", "web.test", "x.example", "other.test", "10.0.0.1")
MAY = ("mode", "lane: tunnel", "ech", "inject", "addresses", "grants")

_PATHS = st.sampled_from(
    [*OUTSIDE, "acme/payments", "acme/payments/web", "acme/payments/x", "acme/payments/../ads", ""]
)
_RULES = st.lists(
    st.one_of(
        st.sampled_from([*HOSTS, "*", ".test", "@mine", "@developer", "@nothing", "0.0.0.0/0"]),
        st.builds(
            lambda host, more: {"host": host} | more,
            st.sampled_from([*HOSTS, "*"]),
            st.sampled_from(
                [{"tls": "false"}, {"methods": ["GET"]}, {"addresses": ["10.0.0.0/8"]}, {"until": "2020-01-01"}]
            ),
        ),
    ),
    max_size=4,
)
_GROUPS = st.fixed_dictionaries(
    {},
    optional={
        "allow": _RULES,
        "deny": _RULES,
        "ceiling": _RULES,
        "ignore": _RULES,
        "mode": st.just("report"),
        "lane": st.sampled_from(["auto", "inspect", "tunnel"]),
        "denial": st.just("inside"),
        "grants": st.just("allowed"),
        "web_search": st.fixed_dictionaries(
            {}, optional={"enabled": st.just("false"), "locked": st.just("true"), "sources": _RULES}
        ),
        "alow": _RULES,
    },
)
_CASES = st.lists(
    st.fixed_dictionaries(
        {"group": _PATHS, "url": st.sampled_from(HOSTS), "expect": st.sampled_from(["allow", "deny"])}
    ),
    max_size=2,
)
_FILES = st.fixed_dictionaries(
    {"groups": st.dictionaries(_PATHS, _GROUPS, max_size=3)},
    optional={
        "sets": st.dictionaries(st.sampled_from(["mine", "developer", "s"]), _RULES, max_size=2),
        "tests": _CASES,
        "clients": st.just([{"group": "acme/ads", "anyone": "true"}]),
        "server": st.just({"grace": "1s"}),
        "include": st.just(["*.yaml"]),
    },
)


def answers(loaded: Loaded) -> list[object]:
    """Return what is decided outside the subtree."""
    policy = loaded.policy
    assert policy is not None, loaded.findings
    asked = [Question(group, canonical_host(host), port) for group, host, port in product(OUTSIDE, HOSTS, (80, 443))]
    decided = [decide(policy, question) for question in asked]
    inherited = [(policy.groups[path].web_search, policy.groups[path].lane) for path in OUTSIDE]
    kept = [(each.verdict, each.reason, each.rule, each.lane, each.mode, each.denial) for each in decided]
    return [*kept, *inherited, policy.clients, loaded.settings]


@pytest.fixture(scope="module")
def mains(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[Path, list[object]]]:
    """Main files that leave a team as little as they can, and as much; each with what is decided without the team."""
    folder = tmp_path_factory.mktemp("company")
    found = {}
    for much in (False, True):
        path = folder / f"{much}.yaml"
        path.write_text(MAIN % (", ".join(MAY) if much else ""))
        found[much] = (path, answers(load(path, env={}, machine={})))
    return found


@settings(deadline=None)
@given(file=_FILES, much=st.booleans())
def test_whatever_a_confined_file_says_nothing_outside_its_subtree_changes(
    mains: dict[bool, tuple[Path, list[object]]], file: dict[str, object], much: bool
) -> None:
    """And the main file loads, whatever becomes of the subtree."""
    main, alone = mains[much]
    data = json.dumps(file).encode()
    beside = load_confined(Path("team.yaml"), "acme/payments", data=data, main=main, env={}, machine={})
    assert beside.ok
    assert answers(beside) == alone


@settings(deadline=None, max_examples=40)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_whatever_its_bytes_are_it_is_in_force_or_told(
    mains: dict[bool, tuple[Path, list[object]]], data: bytes
) -> None:
    """Never both, never neither."""
    loaded = load_confined(Path("team.yaml"), "acme/payments", data=data, main=mains[False][0], env={}, machine={})
    (subtree,) = loaded.subtrees
    assert loaded.ok
    assert (subtree.problem is None) is (subtree.good is subtree.latest)
