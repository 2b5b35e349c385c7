"""The admin API against its own document: what it promises is what it does, whatever is sent."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from harness.admin import TOKEN, admin, denied
from outward.ops.openapi import document

CHECKED_IN = Path(__file__).parents[2] / "docs" / "openapi.json"
DECISION = "0193f0000000000000000000000000aa"


def test_the_checked_in_document_is_the_one_that_is_served(tmp_path):
    """`docs/openapi.json` is what programs are generated from.

    Mend it with `.venv/bin/python -c "import json; from outward.ops.openapi import document;
    print(json.dumps(document(), indent=2))" > docs/openapi.json`.
    """
    assert json.loads(CHECKED_IN.read_text("utf-8")) == document()
    with admin(tmp_path) as running, running.client() as client:
        assert client.get("/api/v1/openapi.json").json() == document()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with admin(tmp_path_factory.mktemp("admin")) as found:
        found.write([denied(id=DECISION), denied(host=None, group=None, client=None)])
        found.receipt(1.0, conversation="chat", group="acme", searches=1, queries=["q"])
        yield found


OPERATIONS = [
    (path, method)
    for path, operations in document()["paths"].items()
    for method in operations
    if path != "/events/stream"  # never ends; its own test reads it
]
# Positive answers may be 403 and 404 here: a generated group or conversation rarely exists.
UNCHECKED = {"positive_data_acceptance", "missing_required_header", "ignored_auth"}


def try_out(path: str, method: str, test: Callable[[Any], None], **how: Any) -> None:
    """Send what the document says of an operation, and what it does not: at each of its bounds, then 15 at random.

    It is what `schema.parametrize()` makes of a test, made while the test runs: that costs seconds, and each process
    collects all tests.
    """
    import schemathesis  # noqa: PLC0415
    from schemathesis.generation.feedback import FeedbackSources  # noqa: PLC0415
    from schemathesis.pytest._test_builder import build_operation_test  # noqa: PLC0415

    # Tokens are the tests' own business: otherwise a case "without a token" would be sent with one.
    schema = schemathesis.openapi.from_dict({key: value for key, value in document().items() if key != "security"})
    build_operation_test(
        config=schema.config,
        operation=schema[path][method],
        test_func=test,
        given_kwargs={},
        feedback=FeedbackSources(),
        explicit_settings=settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), **how),
    )()


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_keeps_its_promise(running, path, method):
    """No 5xx, no undocumented status, no answer outside its schema, no nonsense accepted."""
    from schemathesis.checks import CHECKS, load_all_checks  # noqa: PLC0415

    load_all_checks()
    every = zip(CHECKS.get_all_names(), CHECKS.get_all(), strict=True)
    expected = [check for name, check in every if name not in UNCHECKED]
    running.administration._access._requests._burst = 1e9

    def keeps(case: Any) -> None:
        answer = case.call(base_url=f"{running.url}/api/v1", headers={"Authorization": f"Bearer {TOKEN}"})
        case.validate_response(answer, checks=expected)

    try_out(path, method, keeps)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_needs_a_token(running, path, method):
    """Without one, 401, whatever is sent."""

    def refuses(case: Any) -> None:
        response = case.call(base_url=f"{running.url}/api/v1")
        assert response.status_code in (400, 401, 403)
        assert response.status_code == 401 or "token" not in response.text

    try_out(path, method, refuses, phases=[Phase.generate])  # nothing is read before the token is judged
