"""Files that are confined to a subtree: what they may say, whom they reach, and whom a mistake holds up."""

import os
from ipaddress import ip_address
from pathlib import Path

import pytest

from outward.config.diagnostics import Level
from outward.config.load import Loaded, load, load_confined
from outward.config.subtrees import MAX_FILES, Standing
from outward.core.claims import Claims
from outward.core.decide import decide
from outward.core.grants import Grant, granting
from outward.core.identity import Presented, identify
from outward.core.model import Ech, LaneChoice, Mode, Question, RecordDetail
from outward.core.names import canonical_host
from outward.core.reasons import Reason

MAIN = """\
version: 1
include: [{files: "teams/payments/*.yaml", under: acme/payments%s}, {files: "teams/ads/*.yaml", under: acme/ads}]
secrets: {key: {env: KEY, hosts: [a.example], groups: [acme/payments]}}
groups:
  acme: {allow: [base.example], deny: [never.example], ceiling: [{host: .example, public_suffix: true}]}
clients:
  - {group: acme/payments, source: 10.1.0.0/16}
  - {group: acme/ads, source: 10.2.0.0/16}
"""
PAYMENTS = "version: 1\ngroups: {acme/payments: {allow: [pay.example], deny: [evil.example]}}\n"
ADS = "version: 1\ngroups: {acme/ads: {allow: [ads.example]}}\n"


class Folder:
    """A main file and the files of teams beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.main(MAIN % "")
        self.write("payments/p.yaml", PAYMENTS)
        self.write("ads/a.yaml", ADS)

    def main(self, text: str) -> None:
        """Write the main file."""
        (self.root / "outward.yaml").write_text(text)

    def write(self, name: str, text: str) -> Path:
        """Write a team's file."""
        path = self.root / "teams" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def load(self, before: Loaded | None = None) -> Loaded:
        """Load it."""
        return load(self.root / "outward.yaml", env={}, machine={}, before=before)

    def errors(self, text: str, may: str = "") -> list[str]:
        """Return the errors of a payments file, as `line:column ident message`."""
        self.main(MAIN % (f", may: [{may}]" if may else ""))
        self.write("payments/p.yaml", text)
        found = self.load()
        assert found.ok, found.findings
        return told(found)


def told(loaded: Loaded) -> list[str]:
    """Return the errors of confined files."""
    errors = [each for each in loaded.all_findings if each.level is Level.ERROR]
    return [f"{each.place.line}:{each.place.column} {each.ident} {each.message}" for each in errors if each.place]


def standing(loaded: Loaded, path: str = "acme/payments") -> Standing:
    """Return what is in force of a subtree."""
    return next(each.standing for each in loaded.subtrees if each.path == path)


