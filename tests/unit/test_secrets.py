"""Secrets that the client never holds: where they are set, and what gives a placeholder away."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from outward.core.decide import decide
from outward.core.entries import written
from outward.core.model import Pattern, PatternKind, Place, Question, Rule
from outward.core.names import canonical_host
from outward.core.placeholders import found_in, may_hold, placeholder
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.core.rules import Rules
from outward.core.secrets import Injection, MisdirectedError, TemplateError, masked, placed, secret_of

PLACE = Place("outward.yaml", 1)
VALUES = {"github": "ghp_real", "git": "other-value"}
BEARER = Injection("authorization", "Bearer {github}")
BASIC = Injection("authorization", "x-access-token:{github}", basic=True)
HELD = placeholder("github")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("injection", "sent", "set_to"),
    [
        (BEARER, None, "Bearer ghp_real"),
        (BEARER, f"Bearer {HELD}", "Bearer ghp_real"),
        (BEARER, f"token {HELD}", "token ghp_real"),
        (BEARER, HELD, "ghp_real"),
        (BEARER, f"Basic {b64(f'me:{HELD}')}", f"Basic {b64('me:ghp_real')}"),
        (BEARER, f"basic {b64(f'{HELD}:x-oauth-basic')}", f"basic {b64('ghp_real:x-oauth-basic')}"),
        (BASIC, None, f"Basic {b64('x-access-token:ghp_real')}"),
        (BASIC, f"Basic {b64(f'x-access-token:{HELD}')}", f"Basic {b64('x-access-token:ghp_real')}"),
        (Injection("x-key", "{github}", always=False), None, None),
        (Injection("x-key", "{github}.{git}"), "outward-secret-github.outward-secret-git", "ghp_real.other-value"),
    ],
)
def test_a_value_is_set_where_nothing_or_its_placeholder_stands(injection, sent, set_to):
    fields = [("accept", "*/*"), *([(injection.header, sent)] if sent else [])]
    assert placed([injection], fields, VALUES) == ({} if set_to is None else {injection.header: set_to})


@pytest.mark.parametrize(
    ("fields", "told", "secret"),
    [
        ([("authorization", "Bearer mine")], "a credential that the proxy did not give", None),
        ([("authorization", "Bearer ghp_real")], "a credential that the proxy did not give", None),
        ([("authorization", "Basic !!")], "a credential", None),
        ([("authorization", f"Basic {b64('me:mine')}")], "a credential", None),
        ([("authorization", f"Basic {b64('no colon')}")], "a credential", None),
        (
            [("authorization", f"Bearer x{HELD}")],
            "the placeholder of github stands in the field authorization",
            "github",
        ),
        ([("authorization", f"Bearer {HELD}x")], "the placeholder of github", "github"),
        ([("authorization", "")], "a credential", None),
        ([("authorization", f"Bearer {HELD}"), ("authorization", "Bearer mine")], "the second field", None),
        ([("x-other", HELD)], "the placeholder of github stands in the field x-other", "github"),
        ([("x-other", HELD.upper())], "x-other", "github"),
        ([("cookie", f"a=1; b={HELD}")], "cookie", "github"),
        ([("referer", "https://a.test/?x=outward%2Dsecret%252Dgithub")], "referer", "github"),
        ([("x-b64", b64(f"me:{HELD}"))], "x-b64", "github"),
        ([("x-b64", base64.urlsafe_b64encode(f"??>{HELD}".encode()).decode())], "x-b64", "github"),
        ([("x-other", placeholder("git"))], "the placeholder of git ", "git"),
        ([(HELD, "1")], "in the field outward-secret-github", "github"),
    ],
)
def test_anything_else_is_refused(fields, told, secret):
    with pytest.raises(MisdirectedError, match=told) as caught:
        placed([BEARER], fields, VALUES)
    assert caught.value.secret == secret
    assert "ghp_real" not in str(caught.value)


@pytest.mark.parametrize("name", ["x_api_key", "x-api_key", "x.api.key"])
def test_a_key_of_ones_own_in_a_field_that_others_read_as_the_same_is_refused(name):
    """Servers of CGI's kind make one variable of both, and the client's may be the one that counts."""
    with pytest.raises(MisdirectedError, match="a credential that the proxy did not give"):
        placed([Injection("x-api-key", "{github}")], [(name, "mine")], VALUES)


def test_a_secret_without_a_value_sets_nothing():
    with pytest.raises(KeyError):
        placed([Injection("x", "{gone}")], [], VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "outward%2525252dsecret-github",
        "outward-secret-",
        "outward-secret-gitlab",
        "outward_secret_github",
        "%zz%",
        "e" * 40,
    ],
)
def test_what_is_no_placeholder_is_left_alone(text):
    """A name that begins as a known one does is the known one's: it can be nobody else's."""
    expected = "git" if text == "outward-secret-gitlab" else None
    assert found_in(text, VALUES) == expected


@pytest.mark.parametrize(
    ("injection", "told"),
    [
        (Injection("x", "no secret"), "name a secret in braces"),
        (Injection("x", "{github}\r\nY: z"), "printable ASCII"),
        (Injection("x", "{github}", basic=True), "`user:password`"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(injection, told):
    with pytest.raises(TemplateError, match=told):
        injection.check()


def test_a_refusal_tells_whose_placeholder_it_was():
    assert secret_of(str(MisdirectedError("the field x-outward-secret-b stands in ", "a-b_1"))) == "a-b_1"
    assert (secret_of(str(MisdirectedError("the URL", None))), secret_of(None)) == (None, None)


def test_a_template_as_it_is_written():
    BEARER.check()
    assert BEARER.written == '{header: authorization, value: "Bearer {github}"}'
    assert BASIC.written == '{basic: "x-access-token:{github}"}'


def test_a_rules_line_says_what_it_sets():
    rule = Rule(Pattern(PatternKind.EXACT, "api.test"), PLACE, inject=BEARER)
    assert written(rule) == f'{{host: "api.test", ports: [80, 443], inject: {BEARER.written}}}'


def test_values_are_masked_in_answers():
    assert masked("set ghp_real; and other-value", {**VALUES, "empty": ""}) == f"set {HELD}; and {placeholder('git')}"
    assert masked("nothing", VALUES) == "nothing"
    assert masked("nothing", VALUES, ["Bearer ghp_real", "plain"]) == "nothing"


def test_a_value_within_a_longer_one_leaves_nothing_of_the_longer_one():
    assert masked("the-value-and-more", {"short": "the-value", "long": "the-value-and-more"}) == placeholder("long")


@pytest.mark.parametrize("padded", [True, False])
def test_basic_credentials_that_come_back_are_masked(padded):
    sent = BASIC.value(VALUES)
    back = sent if padded else sent.rstrip("=")
    found = masked(f"you sent {back}!", VALUES, [sent])
    assert found.rstrip("!").rstrip("=") == f"you sent Basic {b64(f'x-access-token:{HELD}')}".rstrip("=")


ODD = "s3cr3t/Va+lue==%41&zz~?>?>~?zz>?"  # its Base64 has letters of either alphabet


@pytest.mark.parametrize(
    "form",
    [
        *(quote(ODD), quote(ODD, safe=""), quote(ODD, safe="").replace("%2F", "%2f"), quote(quote_plus(ODD), safe="")),
        *(
            ODD.replace("/", "\\/"),
            json.dumps(ODD),
            html.escape(ODD),
            ODD.replace("&", "&#38;"),
            ODD.replace("&", "\\u0026"),
        ),
        *(b64("x" * before + ODD + after) for before in range(3) for after in ("", "y", "yy")),
        *(b64(ODD).rstrip("="), base64.encodebytes(f"{'x' * 40}{ODD}".encode()).decode()),
        *(base64.urlsafe_b64encode(b"~" * before + ODD.encode()).decode() for before in range(3)),
    ],
)
def test_a_value_is_masked_however_it_is_written(form):
    found = masked(f"a={form}; b", {"odd": ODD})
    assert HELD.removesuffix("github") + "odd" in found
    rest = found.replace(placeholder("odd"), "").removeprefix("a=").removesuffix("; b")
    assert len(rest.replace("eHh4", "")) <= 12, rest  # but for what stands beside it


PLACE = Place("outward.yaml", 1)


def deciding(host, path=None, **policy):
    rules = Rules(
        [Rule(Pattern(PatternKind.EXACT, "api.test"), PLACE, inject=BEARER), Rule(Pattern(PatternKind.ANY), PLACE)]
    )
    subject = Policy(groups={"dev": Group("dev", rules)}, secrets=frozenset({"github"}), **policy)
    return decide(subject, Question("dev", canonical_host(host), 443, "GET" if path else None, path))


@pytest.mark.parametrize(
    ("host", "path"), [(f"{HELD}.evil.test", None), ("a.test", f"/{HELD}"), ("a.test", "/%6futward-secret-github")]
)
def test_a_placeholder_in_a_name_or_a_path_goes_nowhere(host, path):
    decision = deciding(host, path)
    assert (decision.allowed, decision.reason) == (False, Reason.SECRET_MISDIRECTED)


def test_a_rule_that_sets_a_secret_is_inspected():
    assert deciding("api.test", "/x").inject == (BEARER,)
    assert (deciding("api.test").lane, deciding("a.test").lane) == ("inspect", "tunnel")
    assert deciding("a.test", "/x").inject == ()


def test_what_is_bound_to_a_host_is_set_whichever_rule_allows_it():
    bound = {"a.test": (Injection("x", "{github}", always=False),)}
    assert deciding("a.test", "/x", bound=bound).inject == bound["a.test"]
    assert deciding("a.test", bound=bound).lane == "inspect"


def test_base64_between_the_slashes_of_a_path_is_read():
    encoded = base64.urlsafe_b64encode(f"x{HELD}".encode()).decode().rstrip("=")
    assert found_in(f"/v1/files/{encoded}/content", VALUES) == "github"


@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"\xff\xfe", b"\xe2"])
@pytest.mark.parametrize("lead", ["x-", "id_", "id=", "token", "a", ""])
def test_base64_is_read_behind_a_word_and_beside_any_byte(before, lead):
    encoded = base64.urlsafe_b64encode(before + HELD.encode() + before).decode().rstrip("=")
    assert may_hold(f"{lead}{encoded}s".encode())
    assert found_in(f"{lead}{encoded}s", VALUES) == "github"


@pytest.mark.parametrize("name", ["outward_secret_github", "x-outward.secret_github", "outward-secret_a-b"])
def test_a_fields_name_is_a_placeholder_as_cgi_reads_it(name):
    values = {**VALUES, "A_b": "third-value"}
    assert may_hold(f"GET / HTTP/1.1\r\n{name}: x".encode())
    with pytest.raises(MisdirectedError, match=r"the placeholder of (github|A_b) stands in the field"):
        placed([], [(name, "x")], values)
