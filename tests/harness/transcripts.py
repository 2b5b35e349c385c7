"""Long conversations of coding agents, as each vendor's API takes them: the usual work, with addresses everywhere.

Whatever is in them was read, written or run by the client: no vendor fetches any of it.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"command": "curl -s https://internal.example.net/health && git clone git@git.example.net:a/b.git"},
    {"url": "https://elsewhere.example/page", "prompt": "What does it say?"},
    {"file_path": "/src/app/config.py", "old_string": "https://old.example/", "new_string": "https://new.example/"},
    {"image_url": "https://pictures.example/a.png", "server_url": "https://mcp.elsewhere.example/", "uri": "s3://b/k"},
    {
        "query": "site:elsewhere.example release notes",
        "allowed_domains": ["elsewhere.example"],
        "webhook": "https://w.example",
    },
    {"todos": [{"content": "See https://tracker.example/1", "status": "pending", "id": "1"}]},
)
RESULTS: tuple[str, ...] = (
    '{"name": "app", "homepage": "https://app.example", "repository": {"url": "git+https://git.example/app.git"}}',
    "https://first.example/line\nhttps://second.example/line\n",
    '<!doctype html><a href="https://linked.example/">Home</a><img src="//cdn.example/x.png"><script src="http://s.example">',
    'Traceback (most recent call last):\n  File "a.py", line 1\nhttpx.ConnectError: https://down.example:8443/v1?q=1#f',
    "# README\n\n[![build](https://badge.example/b.svg)](https://ci.example)\n\nSee <https://docs.elsewhere.example>.",
    "version: 3\nservices: {db: {image: registry.example/db:1, environment: {URL: 'postgres://u:p@db.example/x'}}}",
    '{\'url\': \'https://python.example\', "type": "web_search_20250305", "mcp_servers": [{"url": "https://m.example"}]}',
    "",
)
SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "https://schemas.example/tool.json",
    "type": "object",
    "properties": {
        "url": {
            "type": "string",
            "format": "uri",
            "default": "https://default.example/",
            "examples": ["https://e.example"],
        },
        "image_url": {"$ref": "https://schemas.example/image.json"},
        "type": {"enum": ["web_search", "https://enum.example/"]},
        "server_url": {"const": "https://const.example/", "description": "As at https://described.example/"},
    },
    "required": ["url"],
}
WORDS = (
    "Fix the test. The issue is https://tracker.example/issues/17, the log https://ci.example/log.txt.",
    "Compare http://localhost:8080/ with https://staging.example/ and s3://bucket/key, please.",
    "Now write it down in docs/guide.md, and link to https://docs.elsewhere.example/guide#part.",
    "https://only.example/an/address",
    'What is `curl -X POST https://api.example/v1 -d \'{"tools": [{"type": "web_search"}]}\'` for?',
)
TURNS = 30


def _rounds() -> Iterator[tuple[int, str, dict[str, Any], str]]:
    for turn in range(TURNS):
        yield turn, WORDS[turn % len(WORDS)], ARGUMENTS[turn % len(ARGUMENTS)], RESULTS[turn % len(RESULTS)]


def _names() -> list[str]:
    return ["Bash", "Read", "Edit", "WebFetch", "WebSearch", "mcp__browser__navigate"]


def anthropic() -> dict[str, Any]:
    """As Claude Code asks: cached parts, thinking, images in results, documents, and searches of earlier turns."""
    messages: list[dict[str, Any]] = []
    for turn, words, arguments, result in _rounds():
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
        paper = {
            "type": "document", "title": "https://t.example", "context": "https://c.example", "citations": {"enabled": True},
            "source": {"type": "text", "media_type": "text/plain", "data": "https://in-a-document.example/"},
        }  # fmt: skip
        asked = [
            {"type": "text", "text": words, "cache_control": {"type": "ephemeral"}},
            *([picture, paper] if turn % 7 == 0 else []),
        ]
        call = {"type": "tool_use", "id": f"toolu_{turn}", "name": _names()[turn % 6], "input": arguments}
        said = [
            {"type": "thinking", "thinking": "Perhaps https://thought.example/?", "signature": "c2ln"},
            {"type": "text", "text": f"I look at {words}", "citations": [{"type": "char_location", "cited_text": "https://q.example", "document_index": 0, "document_title": "https://t.example", "start_char_index": 0, "end_char_index": 3}] if turn % 5 == 0 else None},
            call,
        ]  # fmt: skip
        answer = {
            "type": "tool_result",
            "tool_use_id": call["id"],
            "is_error": turn % 9 == 8,
            "content": [{"type": "text", "text": result or "(nothing)"}, picture],
        }
        plain = {"type": "tool_result", "tool_use_id": call["id"], "content": result}
        messages += [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": said},
            {"role": "user", "content": [answer if turn % 2 else plain]},
        ]
    found = {
        "type": "web_search_result",
        "url": "https://found.example/",
        "title": "https://t.example",
        "encrypted_content": "eA==",
        "page_age": None,
    }
    messages.append(
        {"role": "assistant", "content": [
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "https://asked.example"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]},
            {"type": "text", "text": "So it is.", "citations": [{"type": "web_search_result_location", "url": "https://found.example/", "title": "t", "cited_text": "c", "encrypted_index": "eA=="}]},
        ]}
    )  # fmt: skip
    messages.append({"role": "user", "content": "Thank you: https://last.example/"})
    tools = [{"name": name, "description": "See https://tools.example/", "input_schema": SCHEMA} for name in _names()]
    tools += [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    ]
    return {
        "model": "claude-sonnet-5", "max_tokens": 32000, "stream": True, "messages": messages, "tools": tools,
        "system": [{"type": "text", "text": "You are an agent. Docs: https://docs.vendor.example/", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "https://user.example/1"}, "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tool_choice": {"type": "auto"},
    }  # fmt: skip


def chat() -> dict[str, Any]:
    """As agents ask in the format that most vendors share."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Docs: https://docs.vendor.example/"}]
    for turn, words, arguments, result in _rounds():
        seen = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
        call = {
            "id": f"call_{turn}",
            "type": "function",
            "function": {"name": _names()[turn % 6], "arguments": json.dumps(arguments)},
        }
        messages += [
            {"role": "user", "content": [{"type": "text", "text": words}, seen] if turn % 4 == 0 else words},
            {"role": "assistant", "content": f"https://said.example/{turn}", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": result},
        ]
    function = {"name": "WebFetch", "description": "https://tools.example/", "parameters": SCHEMA}
    return {
        "model": "m", "messages": messages, "stream": True, "tools": [{"type": "function", "function": {**function, "name": name}} for name in _names()],
        "tool_choice": "auto", "user": "https://user.example/", "stop": ["https://stop.example"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    }  # fmt: skip


def responses() -> dict[str, Any]:
    """As Codex asks: items, reasoning, shell calls, custom tools, images."""
    items: list[dict[str, Any]] = []
    for turn, words, arguments, result in _rounds():
        parts: list[dict[str, Any]] = [{"type": "input_text", "text": words}]
        if turn % 4 == 0:
            parts.append({"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"})
            parts.append(
                {"type": "input_file", "filename": "https.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"}
            )
        name, ident = _names()[turn % 6], f"call_{turn}"
        items += [
            {"type": "message", "role": "user", "content": parts},
            {"type": "reasoning", "id": f"rs_{turn}", "summary": [{"type": "summary_text", "text": "https://thought.example"}], "encrypted_content": "eA=="},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "https://said.example", "annotations": [{"type": "url_citation", "url": "https://cited.example", "title": "t", "start_index": 0, "end_index": 1}]}]},
            {"type": "function_call", "call_id": ident, "name": name, "arguments": json.dumps(arguments)},
            {"type": "function_call_output", "call_id": ident, "output": result},
            {"type": "custom_tool_call", "call_id": f"c{turn}", "name": "apply_patch", "input": f"*** Update File: a\n+{words}"},
            {"type": "custom_tool_call_output", "call_id": f"c{turn}", "output": result},
            {"type": "local_shell_call", "call_id": f"l{turn}", "status": "completed", "action": {"type": "exec", "command": ["curl", "https://run.example"], "env": {"URL": "https://env.example"}}},
            {"type": "local_shell_call_output", "call_id": f"l{turn}", "output": result},
        ]  # fmt: skip
    items.append(
        {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "open_page", "url": "https://opened.example"},
        }
    )
    tools: list[dict[str, Any]] = [
        {
            "type": "function",
            "name": name,
            "description": "https://tools.example",
            "parameters": SCHEMA,
            "strict": False,
        }
        for name in _names()
    ]
    tools += [
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "d",
            "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "https://g.example"'},
        },
        {"type": "local_shell"},
    ]
    return {
        "model": "gpt-6-codex", "instructions": "https://instructions.example/", "input": items, "tools": tools, "tool_choice": "auto",
        "stream": True, "store": False, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "https://key.example".replace("https://", ""),
        "metadata": {"repository": "https://git.example/app", "url": "https://m.example"}, "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
    }  # fmt: skip


