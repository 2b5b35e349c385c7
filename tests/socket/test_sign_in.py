"""Sign-in at a provider of identities: who is let in, what is believed, and what becomes of it."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import RSAKey

from harness.admin import TOKEN, admin
from harness.provider import CLIENT, SECRET, Provider
from harness.waiting import PATIENCE, wait_for
from outward.config.settings import AdminDoor, Oidc, Role
from outward.proxy import keyfetch
from outward.proxy.keyfetch import KeyReader, Reply
from outward.signin import provider as real
from outward.signin.door import Door

ROLES = {
    "platform": Role("admin"),
    "payments": Role("operator", "acme/platform/payments"),
    "everyone": Role("viewer"),
}


def test_what_keeps_a_provider_from_being_asked_is_told_although_it_says_nothing():
    def ask(*_):
        raise TimeoutError

    oidc = Oidc("https://p.example", CLIENT, None, ("email",), ("groups",), ROLES, 3600.0, None)
    with pytest.raises(real.ProviderError, match="TimeoutError"):
        real.Provider(oidc, ask).page()


class Site:
    """The administrator's side of one or two proxies, and their provider."""

    def __init__(self, folder, provider, sides):
        (folder / "client.secret").write_text(f"{SECRET}\n")
        self.provider, self.sides, self.clock = provider, sides, [1000.0]
        self.oidc = Oidc(
            provider.issuer, CLIENT, folder / "client.secret", ("email",), ("groups",), ROLES, 3600.0, "#egress"
        )
        self.use()

    @property
    def url(self) -> str:
        return self.sides[0].url

    def use(self, **changed) -> None:
        """Put settings in force, as a reload does."""
        self.oidc = (
            self.oidc
            if not changed
            else type(self.oidc)(**{name: changed.get(name, getattr(self.oidc, name)) for name in self.oidc.__slots__})
        )
        urls = tuple(side.url for side in self.sides)
        ask = KeyReader(None, None, None).ask  # loopback over http needs none of them
        for side in self.sides:
            side.administration.use(side.policy, AdminDoor(urls, None, self.oidc))
            side.administration.door = Door(self.oidc, real.Provider(self.oidc, ask, lambda: self.clock[0]))

    def browser(self, side: int = 0) -> httpx.Client:
        return httpx.Client(
            base_url=self.sides[side].url, headers={"Accept": "text/html"}, timeout=PATIENCE, verify=False
        )


@pytest.fixture(scope="module")
def provider():
    found = Provider()
    yield found
    found.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, provider):
    folder = tmp_path_factory.mktemp("sign-in")
    with admin(folder) as one, admin(folder) as other:
        yield Site(folder, provider, (one, other))


@pytest.fixture
def site(shared, provider):
    yield shared
    provider.claims, provider.words, provider.down, provider.sign = {}, {}, False, provider.signed
    for side in shared.sides:
        side.administration._access._sign_ins._levels.clear()
    shared.use(roles=ROLES, role_claim=("groups",))


def begin(site, browser):
    """Go to the provider, and return the code and the parameters that it was asked with."""
    answer = browser.get("/login/provider")
    assert answer.status_code == 303, answer.text
    return site.provider.code(answer.headers["location"])


def come_back(browser, code: str, state: str, **more: str) -> httpx.Response:
    return browser.get("/login/callback", params={"code": code, "state": state, **more})


def sign_in(site, browser) -> httpx.Response:
    code, asked = begin(site, browser)
    return come_back(browser, code, asked.state)


def is_in(browser) -> bool:
    return browser.get("/groups").status_code == 200


