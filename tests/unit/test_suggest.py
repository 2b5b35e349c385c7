"""The line that would allow what was blocked, where one would."""

import pytest

from outward.core.reasons import Reason
from outward.core.suggest import suggestion


@pytest.mark.parametrize(
    ("reason", "host", "port", "method", "line"),
    [
        (Reason.NO_RULE, "a.example", 443, None, "- a.example"),
        (Reason.NO_RULE, "a.example", None, None, "- a.example"),
        (Reason.NO_RULE, "a.example", 8443, None, '- "a.example:8443"'),
        (Reason.PORT_NOT_ALLOWED, "a.example", 22, None, '- "a.example:22"'),
        (Reason.NO_RULE, "host1", 443, None, "- host1"),
        (Reason.NO_RULE, "1.1.1.1", 443, None, "- 1.1.1.1"),
        (Reason.NO_RULE, "2606:4700::1", 443, None, '- "[2606:4700::1]"'),
        (Reason.METHOD_NOT_ALLOWED, "a.example", 443, "PUT", '- {host: "a.example", methods: [PUT]}'),
        (Reason.METHOD_NOT_ALLOWED, "a.example", 443, None, None),
        (Reason.NOT_TLS, "a.example", 22, None, '- {host: "a.example", ports: [22], tls: false}'),
        (Reason.DENIED_BY_RULE, "a.example", 443, None, None),
        (Reason.NO_RULE, "169.254.169.254", 80, None, None),
        (Reason.NO_RULE, "10.0.0.1", 443, None, None),
        (Reason.NO_RULE, "::1", 443, None, None),
    ],
)
def test_a_line_is_suggested_only_where_it_would_help(
    reason: Reason, host: str, port: int | None, method: str | None, line: str | None
) -> None:
    assert suggestion(reason, host, port, method) == line