def reason(loaded: Loaded, group: str, host: str) -> str:
    """Return why a host is allowed or denied."""
    assert loaded.policy is not None, loaded.findings
    return decide(loaded.policy, Question(group, canonical_host(host), 443)).reason


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A company with two teams."""
    return Folder(tmp_path)


def test_each_team_writes_its_own_subtree(folder: Folder) -> None:
    """What lies above it holds for it, and its neighbours see nothing of it."""
    loaded = folder.load()
    assert told(loaded) == []
    assert reason(loaded, "acme/payments", "pay.example") == Reason.RULE
    assert reason(loaded, "acme/payments", "base.example") == Reason.RULE
    assert reason(loaded, "acme/payments", "never.example") == Reason.DENIED_BY_RULE
    assert reason(loaded, "acme/ads", "pay.example") == Reason.NO_RULE
    assert reason(loaded, "acme/ads", "evil.example") == Reason.NO_RULE


def test_ceilings_bound_it(folder: Folder) -> None:
    """Those of the group that the main file writes at the same path, too."""
    folder.write(
        "payments/p.yaml", "version: 1\ngroups: {acme/payments: {allow: [out.test, pay.example, x.example]}}\n"
    )
    assert reason(folder.load(), "acme/payments", "out.test") == Reason.NO_RULE
    folder.main(MAIN % "" + "  - {group: acme, source: 10.0.0.0/8}\n")
    text = (folder.root / "outward.yaml").read_text()
    same = "  acme/payments: {ceiling: [pay.example], allow: [main.example], deny: [gone.example], mode: report}\n"
    folder.main(text.replace("clients:", f"{same}clients:"))
    loaded = folder.load()
    assert reason(loaded, "acme/payments", "pay.example") == Reason.RULE
    assert reason(loaded, "acme/payments", "main.example") == Reason.RULE
    assert reason(loaded, "acme/payments", "x.example") == Reason.REPORT_ONLY
    assert loaded.policy is not None
    assert loaded.policy.groups["acme/payments"].mode is Mode.REPORT


def test_what_it_adds_holds_below_too_whoever_writes_that(folder: Folder) -> None:
    """A deny of the team's file binds a group of the main file below it."""
    text = (folder.root / "outward.yaml").read_text()
    folder.main(text.replace("clients:", "  acme/payments/web: {allow: [evil.example]}\nclients:"))
    assert reason(folder.load(), "acme/payments/web", "evil.example") == Reason.DENIED_BY_RULE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clients: [{group: acme/payments, anyone: true}]", "1:1 E027 `clients` does not count"),
        ("include: [x.yaml]", "1:1 E027 `include` does not count"),
        ("server: {listen: '0.0.0.0:1'}", "1:1 E027 `server` does not count"),
        ("secrets: {k: {env: K, hosts: [a.example]}}", "1:1 E027 `secrets` does not count"),
        ("upstream: {internal: [10.0.0.0/8]}", "1:1 E027 `upstream` does not count"),
        ("jail: {localhost: [5432]}", "1:1 E027 `jail` does not count"),
        ("groups: {acme/ads: {allow: [a.example]}}", "1:10 E027 `acme/ads`, which is not `acme/payments` or below it,"),
        ("groups: {acme/paymentsx: {}}", "1:10 E027 `acme/paymentsx`, which is not"),
        ("groups: {acme: {}}", "1:10 E027 `acme`, which is not"),
        ("groups: {acme/payments: {mode: report}}", "1:26 E027 `mode` of a group does not count"),
        ("groups: {acme/payments: {lane: tunnel, deny: []}}", "1:32 E027 `lane: tunnel` does not count"),
        ("groups: {acme/payments: {ech: pass}}", "1:26 E027 `ech` of a group does not count"),
        ("groups: {acme/payments: {grants: allowed}}", "1:26 E027 `grants` of a group does not count"),
        ("groups: {acme/payments: {allow: [{host: a.example, addresses: [10.0.0.1/32]}]}}", "1:52 E027 `addresses` of"),
        ("groups: {acme/payments: {allow: [{host: a.example, tls: false}]}}", "1:57 E027 `tls: false`, which is a"),
        ("sets: {s: [{host: a.example, addresses: [10.0.0.1/32]}]}", "1:30 E027 `addresses` of a rule"),
        ("tests: [{group: acme/ads, url: a.example, expect: deny}]", "1:17 E027 a test of `acme/ads` does not count"),
        ("groups: {acme/payments: {alow: [a.example]}}", "1:26 E005 unknown key `alow`"),
        ("grups: {}\nsets: {}", "1:1 E005 unknown key `grups`"),
        ("groups: {acme/payments: {allow: ['@shared']}}", "1:34 E015 no set is named `@shared`"),
    ],
)
def test_what_it_may_not_say_is_an_error_at_its_place(folder: Folder, text: str, expected: str) -> None:
    """And no error of anybody else."""
    text = f"{text}\n" if "groups" in text else f"{text}\ngroups: {{}}\n"
    (only,) = folder.errors(text)
    assert only.startswith(expected)
    assert standing(folder.load()) is Standing.SHUT
    assert reason(folder.load(), "acme/ads", "ads.example") == Reason.RULE


@pytest.mark.parametrize(
    ("may", "text"),
    [
        ("mode", "{mode: report}"),
        ("lane: tunnel", "{lane: tunnel, ech: pass, allow: [{host: a.example, tls: false}]}"),
        ("ech", "{ech: pass}"),
        ("grants", "{grants: allowed}"),
        ("limits", "{limits: {connections: 5}}"),
        ("addresses", "{allow: [{host: a.example, addresses: [10.0.0.1/32]}]}"),
        ("inject", '{allow: [{host: a.example, inject: {header: Authorization, value: "Bearer {key}"}}]}'),
    ],
)
def test_an_entry_may_allow_more(folder: Folder, may: str, text: str) -> None:
    """By the key that is named, and by no other."""
    may = f"{may}, ech" if "ech" in text and may != "ech" else may
    assert folder.errors(f"groups: {{acme/payments: {text}}}\n", may) == []
    others = "inject" if may == "mode" else "mode"
    assert folder.errors(f"groups: {{acme/payments: {text}}}\n", others) != []


