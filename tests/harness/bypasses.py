"""The ways around a proxy that the network tests try, in every topology."""

from dataclasses import dataclass

from harness.netns import CANARY, CANARY6, METADATA, NODE, PROXY_UID


@dataclass(frozen=True)
class Bypass:
    """A way around: `act` is one of the agent's, with what it takes."""

    title: str
    act: str
    host: str
    port: int


# Stopped by the network.
BY_NETWORK = (
    Bypass("direct TCP", "tcp", CANARY, 443),
    Bypass("direct TCP over IPv6", "tcp", CANARY6, 443),
    Bypass("UDP", "udp", CANARY, 80),
    Bypass("QUIC", "udp", CANARY, 443),
    Bypass("QUIC over IPv6", "udp", CANARY6, 443),
    Bypass("ICMP echo", "ping", CANARY, 0),
    Bypass("ICMPv6 echo", "ping", CANARY6, 0),
    Bypass("DNS over UDP", "dns", CANARY, 53),
    Bypass("DNS over TCP", "tcp", CANARY, 53),
    Bypass("metadata service", "tcp", METADATA, 80),
    Bypass("the node", "tcp", NODE, 10250),
    Bypass("a detached child process", "child", CANARY, 443),
)
# Stopped because the agent has no privilege, and can gain none.
BY_PRIVILEGE = (
    Bypass("the proxy's user id", "become", "", PROXY_UID),
    Bypass("removing the firewall", "flush", "", 0),
    Bypass("raw packets", "raw", CANARY, 0),
    Bypass("a network namespace of one's own", "namespace", CANARY, 443),
)
BYPASSES = (*BY_NETWORK, *BY_PRIVILEGE)
