# SPDX-License-Identifier: GPL-3.0-or-later
"""A chat on a real terminal with a strict server, as far as no node is needed."""

from __future__ import annotations

import importlib
import os
import pty
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.utils import vars as ansible_vars
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.chat_client import Client, ServerError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.chat_session import Chat, ask
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.terminal import Terminal, rows, without_last
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.tunnel import Tunnel, TunnelError, command

from tests import openai_server

model_chat: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.action.model_chat")

MODEL = "me/qwen3-4b-sft"


@pytest.fixture
def port() -> Iterator[int]:
    with openai_server.server(0, "secret", MODEL) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served.server_address[1]
        served.shutdown()


@pytest.fixture
def client(port: int) -> Client:
    return Client(lambda: socket.create_connection(("127.0.0.1", port)), "secret")


@dataclass
class User:
    """The other side of a terminal."""

    descriptor: int
    seen: str = ""

    def types(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def sees(self, text: str) -> None:
        """Wait until the text is on the screen; what came before it is forgotten."""
        while text not in self.seen:
            self.seen += os.read(self.descriptor, 4096).decode("utf-8", "replace")
        self.seen = self.seen.partition(text)[2]


@dataclass
class Talk:
    user: User
    chat: Chat
    thread: threading.Thread

    def end(self) -> list[str]:
        """End the chat; the messages of the user in its history."""
        self.user.types("\x04")
        self.thread.join()
        return [message["content"] for message in self.chat.messages if message["role"] == "user"]


@pytest.fixture
def talk(client: Client) -> Iterator[Talk]:
    controller, device = pty.openpty()
    with Terminal(device) as screen:
        chat = Chat(client, MODEL, screen)
        thread = threading.Thread(target=chat.run, daemon=True)
        thread.start()
        yield Talk(User(controller), chat, thread)
    os.close(controller)
    os.close(device)


def test_a_conversation_has_its_history(talk: Talk) -> None:
    talk.user.sees("> ")
    talk.user.types("こんにちは\r")
    talk.user.sees("1 messages, the last: こんにちは\r\n> ")
    talk.user.types("again\r")
    talk.user.sees("3 messages, the last: again\r\n> ")
    talk.user.types("/new\rfresh\r")
    talk.user.sees("1 messages, the last: fresh\r\n> ")
    talk.end()
    assert [message["role"] for message in talk.chat.messages] == ["user", "assistant"]


def test_ctrl_c_stops_an_answer_and_not_the_chat(talk: Talk) -> None:
    talk.user.sees("> ")
    talk.user.types("endless\r")
    talk.user.sees("endless....")
    talk.user.types("\x03")
    talk.user.sees("(stopped)\r\n> ")
    talk.user.types("\x03")
    talk.user.sees("Ctrl-D ends the chat.\r\n> ")
    talk.user.types("and\r")
    talk.user.sees("3 messages, the last: and\r\n> ")
    assert talk.end() == ["endless", "and"]


def test_a_refused_message_is_forgotten(talk: Talk) -> None:
    talk.user.sees("> ")
    talk.user.types("too long\r")
    talk.user.sees("server: HTTP status 400: This model's maximum context length is 8192 tokens. /new")
    talk.user.types("short\r")
    talk.user.sees("1 messages, the last: short\r\n> ")
    assert talk.end() == ["short"]


def test_pasted_lines_are_one_message(talk: Talk) -> None:
    talk.user.sees("> ")
    talk.user.types("\x1b[200~def f():\r    pass\x1b[201~ # end\r")
    talk.user.sees("1 messages, the last: def f():\r\n    pass # end\r\n> ")
    assert talk.end() == ["def f():\n    pass # end"]


def test_editing_counts_characters(talk: Talk) -> None:
    talk.user.sees("> ")
    talk.user.types("日本語x\x7f\x7f国\r")
    talk.user.sees("1 messages, the last: 日本国\r\n> ")
    talk.user.types("one two\x17three\x15four\x1b[A\x1b[D\r")
    talk.user.sees("3 messages, the last: four\r\n> ")
    talk.user.types("gone\x03kept\r")
    talk.user.sees("5 messages, the last: kept\r\n> ")
    assert talk.end() == ["日本国", "four", "kept"]


def test_control_characters_of_a_model_are_not_obeyed(client: Client, talk: Talk) -> None:
    talk.user.sees("> ")
    talk.user.types("\x1b[200~a\x9bb\u202ec\x1b[201~\r")
    talk.user.sees("1 messages, the last: abc\r\n> ")  # not typed either
    assert talk.end() == ["abc"]


def test_rows_of_wide_characters() -> None:
    assert [rows(text, 4) for text in ("", "abcd", "abcde", "日本語", "a日本", "a\nb\n", "ab\ncdefg")] == [
        0, 0, 1, 1, 1, 2, 2,
    ]  # fmt: skip
    assert (without_last("か\u3099"), without_last("ab"), without_last("")) == ("", "a", "")


def test_the_terminal_is_as_before(port: int) -> None:
    import termios

    controller, device = pty.openpty()
    before = termios.tcgetattr(device)
    with pytest.raises(RuntimeError), Terminal(device):
        assert termios.tcgetattr(device) != before
        raise RuntimeError
    assert termios.tcgetattr(device) == before
    os.close(controller)
    os.close(device)


def test_one_question(client: Client) -> None:
    assert client.model() == MODEL
    assert ask(client, MODEL, "What?", "Be short.") == "1 messages, the last: What?"
    with pytest.raises(ServerError, match="HTTP status 404: The model `other` does not exist"):
        ask(client, "other", "What?")


def test_what_the_server_says_of_a_wrong_key(port: int) -> None:
    with pytest.raises(ServerError, match="api key: the server refused it"):
        Client(lambda: socket.create_connection(("127.0.0.1", port)), "wrong").model()


def test_settings_are_sent_where_they_are_given(port: int) -> None:
    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port))

    assert ask(Client(connect, "secret", max_tokens=5, temperature=0.0), MODEL, "x")
    with pytest.raises(ServerError, match="extra fields"):
        ask(Client(connect, "secret", maximum=5), MODEL, "x")


