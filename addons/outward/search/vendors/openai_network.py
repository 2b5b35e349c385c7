"""Networks of OpenAI's containers, and uploads that would become batches."""

import re

from outward.core.reasons import Reason
from outward.search.adapter import Json, items, obj
from outward.search.jsonbody import JsonBodyError, decode
from outward.search.request import GovernedRequest, VendorCall
from outward.search.sandbox import existing, limited

_PURPOSE = re.compile(rb'name="?purpose"?[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)', re.IGNORECASE)


def container_of(turn: GovernedRequest, tool: Json, key: str) -> None:
    """Judge the container of a tool: one to be made gets a network; a shell without one is the client's own.

    Raises:
        RefusedError: for a named container that this group did not make.
    """
    container = tool.get(key)
    if isinstance(container, str):
        existing(turn, "container", container)
        return
    if container is None and key == "environment":
        turn.touched, container = True, {"type": "local"}
        tool[key] = container
    container_network(turn, obj(container, frozenset({"type", "container_id", "network_policy"})))


def container_network(turn: GovernedRequest, container: Json) -> None:
    """Set a container's network to what the group may reach itself; without a list it gets none.

    Raises:
        RefusedError: for an existing container that this group did not make.
    """
    kind = container.get("type")
    if kind in ("local", "client"):
        return
    if "container_id" in container or kind == "container_reference":
        existing(turn, "container", container.get("container_id"))
        return
    policy = obj(container.get("network_policy") or {}, frozenset({"type", "allowed_domains", "domain_secrets"}))
    asked = items(policy.get("allowed_domains")) if policy.get("type") == "allowlist" else []
    permitted = limited(turn, "container", asked, wildcards=False)
    mended: Json = {"type": "disabled"}
    if permitted:
        mended = {"type": "allowlist", "allowed_domains": permitted}
        secrets = [each for each in items(policy.get("domain_secrets")) if obj(each).get("domain") in permitted]
        if secrets:
            mended["domain_secrets"] = secrets
    turn.touched = turn.touched or container.get("network_policy") != mended
    container["network_policy"] = mended


def environment(turn: GovernedRequest, body: Json) -> None:
    """Set the network of an agents' environment, or of a template for some, to what the group may reach itself.

    Raises:
        RefusedError: for packages: whence they come cannot be limited.
    """
    wanted = obj(body["environment"]) if "environment" in body else body
    if wanted.get("type") == "self_hosted":
        return
    obj(wanted, frozenset({"network", "packages"}))
    if any(items(listed) for listed in obj(wanted.get("packages") or {}).values()):
        turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "whence an environment gets its packages cannot be limited")
    network = obj(wanted.get("network") or {}, frozenset({"access", "allowed_domains", "blocked_domains"}))
    access, listed = network.get("access"), items(network.get("allowed_domains"))
    asked = None if access == "enabled" or (access == "restricted" and not listed) else listed
    permitted = limited(turn, "environment", [] if access not in ("enabled", "restricted") else asked, wildcards=False)
    blocked = {str(name).lower() for name in items(network.get("blocked_domains"))}
    permitted = [name for name in permitted if not any(name == each or name.endswith("." + each) for each in blocked)]
    mended: Json = {"access": "restricted", "allowed_domains": permitted} if permitted else {"access": "disabled"}
    turn.touched = turn.touched or wanted.get("network") != mended
    wanted["network"] = mended


def no_batch(turn: GovernedRequest) -> None:
    """Refuse an upload that is, or might be, a batch of requests."""
    if uploads_batch(turn.call):
        turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a batch by file keeps its tools at the vendor", "batch")


def uploads_batch(call: VendorCall) -> bool:
    """Tell whether an upload is, or might be, a batch of requests."""
    if call.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        purposes = {match.strip().lower() for match in _PURPOSE.findall(call.body)}
        return len(purposes) != 1 or purposes.pop().startswith(b"batch")
    try:
        purpose = obj(decode(call.body), frozenset({"purpose"})).get("purpose")
    except JsonBodyError:
        return True
    return not isinstance(purpose, str) or purpose.lower().startswith("batch")