def test_a_person_signs_in_sees_changes_and_leaves(site):
    """The whole way; the cookie reads the API and changes nothing there, forms with their proof do."""

    def last(kind):
        items = site.sides[0].client().get("/api/v1/audit?event_type=" + kind).json()["items"]
        return items[0]  # the newest; what other tests did is behind it

    browser = site.browser()
    assert "Sign in with your account" in browser.get("/login").text
    answer = sign_in(site, browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    page = browser.get("/groups")
    assert "ada@example.com, admin" in page.text
    assert browser.get("/api/v1/groups").status_code == 200
    assert browser.put("/api/v1/groups/acme/web-search", json={"enabled": True}).status_code == 401
    assert browser.post("/groups/acme", data={"enabled": "true"}).status_code == 403
    proof = page.text.partition('name="csrf" value="')[2].partition('"')[0]
    assert browser.post("/groups/acme", data={"enabled": "true", "csrf": proof}).status_code == 303
    event = last("web_search_setting_changed")
    assert event["author_name"].startswith("ada@example.com (")
    event = last("admin_signed_in")
    assert (
        event["details"] | {"issuer": site.provider.issuer, "subject": "u-1", "roles": ["platform"]} == event["details"]
    )
    assert browser.post("/logout", data={"csrf": proof}).status_code == 303
    assert not is_in(browser)


def test_what_the_browser_is_given_holds_no_more_than_it_must(site):
    """Cookies are for this site, unreadable by scripts; the session's is new at each sign-in and is no bearer's."""
    browser = site.browser()
    browser.cookies.set("outward_session", "owp_planted-by-somebody-else")
    started = browser.get("/login/provider")
    assert started.headers["set-cookie"].startswith("outward_sign_in=")
    assert "HttpOnly; SameSite=Lax" in started.headers["set-cookie"]
    code, asked = site.provider.code(started.headers["location"])
    assert asked.redirect_uri == f"{site.url}/login/callback"
    ended = come_back(browser, code, asked.state)
    over, session = ended.headers.get_list("set-cookie")
    assert over.startswith("outward_sign_in=; ")
    assert "Max-Age=0" in over
    secret = session.partition(";")[0].partition("=")[2]
    assert secret.startswith("owp_")
    assert secret != "owp_planted-by-somebody-else"
    assert "HttpOnly; SameSite=Lax; Max-Age=3600" in session
    bearer = httpx.get(f"{site.url}/api/v1/groups", headers={"Authorization": f"Bearer {secret}"}, timeout=PATIENCE)
    assert bearer.status_code == 401
    assert not {secret, "u-1"} & set(ended.text.split())


def test_an_end_counts_in_every_proxy_at_once(site):
    """Signed out here, signed out there; and a session that an admin revokes."""
    browser, other = site.browser(), site.browser(1)
    sign_in(site, browser)
    other.cookies.set("outward_session", browser.cookies["outward_session"])
    site.sides[1].administration.state.refresh()
    assert is_in(other)
    proof = browser.get("/groups").text.partition('name="csrf" value="')[2].partition('"')[0]
    assert other.get("/groups").text.partition('name="csrf" value="')[2].partition('"')[0] == proof
    browser.post("/logout", data={"csrf": proof})
    site.sides[1].administration.state.refresh()
    assert not is_in(other)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "somebody-else"},
        {"aud": None},
        {"aud": []},
        {"aud": {CLIENT: True}},
        {"aud": [CLIENT, "somebody-else"]},
        {"aud": [CLIENT, "somebody-else"], "azp": "somebody-else"},
        {"azp": "somebody-else"},
        {"exp": 1},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"iat": None},
        {"iat": 1},
        {"iat": 99999999999},
        {"nbf": 99999999999},
        {"nbf": "now"},
        {"nonce": None},
        {"nonce": "another"},
        {"nonce": 7},
        {"nonce": "\ud800"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\x00b"},
        {"sub": "\ud800"},
        {"pad": "x" * 100_000},
    ],
    ids=lambda change: "-".join(f"{name}={str(value)[:12]}" for name, value in change.items()),
)
def test_a_token_that_is_not_of_this_sign_in_is_not_believed(site, change):
    """One claim is wrong at a time; the next sign-in, with all of them right, is let in."""
    browser = site.browser()
    site.provider.claims = change
    answer = sign_in(site, browser)
    assert answer.status_code == 403
    assert "not to be believed" in answer.text
    assert not is_in(browser)
    site.provider.claims = {}
    assert sign_in(site, browser).status_code == 303


