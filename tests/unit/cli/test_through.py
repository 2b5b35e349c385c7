"""What `through` says of a proxy that cannot be one, and that it never says its URL."""

import socket
import threading

import pytest

from outward.cli.through import NoWayError, main, tunnel, way_of


@pytest.mark.parametrize(
    "url",
    [
        "http://[x",
        "http://user:hunter2@[x",
        "http://user:hunter2\u2100@proxy.test:3128",
        "http://user:hunter2@proxy.test:port",
        "http://user:hunter2\udcff@proxy.test:3128",
        "http://user:hunter2@.proxy..test:3128",
        f"http://user:hunter2@{'a' * 64}.test:3128",
        f"http://user:hunter2@{'\u00e4' * 64}.test:3128",
        "ftp://user:hunter2@proxy.test",
    ],
)
def test_a_proxy_that_cannot_be_is_told_in_one_sentence_without_its_url(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.environ", {"HTTPS_PROXY": url})
    assert main(["host.test", "22"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("outward: ")
    assert told.err.count("\n") == 1
    assert "hunter2" not in told.err


def test_a_refusal_of_any_length_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as stream:
                stream.recv(4096)
                stream.sendall(b"HTTP/1.1 403 no\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        way = way_of({"HTTPS_PROXY": f"http://127.0.0.1:{server.getsockname()[1]}"})
        with pytest.raises(NoWayError, match="refused by the proxy with status 403"):
            tunnel(way, "host.test", 22)
        thread.join()
