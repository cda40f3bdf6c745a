# SPDX-License-Identifier: GPL-3.0-or-later
"""The durable store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.config import PROJECT_ROOT
from localcloud.state import Store


def test_records_survive_reopening(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    store.put("node", "b", {"state": "READY"})
    store.put("node", "a", {"state": "CREATING", "health": "x"})
    store.update("node", "a", state="READY", health=None)
    store.put("disk", "d", {})
    store.delete("disk", "d")
    store.close()
    again = Store(tmp_path / "state.db")
    assert again.items("node") == [("a", {"state": "READY"}), ("b", {"state": "READY"})]
    assert again.get("disk", "d") is None
    again.put("node", "aa", {})
    assert [name for name, _ in again.items("node")] == ["a", "aa", "b"]


def test_the_file_is_private(tmp_path: Path) -> None:
    Store(tmp_path / "state.db").close()
    assert (tmp_path / "state.db").stat().st_mode & 0o077 == 0


def test_updating_what_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        Store().update("node", "a", state="READY")


@given(st.lists(st.tuples(st.sampled_from(["put", "delete"]), st.text(max_size=3))), st.text(max_size=2))
def test_items_are_those_with_the_prefix_by_name(steps: list[tuple[str, str]], prefix: str) -> None:
    store = Store()
    expected = {}
    for step, name in steps:
        if step == "put":
            store.put("kind", name, {"name": name})
            expected[name] = {"name": name}
        else:
            store.delete("kind", name)
            expected.pop(name, None)
    assert store.items("kind", prefix) == sorted(
        (item for item in expected.items() if item[0].startswith(prefix)), key=lambda item: item[0]
    )


def test_what_was_put_outlives_a_hard_kill(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from localcloud.state import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "store.put('node', 'a', {'state': 'READY'})\n"
        "print('put', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "state.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT_ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"put\n"
        os.kill(process.pid, signal.SIGKILL)
    assert Store(tmp_path / "state.db").get("node", "a") == {"state": "READY"}