def test_grants_that_an_entry_allows_still_end_at_an_ancestor_that_says_none(folder: Folder) -> None:
    """`none` on an ancestor holds below, whatever the entry says."""
    folder.main((MAIN % ", may: [grants]").replace("acme: {", "acme: {grants: none, "))
    folder.write("payments/p.yaml", "groups: {acme/payments: {grants: allowed}}\n")
    loaded = folder.load()
    assert loaded.policy is not None
    assert loaded.policy.groups["acme/payments"].grants == "none"


def test_a_grant_in_a_subtree_stays_inside_what_the_main_file_says_at_its_path(folder: Folder) -> None:
    """Below its denies, and inside its ceiling."""
    text = (MAIN % ", may: [grants]").replace(
        "clients:", "  acme/payments: {ceiling: [in.example, pay.example], deny: [bad.example]}\nclients:"
    )
    folder.main(text)
    folder.write("payments/p.yaml", "groups: {acme/payments: {grants: allowed}}\n")
    loaded = folder.load()
    assert loaded.policy is not None
    hosts = ("in.example", "bad.example", "other.example")
    grants = [Grant(host, "acme/payments", host, 443, None, None, 1_000, 3_600_000) for host in hosts]
    policy = granting(loaded.policy, grants, 2_000)
    decided = [decide(policy, Question("acme/payments", canonical_host(host), 443)).reason for host in hosts]
    assert decided == [Reason.RULE, Reason.DENIED_BY_RULE, Reason.NO_RULE]


def test_a_secret_that_is_taken_back_ends_what_the_last_good_content_set(folder: Folder) -> None:
    """Its rule is not in force any more, and nobody else waits for that."""
    folder.main(MAIN % ", may: [inject]")
    inject = 'inject: {header: Authorization, value: "Bearer {key}"}'
    folder.write("payments/p.yaml", f"groups: {{acme/payments: {{allow: [{{host: a.example, {inject}}}]}}}}\n")
    first = folder.load()
    assert reason(first, "acme/payments", "a.example") == Reason.RULE
    folder.main((MAIN % ", may: [inject]").replace("groups: [acme/payments]}", "groups: [acme/ads]}"))
    folder.write("ads/a.yaml", "groups: {acme/ads: {allow: [more.example]}}\n")
    second = folder.load(first)
    assert standing(second) is Standing.SHUT
    assert reason(second, "acme/payments", "a.example") == Reason.NO_RULE
    assert reason(second, "acme/ads", "more.example") == Reason.RULE


def test_a_secret_out_of_bounds_is_the_subtrees_own_error(folder: Folder) -> None:
    """Its allow rules are not in force; another team's are."""
    inject = 'inject: {header: Authorization, value: "Bearer {key}"}'
    text = f"groups: {{acme/payments: {{allow: [pay.example, {{host: a.test, {inject}}}]}}}}\n"
    (only,) = folder.errors(text, "inject")
    assert "E034 `key` may not be set for `a.test`" in only
    loaded = folder.load()
    assert reason(loaded, "acme/payments", "pay.example") == Reason.NO_RULE
    assert reason(loaded, "acme/ads", "ads.example") == Reason.RULE


def test_sets_are_its_own(folder: Folder) -> None:
    """Nobody else sees them, and they change nobody else's of the same name."""
    text = MAIN % ""
    folder.main(
        text.replace("groups:\n", "sets: {mine: [main.example]}\ngroups:\n", 1).replace("[base", '["@mine", base')
    )
    folder.write("payments/p.yaml", 'sets: {mine: [team.example]}\ngroups: {acme/payments: {allow: ["@mine"]}}\n')
    folder.write("ads/a.yaml", 'groups: {acme/ads: {allow: ["@mine"]}}\n')
    loaded = folder.load()
    assert told(loaded) == ["1:29 E015 no set is named `@mine`"]
    assert reason(loaded, "acme/payments", "team.example") == Reason.RULE
    assert reason(loaded, "acme/payments", "main.example") == Reason.RULE
    assert reason(loaded, "acme", "team.example") == Reason.NO_RULE


