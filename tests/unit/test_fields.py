"""Fields that stay on their hop."""

from outward.http1.fields import hop_fields, reply_fields


def test_fields_of_this_hop_are_named_in_every_spelling():
    fields = [
        ("Connection", "close, X-Agent, Cookie, content-length"),
        ("Proxy-Authorization", "x"),
        ("proxy_authorization", "x"),
        ("Proxy.Connection", "x"),
        ("Outward-Conversation", "x"),
        ("OUTWARD_GROUP", "x"),
        ("Accept", "x"),
        ("Transfer-Encoding", "chunked"),
    ]
    names = hop_fields(fields)
    assert names >= {
        "connection",
        "x-agent",
        "cookie",
        "proxy-authorization",
        "proxy_authorization",
        "proxy.connection",
    }
    assert names >= {
        "outward-conversation",
        "outward_group",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
    }
    assert names.isdisjoint({"accept", "transfer-encoding", "content-length", "host", ""})
    assert "alt-svc" in reply_fields(fields)
    assert "proxy-status" in reply_fields([("Proxy-Status", "x")])