def test_the_command_of_a_host_is_that_of_the_inventory() -> None:
    host = {
        "ansible_host": "192.0.2.1",
        "ansible_user": "tpu",
        "ansible_port": 2222,
        "ansible_ssh_common_args": "-o 'ProxyCommand=ssh -W %h:%p me@b'",
        "ansible_ssh_private_key_file": "/a b",
    }
    assert command(host) == (
        "ssh", "-o", "ProxyCommand=ssh -W %h:%p me@b", "-o", "IdentitiesOnly=yes", "-i", "/a b",
        "-p", "2222", "tpu@192.0.2.1",
    )  # fmt: skip
    assert command({}) == ()


def fake_ssh(directory: Path, text: str) -> tuple[str, ...]:
    path = directory / "ssh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return (str(path), "host")


def test_a_tunnel_ends_with_its_task_and_its_files_go(tmp_path: Path) -> None:
    with Tunnel(fake_ssh(tmp_path, "echo key; exec cat >/dev/null"), 8000, "/k") as tunnel:
        assert tunnel.key == "key"
        kept = tunnel.keep("api-key", "key")
        assert Path(kept).stat().st_mode & 0o777 == 0o600
    assert not Path(kept).parent.exists()


def test_why_there_is_no_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(kept))
    with pytest.raises(TunnelError, match="ansible_host: "):
        Tunnel((), 8000, "/k").__enter__()
    with pytest.raises(TunnelError, match=r"ssh: no tunnel to the node: Connection refused"):
        Tunnel(fake_ssh(tmp_path, "echo Connection refused >&2; exit 255"), 8000, "/k").__enter__()
    with pytest.raises(TunnelError, match=r"vllm_serve_api_key_file: .* \(cat: no such file\)"):
        Tunnel(fake_ssh(tmp_path, "echo 'cat: no such file' >&2; echo; cat"), 8000, "/k").__enter__()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            TunnelError, match=f"local_port: {port} cannot be used .* -e local_port={port + 1}"
        ):
            Tunnel(("ssh", "host"), 8000, "/k", port).__enter__()
    assert list(kept.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (("prompt=What is a TPU?",), "What is a TPU?"),
        (("prompt='What is a TPU?'",), "What is a TPU?"),
        (("a=b", "prompt={{ x }} = 日本語", "c=d"), "{{ x }} = 日本語"),
        (('{"prompt": "{{ x }} and more"}',), "{{ x }} and more"),
        ((), "of the role"),
    ],
)
def test_a_question_is_taken_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], asked: str
) -> None:
    """Ansible would ask "What", and fill in a template."""
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict(extra_vars=given))
    ansible_vars.load_extra_vars.__dict__.pop("extra_vars", None)  # it keeps the first answer
    assert model_chat.question("of the role", DataLoader()) == asked