def test_an_error_keeps_the_last_good_content_of_that_subtree_alone(folder: Folder) -> None:
    """Others go on, and once it is mended it is in force."""
    first = folder.load()
    folder.write("payments/p.yaml", "groups: {acme/payments: {allow: [new.example, '***']}}\n")
    folder.write("ads/a.yaml", "groups: {acme/ads: {allow: [more.example]}}\n")
    second = folder.load(first)
    assert second.ok
    assert standing(second) is Standing.KEPT
    assert "teams/payments/p.yaml:1: " in second.kept_back[0]
    assert second.kept_back[0].endswith("its last good content stays in force")
    assert reason(second, "acme/payments", "pay.example") == Reason.RULE
    assert reason(second, "acme/payments", "new.example") == Reason.NO_RULE
    assert reason(second, "acme/ads", "more.example") == Reason.RULE
    third = folder.load(second)
    assert third.policy is not None
    assert second.policy is not None
    assert third.policy.generation == second.policy.generation
    folder.write("payments/p.yaml", "groups: {acme/payments: {allow: [new.example]}}\n")
    fourth = folder.load(third)
    assert fourth.kept_back == ()
    assert reason(fourth, "acme/payments", "new.example") == Reason.RULE
    assert reason(fourth, "acme/payments", "pay.example") == Reason.NO_RULE


@pytest.mark.parametrize(
    ("text", "base", "evil"),
    [
        ("allow: [pay.example, '***'], deny: [evil.example]", Reason.RULE, Reason.DENIED_BY_RULE),
        ("mode: report, allow: [pay.example], deny: [evil.example]", Reason.RULE, Reason.DENIED_BY_RULE),
        ("allow: [pay.example], deny: [evil.example, '***']", Reason.DENIED_BY_RULE, Reason.DENIED_BY_RULE),
        ("allow: [pay.example], denny: [evil.example]", Reason.DENIED_BY_RULE, Reason.DENIED_BY_RULE),
        ("allow: [pay.example], deny: [evil.example", Reason.DENIED_BY_RULE, Reason.DENIED_BY_RULE),
    ],
)
def test_at_start_it_allows_nothing_and_what_it_forbids_holds(folder: Folder, text: str, base: str, evil: str) -> None:
    """Where what it forbids cannot be known, everything is denied there; nobody else notices."""
    text = f"groups: {{acme/payments: {{{text}}}}}\n"
    folder.main((MAIN % "").replace("base.example", "base.example, evil.example"))
    folder.write("payments/p.yaml", text)
    loaded = folder.load()
    assert standing(loaded) is Standing.SHUT
    assert reason(loaded, "acme/payments", "pay.example") in (Reason.NO_RULE, Reason.DENIED_BY_RULE)
    assert reason(loaded, "acme/payments", "base.example") == base
    assert reason(loaded, "acme/payments", "evil.example") == evil
    assert reason(loaded, "acme/ads", "evil.example") == Reason.RULE


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\ngrups: {acme/payments: {deny: [evil.example]}}\n",
        "groups: {acme/paymentss: {deny: [evil.example]}}\n",
        "include: [more.yaml]\n",
    ],
)
def test_at_start_what_it_forbids_is_not_lost_where_it_does_not_count(folder: Folder, text: str) -> None:
    """A misspelt section or path, and a file that it names, may hold what it denies."""
    folder.main((MAIN % "").replace("base.example", "base.example, evil.example"))
    folder.write("payments/p.yaml", "groups: {acme/payments: {}}\n")
    folder.write("payments/q.yaml", text)
    loaded = folder.load()
    assert reason(loaded, "acme/payments", "evil.example") == Reason.DENIED_BY_RULE
    assert loaded.kept_back[0].endswith("everything there is denied")
    assert reason(loaded, "acme/ads", "evil.example") == Reason.RULE


def test_at_start_what_it_softens_is_not_in_force_and_what_it_tightens_is(folder: Folder) -> None:
    """It may not let through by reporting what its files allow nothing of."""
    folder.main((MAIN % ", may: [mode, ech]").replace("acme: {", "acme: {mode: report, ech: pass, "))
    folder.write(
        "payments/p.yaml", "groups: {acme/payments: {mode: enforce, ech: refuse, allow: [{hst: x.example}]}}\n"
    )
    loaded = folder.load()
    assert loaded.policy is not None
    group = loaded.policy.groups["acme/payments"]
    assert (group.mode, group.ech) == (Mode.ENFORCE, Ech.REFUSE)
    folder.main(MAIN % ", may: [mode, ech]")
    folder.write("payments/p.yaml", "groups: {acme/payments: {mode: report, ech: pass, allow: [{hst: x.example}]}}\n")
    loaded = folder.load()
    assert loaded.policy is not None
    group, above = loaded.policy.groups["acme/payments"], loaded.policy.groups["acme"]
    assert (group.mode, group.ech) == (above.mode, above.ech)
    assert loaded.kept_back[0].endswith("its files allow nothing")


