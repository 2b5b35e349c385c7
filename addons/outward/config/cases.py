"""Tests of a policy, from YAML: `tests:` of a configuration file, or a file that holds a list of them alone."""

from collections.abc import Collection, Iterable

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, SequenceNode, at, parse
from outward.config.nearest import did_you_mean
from outward.config.schema import CaseModel
from outward.config.validate import validate
from outward.core.cases import Case, hold
from outward.core.model import Verdict
from outward.core.policy import Policy
from outward.core.urls import question_of

_VERDICTS = {"allow": Verdict.ALLOW, "deny": Verdict.DENY}


def read_cases(nodes: Iterable[Node], groups: Collection[str], report: Report) -> tuple[Case, ...]:
    """Return the cases of list entries; report those that cannot be held.

    Args:
        nodes: the entries.
        groups: paths that a case may name.
        report: takes the findings.
    """
    return tuple(case for node in nodes if (case := _case(node, groups, report)) is not None)


def parse_cases(text: str, name: str, groups: Collection[str], report: Report) -> tuple[Case, ...]:
    """Return the cases of a file that holds a list, or a mapping with `tests`."""
    report.sources[name] = text
    root = parse(text, name, report)
    node = root.get("tests") if isinstance(root, MappingNode) else root
    if isinstance(node, SequenceNode):
        return read_cases(node.items, groups, report)
    if not report.failed:
        place, length = (root.place, root.length) if root else (None, 1)
        cure = 'write `- {group: acme, url: "https://example.com/", expect: allow}` on lines below'
        report.error("E025", "expected a list of tests", place, length, cure)
    return ()


def hold_cases(policy: Policy, cases: Iterable[Case], report: Report) -> None:
    """Report each case that the policy decides otherwise."""
    for case in cases:
        outcome = hold(policy, case)
        if not outcome.passed:
            shows = f"outward explain --config {case.place.file} --group {case.question.group} {case.url}"
            cure = f"`{shows}` shows why; mend the rules, or the test"
            report.error("E026", f"a test fails: {outcome.difference}", case.place, 1, cure)


def _case(node: Node, groups: Collection[str], report: Report) -> Case | None:
    model = validate(CaseModel, node, report, what="an entry of `tests`")
    if model is None:
        return None
    group = model.group or (next(iter(groups)) if len(groups) == 1 else None)
    if group is None:
        cure = f"name the group that asks, such as `group: {min(groups)}`" if groups else ""
        report.error("E006", "`group` is missing", node.place, node.length, cure)
        return None
    if group not in groups:
        where = at(node, "group") or node
        report.error("E019", f"no group has the path `{group}`", where.place, where.length, did_you_mean(group, groups))
        return None
    try:
        question = question_of(model.url, group, model.method)
    except ValueError as error:
        where = at(node, "url") or node
        report.error("E025", f"a test cannot ask this: {error}", where.place, where.length)
        return None
    return Case(model.url, question, _VERDICTS[model.expect], model.reason, node.place)
