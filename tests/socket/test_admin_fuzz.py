"""The admin API against its own document: what it promises is what it does, whatever is sent."""

import json
from pathlib import Path

import pytest

from harness.admin import TOKEN, admin, denied
from outward.ops.openapi import document

schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, settings  # noqa: E402
from schemathesis.checks import CHECKS, load_all_checks  # noqa: E402

CHECKED_IN = Path(__file__).parents[2] / "docs" / "openapi.json"
DECISION = "0193f0000000000000000000000000aa"
load_all_checks()


def test_the_checked_in_document_is_the_one_that_is_served(tmp_path):
    """`docs/openapi.json` is what programs are generated from."""
    assert json.loads(CHECKED_IN.read_text("utf-8")) == document()
    with admin(tmp_path) as running, running.client() as client:
        assert client.get("/api/v1/openapi.json").json() == document()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with admin(tmp_path_factory.mktemp("admin")) as found:
        found.write([denied(id=DECISION), denied(host=None, group=None, client=None)])
        found.receipt(1.0, conversation="chat", group="acme", searches=1, queries=["q"])
        yield found


# Tokens are the tests' own business: otherwise a case "without a token" would be sent with one.
schema = schemathesis.openapi.from_dict({key: value for key, value in document().items() if key != "security"})
stateless = schema.exclude(path="/events/stream")  # never ends; its own test reads it

# Positive answers may be 403 and 404 here: a generated group or conversation rarely exists.
EXPECTED = [
    check for name, check in zip(CHECKS.get_all_names(), CHECKS.get_all(), strict=True)
    if name not in {"positive_data_acceptance", "missing_required_header", "ignored_auth"}
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
@stateless.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_its_promise(running, case):
    """No 5xx, no undocumented status, no answer outside its schema, no nonsense accepted."""
    running.administration._access._requests._burst = 1e9
    response = case.call(base_url=f"{running.url}/api/v1", headers={"Authorization": f"Bearer {TOKEN}"})
    case.validate_response(response, checks=EXPECTED)


@pytest.mark.slow
@stateless.parametrize()
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_needs_a_token(running, case):
    """Without one, 401, whatever is sent."""
    response = case.call(base_url=f"{running.url}/api/v1")
    assert response.status_code in (400, 401, 403)
    assert response.status_code == 401 or "token" not in response.text