def test_a_failing_test_of_its_own_keeps_it_back(folder: Folder) -> None:
    """And the test is told at its place."""
    first = folder.load()
    test = "tests: [{group: acme/payments, url: pay.example, expect: allow}]\n"
    folder.write("payments/p.yaml", PAYMENTS.replace("pay.example", "other.example") + test)
    second = folder.load(first)
    assert told(second) == ["3:9 E026 a test fails: expected allow, got deny (no_rule)"]
    assert (standing(second), standing(folder.load())) == (Standing.KEPT, Standing.SHUT)
    assert reason(second, "acme/payments", "pay.example") == Reason.RULE


def test_the_main_files_tests_about_a_subtree_hold_up_that_subtree_alone(folder: Folder) -> None:
    """A guard of the operator's: what breaks it is not put in force."""
    folder.main(MAIN % "" + "tests: [{group: acme/payments, url: risky.example, expect: deny}]\n")
    first = folder.load()
    folder.write("payments/p.yaml", "groups: {acme/payments: {allow: [risky.example]}}\n")
    folder.write("ads/a.yaml", "groups: {acme/ads: {allow: [more.example]}}\n")
    second = folder.load(first)
    assert second.ok
    assert standing(second) is Standing.KEPT
    assert reason(second, "acme/payments", "risky.example") == Reason.NO_RULE
    assert reason(second, "acme/ads", "more.example") == Reason.RULE


def test_less_leave_ends_what_the_last_good_content_had(folder: Folder) -> None:
    """An operator who takes `mode` back is obeyed at once."""
    folder.main(MAIN % ", may: [mode]")
    folder.write("payments/p.yaml", PAYMENTS.replace("{allow", "{mode: report, allow"))
    first = folder.load()
    assert reason(first, "acme/payments", "x.example") == Reason.REPORT_ONLY
    folder.main(MAIN % "")
    second = folder.load(first)
    assert standing(second) is Standing.SHUT
    assert reason(second, "acme/payments", "x.example") == Reason.NO_RULE


def test_files_of_one_subtree_that_say_the_same_are_told_at_both_places(folder: Folder) -> None:
    """Either may be the one to mend."""
    folder.write("payments/q.yaml", PAYMENTS)
    found = [each for each in folder.load().all_findings if each.ident == "E017"]
    assert {Path(each.place.file).name for each in found if each.place} == {"p.yaml", "q.yaml"}


def test_a_subtree_within_a_subtree_lies_below_it(folder: Folder) -> None:
    """Both may write the inner one's group: the outer team's denies hold for the inner."""
    folder.main((MAIN % "").replace("include: [", 'include: [{files: "teams/web/*.yaml", under: acme/payments/web}, '))
    folder.write("web/w.yaml", "groups: {acme/payments/web: {allow: [evil.example, web.example]}}\n")
    folder.write("payments/p.yaml", PAYMENTS + "  \n")
    loaded = folder.load()
    assert told(loaded) == []
    assert reason(loaded, "acme/payments/web", "web.example") == Reason.RULE
    assert reason(loaded, "acme/payments/web", "evil.example") == Reason.DENIED_BY_RULE
    assert reason(loaded, "acme/payments", "web.example") == Reason.NO_RULE


def test_a_file_that_goes_takes_its_rules_along(folder: Folder) -> None:
    """Its clients are refused if their group is gone, and told so by `check`."""
    folder.write("payments/p.yaml", "groups: {acme/payments/web: {allow: [pay.example]}}\n")
    text = (MAIN % "").replace("{group: acme/payments,", "{group: acme/payments/web,")
    folder.main(text + "tests: [{group: acme/payments/web, url: pay.example, expect: allow}]\n")
    first = folder.load()
    assert reason(first, "acme/payments/web", "pay.example") == Reason.RULE
    (folder.root / "teams/payments/p.yaml").unlink()
    second = folder.load(first)
    assert second.ok
    assert reason(second, "acme/payments/web", "pay.example") == Reason.UNKNOWN_CLIENT
    assert [each.ident for each in second.findings] == ["W101", "W171", "W171"]