def gemini() -> dict[str, Any]:
    """As Gemini CLI asks: parts, function calls and responses, inline data."""
    contents: list[dict[str, Any]] = []
    for turn, words, arguments, result in _rounds():
        name = _names()[turn % 6]
        asked: list[dict[str, Any]] = [{"text": words}]
        if turn % 4 == 0:
            asked.append({"inlineData": {"mimeType": "image/png", "data": PIXEL}})
        response = {"output": result, "url": "https://answered.example", "links": ["https://l.example"], "error": None}
        contents += [
            {"role": "user", "parts": asked},
            {"role": "model", "parts": [{"text": "https://thought.example", "thought": True, "thoughtSignature": "eA=="}, {"functionCall": {"id": str(turn), "name": name, "args": arguments}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": str(turn), "name": name, "response": response}}]},
        ]  # fmt: skip
    declared = [
        {"name": name, "description": "https://tools.example", "parametersJsonSchema": SCHEMA} for name in _names()
    ]
    declared.append(
        {
            "name": "old",
            "description": "d",
            "parameters": {"type": "OBJECT", "properties": {"url": {"type": "STRING", "example": "https://x.example"}}},
        }
    )
    return {
        "contents": contents, "tools": [{"functionDeclarations": declared}],
        "systemInstruction": {"role": "user", "parts": [{"text": "Docs: https://docs.vendor.example"}]},
        "generationConfig": {"temperature": 0, "responseMimeType": "application/json", "responseJsonSchema": SCHEMA, "stopSequences": ["https://stop.example"]},
    }  # fmt: skip


def converse() -> dict[str, Any]:
    """As agents ask Bedrock: every value in a member of its own."""
    messages: list[dict[str, Any]] = []
    for turn, words, arguments, result in _rounds():
        ident, name = f"tooluse_{turn}", _names()[turn % 6]
        asked: list[dict[str, Any]] = [{"text": words}]
        if turn % 4 == 0:
            asked.append({"image": {"format": "png", "source": {"bytes": PIXEL}}})
            asked.append({"document": {"format": "txt", "name": "notes", "source": {"bytes": PIXEL}}})
        content = [
            {"json": {"url": "https://answered.example", "items": [{"image_url": "https://i.example"}]}},
            {"text": result or "-"},
        ]
        messages += [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": "https://thought.example", "signature": "eA=="}}}, {"toolUse": {"toolUseId": ident, "name": name, "input": arguments}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": ident, "content": content, "status": "success"}}, {"cachePoint": {"type": "default"}}]},
        ]  # fmt: skip
    specs = [
        {"toolSpec": {"name": name, "description": "https://tools.example", "inputSchema": {"json": SCHEMA}}}
        for name in _names()
    ]
    return {
        "messages": messages, "system": [{"text": "https://system.example"}], "toolConfig": {"tools": specs, "toolChoice": {"auto": {}}},
        "inferenceConfig": {"maxTokens": 4096, "stopSequences": ["https://stop.example"]}, "requestMetadata": {"repository": "https://git.example"},
    }  # fmt: skip


def mistral() -> dict[str, Any]:
    """As agents ask Mistral: the shared format, with its own parts."""
    body = chat()
    body.pop("user")
    for message in body["messages"]:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])  # it takes objects too
        if message["role"] == "tool":
            message["name"] = "Bash"
    body["messages"].append(
        {
            "role": "assistant",
            "prefix": True,
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "https://thought.example"}]},
                {"type": "text", "text": "https://said.example"},
            ],
        }
    )
    return body | {"prompt_mode": "reasoning", "safe_prompt": False}


