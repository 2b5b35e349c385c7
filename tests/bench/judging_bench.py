"""What judging one long body costs, by format, in milliseconds of CPU: the best and the median of several runs.

    python tests/bench/judging_bench.py [--runs 15]

The bodies are conversations of about a megabyte in small messages, with tool calls and their results, and a search.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from python_build import described

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.governing import Desk

SIZE = 1_170_000  # bytes
WORDS = "Read the file again, please, and say what has changed in it since then. "


def anthropic() -> dict[str, Any]:
    """A conversation of text alone, in the smallest parts."""
    turn = {"role": "user", "content": [{"type": "text", "text": WORDS}]}
    return _filled(
        {"model": "m", "messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]}, turn
    )


def tools() -> dict[str, Any]:
    """A conversation of tool calls and results."""
    call = {"type": "tool_use", "id": "t1", "name": "Read", "input": {"file_path": "a.py", "limit": 10}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": WORDS}]}
    turns = {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}
    return _filled(
        {"model": "m", "messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]}, *turns
    )


def responses() -> dict[str, Any]:
    """OpenAI's items."""
    call = {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": '{"command": ["ls"]}'}
    output = {"type": "function_call_output", "call_id": "c1", "output": WORDS}
    return _filled({"model": "m", "input": [], "tools": [{"type": "web_search"}]}, call, output, key="input")


def _filled(body: dict[str, Any], *turns: dict[str, Any], key: str = "messages") -> dict[str, Any]:
    count = SIZE // sum(len(json.dumps(turn)) + 2 for turn in turns)
    body[key] = [turn for _ in range(count) for turn in turns]
    return body


def main() -> None:
    """Print a line for each format."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    desk = Desk()
    for name, host, path, body in (
        ("anthropic, text", "api.anthropic.com", "/v1/messages", anthropic()),
        ("anthropic, tools", "api.anthropic.com", "/v1/messages", tools()),
        ("openai, items", "api.openai.com", "/v1/responses", responses()),
    ):
        raw, taken = json.dumps(body).encode(), []
        for _ in range(runs):
            begun = time.process_time()
            outcome = desk.ask(host, path, raw=raw)
            taken.append((time.process_time() - begun) * 1000)
            assert outcome.deny is None, outcome.detail
        print(f"{name:18} {len(raw)} bytes  best {min(taken):5.1f} ms  median {statistics.median(taken):5.1f} ms")


if __name__ == "__main__":
    print(described())
    main()