@pytest.mark.parametrize(
    ("extra", "claim", "before", "after"),
    [
        ('group_map: {"42": acme/payments}', 42, "acme/payments", None),
        ("group: acme", "acme/payments", "acme/payments", None),
        ("group: acme", "acme/payments/below", None, None),
        ("group: acme", "acme/ours/below", "acme", "acme"),
    ],
)
def test_a_token_for_a_group_that_is_gone_is_in_none_above_it(
    folder: Folder, extra: str, claim: object, before: str | None, after: str | None
) -> None:
    """Which may allow more; below what nobody gives away, the nearest group counts."""
    entry = f'  - {{issuer: "https://i", audience: o, jwks: k.json, group_claim: ns, {extra}}}\n'
    folder.main(f"{MAIN % ''}{entry}")

    def group() -> str | None:
        policy = folder.load().policy
        assert policy is not None
        claims = Claims({"iss": "https://i", "aud": "o", "ns": claim}, policy.clients[-1].jwks or "")
        return identify(policy, Presented(ip_address("10.9.9.9"), "Bearer a.b.c", claims)).group

    assert group() == before
    (folder.root / "teams/payments/p.yaml").unlink()
    assert group() == after


def test_web_search_is_tightened_only(folder: Folder) -> None:
    """A team may turn it on where nobody locks it; it may not loosen what is recorded or asked for."""
    folder.write(
        "payments/p.yaml",
        "groups: {acme/payments: {lane: auto, web_search: {enabled: true, locked: true, opt_in: assumed, "
        "record: counts, max_searches: unlimited, on_violation: cut}}}\n",
    )
    folder.main((MAIN % "").replace("acme: {", "acme: {lane: inspect, "))
    loaded = folder.load()
    assert loaded.policy is not None
    group = loaded.policy.groups["acme/payments"]
    search = group.web_search
    assert (search.enabled, search.locked_by, search.opt_in, search.record) == (
        True, None, "required", RecordDetail.FULL,
    )  # fmt: skip
    assert (search.max_searches, search.on_violation, group.lane) == (5, "cut", LaneChoice.INSPECT)
    assert sum(each.ident == "W112" for each in loaded.findings) == 5


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('{files: "ns_{namespace}.yaml", under: k8s}', "E038 `{namespace}` stands in both, or in neither"),
        ('{files: "*.yaml", under: "k8s/{namespace}"}', "E038 `{namespace}` stands in both, or in neither"),
        ('{files: "{namespace}/p.yaml", under: "k8s/{namespace}"}', "E038 `{namespace}` stands once"),
        ('{files: "{namespace}*.yaml", under: "k8s/{namespace}"}', "E038 before `{namespace}` stands plain text"),
        ('{files: "*{namespace}.yaml", under: "k8s/{namespace}"}', "E038 before `{namespace}` stands plain text"),
        ('{files: "{namespace}-x.yaml", under: "k8s/{namespace}"}', "E038 before `{namespace}` stands plain text"),
        ('{files: "{team}.yaml", under: "k8s"}', "E038 `{team}.yaml` holds more than"),
        ('{files: "*.yaml", under: ""}', "E007 `under`: string should have at least 1 character"),
        ('{files: "*.yaml", under: "a//b"}', "E038 `a//b` is not a group's path"),
        ('{files: "*.yaml"}', "E006 `under` is missing"),
        ('{files: "*.yaml", under: a, may: [everything]}', "E007 `may` cannot be this"),
        ('{files: "*.yaml", under: a, and: b}', "E005 unknown key `and`"),
        ("[a.yaml]", "E007 `include` holds patterns of files"),
    ],
)
def test_an_entry_that_means_nothing_is_refused(tmp_path: Path, entry: str, expected: str) -> None:
    """Also where a team could choose which namespace a name means."""
    (tmp_path / "outward.yaml").write_text(f"version: 1\ninclude: [{entry}]\n")
    loaded = load(tmp_path / "outward.yaml", env={}, machine={})
    (only,) = [each for each in loaded.findings if each.level is Level.ERROR]
    assert f"{only.ident} {only.message}".startswith(expected)


FLEET = """\
version: 1
include: [{files: "namespace_{namespace}.configmap_*.yaml", under: "k8s/{namespace}", may: [lane: tunnel]}]
groups: {k8s: {ceiling: [{host: .example, public_suffix: true}]}}
clients: [{group: k8s/shop, source: 10.0.0.0/8}]
"""


