"""Laws of the core: what must hold for every name, every policy and every question."""

from hypothesis import given
from hypothesis import strategies as st

from outward.core.decide import decide
from outward.core.model import Lane, LaneChoice, Mode, Pattern, PatternKind, Place, Question, Rule
from outward.core.names import Host, MalformedHostError, canonical_host, parse_authority
from outward.core.paths import OddPathError, PathGlob, match, normal_path
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.core.rules import Rules

PLACE = Place("policy.yaml", 1)
LABELS = st.sampled_from(["a", "b", "c", "test"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.one_of(
    NAMES.map(lambda name: Pattern(PatternKind.EXACT, name)),
    NAMES.map(lambda name: Pattern(PatternKind.BELOW, name)),
    st.just(Pattern(PatternKind.ANY)),
)
PORTS = st.sampled_from([None, frozenset({443}), frozenset({80, 443})])
METHODS = st.sampled_from([None, frozenset({"GET"}), frozenset({"GET", "POST"})])
PATHS = st.sampled_from([None, (PathGlob("/v1/**"),), (PathGlob("/**"),)])
RULES = st.builds(
    Rule, pattern=PATTERNS, place=st.just(PLACE), ports=PORTS, methods=METHODS, paths=PATHS, tls=st.booleans()
)
RULE_LISTS = st.lists(RULES, max_size=5)
CEILINGS = st.one_of(st.none(), RULE_LISTS.map(Rules))
QUESTIONS = st.builds(
    Question,
    group=st.sampled_from(["top", "top/leaf"]),
    host=NAMES.map(Host),
    port=st.sampled_from([80, 443, 22]),
    method=st.sampled_from([None, "GET", "POST"]),
    path=st.sampled_from([None, "/", "/v1/x", "/v1/../x"]),
)


def build(parts: tuple[list[Rule], list[Rule], list[Rule], list[Rule], Rules | None]) -> Policy:
    allow, deny, leaf_allow, leaf_deny, ceiling = parts
    top = Group("top", Rules(allow), Rules(deny), ceiling)
    leaf = Group("top/leaf", Rules(leaf_allow), Rules(leaf_deny), parent=top)
    return Policy("g", {"top": top, "top/leaf": leaf})


@given(
    st.tuples(RULE_LISTS, RULE_LISTS, RULE_LISTS, RULE_LISTS, st.one_of(st.none(), RULE_LISTS.map(Rules))),
    st.sampled_from(LaneChoice),
    st.tuples(NAMES, st.sampled_from(["GET", "POST", "PUT"]), st.sampled_from(["/", "/v1/x", "/v1/../x", "/y"])),
)
def test_a_tunnel_carries_nothing_that_inspection_would_refuse(parts, lane, request) -> None:
    allow, deny, leaf_allow, leaf_deny, ceiling = parts
    name, method, path = request
    top = Group("top", Rules(allow), Rules(deny), ceiling)
    seen = Policy(
        "g", {"leaf": Group("leaf", Rules(leaf_allow), Rules(leaf_deny), parent=top, lane=LaneChoice.INSPECT)}
    )
    policy = Policy("g", {"leaf": Group("leaf", Rules(leaf_allow), Rules(leaf_deny), parent=top, lane=lane)})
    connect = decide(policy, Question("leaf", Host(name), 443))
    if connect.allowed and connect.lane is Lane.TUNNEL:
        assert decide(seen, Question("leaf", Host(name), 443, method, path)).allowed


PARTS = st.tuples(RULE_LISTS, RULE_LISTS, RULE_LISTS, RULE_LISTS, CEILINGS)


@given(PARTS, RULES, QUESTIONS)
def test_adding_an_allow_rule_never_removes_access(parts, rule, question) -> None:
    allow, deny, leaf_allow, leaf_deny, ceiling = parts
    if decide(build(parts), question).allowed:
        assert decide(build(([*allow, rule], deny, leaf_allow, leaf_deny, ceiling)), question).allowed
        assert decide(build((allow, deny, [rule, *leaf_allow], leaf_deny, ceiling)), question).allowed


@given(PARTS, RULES, QUESTIONS)
def test_adding_a_deny_rule_never_adds_access(parts, rule, question) -> None:
    allow, deny, leaf_allow, leaf_deny, ceiling = parts
    if not decide(build(parts), question).allowed:
        assert not decide(build((allow, [*deny, rule], leaf_allow, leaf_deny, ceiling)), question).allowed
        assert not decide(build((allow, deny, leaf_allow, [rule, *leaf_deny], ceiling)), question).allowed


@given(PARTS, RULE_LISTS, QUESTIONS)
def test_a_ceiling_never_adds_access(parts, ceiling, question) -> None:
    *rules, _ = parts
    if decide(build((*rules, Rules(ceiling))), question).allowed:
        assert decide(build((*rules, None)), question).allowed


@given(PARTS, RULES, QUESTIONS)
def test_a_matching_deny_anywhere_on_the_chain_beats_every_allow(parts, rule, question) -> None:
    allow, deny, leaf_allow, leaf_deny, ceiling = parts
    everything = Rule(Pattern(PatternKind.ANY), PLACE, ports=None)
    decision = decide(build((allow, [*deny, everything], [*leaf_allow, rule], leaf_deny, ceiling)), question)
    assert decision.reason is Reason.DENIED_BY_RULE


@given(PARTS, QUESTIONS)
def test_report_mode_lets_through_a_superset_and_says_so(parts, question) -> None:
    enforced = decide(build(parts), question)
    top = Group("g", Rules(parts[0]), Rules(parts[1]), mode=Mode.REPORT)
    plain = Group("g", Rules(parts[0]), Rules(parts[1]))
    asked = Question("g", question.host, question.port, question.method, question.path)
    reported, judged = decide(Policy("g", {"g": top}), asked), decide(Policy("g", {"g": plain}), asked)
    assert reported.allowed or not judged.allowed
    assert reported.would_deny == (reported.allowed and not judged.allowed)
    assert not enforced.would_deny


@given(PARTS, st.one_of(st.none(), st.text(max_size=12)), NAMES)
def test_an_unknown_client_is_always_denied(parts, group, name) -> None:
    policy = build(parts)
    if group not in policy.groups:
        decision = decide(policy, Question(group, Host(name), 443))
        assert (decision.allowed, decision.reason) == (False, Reason.UNKNOWN_CLIENT)


@given(PARTS, st.one_of(st.none(), st.text(), st.integers()), st.text(), st.integers(), st.text(), st.text())
def test_decide_never_raises_whatever_it_is_given(parts, group, host, port, method, path) -> None:
    question = Question(group, Host(host), port, method, path)  # type: ignore[arg-type]
    assert decide(build(parts), question).allowed in (True, False)


def spell(name: str, upper: list[bool], dot: bool) -> str:
    letters = [c.upper() if flag else c for c, flag in zip(name, upper * len(name), strict=False)]
    return "".join(letters) + ("." if dot else "")


@given(PARTS, NAMES, st.lists(st.booleans(), min_size=1, max_size=9), st.booleans())
def test_any_spelling_of_one_host_decides_equally(parts, name, upper, dot) -> None:
    policy = build(parts)
    plain = decide(policy, Question("top", canonical_host(name), 443))
    spelled = decide(policy, Question("top", canonical_host(spell(name, upper, dot)), 443))
    assert spelled == plain


HOSTISH = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="abxn-.019[]:%_ß。ａéK*@/\\ \t\x00", max_size=40),
    st.lists(st.sampled_from(["a", "xn--fa-hia", "xn--", "é", "1", "0x1", "-", "", "test"]), max_size=5).map(".".join),
)


