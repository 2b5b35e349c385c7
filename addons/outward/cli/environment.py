"""The variables that send a command's traffic through the proxy and make it trust the proxy's CA.

Owns the list of variables that tools read. Pure: reads no file and starts nothing. It persuades tools that read the
environment, and holds nobody: what ignores it goes its own way, and only a network boundary stops that.
"""

import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

NO_PROXY = "localhost,127.0.0.1,::1"

# Take a URL. curl reads `http_proxy` in lower case only; others read upper case only.
_URL = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "GRPC_PROXY", "WS_PROXY", "WSS_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "grpc_proxy", "ws_proxy", "wss_proxy",
    "DOCKER_HTTP_PROXY", "DOCKER_HTTPS_PROXY", "YARN_HTTP_PROXY", "YARN_HTTPS_PROXY",
    # These two tools prefer a proxy from their own configuration files over the variables above.
    "PIP_PROXY", "npm_config_proxy", "npm_config_https_proxy",
)  # fmt: skip
_EXEMPT = ("NO_PROXY", "no_proxy", "npm_config_noproxy")
# Replace the system's roots, so that the file must hold those too.
_BUNDLE = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT", "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO", "DENO_CERT", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "NIX_SSL_CERT_FILE", "BUNDLE_SSL_CA_CERT",
    "HTTPLIB2_CA_CERTS", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "npm_config_cafile", "NPM_CONFIG_CAFILE",
    "CODEX_CA_CERTIFICATE", "PERL_LWP_SSL_CA_FILE",
)  # fmt: skip
# Variables with which a caller may already name roots of its own: they must not be lost.
TRUSTED_BEFORE = (*_BUNDLE, "NODE_EXTRA_CA_CERTS")


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """Where the proxy is, and what it asks for.

    Attributes:
        user: name of the conversation; empty for none.
        token: the client's secret; empty for none.
    """

    host: str
    port: int
    user: str = ""
    token: str = field(default="", repr=False)

    @property
    def authority(self) -> str:
        """The part between `http://` and the path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        credentials = f"{quote(self.user, safe='')}:{quote(self.token, safe='')}@" if self.user or self.token else ""
        return f"{credentials}{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL that tools take; it holds the token."""
        return f"http://{self.authority}"


def client_environment(
    proxy: ProxyAddress, bundle: Path, base: Mapping[str, str], truststore: Path | None = None
) -> dict[str, str]:
    """Return the variables to set over `base`.

    Args:
        proxy: where the proxy is.
        bundle: PEM file with the system's roots and the proxy's CA.
        base: the environment that the command would have had; variables that hold lists are extended.
        truststore: the bundle as PKCS12, for a JVM; None if there is none.
    """
    return {
        **dict.fromkeys(_URL, proxy.url),
        **dict.fromkeys(_EXEMPT, NO_PROXY),
        **dict.fromkeys(_BUNDLE, str(bundle)),
        "RSYNC_PROXY": proxy.authority,
        "PERL_LWP_ENV_PROXY": "1",
        **_gcloud(proxy),
        **_node(bundle, base),
        **_git(proxy, base),
        **_ssh(base),
        **(_java(proxy, truststore, base) if truststore else {}),
    }


def _gcloud(proxy: ProxyAddress) -> dict[str, str]:
    found = {
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": proxy.host,
        "CLOUDSDK_PROXY_PORT": str(proxy.port),
    }
    if proxy.token:
        found |= {"CLOUDSDK_PROXY_USERNAME": proxy.user, "CLOUDSDK_PROXY_PASSWORD": proxy.token}
    return found


def _node(bundle: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Node adds its extra file to the roots that it brings; releases before 22.21 need help with proxies."""
    preload = f"--require={_quoted(Path(__file__).with_name('node_fetch.cjs'))}"
    options = base.get("NODE_OPTIONS", "")
    return {
        "NODE_EXTRA_CA_CERTS": str(bundle),
        "NODE_USE_ENV_PROXY": "1",
        "NODE_OPTIONS": options if preload in options else f"{options} {preload}".strip(),
    }


def _quoted(path: Path) -> str:
    text = str(path)
    return f'"{text}"' if " " in text else text


def _git(proxy: ProxyAddress, base: Mapping[str, str]) -> dict[str, str]:
    """Git sends credentials only after a 407 unless told, and prefers a proxy from its own files over variables."""
    settings = {"http.proxy": proxy.url}
    start = int(base["GIT_CONFIG_COUNT"]) if base.get("GIT_CONFIG_COUNT", "").isdecimal() else 0
    found = {"GIT_HTTP_PROXY_AUTHMETHOD": "basic", "GIT_CONFIG_COUNT": str(start + len(settings))}
    for index, (key, value) in enumerate(settings.items(), start):
        found |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    return found


def _ssh(base: Mapping[str, str]) -> dict[str, str]:
    """Git and rsync start ssh by these; ssh reads no proxy variable, and takes a command instead (ssh_config(5))."""
    words = (sys.executable, "-I", str(Path(__file__).with_name("through.py")))
    option = "ProxyCommand=" + " ".join(shlex.quote(word).replace("%", "%%") for word in words) + " %h %p"
    found = {}
    for name, other in (("GIT_SSH_COMMAND", "GIT_SSH"), ("RSYNC_RSH", "")):
        command = base.get(name, "") or ("" if base.get(other) else "ssh")
        if command and option not in command and Path(command.split()[0]).name == "ssh":
            found[name] = f"{command} -o {shlex.quote(option)}"
    return found


def has_java(environ: Mapping[str, str]) -> bool:
    """Tell whether there is a JVM to be started."""
    return bool(environ.get("JAVA_HOME")) or shutil.which("java", path=environ.get("PATH")) is not None


def _java(proxy: ProxyAddress, truststore: Path, base: Mapping[str, str]) -> dict[str, str]:
    """A JVM reads properties, and says on standard error that it did. It has none for proxy credentials."""
    given = base.get("JAVA_TOOL_OPTIONS", "")
    options = {
        "http.proxyHost": proxy.host,
        "http.proxyPort": str(proxy.port),
        "https.proxyHost": proxy.host,
        "https.proxyPort": str(proxy.port),
        "http.nonProxyHosts": "localhost|127.*|[::1]",
    }
    if "-Djavax.net.ssl.trustStore=" not in given:  # the caller's own is not to be lost
        options |= {
            "javax.net.ssl.trustStore": str(truststore),
            "javax.net.ssl.trustStoreType": "PKCS12",
            "javax.net.ssl.trustStorePassword": "outward",  # it protects nothing
        }
    ours = " ".join(f'"-D{name}={value}"' if " " in value else f"-D{name}={value}" for name, value in options.items())
    return {"JAVA_TOOL_OPTIONS": f"{given} {ours}".strip()}
