"""Reason codes: the one table of why something was decided, what it means, and what to do about it.

Codes are stable: other people's dashboards and scripts rely on them.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a decision came out as it did."""

    RULE = "rule"
    REPORT_ONLY = "report_only"
    NO_RULE = "no_rule"
    DENIED_BY_RULE = "denied_by_rule"
    PORT_NOT_ALLOWED = "port_not_allowed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    PATH_NOT_ALLOWED = "path_not_allowed"
    RULE_EXPIRED = "rule_expired"
    SECRET_MISDIRECTED = "secret_misdirected"  # noqa: S105 - not a password
    RATE_LIMITED = "rate_limited"
    UNKNOWN_CLIENT = "unknown_client"
    BAD_CREDENTIALS = "bad_credentials"
    MALFORMED_HOST = "malformed_host"
    MALFORMED_REQUEST = "malformed_request"
    HOST_MISMATCH = "host_mismatch"
    SNI_MISMATCH = "sni_mismatch"
    SNI_MISSING = "sni_missing"
    ECH_REFUSED = "ech_refused"
    NOT_TLS = "not_tls"
    UPGRADE_NOT_ALLOWED = "upgrade_not_allowed"
    ADDRESS_NOT_PUBLIC = "address_not_public"
    RESOLVE_FAILED = "resolve_failed"
    UPSTREAM_FAILED = "upstream_failed"
    PARENT_REFUSED = "parent_refused"
    PARENT_FAILED = "parent_failed"
    LOOP = "loop"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    INTERNAL_ERROR = "internal_error"
    WEB_SEARCH_DISABLED = "web_search_disabled"
    WEB_SEARCH_NOT_OPTED_IN = "web_search_not_opted_in"
    WEB_SEARCH_NO_PERMITTED_SOURCE = "web_search_no_permitted_source"
    WEB_SEARCH_SPENT = "web_search_spent"
    WEB_SEARCH_UNFILTERABLE = "web_search_unfilterable"
    WEB_SEARCH_UNKNOWN_TOOL = "web_search_unknown_tool"
    WEB_SEARCH_UNINSPECTABLE = "web_search_uninspectable"
    WEB_SEARCH_UNKNOWN_ENDPOINT = "web_search_unknown_endpoint"
    WEB_SEARCH_UNKNOWN_FIELD = "web_search_unknown_field"
    SOURCE_OUTSIDE_ALLOWLIST = "source_outside_allowlist"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reason looks like on the wire (HTTP status, RFC 9209 error type) and to a person."""

    status: int
    error: str
    title: str
    cure: str
    retryable: bool = False

    @property
    def unreached(self) -> bool:
        """Whether something failed on the way to the destination, rather than that somebody decided against it.

        Example:
            >>> MEANINGS[Reason.TIMEOUT].unreached, MEANINGS[Reason.NO_RULE].unreached
            (True, False)
        """
        return self.status >= 500


_DENIED = "http_request_denied"
_MALFORMED = "http_request_error"

MEANINGS: dict[Reason, Meaning] = {
    Reason.RULE: Meaning(200, "", "An allow rule matched", "Nothing to do."),
    Reason.REPORT_ONLY: Meaning(
        200, "", "Let through in report mode", "Add a rule before the group's mode becomes `enforce`."
    ),
    Reason.NO_RULE: Meaning(
        403, _DENIED, "No rule allows this host", "Ask for the suggested allow line in the group's policy."
    ),
    Reason.DENIED_BY_RULE: Meaning(
        403, _DENIED, "A deny rule names this host", "The rule was written on purpose: ask the one who owns the policy."
    ),
    Reason.PORT_NOT_ALLOWED: Meaning(
        403, _DENIED, "The host is allowed, this port is not", "Ask for the suggested line, which names the port."
    ),
    Reason.METHOD_NOT_ALLOWED: Meaning(
        403, _DENIED, "The host is allowed, this method is not", "Use a permitted method, or ask for the method."
    ),
    Reason.PATH_NOT_ALLOWED: Meaning(
        403, _DENIED, "The host is allowed, this path is not", "Use a permitted path, or ask for the path."
    ),
    Reason.SECRET_MISDIRECTED: Meaning(
        403,
        _DENIED,
        "A secret's placeholder stands where no secret belongs",
        "Send the placeholder in the header that the rule sets, to the rule's own host, or send nothing there.",
    ),
    Reason.RULE_EXPIRED: Meaning(
        403, _DENIED, "The rule that allowed this has ended", "Ask for a later `until` on the rule, or for its removal."
    ),
    Reason.RATE_LIMITED: Meaning(
        429,
        _DENIED,
        "The group is at one of its limits",
        "Wait, as Retry-After says, and try again; if it lasts, ask for less at once, or for higher `limits`.",
        True,
    ),
    Reason.UNKNOWN_CLIENT: Meaning(
        403, _DENIED, "The proxy does not know this client", "Send the group's token, or ask for a `clients` entry."
    ),
    Reason.BAD_CREDENTIALS: Meaning(
        403, _DENIED, "The proxy credentials are wrong", "Check the token in the proxy URL; it may have been rotated."
    ),
    Reason.MALFORMED_HOST: Meaning(
        400, _MALFORMED, "The host name is malformed", "Write the plain host name or address of the destination."
    ),
    Reason.MALFORMED_REQUEST: Meaning(
        400, _MALFORMED, "The request is malformed or ambiguous", "Use an HTTP client that writes strict HTTP/1.1."
    ),
    Reason.HOST_MISMATCH: Meaning(
        403, _DENIED, "The Host header is not the destination", "Send the same host in the target and in `Host`."
    ),
    Reason.SNI_MISMATCH: Meaning(
        403, _DENIED, "The TLS server name is not the destination", "Send the CONNECT host as server name."
    ),
    Reason.SNI_MISSING: Meaning(
        403, _DENIED, "The TLS client sent no server name", "Use a client that sends a server name (SNI)."
    ),
    Reason.ECH_REFUSED: Meaning(
        403,
        _DENIED,
        "Encrypted ClientHello is refused here",
        "Turn off ECH in the client, or `ech: refuse` in the group.",
    ),
    Reason.NOT_TLS: Meaning(
        403, _DENIED, "The connection does not carry TLS", "Allow the protocol with `tls: false` on the rule."
    ),
    Reason.UPGRADE_NOT_ALLOWED: Meaning(
        403,
        _DENIED,
        "Inspected hosts are spoken to in HTTP/1.1, HTTP/2 and WebSocket only",
        "Use one of them; for what speaks another protocol inside TLS, give the group `lane: tunnel`.",
    ),
    Reason.ADDRESS_NOT_PUBLIC: Meaning(
        403,
        "destination_ip_prohibited",
        "The destination's address is not public",
        "If it is meant to be reached, give its rule `addresses`, such as `addresses: [10.0.0.5/32]`.",
    ),
    Reason.RESOLVE_FAILED: Meaning(
        502, "dns_error", "The host name does not resolve", "Check the spelling and the proxy's DNS servers.", True
    ),
    Reason.UPSTREAM_FAILED: Meaning(
        502,
        "destination_unavailable",
        "The destination could not be reached",
        "Check that it is up, and that this is its port; then try again.",
        True,
    ),
    Reason.PARENT_REFUSED: Meaning(
        502,
        "destination_unavailable",
        "The parent proxy refused the connection",
        "Ask the one who runs the parent proxy; a 407 means that `upstream.proxy` needs other credentials.",
    ),
    Reason.PARENT_FAILED: Meaning(
        502,
        "destination_unavailable",
        "The parent proxy did not open the connection",
        "Try again; if it stays so, look whether the parent proxy in `upstream.proxy` is up.",
        True,
    ),
    Reason.LOOP: Meaning(
        502,
        "proxy_loop_detected",
        "The request leads back to this proxy",
        "Point the client at the destination itself.",
    ),
    Reason.TOO_LARGE: Meaning(
        413, _MALFORMED, "The message is larger than the proxy reads", "Send less at once, or ask for less."
    ),
    Reason.TIMEOUT: Meaning(504, "connection_timeout", "The destination did not answer in time", "Try again.", True),
    Reason.OVERLOADED: Meaning(
        503,
        "connection_limit_reached",
        "The proxy has no room for this now",
        "Wait and try again; if it lasts, tell the operator.",
        True,
    ),
    Reason.INTERNAL_ERROR: Meaning(
        500,
        "proxy_internal_error",
        "The proxy failed and refused to guess",
        "Give the decision id to the operator.",
        True,
    ),
    Reason.WEB_SEARCH_DISABLED: Meaning(
        403, _DENIED, "Web search is off for this group", "Ask an administrator to turn on `web_search` for the group."
    ),
    Reason.WEB_SEARCH_NOT_OPTED_IN: Meaning(
        403, _DENIED, "This conversation has not opted in to web search", "Turn on web search in the conversation."
    ),
    Reason.WEB_SEARCH_NO_PERMITTED_SOURCE: Meaning(
        403, _DENIED, "No permitted source is left to search", "Ask for `web_search.sources` with the hosts you need."
    ),
    Reason.WEB_SEARCH_SPENT: Meaning(
        403,
        _DENIED,
        "The day's searches of this group are used up",
        "Ask without the search tool, wait for 00:00 UTC, or ask for a higher `web_search.per_day`.",
    ),
    Reason.WEB_SEARCH_UNFILTERABLE: Meaning(
        403,
        _DENIED,
        "This search tool cannot be limited to permitted sources",
        "Use a search tool with a domain filter.",
    ),
    Reason.WEB_SEARCH_UNKNOWN_TOOL: Meaning(
        403, _DENIED, "The request carries a tool that the proxy does not know", "Use a documented tool type."
    ),
    Reason.WEB_SEARCH_UNINSPECTABLE: Meaning(
        403,
        _DENIED,
        "The request to a model vendor, or its answer, cannot be read",
        "Send plain JSON over HTTP, without encoding.",
    ),
    Reason.WEB_SEARCH_UNKNOWN_ENDPOINT: Meaning(
        403,
        _DENIED,
        "The request goes to an endpoint of a model vendor that the proxy does not know",
        "Ask for the suggested line under `vendors`, or for a newer table.",
    ),
    Reason.WEB_SEARCH_UNKNOWN_FIELD: Meaning(
        403,
        _DENIED,
        "The request names an address under a key that the proxy does not know",
        "Ask for the suggested line under `vendors`, or leave the address out.",
    ),
    Reason.SOURCE_OUTSIDE_ALLOWLIST: Meaning(
        403, _DENIED, "A search source lies outside the allowlist", "Ask for the source's host in the policy."
    ),
}