def forged(header: dict, claims: dict, key: bytes = b"") -> str:
    """Make a token by hand; with a key, by HMAC."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    text = ".".join(parts)
    mac = urlsafe_b64encode(hmac.digest(key, text.encode(), sha256)).rstrip(b"=").decode() if key else ""
    return f"{text}.{mac}"


def test_only_the_providers_own_keys_sign(site):
    """No algorithm, HMAC by what others may know, and a key of somebody else."""
    provider = site.provider
    public = provider.key.raw_value.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    other, kid = RSAKey.generate_key(2048), provider.key.kid
    for sign in (
        lambda claims: forged({"alg": "none"}, claims),
        lambda claims: forged({"alg": "None", "kid": kid}, claims),
        lambda claims: forged({"alg": "HS256"}, claims, SECRET.encode()),
        lambda claims: forged({"alg": "HS256", "kid": kid}, claims, SECRET.encode()),
        lambda claims: forged({"alg": "HS256", "kid": kid}, claims, public),
        lambda claims: provider.signed(claims, other),
        lambda claims: provider.signed(claims, other, kid="unknown"),
        lambda claims: forged({"alg": "RS256", "kid": kid, "jwk": other.as_dict(private=False)}, claims),
        lambda claims: provider.signed(claims) + "x",
        lambda _claims: "a.b",
        lambda claims: provider.signed([claims]),
    ):
        provider.sign = sign
        browser = site.browser()
        assert sign_in(site, browser).status_code == 403
        assert not is_in(browser)


def test_a_key_that_the_provider_began_to_use_is_asked_for(site):
    """Not more often than every few seconds, whatever tokens say."""
    assert sign_in(site, site.browser()).status_code == 303
    site.provider.rotate()
    read = site.provider.asked.count("/keys")
    assert sign_in(site, site.browser()).status_code == 403
    assert site.provider.asked.count("/keys") == read
    site.clock[0] += 16
    assert sign_in(site, site.browser()).status_code == 303
    assert site.provider.asked.count("/keys") == read + 1


def test_an_answer_counts_once_and_for_the_browser_that_asked(site):
    """Another browser's, a made-up or a missing state; then the right one; then the same again."""
    browser, victim = site.browser(), site.browser()
    code, asked = begin(site, browser)
    begin(site, victim)
    for who, state in ((victim, asked.state), (site.browser(), asked.state), (browser, "made-up"), (browser, "")):
        kept = dict(who.cookies)
        answer = come_back(who, code, state)
        assert answer.status_code == 400
        assert "begun in another browser" in answer.text
        assert not is_in(who)
        who.cookies.update(kept)
    assert browser.get("/login/callback", params={"code": code}).status_code == 400
    browser = site.browser()
    code, asked = begin(site, browser)
    kept = browser.cookies["outward_sign_in"]
    assert come_back(browser, code, asked.state).status_code == 303
    assert "outward_sign_in" not in browser.cookies
    again = site.browser()
    assert come_back(again, code, asked.state).status_code == 400
    again.cookies.set("outward_sign_in", kept)
    answer = come_back(again, code, asked.state)
    assert answer.status_code == 400  # the provider takes a code once
    assert "a second time" in answer.text
    assert not is_in(again)


def test_a_code_of_another_sign_in_is_not_taken(site):
    """Its verifier is not this browser's (PKCE), and its nonce neither."""
    thief, victim = site.browser(), site.browser()
    stolen, _ = begin(site, victim)
    _, asked = begin(site, thief)
    assert come_back(thief, stolen, asked.state).status_code == 400
    assert not is_in(thief)


def test_another_providers_answer_is_not_taken(site):
    """RFC 9207: its name where it gives one, and where ours always gives its own, none is another's."""
    for iss, words in (("https://other.example", {}), (None, {"authorization_response_iss_parameter_supported": True})):
        site.provider.words = words
        site.use(role_claim=("groups",))
        browser = site.browser()
        code, asked = begin(site, browser)
        answer = come_back(browser, code, asked.state, **({"iss": iss} if iss else {}))
        assert answer.status_code == 400
        assert "Another provider" in answer.text
        code, asked = begin(site, browser)
        assert come_back(browser, code, asked.state, iss=site.provider.issuer).status_code == 303


