# SPDX-License-Identifier: GPL-3.0-or-later
"""A small strict server of OpenAI's chat completions interface, for tests of what is around vLLM.

    python3 openai_server.py --port PORT --key-file FILE --served-model-name NAME

It refuses a wrong key, an unknown model, an unknown field and a conversation whose turns do not alternate. It
answers with the number of messages and the last one. To "endless" it answers until its client is gone, and
then writes "gone" to its standard error. It needs Python alone, so that it runs on a local TPU VM too.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY_FILE, KEY = "/etc/tpuops/vllm-api-key", "a-key-that-nobody-prints"
FIELDS = {"model", "messages", "stream", "max_tokens", "temperature"}


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key = model = ""

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests read the standard error."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(200, {})
        else:
            self.answered(self.models)

    def do_POST(self) -> None:
        self.answered(self.completions)

    def answered(self, method: Any) -> None:
        try:
            if self.headers.get("Authorization") != f"Bearer {self.key}":
                raise Refused(401, "Unauthorized")
            method()
        except Refused as error:
            self.reply(error.status, {"error": {"message": str(error), "code": error.status}})
        except (BrokenPipeError, ConnectionResetError):
            print("gone", file=sys.stderr, flush=True)
            self.close_connection = True

    def reply(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def models(self) -> None:
        if self.path != "/v1/models":
            raise Refused(404, "Not Found")
        self.reply(200, {"object": "list", "data": [{"id": self.model, "object": "model"}]})

    def completions(self) -> None:
        if self.path != "/v1/chat/completions":
            raise Refused(404, "Not Found")
        if self.headers.get("Content-Type") != "application/json":
            raise Refused(415, "Content-Type is not application/json")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if unknown := set(body) - FIELDS:
            raise Refused(400, f"extra fields: {sorted(unknown)}")
        if body.get("model") != self.model:
            raise Refused(404, f"The model `{body.get('model')}` does not exist.")
        turns = [message["role"] for message in body["messages"]]
        talk = turns[1:] if turns[:1] == ["system"] else turns
        if not talk or talk != ["user", "assistant"] * (len(talk) // 2) + ["user"]:
            raise Refused(400, f"turns do not alternate: {turns}")
        asked = body["messages"][-1]["content"]
        if asked == "too long":
            raise Refused(400, "This model's maximum context length is 8192 tokens.")
        text = f"{len(talk)} messages, the last: {asked}"
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            self.reply(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.event({"delta": {"role": "assistant", "content": ""}})
        for piece in text:
            self.event({"delta": {"content": piece}})
        while asked == "endless":
            self.event({"delta": {"content": "."}})
        self.event({"delta": {}, "finish_reason": "stop"})
        self.chunk("data: [DONE]\n\n")
        self.chunk("")

    def event(self, choice: dict[str, Any]) -> None:
        chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
        self.chunk(f"data: {json.dumps(chunk)}\n\n")

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def server(port: int, key: str, model: str) -> ThreadingHTTPServer:
    handler = type("Bound", (Handler,), {"key": key, "model": model})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def installation(model: str) -> str:
    """A shell command that has systemd serve it on a node, by a unit such as the role writes."""
    arguments = (
        "/opt/openai_server.py",
        "--port",
        "8000",
        "--key-file",
        "%d/api-key",
        "--served-model-name",
        model,
    )
    argv = "".join(f' \\\n  "{each}"' for each in arguments)
    key = f"LoadCredential=api-key:{KEY_FILE}"
    unit = f"[Unit]\nX-Run=qwen3-4b-sft\nX-Serves=hub\n[Service]\n{key}\nExecStart=/usr/bin/python3{argv}\n"
    files = {
        "/opt/openai_server.py": Path(__file__).read_text(),
        KEY_FILE: f"{KEY}\n",
        "/etc/systemd/system/vllm.service": unit,
    }
    write = "; ".join(f"printf %s {shlex.quote(text)} >{path}" for path, text in files.items())
    script = f"mkdir -p /etc/tpuops; umask 077; {write}; systemctl daemon-reload; systemctl restart vllm"
    wait = "until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8000))' 2>/dev/null; "
    return f"sudo -n sh -c {shlex.quote(script)} && {wait}do sleep 0.1; done"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--served-model-name")
    given = parser.parse_args()
    server(given.port, given.key_file.read_text().strip(), given.served_model_name).serve_forever()
