"""Files of names as sets: what a line may say, where the file may lie, what counts for trust and for reloads."""

import os
import time
from pathlib import Path

import pytest

from outward.config.discovery import FoundPolicy
from outward.config.load import load
from outward.config.loaded import Loaded
from outward.core.decide import decide
from outward.core.urls import question_of
from outward.ops.views import ignored

GROUPS = "groups: {g: {allow: ['*'], deny: ['@blocked']}}\nclients: [{group: g, anyone: true}]\n"


def written(folder: Path, data: str | bytes, rest: str = GROUPS, file: str = "names.txt") -> Loaded:
    """Load a policy beside a file of names."""
    (folder / "names.txt").write_bytes(data.encode() if isinstance(data, str) else data)
    main = folder / "outward.yaml"
    main.write_text(f"version: 1\nsets: {{blocked: {{file: '{file}'}}}}\n{rest}")
    return load(main, env={}, machine={})


def place(loaded: Loaded, url: str) -> str | None:
    """Return where the rule stands that denies a URL, in short."""
    assert loaded.policy, loaded.findings
    rule = decide(loaded.policy, question_of(url, "g")).rule
    return (
        None if rule is None or rule.pattern.kind.name == "ANY" else f"{Path(rule.place.file).name}:{rule.place.line}"
    )


def errors(loaded: Loaded) -> list[tuple[str, str, int]]:
    """Return code, message and line of what is wrong."""
    return [(each.ident, each.message, each.place.line) for each in loaded.findings if each.ident.startswith("E")]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_each_line_is_a_name_with_what_lies_below_it_or_without(tmp_path: Path, ends: str) -> None:
    lines = [
        "\ufeff# ours",
        "a.test",
        " *.b.test  # below",
        ".c.test#both",
        "",
        "UPPER.test",
        "bücher.test",
        "x_y.test.",
    ]
    loaded = written(tmp_path, ends.join(lines))
    found = {
        "a.test": "names.txt:2",
        "x.a.test": None,
        "b.test": None,
        "x.b.test": "names.txt:3",
        "c.test": "names.txt:4",
        "x.y.c.test": "names.txt:4",
        "upper.test": "names.txt:6",
        "xn--bcher-kva.test": "names.txt:7",
        "x_y.test": "names.txt:8",
    }
    assert {url: place(loaded, url) for url in found} == found


def test_what_is_no_name_is_told_at_its_line_with_a_cure_and_nothing_else_is_lost(tmp_path: Path) -> None:
    wrong = [
        "a b.test",
        "10.0.0.0/8",
        "1.2.3.4",
        "*",
        "a.test:443",
        "https://a.test/",
        "-a.test",
        "xn--a.test",
        "a..test",
    ]
    loaded = written(tmp_path, b"ok.test\n" + "\n".join(wrong).encode() + b"\n\xff.test\n" + b"a" * 64 + b".test\n")
    assert [line for _, _, line in errors(loaded)] == list(range(2, 13))
    assert all(each.help for each in loaded.findings if each.ident == "E010" and "name alone" in each.message)
    assert loaded.policy is None


def test_a_file_of_something_else_is_told_in_a_few_lines(tmp_path: Path) -> None:
    found = errors(written(tmp_path, "0.0.0.0 bad.test\n" * 5_000))
    assert len(found) == 21
    assert ("E010", "4980 more such lines", 1) in found


@pytest.mark.parametrize("use", ["allow", "ceiling"])
def test_what_allows_may_not_stand_for_everybodys_names(tmp_path: Path, use: str) -> None:
    wide = "a.test\n*.co.uk\n.com\n*.example.com\n"
    found = errors(written(tmp_path, wide, f"groups: {{g: {{{use}: ['@blocked']}}}}\n"))
    assert [(ident, line) for ident, _, line in found] == [("E012", 2), ("E012", 3)]
    assert not errors(written(tmp_path, wide))


def test_a_list_allows_bounds_and_stands_in_other_sets(tmp_path: Path) -> None:
    rest = "groups: {g: {ceiling: ['@blocked']}, g/h: {allow: [a.test, z.test, '@blocked']}}\n"
    loaded = written(tmp_path, "a.test\nb.test\n", rest)
    assert loaded.policy
    answers = {name: decide(loaded.policy, question_of(name, "g/h")).allowed for name in ("a.test", "b.test", "z.test")}
    assert answers == {"a.test": True, "b.test": True, "z.test": False}
    told = [each.message for each in loaded.findings if each.ident == "W108"]
    assert told == ["`z.test` never allows anything: it lies outside the ceiling of `g`"]


def test_a_list_stands_in_other_sets(tmp_path: Path) -> None:
    rest = "groups: {g: {allow: ['*'], deny: ['@both']}}\n"
    main = tmp_path / "outward.yaml"
    (tmp_path / "names.txt").write_text("a.test\n")
    main.write_text("version: 1\nsets: {blocked: {file: names.txt}, both: ['@blocked', b.test]}\n" + rest)
    loaded = load(main, env={}, machine={})
    assert (place(loaded, "a.test"), place(loaded, "b.test")) == ("names.txt:1", "outward.yaml:2")


