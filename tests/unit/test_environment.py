"""The variables that `run` and `env` set."""

from pathlib import Path

import pytest

from outward.cli.environment import NO_PROXY, ProxyAddress, client_environment

PROXY = ProxyAddress("127.0.0.1", 4321, "run", "se/cret")
URL = "http://run:se%2Fcret@127.0.0.1:4321"
BUNDLE = Path("/state/ca-bundle.pem")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "PIP_PROXY"])
def test_proxy_variables_hold_the_url_with_its_credentials_escaped(name: str) -> None:
    """A slash in a token must not end the authority."""
    assert client_environment(PROXY, BUNDLE, {})[name] == URL


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy", "npm_config_noproxy"])
def test_nothing_but_loopback_is_exempt(name: str) -> None:
    """What the caller exempted would pass unjudged."""
    assert client_environment(PROXY, BUNDLE, {"NO_PROXY": "*", "no_proxy": "*"})[name] == NO_PROXY


@pytest.mark.parametrize(
    "name",
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT", "NODE_EXTRA_CA_CERTS"],
)
def test_ca_variables_name_the_combined_bundle(name: str) -> None:
    """Most of them replace the system's roots, which tunnelled connections need."""
    assert client_environment(PROXY, BUNDLE, {})[name] == str(BUNDLE)


def test_node_options_of_the_caller_are_kept() -> None:
    """Running inside another run adds the preload once."""
    first = client_environment(PROXY, BUNDLE, {"NODE_OPTIONS": "--max-old-space-size=99"})
    assert first["NODE_OPTIONS"].startswith("--max-old-space-size=99 --require=")
    assert client_environment(PROXY, BUNDLE, first)["NODE_OPTIONS"] == first["NODE_OPTIONS"]


def test_git_settings_of_the_caller_are_kept() -> None:
    """Git numbers the settings that it takes from variables."""
    base = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c"}
    found = client_environment(PROXY, BUNDLE, base)
    assert (found["GIT_CONFIG_COUNT"], found["GIT_CONFIG_KEY_1"], found["GIT_CONFIG_VALUE_1"]) == (
        "2",
        "http.proxy",
        URL,
    )
    assert "GIT_CONFIG_KEY_0" not in found


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (ProxyAddress("127.0.0.1", 80), "http://127.0.0.1:80"),
        (ProxyAddress("::1", 80), "http://[::1]:80"),
        (ProxyAddress("127.0.0.1", 80, token="t"), "http://:t@127.0.0.1:80"),
    ],
)
def test_urls(address: ProxyAddress, url: str) -> None:
    """An IPv6 address stands in brackets; without credentials there is no `@`."""
    assert address.url == url


def test_the_token_is_not_shown_by_accident() -> None:
    """Tracebacks and logs show values by their repr."""
    assert "se/cret" not in repr(PROXY)


@pytest.mark.parametrize(
    ("base", "begins"),
    [
        ({}, {"GIT_SSH_COMMAND": "ssh -o ", "RSYNC_RSH": "ssh -o "}),
        ({"GIT_SSH_COMMAND": "ssh -i key"}, {"GIT_SSH_COMMAND": "ssh -i key -o ", "RSYNC_RSH": "ssh -o "}),
        ({"GIT_SSH_COMMAND": "plink"}, {"RSYNC_RSH": "ssh -o "}),
        ({"GIT_SSH": "/opt/ssh-wrapper"}, {"RSYNC_RSH": "ssh -o "}),
    ],
)
def test_ssh_is_led_through_the_proxy_as_the_caller_starts_it(base: dict[str, str], begins: dict[str, str]) -> None:
    """Options of the caller's stay; another program than ssh takes other options, and is left alone."""
    names = ("GIT_SSH_COMMAND", "RSYNC_RSH")
    found = {name: value for name, value in client_environment(PROXY, BUNDLE, base).items() if name in names}
    assert found.keys() == begins.keys()
    assert all(value.startswith(begins[name]) and value.endswith("%h %p'") for name, value in found.items())
    assert not client_environment(PROXY, BUNDLE, found).keys() & found.keys()  # a run within a run adds nothing