def test_nobody_is_led_elsewhere(site):
    """Where a person lands, and where the provider sends them, is in the configuration alone."""
    browser = site.browser()
    answer = browser.get("/login/provider?next=https://evil.example/")
    assert dict(parse_qsl(urlsplit(answer.headers["location"]).query))["redirect_uri"] == f"{site.url}/login/callback"
    code, asked = site.provider.code(answer.headers["location"])
    done = come_back(browser, code, asked.state, next="https://evil.example/", redirect_uri="https://evil.example/")
    assert done.headers["location"] == "/"
    assert browser.get("/login/provider", headers={"Host": "evil.example"}).status_code == 421
    elsewhere = browser.get("/login/provider", headers={"Host": "localhost:1"})
    assert elsewhere.headers["location"] == f"{site.url}/login/provider"
    assert "set-cookie" not in elsewhere.headers
    assert browser.get("/login/callback", headers={"Host": "localhost:1"}).status_code == 404
    assert browser.post("/login/provider").status_code == 405


def test_what_the_provider_says_of_an_error_is_text(site):
    browser = site.browser()
    _, asked = begin(site, browser)
    answer = browser.get("/login/callback", params={"error": "<script>alert(1)</script>", "state": asked.state})
    assert answer.status_code == 403
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;" in answer.text


@pytest.mark.parametrize(
    ("groups", "path", "hats"),
    [
        ("platform", ("groups",), ["platform"]),
        (["everyone", "payments", 7, None, ["platform"]], ("groups",), ["payments", "everyone"]),
        ([f"group-{number}" for number in range(5000)] + ["payments"], ("groups",), ["payments"]),
        ({"roles": ["platform"]}, ("groups", "roles"), ["platform"]),
        ({"roles": ["platform"]}, ("groups",), []),
        ({"platform": True}, ("groups",), []),
        (["Platform", "platform ", "platforms"], ("groups",), []),
        ("platform everyone", ("groups",), []),
        (7, ("groups",), []),
        (True, ("groups",), []),
        (None, ("groups",), []),
        ([], ("groups", "roles", "x"), []),
    ],
)
def test_roles_are_what_the_claim_names_and_nothing_else(site, groups, path, hats):
    """Of odd types nothing; of thousands those that are configured, in the configuration's order."""
    site.use(role_claim=path)
    site.provider.claims = {"groups": groups}
    browser = site.browser()
    answer = sign_in(site, browser)
    if not hats:
        assert answer.status_code == 403
        assert "ada@example.com, and have no role here" in answer.text
        assert "Ask #egress" in answer.text
        assert not is_in(browser)
        [event, *_] = (
            site.sides[0].client().get("/api/v1/audit", params={"event_type": "admin_sign_in_refused"}).json()["items"]
        )
        assert event["details"]["subject"] == "u-1"
        return
    assert answer.status_code == 303
    page = browser.get("/requests").text
    assert all((f">{hat}</option>" in page) is (len(hats) > 1 and hat in hats) for hat in ROLES)


def test_a_claim_that_was_too_long_for_the_provider_is_explained(site):
    site.provider.claims = {"groups": None, "_claim_names": {"groups": "src1"}}
    assert "too many" in sign_in(site, site.browser()).text


def test_a_person_of_several_roles_wears_one_at_a_time(site):
    """The first of the configuration at the beginning; another by a form with its proof; one that it has not, never."""
    site.provider.claims = {"groups": ["everyone", "payments"]}
    browser = site.browser()
    sign_in(site, browser)
    assert [row["path"] for row in browser.get("/api/v1/groups").json()["items"]] == ["acme/platform/payments"]
    proof = browser.get("/groups").text.partition('name="csrf" value="')[2].partition('"')[0]
    assert browser.post("/role", data={"role": "everyone"}).status_code == 403
    assert browser.post("/role", data={"role": "platform", "csrf": proof}).status_code == 403
    assert browser.post("/role", data={"role": "everyone", "csrf": proof}).status_code == 303
    assert len(browser.get("/api/v1/groups").json()["items"]) > 1
    assert browser.post("/groups/acme/platform/payments", data={"enabled": "true", "csrf": proof}).status_code == 403
    secret = browser.cookies["outward_session"].partition("~")[0]
    browser.cookies.clear()
    browser.cookies.set("outward_session", f"{secret}~0")  # `platform`, which this person is not in
    assert [row["path"] for row in browser.get("/api/v1/groups").json()["items"]] == ["acme/platform/payments"]


