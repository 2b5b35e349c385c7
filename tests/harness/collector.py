"""A receiver of OTLP logs on loopback, from OpenTelemetry's own messages: it takes, refuses, hangs, goes and comes back."""

import gzip
import http.server
from collections import deque
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness.receiver import Receiver


class Collector(Receiver):
    """An HTTP server whose next answers a test chooses; without a choice it takes everything.

    Attributes:
        taken: attributes of log records that were answered with 200, repetitions included.
        requests: headers of every request, and how many records it held.
        resources: attributes of the resources that were seen.
        answers: status, headers and partial success of the next answers. A status of 0 hangs until `release`, and drops
            the connection; -1 takes the records and drops the connection.
        spans: those of traces, as OpenTelemetry's own messages.
        poison: hosts; a request with one of them is answered 400.
    """

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.requests: list[tuple[dict[str, str], int]] = []
        self.resources: list[dict[str, Any]] = []
        self.answers: deque[tuple[int, dict[str, str], tuple[int, str]]] = deque()
        self.poison: set[str] = set()
        self.spans: list[Any] = []
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/logs"

    @property
    def uids(self) -> set[str]:
        return {record["log.record.uid"] for record in self.taken}

    def answer(self, status: int, headers: dict[str, str] | None = None, rejected: tuple[int, str] = (0, "")) -> None:
        self.answers.append((status, headers or {}, rejected))

    def answer_to(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if request.path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            self.spans += [span for ours in traces.resource_spans for scope in ours.scope_spans for span in scope.spans]
            request.send_response(200)
            request.end_headers()
            return
        assert request.path == "/v1/logs"
        if request.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        message = ExportLogsServiceRequest.FromString(body)
        records = [
            _plain(record.attributes) | {"body": record.body.string_value, "severity": record.severity_text}
            for ours in message.resource_logs
            for scope in ours.scope_logs
            for record in scope.log_records
        ]
        self.requests.append(({key.lower(): value for key, value in request.headers.items()}, len(records)))
        self.resources += [_plain(ours.resource.attributes) for ours in message.resource_logs]
        status, headers, rejected = self.answers.popleft() if self.answers else (200, {}, (0, ""))
        if self.poison & {record.get("server.address") for record in records}:
            status = 400
        if status == 0:
            self.release.wait(30)
            return
        if status in (200, -1):
            self.taken += records[rejected[0] :]
        if status == -1:
            return
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if rejected != (0, ""):
            answer = ExportLogsServiceResponse()
            answer.partial_success.rejected_log_records, answer.partial_success.error_message = rejected
            request.wfile.write(answer.SerializeToString())


def _plain(attributes: Any) -> dict[str, Any]:
    """Return attributes as plain values."""
    return {each.key: next(iter(MessageToDict(each.value).values())) for each in attributes}