def test_the_namespace_in_a_files_name_is_where_it_writes(tmp_path: Path) -> None:
    """The whole name counts: what a team calls its ConfigMap moves it nowhere."""
    (tmp_path / "outward.yaml").write_text(FLEET)
    mine = "groups: {k8s/shop: {allow: [shop.example]}}\n"
    (tmp_path / "namespace_shop.configmap_egress.p.yaml").write_text(mine)
    for name in (
        "namespace_other.configmap_namespace_shop.configmap_x.yaml",
        "namespace_sh_op.configmap_x.yaml",
        "xnamespace_shop.configmap_x.yaml",
        f"namespace_{'a' * 64}.configmap_x.yaml",
        ".namespace_shop.configmap_y.yaml",
    ):
        (tmp_path / name).write_text(mine)
    loaded = load(tmp_path / "outward.yaml", env={}, machine={})
    assert [each.path for each in loaded.subtrees] == ["k8s/other", "k8s/shop"]
    assert reason(loaded, "k8s/shop", "shop.example") == Reason.RULE
    assert len(told(loaded)) == 1  # the other namespace may not write the shop's group


def test_lists_of_names_lie_beside_it_and_are_its_own(tmp_path: Path) -> None:
    """In a folder of many namespaces a set reads no other namespace's file, and out of it none at all."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "outward.yaml").write_text(FLEET.replace("namespace_{", "policies/namespace_{"))
    (tmp_path / "secret.txt").write_text("out.example\n")
    folder = tmp_path / "policies"
    (folder / "namespace_shop.configmap_egress.names.txt").write_text("shop.example\n")
    (folder / "namespace_bank.configmap_egress.names.txt").write_text("bank.example\n")
    (folder / "namespace_shop.configmap_link.txt").symlink_to(tmp_path / "secret.txt")
    path = folder / "namespace_shop.configmap_egress.p.yaml"

    def with_list(name: str) -> Loaded:
        path.write_text(f'sets: {{s: {{file: {name}}}}}\ngroups: {{k8s/shop: {{allow: ["@s"]}}}}\n')
        return load(tmp_path / "outward.yaml", env={}, machine={})

    loaded = with_list("namespace_shop.configmap_egress.names.txt")
    assert reason(loaded, "k8s/shop", "shop.example") == Reason.RULE
    (folder / "namespace_shop.configmap_egress.names.txt").write_text("more.example\n")
    again = load(tmp_path / "outward.yaml", env={}, machine={}, before=loaded)
    assert reason(again, "k8s/shop", "more.example") == Reason.RULE
    for name in (
        "namespace_bank.configmap_egress.names.txt",
        "namespace_shop.configmap_link.txt",
        "../secret.txt",
        str(tmp_path / "secret.txt"),
    ):
        (only,) = told(with_list(name))
        assert " E027 " in only


def test_names_that_lead_elsewhere_are_not_followed(folder: Folder) -> None:
    """A symlink out of the folder, a loop, a pipe, a folder, a hidden file; a mounted ConfigMap's links are."""
    (folder.root / "outside.yaml").write_text(PAYMENTS)
    team = folder.root / "teams/payments"
    (team / "p.yaml").unlink()
    (team / "..2026").mkdir()
    (team / "..2026/real.yaml").write_text(PAYMENTS)
    (team / "..data").symlink_to("..2026")
    (team / "real.yaml").symlink_to("..data/real.yaml")
    (team / "folder.yaml").mkdir()
    (team / ".hidden.yaml").write_text("nonsense")
    assert reason(folder.load(), "acme/payments", "pay.example") == Reason.RULE
    for name, make in (
        ("link.yaml", lambda path: path.symlink_to("../../outside.yaml")),
        ("loop.yaml", lambda path: path.symlink_to("loop.yaml")),
        ("pipe.yaml", os.mkfifo),
    ):
        make(team / name)
        loaded = folder.load()
        assert len(told(loaded)) == 1
        assert standing(loaded) is Standing.SHUT
        (team / name).unlink()


