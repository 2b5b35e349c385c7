"""A policy that the working tree brings: where it is looked for, what it may hold, and who has to trust it."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from outward.cli.main import main
from outward.config.places import own_folders

POLICY = "version: 1\ngroups: {local: {allow: [tree.example]}}\nclients: [{group: local, anyone: true}]\n"
OWN = "version: 1\ngroups: {me: {allow: [own.example], deny: [denied.example]}}\nclients: [{group: me, anyone: true}]\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A home with a repository, the working folder within it."""
    home, repository = tmp_path / "home", tmp_path / "home/repository"
    (repository / ".git").mkdir(parents=True)
    (repository / "sub").mkdir()
    for name in [name for name in os.environ if name.startswith(("OUTWARD_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(repository / "sub")

    def call(*words: str, status: int | None = 0) -> Result:
        found = CliRunner().invoke(main, list(words))
        assert status is None or found.exit_code == status, found.output
        return found

    def write(text: str, path: str = "home/repository/outward.yaml") -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return SimpleNamespace(
        root=tmp_path,
        home=home,
        repository=repository,
        call=call,
        write=write,
        chdir=monkeypatch.chdir,
        env=monkeypatch,
    )


def allowed(place: SimpleNamespace, host: str) -> bool:
    return place.call("explain", f"https://{host}/", status=None).exit_code == 0


# Discovery -----------------------------------------------------------------------------------------------------------


def test_the_search_goes_up_to_the_root_of_the_repository(place):
    place.write(POLICY)
    found = place.call("explain", "https://tree.example/")
    assert f"outward: the policy is {place.repository}/outward.yaml" in found.stderr


def test_a_worktree_has_its_root_where_its_file_is(place):
    (place.repository / ".git").rmdir()
    (place.repository / ".git").write_text("gitdir: /elsewhere\n")
    place.write(POLICY, "home/outward.yaml")
    place.call("explain", "https://tree.example/", status=4)


def test_the_search_ends_at_the_root_of_the_repository(place):
    place.write(POLICY, "home/outward.yaml")
    place.call("explain", "https://tree.example/", status=4)


def test_outside_repository_and_home_only_the_working_folder_counts(place):
    place.write(POLICY, "elsewhere/outward.yaml")
    inner = place.root / "elsewhere/inner"
    inner.mkdir()
    place.chdir(inner)
    place.call("explain", "https://tree.example/", status=4)
    place.chdir(inner.parent)
    assert "no configuration" not in place.call("explain", "https://tree.example/").stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("whose", ["sub", "outward.yaml"])
def test_what_is_somebody_elses_does_not_count(place, whose: str):
    place.write(POLICY)
    place.write(POLICY, "home/repository/sub/outward.yaml")
    os.chown(place.repository / "sub" / ("" if whose == "sub" else whose), 12345, -1)
    found = place.call("explain", "https://tree.example/", status=4)
    assert "another user" in found.stderr


def test_without_the_variable_home_is_what_the_user_database_says(place):
    place.env.delenv("HOME")
    place.env.setattr(Path, "expanduser", lambda path: Path(str(path).replace("~", str(place.home))))
    place.write(POLICY)
    assert allowed(place, "tree.example")


def test_the_users_own_file_holds_where_the_tree_brings_none(place):
    place.write(OWN, "home/.config/outward/outward.yaml")
    assert allowed(place, "own.example")
    place.env.setenv("XDG_CONFIG_HOME", str(place.root / "config"))
    place.call("explain", "https://own.example/", status=4)
    place.write(OWN, "config/outward/outward.yaml")
    assert allowed(place, "own.example")


# What it may hold ----------------------------------------------------------------------------------------------------

REFUSED = {
    "server: {state: ./st}": "`server`",
    "records: {audit_stream: {url: 'http://127.0.0.1:1/', token_env: AWS_SECRET_ACCESS_KEY}}": "`records`",
    "upstream: {trust: [evil.pem]}": "`upstream`",
    "vendors: {llm.example: openai}": "`vendors`",
    "mcp: [{host: mcp.example, tools: {search: exa}}]": "`mcp`",
    "webhooks: []": "`webhooks`",
    "secrets: {s: {env: AWS_SECRET_ACCESS_KEY, hosts: [evil.example]}}": "`secrets`",
    "groups: {local: {allow: [{host: a.example, inject: {basic: 'x:{s}'}}]}}": "`inject` of a rule",
    "groups: {local: {web_search: {enabled: true, sources: [{host: a.example, inject: {}}]}}}": "`inject` of a rule",
    "groups: {local: {mode: report}}": "`mode` of a group",
    "groups: {local: {ignore: [a.example]}}": "`ignore` of a group",
    "groups: {local: {ech: pass}}": "`ech` of a group",
    "groups: {local: {lane: tunnel}}": "`lane: tunnel`",
    "groups: {local: {lane: auto}}": "`lane: auto`",
    "groups: {local: {grants: allowed}}": "`grants` of a group",
    "groups: {local: {web_search: {enabled: true, opt_in: assumed}}}": "`opt_in` of `web_search`",
    "groups: {local: {allow: [{host: a.example, inject: {header: X, value: y}}]}}": "`inject` of a rule",
    "sets: {s: [{host: a.example, inject: {header: X, value: y}}]}": "`inject` of a rule",
    "clients: [{group: local, source: 10.0.0.0/8}]": "a client with `source`",
    "clients: [{group: local, anyone: true, opt_in: assumed}]": "a client with `opt_in`",
    "clients: [{issuer: 'https://i.example', audience: a, jwks: /etc/passwd, group: local}]": "a client with `jwks`",
}


@pytest.mark.parametrize("line", REFUSED)
@pytest.mark.parametrize("included", [False, True], ids=["itself", "included"])
def test_it_holds_nothing_that_is_the_users_to_say(place, line: str, included: bool):
    text = line if line.startswith("groups") else f"groups: {{local: {{}}}}\n{line}"
    if included:
        place.write("version: 1\ninclude: [more.yaml]\n")
        place.write(text + "\n", "home/repository/more.yaml")
    else:
        place.write(f"version: 1\n{text}\n")
    found = place.call("check", status=3)
    assert f"{REFUSED[line]} does not count in a policy that the working tree brings" in found.output
    assert "--config" in found.output


def test_named_with_config_it_is_trusted_as_a_whole(place):
    path = place.write(
        "version: 1\nserver: {grace: 1s}\ngroups: {local: {mode: report}}\nclients: [{group: local, anyone: true}]\n"
    )
    place.call("check", "--config", str(path))


def test_this_machines_localhost_is_opened_by_the_users_own_file_alone(place):
    place.write(POLICY + "jail: {localhost: [5432]}\n")
    found = place.call("check", status=3)
    assert "E027" in found.output
    assert "`jail` does not count" in found.output
    place.write(POLICY)
    place.write(OWN + "jail: {localhost: [5432]}\n", "home/.config/outward/outward.yaml")
    place.call("check")


@pytest.mark.parametrize("entry", ["../../secret.yaml", "/etc/hostname", "**/*.yaml", "link.yaml"])
def test_it_reads_nothing_outside_its_folder(place, entry: str):
    secret = place.write("groups: {stolen: {allow: [secret.example]}}\n", "home/secret.yaml")
    (place.repository / "link.yaml").symlink_to(secret)
    place.write(f"version: 1\ninclude: ['{entry}']\n")
    found = place.call("check", status=3)
    assert "E027" in found.output
    assert "secret.example" not in found.output


def test_it_is_no_symlink_that_leads_out(place):
    secret = place.write("version: 1\nserver: {x: secret-word}\n", "home/secret.yaml")
    (place.repository / "outward.yaml").symlink_to(secret)
    found = place.call("check", status=3)
    assert "E027" in found.output
    assert "secret-word" not in found.output


@pytest.mark.parametrize("part", ["more/groups.yaml", "more"])
def test_a_symlink_that_is_put_there_after_the_look_is_not_followed(place, monkeypatch, part: str):
    """As a process beside us could, between the look at where a file lies and its opening."""
    stolen = place.write("groups: {stolen: {allow: [secret.example]}}\n", "home/more/groups.yaml")
    (place.repository / "more").mkdir()
    (place.repository / "more/groups.yaml").write_text("groups: {}\n")
    place.write("version: 1\ninclude: [more/groups.yaml]\n")
    resolve = Path.resolve

    def swap(path: Path, *args: object, **kwargs: object) -> Path:
        real = resolve(path, *args, **kwargs)
        target = place.repository / part
        if real.name == "groups.yaml" and not target.is_symlink():
            target.rename(place.repository / "old")
            target.symlink_to(stolen if part.endswith(".yaml") else stolen.parent)
        return real

    monkeypatch.setattr(Path, "resolve", swap)
    found = place.call("check", status=3)
    assert "cannot read" in found.output
    assert "secret.example" not in found.output


# Laid over the user's own --------------------------------------------------------------------------------------------


def test_the_tree_only_adds(place):
    place.write(OWN, "home/.config/outward/outward.yaml")
    place.write(POLICY.replace("tree.example", "tree.example, denied.example"))
    verdicts = {host: allowed(place, f"{host}.example") for host in ("own", "tree", "denied", "other")}
    assert verdicts == {"own": True, "tree": True, "denied": False, "other": False}


@pytest.mark.parametrize("path", ["me", "me/below", "local"])
def test_the_users_ceiling_holds_for_every_path(place, path: str):
    place.write(OWN.replace("deny:", "ceiling: ['*.inner.example'], deny:"), "home/.config/outward/outward.yaml")
    place.write(POLICY.replace("local", path).replace("tree.example", "tree.example, a.inner.example"))
    assert not allowed(place, "tree.example")
    assert allowed(place, "a.inner.example")


def test_the_users_lock_holds(place):
    place.write(OWN.replace("deny:", "web_search: {locked: true}, deny:"), "home/.config/outward/outward.yaml")
    place.write(POLICY.replace("allow", "web_search: {enabled: true}, allow"))
    shown = json.loads(place.call("explain", "--search", "--json").stdout)
    assert (shown["group"], shown["enabled"]) == ("local", False)


def test_no_group_of_the_tree_stands_beside_the_users(place):
    """A name under another group of the user's would shed the denies of the one that anyone belongs to."""
    place.write(OWN.replace("groups: {", "groups: {loose: {}, "), "home/.config/outward/outward.yaml")
    for path in ("loose", "loose/below"):
        place.write(POLICY.replace("local", path))
        assert "E028" in place.call("check", status=3).output
    place.write(POLICY.replace("group: local", "group: loose"))
    assert "E019" in place.call("check", status=3).output


def test_a_user_who_gives_no_group_to_anyone_gets_none_from_the_tree(place):
    own = "version: 1\ngroups: {a: {}, b: {}}\n"
    place.write(own, "home/.config/outward/outward.yaml")
    place.write(POLICY)
    assert "gives none to anyone" in place.call("check", status=3).output


# Trust ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [("run", "--", "true"), ("serve",), ("env",)], ids=["run", "serve", "env"])
def test_nothing_is_put_in_force_before_somebody_trusts_it(place, verb: tuple[str, ...]):
    place.write(POLICY.replace("[tree.example]", "['@x', \"*.tricky\\u0430.example\"]") + "sets: {x: [tree.example]}\n")
    found = place.call(*verb, status=3)
    assert "nobody has trusted it as it is now" in found.stderr
    assert "tree.example" in found.stderr  # what it would allow, its sets written out
    assert "\\u0430" in found.stderr
    assert f"outward trust {place.repository}/outward.yaml" in found.stderr


@pytest.mark.parametrize(
    "words", [("explain", "https://tree.example/"), ("check",), ("test",)], ids=lambda words: words[0]
)
def test_a_verb_that_only_judges_says_that_run_does_not_use_it_yet(place, words: tuple[str, ...]):
    place.write(POLICY + "tests: [{url: 'https://tree.example/', expect: allow}]\n")
    assert "`outward run` does not use it until somebody does" in place.call(*words).stderr
    place.call("trust")
    assert "outward run" not in place.call(*words).stderr


def test_a_file_that_came_with_the_folder_is_not_to_be_named_on_its_word(place):
    """The advice is to go on without it."""
    place.write(POLICY + "server: {}\n")
    found = place.call("run", "--", "true", status=3)
    assert "came with this folder; to go on without it" in found.stderr
    assert "leave it out" in found.stderr


def test_without_a_configuration_the_policy_that_run_starts_with_is_explained(place):
    found = place.call("explain", "https://github.com/")
    assert "this is what `outward run` allows without one" in found.stderr


@pytest.mark.parametrize("wide", ["'*'", "{host: '*', note: x}", "'*.wide.example'", ".wide.example", "10.0.0.0/8"])
def test_what_is_widest_is_shown_first(place, wide: str):
    """A long list could hide it, and a long note."""
    many = ", ".join(f"h{number}.example" for number in range(60))
    place.write(POLICY.replace("[tree.example]", f"[{many}, {{host: z.example, note: {'x' * 500}}}, {wide}]"))
    lines = place.call("env", status=3).stderr.splitlines()
    first = lines[lines.index("  local would be allowed:") + 1]
    assert any(mark in first for mark in ("*", ".wide.example", "10.0.0.0/8")), first
    assert max(map(len, lines)) < 250


@pytest.mark.parametrize("note", ["'x, host: narrow.example'", "x" * 500])
def test_a_note_before_the_host_hides_no_host(place, note: str):
    many = ", ".join(f"h{number}.example" for number in range(60))
    place.write(POLICY.replace("[tree.example]", f"[{many}, {{note: {note}, host: '*', addresses: [10.0.0.0/8]}}]"))
    lines = place.call("env", status=3).stderr.splitlines()
    first = lines[lines.index("  local would be allowed:") + 1]
    assert first.strip().startswith("host: *, addresses: 10.0.0.0/8, note: ")


@pytest.mark.parametrize("wide", ["'@developer'", "{host: 10.0.0.1, note: x}"])
def test_a_set_or_an_address_is_shown_before_names(place, wide: str):
    many = ", ".join(f"h{number}.example" for number in range(60))
    place.write(POLICY.replace("[tree.example]", f"[{many}, {wide}]"))
    lines = place.call("env", status=3).stderr.splitlines()
    first = lines[lines.index("  local would be allowed:") + 1]
    assert "@developer" in first or "10.0.0.1" in first


def test_trust_is_of_the_content(place):
    place.write(POLICY + "include: [more/*.yaml]\n")
    place.write("groups: {local/more: {allow: [more.example]}}\n", "home/repository/more/a.yaml")
    place.call("env", status=3)
    assert "more.example" in place.call("trust").stderr
    place.call("env")
    place.write("groups: {local/more: {allow: ['*']}}\n", "home/repository/more/a.yaml")
    place.call("env", status=3)
    place.call("trust")
    place.write("groups: {local/evil: {allow: ['*']}}\n", "home/repository/more/b.yaml")
    place.call("env", status=3)


def test_the_same_content_elsewhere_is_trusted(place):
    place.write(POLICY)
    place.call("trust")
    place.write(POLICY, "home/worktree/outward.yaml")
    place.chdir(place.home / "worktree")
    place.call("env")


def test_trust_takes_a_file(place):
    path = place.write(POLICY)
    place.chdir(place.home)
    told = json.loads(place.call("trust", str(path), "--json").stdout)
    assert (told["file"], told["allows"]) == (str(path), {"local": ["tree.example"]})
    place.chdir(place.repository)
    place.call("env")


def test_what_has_errors_is_not_trusted(place):
    place.write("version: 1\nserver: {}\n")
    place.call("trust", status=3)


@pytest.mark.parametrize("spoil", ["writable", "folder", "link"])
def test_a_mark_that_others_could_have_made_does_not_count(place, spoil: str):
    place.write(POLICY)
    place.call("trust")
    folder = place.home / ".local/state/outward/trusted"
    (mark,) = folder.iterdir()
    if spoil == "link":
        mark.rename(folder / "other")
        mark.symlink_to(folder / "other")
    else:
        (mark if spoil == "writable" else folder).chmod(0o777)
    place.call("env", status=3)


def test_behind_run_nobody_can_trust_or_make_a_token(place):
    place.write(POLICY)
    place.env.setenv("OUTWARD_INSIDE", "1")
    assert "for a person" in place.call("trust", status=1).stderr
    assert "for a person" in place.call("token", "create", "--scope", "all", status=1).stderr
    assert not (place.home / ".local/state/outward/trusted").exists()


def test_reading_verbs_judge_what_nobody_trusts(place):
    place.write(POLICY)
    place.call("check")
    assert allowed(place, "tree.example")
    assert not (place.repository / "sub/st").exists()


# Files that are none -------------------------------------------------------------------------------------------------


def test_a_pipe_is_refused_at_once(place):
    os.mkfifo(place.repository / "pipe.yaml")
    path = place.write("version: 1\ninclude: [pipe.yaml]\n")
    assert "not a regular file" in place.call("check", str(path), status=3).output
    assert "not a regular file" in place.call("check", str(place.repository / "pipe.yaml"), status=3).output


@pytest.mark.parametrize(
    "secret",
    [
        "root:$6$SECRETWORD:19000:0:99999:7:::\nother:*:19000::::::\n",
        "SECRETWORD\n",
        "*SECRETWORD\n",
        "&SECRETWORD x\n",
        "!SECRETWORD x\n",
        "SECRETWORD: [\n",
        "SECRETWORD: 1\nSECRETWORD: 2\n",
        '{"auths": {"registry.example": {"auth": "SECRETWORD"}}}',
        "-----BEGIN KEY-----\nSECRETWORD\n-----END KEY-----\n",
    ],
)
@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_nothing_is_shown_of_what_is_no_configuration(place, secret: str, form: str):
    hidden = place.write(secret, "home/secret")
    path = place.write(f"version: 1\ninclude: ['{hidden}']\n", "named.yaml")
    for file in (path, hidden):
        found = place.call("check", "--format", form, str(file), status=3)
        assert "SECRETWORD" not in found.output
        assert str(hidden) in found.output


def test_what_decides_about_trust_is_among_the_folders_that_a_jail_hides(place):
    place.write(POLICY)
    place.call("trust")
    (mark,) = (place.home / ".local/state/outward/trusted").iterdir()
    own = place.home / ".config/outward/outward.yaml"
    hidden = own_folders(os.environ, place.root / "state")
    for path in (mark, own, place.home / ".local/state/outward/run/audit.key", place.root / "state/audit.key"):
        assert any(path.is_relative_to(folder) for folder in hidden), path
