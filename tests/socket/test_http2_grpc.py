"""gRPC through the inspect lane, with its own client and server: calls, streams, statuses, cancels, and denials."""

import threading
from collections.abc import Iterator

import grpc
import pytest

from harness.grpc_world import NAME, GrpcWorld, grpc_world
from harness.policies import group, policy, rule
from harness.waiting import PATIENCE, wait_for
from outward.core.model import Lane, LaneChoice, Verdict
from outward.core.paths import PathGlob
from outward.core.reasons import Reason

SECONDS = PATIENCE  # for a call that is not about deadlines


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcWorld]:
    paths = tuple(PathGlob(f"/test.Echo/{name}") for name in ("Unary", "*Stream", "Bidi", "Fail", "Wait", "Flood"))
    allowing = policy(group(rule(NAME, methods=frozenset({"POST"}), paths=paths), lane=LaneChoice.INSPECT))
    with grpc_world(allowing, tmp_path_factory.mktemp("grpc")) as found:
        yield found


@pytest.fixture
def world(running: GrpcWorld) -> GrpcWorld:
    running.settle()
    running.echo.metadata.clear()
    running.echo.waiting.clear()
    running.echo.cancelled.clear()
    return running


@pytest.fixture
def channel(world: GrpcWorld) -> Iterator[grpc.Channel]:
    with world.channel() as found:
        yield found


def test_calls_of_all_four_kinds_arrive_each_as_one_event(world: GrpcWorld, channel: grpc.Channel) -> None:
    unary, call = channel.unary_unary("/test.Echo/Unary").with_call(b"hello", timeout=SECONDS)
    assert unary == b"hello"
    assert dict(call.trailing_metadata()) == {"x-count": "5"}  # and no decision but ours
    assert list(channel.unary_stream("/test.Echo/ServerStream")(b"5", timeout=SECONDS)) == [
        b"0",
        b"1",
        b"2",
        b"3",
        b"4",
    ]
    pieces = [b"a" * 70_000] * 20  # more than all windows
    assert channel.stream_unary("/test.Echo/ClientStream")(iter(pieces), timeout=SECONDS) == b"1400000"
    assert list(channel.stream_stream("/test.Echo/Bidi")(iter([b"a", b"bb"]), timeout=SECONDS)) == [b"a", b"bb"]
    events = wait_for(lambda: len(world.world.events) == 4 and world.world.events)
    assert [event.path for event in events] == [
        f"/test.Echo/{name}" for name in ("Unary", "ServerStream", "ClientStream", "Bidi")
    ]
    first = events[0]
    assert (first.verdict, first.lane, first.status, first.method) == (Verdict.ALLOW, Lane.INSPECT, 200, "POST")
    assert (first.host, first.sni, first.address, first.bytes_up) == (NAME, NAME, "127.0.0.1", 10)
    assert "user-agent" in world.echo.metadata[0]
    assert world.echo.left is not None  # the client's deadline
    assert world.echo.left < SECONDS


def test_messages_of_a_stream_come_as_they_are_sent(channel: grpc.Channel) -> None:
    """Each answer is waited for before the next question: nothing is held back until the end."""
    asked: list[bytes] = [b"1", b"2", b"3"]
    turn = threading.Semaphore(1)

    def asking() -> Iterator[bytes]:
        for each in asked:
            turn.acquire()
            yield each

    answers = []
    for answer in channel.stream_stream("/test.Echo/Bidi")(asking(), timeout=SECONDS):
        answers.append(answer)
        turn.release()
    assert answers == asked


def test_a_large_message_passes_both_ways(channel: grpc.Channel) -> None:
    message = bytes(3_000_000)
    assert channel.unary_unary("/test.Echo/Unary")(message, timeout=SECONDS) == message


def test_the_status_of_a_failed_call_is_the_servers(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as told:
        channel.unary_unary("/test.Echo/Fail")(b"", timeout=SECONDS)
    assert (told.value.code(), told.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing: ü")


def test_a_call_that_is_not_allowed_is_told_in_the_words_of_grpc(world: GrpcWorld, channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as told:
        channel.unary_unary("/test.Other/Unary")(b"hello", timeout=SECONDS)
    assert told.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "path_not_allowed" in told.value.details()
    (event,) = wait_for(lambda: list(world.world.events))
    assert (event.verdict, event.reason, event.status) == (Verdict.DENY, Reason.PATH_NOT_ALLOWED, 403)
    metadata = dict(told.value.trailing_metadata())
    assert metadata["outward-decision"] == event.id
    assert "path_not_allowed" in metadata["proxy-status"]
    assert channel.unary_unary("/test.Echo/Unary")(b"still there", timeout=SECONDS) == b"still there"
    assert len(world.echo.metadata) == 1  # the other one never arrived


def test_a_call_that_the_client_gives_up_ends_at_the_server_too(world: GrpcWorld, channel: grpc.Channel) -> None:
    world.echo.go.clear()
    call = channel.unary_unary("/test.Echo/Wait").future(b"", timeout=SECONDS)
    assert world.echo.waiting.wait(SECONDS)
    call.cancel()
    assert world.echo.cancelled.wait(SECONDS)
    world.echo.go.set()
    (event,) = wait_for(lambda: list(world.world.events))
    assert (event.verdict, event.path, event.status) == (Verdict.ALLOW, "/test.Echo/Wait", None)


def test_a_reader_that_stops_stops_the_sender(world: GrpcWorld, channel: grpc.Channel) -> None:
    """Windows are given back as far as the client takes what was sent: 64 MiB gather nowhere."""
    world.echo.sent = 0
    call = channel.unary_stream("/test.Echo/Flood")(b"1024", timeout=SECONDS)
    next(call)
    wait_for(
        lambda: world.on(lambda: any(stream._held for each in world.upstreams() for stream in each.streams.values()))
    )
    assert world.echo.sent < 16 << 20
    assert sum(len(each) for each in call) == 1023 * 65_536


def test_a_server_that_goes_away_finishes_what_it_has_begun(world: GrpcWorld, channel: grpc.Channel) -> None:
    """GOAWAY ends no call that is under way; the next one goes over another connection."""
    world.echo.go.clear()
    call = channel.unary_unary("/test.Echo/Wait").future(b"late", timeout=SECONDS)
    (used,) = wait_for(lambda: world.on(lambda: [each for each in world.upstreams() if each.streams]))
    world.on(lambda: used.leaving(used.http2._connection.highest_outbound_stream_id))
    assert channel.unary_unary("/test.Echo/Unary")(b"next", timeout=SECONDS) == b"next"
    world.echo.go.set()
    assert call.result() == b"late"
