"""The verbs that name the proxy's ports to others."""

import json

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


def test_an_ops_port_that_is_none_is_refused():
    """Before anything is asked."""
    told = CliRunner().invoke(main, ["health", "--ops", "here"])
    assert (told.exit_code, "expected an address and a port" in told.output) == (2, True)