def test_what_the_configuration_takes_away_is_gone_at_once(site):
    """A role, its scope, or the provider."""
    browser = site.browser()
    sign_in(site, browser)
    site.use(roles={"platform": Role("viewer", "other")})
    assert [row["path"] for row in browser.get("/api/v1/groups").json()["items"]] == ["other"]
    site.use(roles={"payments": ROLES["payments"]})
    assert not is_in(browser)
    site.use(roles=ROLES, issuer="https://other.example")
    assert not is_in(browser)
    site.use(issuer=site.provider.issuer)
    assert is_in(browser)


def test_a_session_ends_on_time(site):
    browser = site.browser()
    sign_in(site, browser)
    access = site.sides[0].administration._access
    access._clock = lambda: time.time() + 3601
    try:
        assert not is_in(browser)
    finally:
        access._clock = time.time


@pytest.mark.parametrize(
    "words",
    [
        {"issuer": "https://other.example"},
        {"token_endpoint": "http://token.example/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": None},
    ],
)
def test_a_provider_that_says_odd_things_of_itself_is_not_asked(site, words):
    """A page that says so, and tokens let in as ever."""
    site.provider.words = words
    site.use(role_claim=("groups",))
    browser = site.browser()
    answer = browser.get("/login/provider")
    assert answer.status_code == 503
    assert "does not answer as it should" in answer.text


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_a_provider_elsewhere_leads_nobody_to_this_machine(name):
    """Not to the ops port of the proxy that asks, for one."""
    oidc = Oidc("https://id.example", CLIENT, None, (), ("groups",), ROLES, 3600.0)
    words = {"issuer": oidc.issuer} | dict.fromkeys(
        ("authorization_endpoint", "token_endpoint", "jwks_uri"), "https://id.example/x"
    )

    def page(said):
        return real.Provider(oidc, lambda *_: Reply(200, json.dumps(said).encode())).page(a="b")

    assert page(words) == "https://id.example/x?a=b"
    for url in ("http://127.0.0.1:9090/", "http://localhost/", "http://id.example/", "file:///x", "https://x y/", 7):
        with pytest.raises(real.ProviderError, match="`https`"):
            page(words | {name: url})


def test_a_provider_that_is_down_keeps_tokens_from_nothing(site):
    site.provider.down = True
    site.use(role_claim=("groups",))
    browser = site.browser()
    assert browser.get("/login/provider").status_code == 503
    assert browser.post("/login", data={"token": TOKEN}).status_code == 303
    assert is_in(browser)


def test_a_provider_that_hangs_holds_up_nobody_else(site, monkeypatch):
    """A few wait for it; the next are told so at once, and tokens, pages and probes know nothing of it."""
    monkeypatch.setattr(keyfetch, "TIMEOUT", PATIENCE)
    site.use(role_claim=("groups",))
    side = site.sides[0]
    site.provider.answers.clear()
    try:
        with ThreadPoolExecutor(8) as waiting:
            asked = [waiting.submit(site.browser().get, "/login/provider") for _ in range(8)]
            wait_for(lambda: (admin := side.administration._admin) is not None and admin._entrance._busy == 8)
            assert site.browser().get("/login/provider").status_code == 503
            browser = site.browser()
            assert browser.post("/login", data={"token": TOKEN}).status_code == 303
            assert is_in(browser)
            assert browser.get("/healthz").status_code == 200
            site.provider.answers.set()
            assert {each.result(PATIENCE).status_code for each in asked} == {303}
    finally:
        site.provider.answers.set()


def test_strangers_cannot_have_the_provider_asked_without_end(site):
    browser = site.browser()
    answers = {browser.get("/login/provider").status_code for _ in range(100)}
    assert answers == {303, 429}