def test_a_link_to_anothers_file_takes_nothing_away(folder: Folder) -> None:
    """Neither from the operator, whose file it would no longer be, nor from another team."""
    (folder.root / "base.yaml").write_text("groups: {acme/base: {deny: [evil.example]}}\n")
    folder.main((MAIN % "").replace("include: [", "include: [base.yaml, "))
    before = folder.load()
    (folder.root / "teams/payments/base.yaml").symlink_to("../../base.yaml")
    (folder.root / "teams/payments/zads.yaml").symlink_to("../ads/a.yaml")
    (folder.root / "teams/payments/hard.yaml").hardlink_to(folder.root / "teams/ads/a.yaml")
    loaded = folder.load(before)
    assert (standing(loaded), standing(loaded, "acme/ads")) == (Standing.KEPT, Standing.WHOLE)
    assert reason(loaded, "acme/base", "evil.example") == Reason.DENIED_BY_RULE
    assert reason(loaded, "acme/ads", "ads.example") == Reason.RULE
    assert reason(loaded, "acme/payments", "pay.example") == Reason.RULE


def test_what_is_told_of_a_file_stays_a_short_line(folder: Folder) -> None:
    """Whatever its names hold: others read it in logs and on terminals."""
    folder.write("payments/p.yaml", 'groups: {acme/payments: {allow: ["@a\\n\\e[31m%s"]}}\n' % ("b" * 5_000))
    loaded = folder.load()
    (problem,) = loaded.kept_back
    assert problem.isprintable()
    assert "\\n\\x1b[31mbbb" in problem
    assert len(problem) < 500
    assert not [each for each in loaded.findings if each.ident == "W112"]


def test_what_costs_without_bound_is_refused_where_it_lies(folder: Folder) -> None:
    """Large files, many files, many values, deep ones."""
    for text in (
        "#" * (1024 * 1024 + 1),
        "groups: {acme/payments: {allow: [" + "a," * 100_001 + "]}}",
        "groups: " + "[" * 100,
        "groups: &a {acme/payments: {allow: [*a]}}",
    ):
        assert len(folder.errors(text)) >= 1
        assert reason(folder.load(), "acme/ads", "ads.example") == Reason.RULE
    (folder.root / "teams/payments/p.yaml").write_text("version: 1\n")
    for number in range(MAX_FILES):
        folder.write(f"payments/n{number:03}.yaml", f"groups: {{acme/payments/n{number}: {{}}}}\n")
    assert [each.split(" ", 2)[1] for each in told(folder.load())] == ["E039"]


def test_a_file_that_two_entries_match_is_confined_once(folder: Folder) -> None:
    """And never trusted, whatever else includes it."""
    folder.main(
        (MAIN % "").replace("include: [", 'include: ["teams/*/*.yaml", {files: "teams/*/p.yaml", under: first}, ')
    )
    loaded = folder.load()
    assert [each.path for each in loaded.subtrees] == ["first", "acme/ads"]
    assert sum(each.ident == "W170" for each in loaded.findings) == 3
    assert [each[:9] for each in told(loaded)] == ["2:10 E027"]


def test_one_file_is_judged_alone_or_below_the_one_that_includes_it(folder: Folder) -> None:
    """As CI does, which has the team's file only, or as admission does, which has both."""
    path = folder.write("payments/p.yaml", "groups: {acme/payments: {mode: report, allow: [far.test]}}\n")
    main = folder.root / "outward.yaml"
    assert len(told(load_confined(path, "acme/payments", env={}, machine={}))) == 1
    assert told(load_confined(path, "acme/payments", ["mode"], env={}, machine={})) == []
    assert len(told(load_confined(path, "acme/ads", ["mode"], env={}, machine={}))) == 1
    folder.main(MAIN % ", may: [mode]")
    below = load_confined(path, "acme/payments", main=main, env={}, machine={})
    assert told(below) == []
    assert [each.ident for each in below.findings if each.place and each.place.file == str(path)] == ["W108"]
    with pytest.raises(ValueError, match="gives away"):
        load_confined(path, "acme/other", main=main, env={}, machine={})


def test_a_policy_that_a_working_tree_brings_gives_nothing_away(tmp_path: Path) -> None:
    """Only a file that is trusted may include others so."""
    from outward.config.discovery import FoundPolicy  # noqa: PLC0415 - no other test needs it

    (tmp_path / "outward.yaml").write_text('version: 1\ninclude: [{files: "*.yaml", under: dev}]\n')
    loaded = load(None, found=FoundPolicy(tmp_path / "outward.yaml"), env={}, machine={})
    assert [each.ident for each in loaded.findings if each.level is Level.ERROR] == ["E027"]
