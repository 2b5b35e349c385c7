"""The verbs that name the proxy's ports to others."""

import json
import socket

import pytest
from click.testing import CliRunner

from outward.cli.main import main


@pytest.mark.parametrize(
    ("listens", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]"), ("localhost", "localhost"), ("10.1.2.3", "10.1.2.3")],
)
def test_the_variables_name_what_a_client_reaches(tmp_path, listens, reached):
    """Wherever the proxy listens: on every address, on one, or on a name's."""
    config = tmp_path / "outward.yaml"
    config.write_text(f'version: 1\nserver: {{listen: "{listens}:8080", state: {tmp_path}}}\n')
    told = CliRunner().invoke(main, ["env", "--json", "--config", str(config)])
    assert json.loads(told.output)["HTTPS_PROXY"] == f"http://{reached}:8080"


@pytest.mark.parametrize("written", ["here", ":9090", "127.0.0.1:"])
def test_an_ops_port_that_is_none_is_refused(written):
    """Before anything is asked."""
    told = CliRunner().invoke(main, ["health", "--ops", written])
    assert (told.exit_code, "expected an address and a port" in told.output) == (2, True)


def test_nobody_there_is_said_in_words():
    """Without the system's numbers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host, port = free.getsockname()
        told = CliRunner().invoke(main, ["health", "--ops", f"{host}:{port}"])
    assert (told.exit_code, told.output) == (1, f"no answer from {host}:{port}: Connection refused\n")


def test_a_file_that_cannot_be_used_is_no_reason_to_be_unhealthy(tmp_path):
    """The proxy went on with its last good settings; the check asks where one listens by default, and says so."""
    config = tmp_path / "outward.yaml"
    config.write_text("server: {stat: /nowhere}\n")
    told = CliRunner().invoke(main, ["health", "--config", str(config)], env={"OUTWARD_OPS": ""})
    assert "asking 127.0.0.1:9090, the default" in told.stderr
    assert told.exit_code in {0, 1}  # whether somebody listens there
    config.unlink()
    assert CliRunner().invoke(main, ["health", "--config", str(config)]).exit_code == 3