def cohere() -> dict[str, Any]:
    """As agents ask Cohere: documents of the client's own."""
    body = chat()
    for key in ("user", "stop", "response_format", "tool_choice"):
        body.pop(key)
    documents = [
        {
            "id": "1",
            "data": {"title": "https://t.example", "text": "https://d.example", "url": "https://document.example"},
        }
    ]
    return body | {
        "documents": documents,
        "stop_sequences": ["https://stop.example"],
        "response_format": {"type": "json_object", "json_schema": SCHEMA},
    }


CONVERSATIONS: tuple[tuple[str, str, Callable[[], dict[str, Any]]], ...] = (
    ("api.anthropic.com", "/v1/messages", anthropic),
    ("api.anthropic.com", "/v1/messages/count_tokens", anthropic),
    (
        "us-east5-aiplatform.googleapis.com",
        "/v1/projects/p/locations/us-east5/publishers/anthropic/models/m:streamRawPredict",
        anthropic,
    ),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/anthropic.claude/invoke-with-response-stream", anthropic),
    ("res.services.ai.azure.com", "/anthropic/v1/messages", anthropic),
    ("openrouter.ai", "/api/v1/messages", anthropic),
    ("api.x.ai", "/v1/messages", anthropic),
    ("api.openai.com", "/v1/chat/completions", chat),
    ("res.openai.azure.com", "/openai/deployments/d/chat/completions", chat),
    ("api.groq.com", "/openai/v1/chat/completions", chat),
    ("api.x.ai", "/v1/chat/completions", chat),
    ("openrouter.ai", "/api/v1/chat/completions", chat),
    ("api.fireworks.ai", "/inference/v1/chat/completions", chat),
    ("generativelanguage.googleapis.com", "/v1beta/openai/chat/completions", chat),
    ("api.cohere.com", "/compatibility/v1/chat/completions", chat),
    ("api.openai.com", "/v1/responses", responses),
    ("chatgpt.com", "/backend-api/codex/responses", responses),
    ("api.x.ai", "/v1/responses", responses),
    ("api.groq.com", "/openai/v1/responses", responses),
    ("openrouter.ai", "/api/v1/responses", responses),
    ("api.fireworks.ai", "/inference/v1/responses", responses),
    ("api.perplexity.ai", "/v1/responses", responses),
    ("api.mistral.ai", "/v1/responses", responses),
    ("res.services.ai.azure.com", "/openai/v1/responses", responses),
    ("bedrock-mantle.us-east-1.api.aws", "/v1/responses", responses),
    ("bedrock-mantle.us-east-1.api.aws", "/v1/chat/completions", chat),
    ("bedrock-mantle.us-east-1.api.aws", "/anthropic/v1/messages", anthropic),
    ("api.fireworks.ai", "/inference/v1/messages", anthropic),
    ("generativelanguage.googleapis.com", "/v1beta/models/gemini-3-pro:streamGenerateContent", gemini),
    (
        "us-central1-aiplatform.googleapis.com",
        "/v1/projects/p/locations/us-central1/publishers/google/models/m:generateContent",
        gemini,
    ),
    (
        "cloudcode-pa.googleapis.com",
        "/v1internal:streamGenerateContent",
        lambda: {"model": "m", "project": "p", "user_prompt_id": "u", "request": gemini()},
    ),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/m/converse-stream", converse),
    ("api.mistral.ai", "/v1/chat/completions", mistral),
    ("api.cohere.com", "/v2/chat", cohere),
)
