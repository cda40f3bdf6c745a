# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the server on this machine has the model of a run's last export."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import manifest, served

FILES = {
    "model.safetensors": "weights",
    "config.json": "{}",
    "tokenizer.json": "{}",
    "additional_chat_templates/tool.jinja": "x",
    "README.md": "ours",
    "LICENSE": "text",
}


@dataclass
class Place:
    """An export, and the record of a server that has it."""

    root: Path

    @property
    def export(self) -> Path:
        return self.root / "run.manifest.json"

    @property
    def record(self) -> Path:
        return self.root / "serving.json"

    def write(self, name: str, changes: dict[str, str | None] | None = None) -> Path:
        """A tree and its manifest."""
        for file, text in {**FILES, **(changes or {})}.items():
            path = self.root / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                path.write_text(text)
        path = self.root / f"{name}.manifest.json"
        manifest.write(str(path), manifest.build(str(self.root / name), {"step": 60}))
        return path

    def serve(self, described: Path, **changes: str) -> None:
        record = {
            "run": "run",
            "directory": str(described).removesuffix(".manifest.json"),
            "manifest": str(described),
            "fingerprint": hashlib.sha256(described.read_bytes()).hexdigest(),
        }
        self.record.write_text(json.dumps(record | changes))

    def check(self, run: str = "run") -> dict[str, Any]:
        return served.check(served.read(str(self.record)), run, str(self.export))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_export_itself(place: Place) -> None:
    place.serve(place.write("run"))
    assert place.check() == {"run": "run", "directory": f"{place.root}/run", "about": {"step": 60}}


def test_the_same_files_from_the_hub(place: Place) -> None:
    """Documents there may be the owner's, and a download leaves them out."""
    place.write("run")
    place.serve(place.write("hub", {"README.md": "theirs", "LICENSE": None, "extra.json": "{}"}))
    assert place.check()["directory"] == f"{place.root}/hub"


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "additional_chat_templates/tool.jinja"]
)
@pytest.mark.parametrize("text", ["earlier", None])
def test_an_earlier_export_from_the_hub(place: Place, name: str, text: str | None) -> None:
    place.write("run")
    place.serve(place.write("hub", {name: text}))
    with pytest.raises(served.NotServed, match=f"not the last export of run run: {name} differ. Upload and"):
        place.check()


@pytest.mark.parametrize("name", ["chat_template.jinja", "generation_config.json"])
def test_a_file_that_somebody_added_on_the_hub(place: Place, name: str) -> None:
    place.write("run", {name: None})
    place.serve(place.write("hub", {name: "theirs"}))
    with pytest.raises(served.NotServed, match=f"not the last export of run run: {name} differ"):
        place.check()


def test_an_export_that_is_newer_than_the_server(place: Place) -> None:
    place.serve(place.write("run"))
    place.write("run", {"model.safetensors": "trained on"})
    with pytest.raises(
        served.NotServed, match=r"run has changed since the server started. Serve the model of"
    ):
        place.check()


def test_another_run(place: Place) -> None:
    place.serve(place.write("run"), run="other")
    with pytest.raises(
        served.NotServed, match=r"model of run other, and not of run. Serve .* -e run_name=other"
    ):
        place.check()


def test_without_an_export_here_nothing_is_compared(place: Place) -> None:
    place.serve(place.write("hub"))
    assert place.check()["about"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": 1'])
def test_a_record_that_tells_nothing(place: Place, text: str) -> None:
    place.record.write_text(text)
    with pytest.raises(served.NotServed, match="does not tell what the server serves"):
        place.check()


def test_no_server(place: Place) -> None:
    with pytest.raises(
        served.NotServed, match=r"no server of the role vllm_serve runs here. Serve the model"
    ):
        place.check()


def test_what_the_user_of_the_server_may_put_there(place: Place) -> None:
    """It is read as root: no link is followed, and nothing is waited for."""
    place.record.symlink_to("/etc/shadow")
    with pytest.raises(served.NotServed, match="cannot be read"):
        place.check()
    place.record.unlink()
    os.mkfifo(place.record)
    with pytest.raises(served.NotServed, match="does not tell"):
        place.check()
    place.record.unlink()
    os.mkfifo(place.root / "fifo")
    place.serve(place.write("run"), manifest=str(place.root / "fifo"))
    with pytest.raises(served.NotServed, match="has changed"):
        place.check()


def test_the_name_is_that_of_the_directory() -> None:
    models = [{"id": "a", "root": "/a"}, {"id": "me/b", "root": "/b"}]
    assert served.name_of(models, "/b", "http://x/v1") == "me/b"
    with pytest.raises(
        served.NotServed, match=r"another server answers at http://x/v1. It serves a \(/a\), me/b"
    ):
        served.name_of(models, "/c", "http://x/v1")
