"""Stub vendors for real agents: they answer as the vendors do, streams and calls of client-run tools included.

What a person asked for decides: RUN has the model call the client's shell, SEARCH its search; everything else is a word.
"""

import asyncio
import contextlib
import json
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme

from harness import vendors
from harness.inspection import Seen, WebOrigin
from harness.vendors_asked import FROM_MEMORY, Writer, alpha_search, assist, cohere, converse, count, empty, mcp, search
from outward.search.inflate import decompress

SHELLS = ("Bash", "bash", "exec_command", "shell_command", "shell", "local_shell", "run_shell_command")
SEARCHES = ("WebSearch", "google_web_search", "websearch", "web_search")
COMMAND = "echo ran"
ANSWERED = "The tool said"
QUERY = "CVE-2025-50182 patched?"
ACCOUNT = {
    "id": "acc-1", "account_id": "acc-1", "name": "a", "structure": "personal", "plan_type": "pro",
    "workspace_backend_origin": "https://chatgpt.com", "account_routing_override": "NO_CONSTRAINT", "is_deactivated": False,
}  # fmt: skip


@contextlib.contextmanager
def serving(hosts: tuple[str, ...], folder: Path, address: str, port: int = 443) -> Iterator[WebOrigin]:
    """Serve the hosts over TLS in a thread; the authority's certificate is `folder/vendors.pem`.

    Raises:
        PermissionError: if this user may not listen there.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "vendors.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    authority.issue_cert(*hosts).configure_cert(context)
    origin, loop = WebOrigin(), asyncio.new_event_loop()
    origin.answer = answer
    started: list[Any] = []

    async def start() -> None:
        started.append(await asyncio.start_server(origin.serve, address, port, ssl=context, limit=2**20))

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield origin
    finally:
        loop.call_soon_threadsafe(started[0].close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def answer(seen: Seen, reader: asyncio.StreamReader, writer: Writer) -> None:
    """Answer a request as the vendor that it is for."""
    path = seen.line.split(" ")[1].partition("?")[0]
    if seen.all("content-encoding") == ["zstd"]:  # Codex, signed in
        seen.body = decompress(seen.body, "zstd", 10 << 20)
    if seen.line.startswith("POST"):
        for end, stub in _STUBS.items():
            if re.search(end, path):
                return await stub(seen, reader, writer)
    if path.endswith("/accounts/check"):
        return await vendors.reply(
            writer, 200, {"accounts": [ACCOUNT], "account_ordering": ["acc-1"], "default_account_id": "acc-1"}
        )
    if path.endswith("/tokeninfo"):
        return await vendors.reply(writer, 200, {"email": "a@example.com", "expires_in": 3600, "scope": "s"})
    if path.endswith("/models"):
        return await vendors.reply(writer, 200, {"object": "list", "data": [], "models": []})
    return await vendors.reply(writer, 404, {"error": {"message": "not here", "type": "not_found"}})


def _wants(text: str, names: list[str]) -> tuple[str, Any] | None:
    """Return the call of a client's tool that the words ask for."""
    shell = next((name for name in SHELLS if name in names), None)
    search = next((name for name in SEARCHES if name in names), None)
    if "exec" in names and ("RUN" in text or "SEARCH" in text):  # Codex: calls stand in a script
        tool, argument = (
            ("exec_command", {"cmd": COMMAND}) if "RUN" in text else ("web__run", {"search_query": [{"q": QUERY}]})
        )
        return "exec", f"text(await tools.{tool}({json.dumps(argument)}))"
    if "RUN" in text and shell:
        key = "cmd" if shell == "exec_command" else "command"
        value: Any = ["bash", "-lc", COMMAND] if shell == "shell" else COMMAND
        return shell, {key: value, "description": "say it"}
    if "SEARCH" in text and search:
        return search, {"query": QUERY}
    return None


def _blocks(content: Any) -> list[dict[str, Any]]:
    return content if isinstance(content, list) else [{"type": "text", "text": content or ""}]


