"""What is proposed is written into the file, loads, allows what was asked, and opens nothing beside it."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from outward.cli.write import Draft, Drafts, with_proposals
from outward.config.load import load_text
from outward.core.decide import decide
from outward.core.evidence import Demand, Evidence
from outward.core.model import DEFAULT_PORTS, Question
from outward.core.names import canonical_host
from outward.core.policy import Policy
from outward.core.proposal import Known, propose
from outward.core.widen import sets_for, taken

HOSTS = ("a.example", "b.a.example", "c.example", "192.0.2.7")
PORTS = (80, 443, 8443)
METHODS = ("GET", "POST")
UNNAMED = ("/a%2Fb", "/a*b")  # by a plain path
PATHS = ("/", "/ok/x", "/ok/y", "/no", *UNNAMED)
SEEN = [(method, path) for method in METHODS for path in PATHS]

rules = st.builds(
    lambda host, ports, methods, paths: (
        f'{{host: "{host}"'
        + (f", ports: {sorted(ports)}" if ports else "")
        + (f", methods: [{', '.join(sorted(methods))}]" if methods else "")
        + (f", paths: [{', '.join(paths)}]" if paths else "")
        + "}"
    ),
    st.sampled_from((*HOSTS, "*.a.example")),
    st.sets(st.sampled_from(PORTS), max_size=2),
    st.sets(st.sampled_from(METHODS), max_size=1),
    st.lists(st.sampled_from(("/ok/**", "/ok/x")), max_size=1),
)
questions = st.builds(
    lambda group, host, port, seen: Question(group, canonical_host(host), port, *(seen or (None, None))),
    st.sampled_from(("g", "g/below", "h", None)),
    st.sampled_from(HOSTS),
    st.sampled_from(PORTS),
    st.none() | st.sampled_from(SEEN),
)


def written(allow: list[str], deny: list[str], lane: str, style: str) -> str:
    """Return a policy whose list is of lines, in brackets, or empty in one of its ways."""
    lists = {
        "lines": "".join(f"\n      - {rule}  # said of it" for rule in allow) or " []",
        "brackets": f" [{', '.join(allow)}] # all",
        "spread": f" [\n{''.join(f'    {rule}, # one{chr(10)}' for rule in allow)}    ]",
    }
    return (
        f"version: 1\n# first\nsets: {{both: [c.example, 192.0.2.7]}}\ngroups:\n  g:\n    lane: {lane}\n    ech: refuse\n    allow:{lists[style]}\n"
        f"    # the end\n    deny: [{', '.join(deny)}]\n  g/below: {{}}\n  h:   # nothing yet\nclients: [{{group: g, anyone: true}}]\n"
    )


def loaded(text: str) -> Policy:
    found = load_text(text, env={}, machine={})
    assert found.policy is not None, (found.findings, text)
    return found.policy


@settings(max_examples=60, deadline=None)
@given(
    st.lists(rules, max_size=3),
    st.lists(rules, max_size=1),
    st.sampled_from(("auto", "tunnel", "inspect")),
    st.sampled_from(("lines", "brackets", "spread")),
    st.lists(questions, min_size=1, max_size=6),
)
def test_what_is_proposed_loads_allows_what_was_asked_and_nothing_beside_it(allow, deny, lane, style, asked) -> None:
    """Neighbours in group, host, port, method and path are decided as before; asked again, nothing is proposed."""
    text = written(allow, deny, lane, style)
    before = loaded(text)
    drafts = Drafts([Draft(Path("outward.yaml"), text)])
    known = Known(
        sets={"@both": tuple(loaded(text.replace("  h:", "  h: {allow: ['@both']}")).groups["h"].allow.all)},
        amendable=drafts.amendable,
    )
    demands = [Demand(each, Evidence(1)) for each in asked]
    found = propose(before, demands, known)
    list(taken(found, [offer for offer in sets_for(before, found, known) if offer.adds == 0]))
    after_text = next((new for _, new in drafts.changed(found.proposals)), text)
    after = loaded(after_text)
    assert after_text.count("#") == text.count("#")
    assert after_text.index("# first") < after_text.index("# the end") < after_text.index("# nothing yet")
    answered = {(path, demand.question) for (path, _), each in found.demands.items() for demand in each}
    left = {(each.group, each.host) for each in found.left_out}
    for group, question in answered:
        assert decide(after, question).allowed or (group, question.host) in left, (question, after_text)
    for other in neighbours():
        told = decide(after, other).allowed
        assert told == decide(with_proposals(before, found.proposals), other).allowed
        if told and not decide(before, other).allowed:
            assert any(near(each, other, asked, before) for each in asked), f"{other}\n{asked}\n{text}\n{after_text}"
    again = propose(after, demands, replace(known, amendable=lambda _rule, _key: False))
    assert again.proposals == []


def near(asked: Question, other: Question, every: list[Question], before: Policy) -> bool:
    """Tell whether a question was asked: the usual ports are one, a group's list is that of those below it, too.

    A host that a tunnel was asked to is opened as a whole, so that nobody begins to look into its tunnels;
    a port that was missing gets the limits of the rule that is there.
    """
    elsewhere = any(decide(before, replace(other, port=port)).allowed for port in PORTS)
    tunnelled = any((each.group, each.host, each.method) == (asked.group, asked.host, None) for each in every)
    group = asked.group is not None and (other.group == asked.group or str(other.group).startswith(f"{asked.group}/"))
    ports = asked.port == other.port or {asked.port, other.port} <= DEFAULT_PORTS
    unnamed = asked.path in UNNAMED and asked.method == other.method  # a rule can name the method alone
    seen = (
        tunnelled
        or elsewhere
        or other.method is None
        or unnamed
        or (asked.method, asked.path) == (other.method, other.path)
    )
    return group and asked.host == other.host and ports and seen


def neighbours() -> list[Question]:
    return [
        Question(group, canonical_host(host), port, *seen)
        for group in ("g", "g/below", "h")
        for host in (*HOSTS, "x.a.example")
        for port in PORTS
        for seen in [(None, None), *SEEN]
    ]