def test_what_a_short_list_ignores_is_written_out_and_a_long_one_is_refused(tmp_path: Path) -> None:
    rest = "groups: {g: {ignore: ['@blocked']}}\nclients: [{group: g, anyone: true}]\n"
    loaded = written(tmp_path, "a.test\n*.b.test\n", rest)
    assert loaded.policy
    assert ignored(loaded.policy) == (("g", "a.test"), ("g", "*.b.test"))
    (found,) = errors(written(tmp_path, "".join(f"h{n}.test\n" for n in range(1_001)), rest))
    assert found[0] == "E007"


@pytest.mark.parametrize("unused", [True, False])
def test_a_list_is_judged_whether_it_is_used_or_not(tmp_path: Path, unused: bool) -> None:
    rest = "groups: {g: {allow: ['*']}}\n" if unused else GROUPS
    assert [ident for ident, _, _ in errors(written(tmp_path, "a b\n", rest))] == ["E010"]


def test_the_file_lies_in_the_folder_of_the_file_that_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    outside = tmp_path / "outside.txt"
    outside.write_text("a.test\n")
    (folder / "link.txt").symlink_to(outside)
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    os.mkfifo(folder / "pipe.txt")
    (folder / "inner.txt").symlink_to(folder / "names.txt")
    for file, ident in {
        "../outside.txt": "E027",
        str(outside): "E027",
        "link.txt": "E027",
        "loop.txt": "E001",
        "pipe.txt": "E001",
        ".": "E001",
        "missing.txt": "E001",
    }.items():
        assert [code for code, _, _ in errors(written(folder, "a.test\n", file=file))] == [ident], file
    assert place(written(folder, "a.test\n", file="inner.txt"), "a.test") == "inner.txt:1"


def test_an_included_file_names_lists_of_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "teams").mkdir()
    (tmp_path / "teams/names.txt").write_text("a.test\n")
    (tmp_path / "teams/one.yaml").write_text("sets: {blocked: {file: names.txt}}\n")
    main = tmp_path / "outward.yaml"
    main.write_text(f"version: 1\ninclude: [teams/*.yaml]\n{GROUPS}")
    assert place(load(main, env={}, machine={}), "a.test") == "names.txt:1"


@pytest.mark.parametrize("value", ["{file: names.txt, more: 1}", "{}", "{file: [a]}", "{file: }", "{files: names.txt}"])
def test_a_set_that_is_no_list_names_a_file_and_nothing_else(tmp_path: Path, value: str) -> None:
    (tmp_path / "names.txt").write_text("a.test\n")
    main = tmp_path / "outward.yaml"
    main.write_text(f"version: 1\nsets: {{blocked: {value}}}\n{GROUPS}")
    assert {ident for ident, _, _ in errors(load(main, env={}, machine={}))} <= {"E005", "E007"}
    assert errors(load(main, env={}, machine={}))


def test_the_content_counts_for_generation_trust_and_watching(tmp_path: Path) -> None:
    before, after = written(tmp_path, "a.test\n"), written(tmp_path, "b.test\n")
    assert before.policy
    assert after.policy
    assert before.policy.generation != after.policy.generation
    assert tmp_path / "names.txt" in after.files
    brought = [
        load(None, found=FoundPolicy(tmp_path / "outward.yaml"), env={}, machine={}).brought
        for text in ("a.test\n", "b.test\n")
        if (tmp_path / "names.txt").write_text(text)
    ]
    assert brought[0].digest != brought[1].digest


def test_who_is_asked_to_trust_a_policy_hears_of_its_list(tmp_path: Path) -> None:
    written(tmp_path, "a.test\nb.test\n", "groups: {g: {allow: ['@blocked']}}\n")
    loaded = load(None, found=FoundPolicy(tmp_path / "outward.yaml"), env={}, machine={})
    assert loaded.brought.allows == {"g": (f"the names in {tmp_path / 'names.txt'} (2 lines)",)}


def test_tests_of_the_policy_see_the_list(tmp_path: Path) -> None:
    cases = GROUPS + "tests: [{group: g, url: a.test, expect: deny}, {group: g, url: b.test, expect: deny}]\n"
    loaded = written(tmp_path, "a.test\n", cases)
    assert [message for _, message, _ in errors(loaded)] == ["a test fails: expected deny, got allow (rule)"]


@pytest.mark.parametrize("filling", [b"\t", b" ", b"a", b"\xff", b"#"])
@pytest.mark.parametrize("length", [1_001, 20_000, 3_000_000])
def test_a_line_that_no_name_needs_is_refused_unread(tmp_path: Path, filling: bytes, length: int) -> None:
    """In no time, whatever fills it, and the lines around it keep their places."""
    before = time.thread_time()
    loaded = written(tmp_path, b"a.test\n" + filling * (length - 1) + b"x\nwrong one\n" + b"b.test\n" * 2_000)
    assert time.thread_time() - before < 10
    found = errors(loaded)
    assert found[0] == ("E010", "a line of more than 1000 bytes", 2)
    assert [line for _, _, line in found] == [2, 3]


def test_a_file_of_one_long_line_is_refused(tmp_path: Path) -> None:
    assert errors(written(tmp_path, b" " * 100_000)) == [("E010", "a line of more than 1000 bytes", 1)]


def test_a_long_comment_is_read(tmp_path: Path) -> None:
    loaded = written(tmp_path, b"a.test" + b" " * 400 + b"#" + b" x" * 290 + b"\n" + b"\t \r" * 300 + b"\nb.test\n")
    assert errors(loaded) == []
    assert (place(loaded, "a.test"), place(loaded, "b.test")) == ("names.txt:1", "names.txt:3")