def _words(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(map(_words, content))
    return str(content.get("text", "")) if isinstance(content, dict) else str(content or "")


async def messages(seen: Seen, reader: asyncio.StreamReader, writer: Writer) -> None:
    """Anthropic Messages: hosted search by `vendors.anthropic`, calls of the client's tools here."""
    body = json.loads(seen.body)
    tools = body.get("tools", [])
    if any(str(tool.get("type", "")).startswith("web_search") for tool in tools):
        return await vendors.anthropic(seen, reader, writer)
    blocks = [block for message in body["messages"] for block in _blocks(message["content"])]
    names = [tool["name"] for tool in tools] + [
        str(part.get("tool_name")) for block in blocks for part in _blocks(block.get("content"))
    ]
    results = [
        block for block in blocks if block.get("type") == "tool_result" and block["tool_use_id"] != "toolu_ToolSearch"
    ]
    said = _words([message["content"] for message in body["messages"] if message["role"] == "user"])
    call = None if results else _wants(said, names)
    if "SEARCH" in said and call is None and not results and "ToolSearch" in names:
        call = "ToolSearch", {"query": "select:WebSearch", "max_results": 1}
    content: list[Any] = [
        {"type": "text", "text": f"{ANSWERED}: {_words(results[0]['content'])}" if results else FROM_MEMORY}
    ]
    if call:
        content = [{"type": "tool_use", "id": f"toolu_{call[0]}", "name": call[0], "input": call[1]}]
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content,
        "stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    if body.get("stream"):
        return await vendors.events(writer, vendors.message_events(message), 400)
    return await vendors.reply(writer, 200, message)


async def responses(seen: Seen, reader: asyncio.StreamReader, writer: Writer) -> None:
    """OpenAI Responses: hosted search by `vendors.openai`, calls of the client's tools here."""
    body = json.loads(seen.body)
    given = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    last = given[-1]
    tools = [
        *body.get("tools", []),
        *(tool for item in given for tool in item.get("tools", []) if isinstance(tool, dict)),
    ]
    tools += [inner for tool in tools for inner in tool.get("tools", [])]
    words = _words(last.get("content"))
    if "SEARCH" in words and any(str(tool["type"]).startswith("web_search") for tool in tools):
        return await vendors.openai(seen, reader, writer)
    result = last.get("output") if str(last.get("type", "")).endswith("_output") else None
    call = None if result is not None else _wants(words, [str(tool.get("name", "")) for tool in tools])
    text = f"{ANSWERED}: {result if isinstance(result, str) else _words(result)}" if result is not None else FROM_MEMORY
    item: dict[str, Any] = {
        "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }  # fmt: skip
    if call:
        item = (
            {
                "type": "custom_tool_call",
                "id": "ctc_1",
                "call_id": "call_1",
                "name": "exec",
                "input": call[1],
                "status": "completed",
            }
            if call[0] == "exec"
            else {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "call_1",
                "name": call[0],
                "arguments": json.dumps(call[1]),
                "status": "completed",
            }
        )
    usage = {
        "input_tokens": 1,
        "output_tokens": 1,
        "total_tokens": 2,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": body["model"],
        "status": "completed",
        "output": [item],
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "usage": usage,
    }
    if not body.get("stream"):
        return await vendors.reply(writer, 200, response)
    stream = [
        (
            "response.created",
            {
                "type": "response.created",
                "sequence_number": 0,
                "response": {**response, "output": [], "status": "in_progress"},
            },
        )
    ]
    stream += [
        (
            "response.output_item.added",
            {
                "type": "response.output_item.added",
                "sequence_number": 1,
                "output_index": 0,
                "item": {**item, "status": "in_progress"},
            },
        )
    ]
    if not call:
        stream += [
            (
                "response.output_text.delta",
                {
                    "type": "response.output_text.delta",
                    "sequence_number": 2,
                    "item_id": "msg_1",
                    "output_index": 0,
                    "content_index": 0,
                    "delta": text,
                    "logprobs": [],
                },
            )
        ]
    stream += [
        (
            "response.output_item.done",
            {"type": "response.output_item.done", "sequence_number": 3, "output_index": 0, "item": item},
        ),
        ("response.completed", {"type": "response.completed", "sequence_number": 4, "response": response}),
    ]
    return await vendors.events(writer, iter(stream), 400)


async def chat(seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    """Chat Completions."""
    body = json.loads(seen.body)
    last = body["messages"][-1]
    result = _words(last.get("content")) if last["role"] == "tool" else None
    names = [tool["function"]["name"] for tool in body.get("tools", [])]
    call = None if result is not None else _wants(_words(last.get("content")), names)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": f"{ANSWERED}: {result}" if result is not None else FROM_MEMORY,
    }
    if call:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}],
        }
    end = "tool_calls" if call else "stop"
    whole = {"id": "c", "created": 1, "model": body["model"], "system_fingerprint": None}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": end}
        return await vendors.reply(
            writer, 200, {**whole, "object": "chat.completion", "choices": [choice], "usage": usage}
        )
    chunk = {**whole, "object": "chat.completion.chunk"}
    return await vendors.data(
        writer,
        iter(
            [
                {**chunk, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
                {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": end}], "usage": usage},
            ]
        ),
        "[DONE]",
    )


async def gemini(seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    """Gemini, also wrapped as the CLI's sign-in service has it."""
    body = json.loads(seen.body)
    wrapped = "request" in body
    inner = body.get("request", body)
    last = inner["contents"][-1]["parts"]
    tools = inner.get("tools", [])
    result = next((part["functionResponse"]["response"] for part in last if "functionResponse" in part), None)
    names = [each["name"] for tool in tools for each in tool.get("functionDeclarations", [])]
    call = None if result is not None else _wants(_words(last), names)
    part: dict[str, Any] = {"text": f"{ANSWERED}: {json.dumps(result)}" if result is not None else FROM_MEMORY}
    if call:
        part = {"functionCall": {"name": call[0], "args": call[1]}}
    if "responseJsonSchema" in inner.get("generationConfig", {}):  # which model is to answer
        part = {
            "text": json.dumps(
                {"complexity_reasoning": "r", "complexity_score": 1, "reasoning": "r", "model_choice": "flash"}
            )
        }
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    if any("googleSearch" in tool for tool in tools):
        candidate |= vendors.grounding()
    value: dict[str, Any] = {
        "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 2},
        "modelVersion": "m",
    }
    value = {"response": value} if wrapped else value
    if "alt=sse" in seen.line:
        return await vendors.data(writer, iter([value]))
    return await vendors.reply(writer, 200, [value] if ":stream" in seen.line else value)


_STUBS = {
    r"/messages$": messages,
    r"(/count_tokens|:countTokens)$": count,
    r"/responses$": responses,
    r"/alpha/search$": alpha_search,
    r"^/mcp$": mcp,
    r"/search$": search,
    r"^/v2/chat$": cohere,
    r"/converse$": converse,
    r"/chat/completions$": chat,
    r":loadCodeAssist$": assist,
    r":(listExperiments|retrieveUserQuota|recordCodeAssistMetrics)$": empty,
    r":(stream)?[gG]enerateContent$": gemini,
}
