"""The proxy and the exemptions of the caller's environment."""

import pytest

from outward.cli.preset import PresetError, preset
from outward.config.settings import Settings
from outward.core.names import canonical_host
from outward.core.rules import Rules

URL = "http://corp%5Cme:s%40cret@proxy.corp.test:3128"


def test_a_proxy_becomes_the_parent_with_its_credentials_and_they_are_never_said():
    found = preset({"https_proxy": URL, "NO_PROXY": "localhost,127.0.0.1,.corp.test"})
    assert found.over(Settings()).parent_proxy == URL
    told = " ".join(found.told(Settings()))
    assert "https_proxy is the parent proxy: what is allowed goes through proxy.corp.test:3128" in told
    assert ".corp.test" in told
    assert "s%40cret" not in told + repr(found)


def test_a_proxy_that_the_configuration_names_stays():
    settings = Settings(parent_proxy="http://other.test:3128")
    found = preset({"HTTPS_PROXY": URL, "NO_PROXY": "intranet.test"})
    assert found.over(settings) is settings
    assert next(found.told(settings)) == "HTTPS_PROXY is not used: the configuration names a parent proxy"


@pytest.mark.parametrize("env", [{}, {"HTTPS_PROXY": ""}, {"HTTPS_PROXY": URL, "NO_PROXY": "*"}])
def test_there_is_no_parent_where_none_is_named_or_it_is_for_nothing(env: dict[str, str]):
    assert preset(env).over(Settings()) == Settings()


def test_the_parent_can_be_refused_whatever_it_is():
    found = preset({"HTTPS_PROXY": "socks5://127.0.0.1:1080"}, parent=False)
    assert (found.over(Settings()), list(found.told(Settings()))) == (Settings(), [])


@pytest.mark.parametrize(
    "url", ["socks5://h.test:1080", "https://h.test:443", "http://h.test", "h.test", "http://a b:1"]
)
def test_a_proxy_that_cannot_be_used_is_an_error_that_names_the_way_on(url: str):
    with pytest.raises(PresetError, match=r"HTTPS_PROXY names .*--no-parent"):
        preset({"HTTPS_PROXY": url})


def test_a_url_without_a_scheme_is_a_plain_one():
    assert preset({"HTTPS_PROXY": "proxy.test:3128"}).url == "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("word", "host", "port", "is_direct"),
    [
        ("corp.test", "corp.test", 443, True),
        ("corp.test", "git.corp.test", 443, True),
        (".corp.test", "git.corp.test", 22, True),
        ("*.corp.test", "git.corp.test", 443, True),
        ("corp.test", "evilcorp.test", 443, False),
        ("corp.test:8080", "corp.test", 8080, True),
        ("corp.test:8080", "corp.test", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("192.0.2.7", "192.0.2.7", 80, True),
        ("fd00::/8", "[fd00::1]", 443, True),
        ("::1", "[::1]", 443, True),
    ],
)
def test_no_proxy_is_read_as_programs_read_it(word: str, host: str, port: int, is_direct: bool):
    assert Rules(preset({"NO_PROXY": word}).direct).hold(canonical_host(host), port) is is_direct


def test_what_no_longer_goes_past_the_proxy_is_told_and_so_is_what_is_no_host():
    lines = list(preset({"no_proxy": "localhost 127.0.0.1,::1 a.test, b_b!.test"}).told(Settings()))
    assert lines == [
        "what NO_PROXY names (a.test) goes through Outward too",
        "NO_PROXY holds what is no host: b_b!.test",
    ]
