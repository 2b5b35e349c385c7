"""Programs that send no proxy credentials behind `outward run`: a real JVM, and connections that come from elsewhere."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import OUTWARD, environment
from harness.web import Web

CLIENT = """
import java.net.*; import java.net.http.*;
public class Fetch {
  public static void main(String[] urls) throws Exception {
    for (String url : urls) {
      try { System.out.println(((HttpURLConnection) new URL(url).openConnection()).getResponseCode()); }
      catch (Exception error) { System.out.println(error); }
      try {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
      } catch (Exception error) { System.out.println(error); }
    }
  }
}
"""
ASK = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.set_tunnel("a.test", 443)
try:
    connection.connect()
except OSError as error:
    print(error, flush=True)
"""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    site = Web(tmp_path_factory.mktemp("origin"))
    (site.root / "index.html").write_text("the page")
    yield site
    site.close()


def configuration(folder: Path, web: Web, lane: str) -> Path:
    path = folder / "outward.yaml"
    path.write_text(
        "version: 1\n"
        f"server: {{state: '{folder}/state'}}\n"
        f"upstream: {{trust: ['{web.ca}'], internal: [127.0.0.1/32], dns: {{hosts: {{origin.test: [127.0.0.1]}}}}}}\n"
        f"groups: {{dev: {{lane: {lane}, denial: connect, allow: ['origin.test:{web.port}']}}}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    return path


def run(config: Path, web: Web, *words: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [OUTWARD, "run", "--config", config, *options, "--", *words],
        env={**environment(), "HOME": str(config.parent), "SSL_CERT_FILE": str(web.ca)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("javac") is None or shutil.which("java") is None:
        pytest.skip("no JDK is installed")
    folder = tmp_path_factory.mktemp("java")
    (folder / "Fetch.java").write_text(CLIENT)
    subprocess.run(["javac", "Fetch.java"], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


@pytest.mark.parametrize(("options", "lane"), [((), "inspect"), (("--jail",), "tunnel")], ids=["free", "jailed"])
def test_a_jvm_goes_through_the_proxy(
    tmp_path: Path, web: Web, compiled: Path, lane: str, options: tuple[str, ...]
) -> None:
    """Both of its clients: allowed pages, in both lanes, by the truststore; refusals; nobody unknown."""
    words = ("java", "-XX:-UsePerfData", "-cp", str(compiled), "Fetch", f"{web.url}/", "https://denied.test/")
    done = run(configuration(tmp_path, web, lane), web, *words, options=options)
    if "no jail" in done.stderr:
        pytest.skip(done.stderr)
    allowed, page, *denied = done.stdout.splitlines()
    assert (allowed, page) == ("200", "the page"), done.stderr
    assert ["403" in each for each in denied] == [True, True]
    assert "denied.test    2x  no_rule" in done.stderr
    assert "unknown_client" not in done.stderr


def test_a_jvms_own_truststore_is_kept(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx64m -Djavax.net.ssl.trustStore=/mine")
    done = run(configuration(tmp_path, web, "auto"), web, "sh", "-c", 'echo "$JAVA_TOOL_OPTIONS"')
    assert done.stdout.startswith("-Xmx64m -Djavax.net.ssl.trustStore=/mine -Dhttp.proxyHost=127.0.0.1 ")
    assert done.stdout.count("trustStore") == 1


def asked(tmp_path: Path) -> str:
    (tmp_path / "ask.py").write_text(ASK)
    return f"'{sys.executable}' '{tmp_path}/ask.py' ${{HTTPS_PROXY##*:}}"


@pytest.mark.parametrize("how", ["env -i {ask}", "setsid -f {ask} | cat"], ids=["child", "daemon"])
def test_a_connection_proves_that_it_is_the_commands(tmp_path: Path, web: Web, how: str) -> None:
    """Without credentials: of a child that has forgotten everything, and of a daemon that has left its parents."""
    done = run(configuration(tmp_path, web, "auto"), web, "sh", "-c", how.format(ask=asked(tmp_path)))
    assert "403" in done.stdout, done.stderr
    assert "a.test    1x  no_rule" in done.stderr


def test_a_connection_from_elsewhere_proves_nothing(tmp_path: Path, web: Web) -> None:
    """Neither descends it from the command, nor was it started with its token."""
    port, told = tmp_path / "port", tmp_path / "told"
    ask = asked(tmp_path).replace("${HTTPS_PROXY##*:}", f"$(cat '{port}')")
    with subprocess.Popen(["sh", "-c", f"until test -s '{port}'; do sleep 0.05; done; {ask} >'{told}'"]) as stranger:
        script = f"echo ${{HTTPS_PROXY##*:}} >'{port}'; until test -s '{told}'; do sleep 0.05; done"
        done = run(configuration(tmp_path, web, "auto"), web, "sh", "-c", script)
        stranger.wait(timeout=60)
    assert "407" in told.read_text(), done.stderr
    assert "a.test    1x  unknown_client" in done.stderr