@given(HOSTISH)
def test_normalising_is_idempotent_and_yields_only_plain_names(text) -> None:
    try:
        host = canonical_host(text)
    except MalformedHostError:
        return
    assert canonical_host(str(host)) == host
    assert host.name == host.name.lower()
    assert set(host.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.:")
    assert host.address is not None or (len(host.name) <= 253 and all(0 < len(x) < 64 for x in host.name.split(".")))


@given(HOSTISH, st.text(alphabet="0123456789:+ ", max_size=7))
def test_an_authority_is_its_host_and_port_or_nothing(text, port) -> None:
    try:
        host, number = parse_authority(f"{text}:{port}", None)
    except MalformedHostError:
        return
    assert parse_authority(f"{host}:{number}", None) == (host, number)
    assert 1 <= number <= 65535


@given(st.text(alphabet="/ab.%2eEfF5cC;\\#*é\x00 ", max_size=30))
def test_a_normal_path_is_its_own_normal_form(raw) -> None:
    try:
        path = normal_path("/" + raw)
    except OddPathError:
        return
    assert normal_path(path) == path
    assert not {".", ".."} & set(path.split("/"))


@given(st.lists(st.sampled_from(["a", "*", "**", "a*", "*b"]), min_size=1, max_size=5),
       st.lists(st.sampled_from(["a", "b", "ab", ""]), min_size=1, max_size=6))  # fmt: skip
def test_a_glob_agrees_with_its_plain_definition(pattern, path) -> None:
    """The fast matcher against the definition, written out by recursion."""

    def segment(p: str, s: str) -> bool:
        if not p:
            return not s
        return (
            any(segment(p[1:], s[i:]) for i in range(len(s) + 1))
            if p[0] == "*"
            else s[:1] == p[0] and segment(p[1:], s[1:])
        )

    def matches(p: list[str], s: list[str]) -> bool:
        if not p:
            return not s
        if p[0] == "**":
            return any(matches(p[1:], s[i:]) for i in range(1 if len(p) == 1 else 0, len(s) + 1))
        return bool(s) and segment(p[0], s[0]) and matches(p[1:], s[1:])

    assert match(PathGlob("/" + "/".join(pattern)).segments, path) == matches(pattern, path)
