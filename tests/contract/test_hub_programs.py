# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own programs for the Hub with each huggingface_hub that a user's lock may hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from tests.contract.hub_support import RELEASES, python_client, run, serving
from tests.e2e.support import ROOT

HUB = ROOT / "plugins" / "module_utils" / "huggingface" / "hub.py"
EXPORT = ROOT / "roles" / "export" / "files" / "export.py"
COMMON = ROOT / "roles" / "common"
#: The package that the programs share on a machine, as the role common writes it.
FILES: dict[str, str] = yaml.safe_load((COMMON / "vars" / "main.yml").read_text())["_common_program_files"]
SHARED = [
    COMMON / path.removeprefix("{{ role_path }}/")
    for name, path in FILES.items()
    if name.startswith("tpuops/")
]
BASE = "Qwen/Qwen3-0.6B"
#: Used in place of MaxText's converter: gives the base's own weights.
COPY = """
import os, shutil, sys
(target,) = [each.partition("=")[2] for each in sys.argv if each.startswith("base_output_directory=")]
os.makedirs(target)
shutil.copy(os.environ["WEIGHTS"], target)
"""


def trained(root: Path) -> str:
    """The argument that names a checkpoint, as training leaves it."""
    step = root / "run" / "checkpoints" / "60"
    (step / "model_params").mkdir(parents=True)
    (root / "run" / "manifests").mkdir()
    (root / "run" / "manifests" / "60.json").write_text('{"files": {}, "about": {}}')
    return f"load_parameters_path={step}/model_params"


@pytest.mark.parametrize("release", RELEASES)
def test_an_export_is_made_uploaded_and_uploaded_again(release: str, tmp_path: Path) -> None:
    with serving(tmp_path / "hub", seeded=True) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token())
        weights = api.hf_hub_download(BASE, "model.safetensors", local_dir=tmp_path / "base")
        (tmp_path / "copied.py").write_text(COPY)
        (tmp_path / "tpuops").mkdir()
        for program in SHARED:
            shutil.copy(program, tmp_path / "tpuops")
        environment = hub.environment(tmp_path) | {"PYTHONPATH": str(tmp_path), "WEIGHTS": weights}
        python, folder = python_client(f"huggingface_hub=={release}") / "python", tmp_path / "export"
        base = ["--base", BASE, "--revision", "main", "--output", str(folder)]
        run([python, EXPORT, *base, "copied", "base.yml", trained(tmp_path)], environment, tmp_path)
        exported = {"README.md", *api.list_repo_files(BASE)} - {".gitattributes"}
        assert {path.name for path in folder.iterdir()} == exported

        request = {
            "repo_id": f"local/export-{release}",
            "repo_type": "model",
            "revision": "main",
            "folder": str(folder),
            "ignore_patterns": [],
            "replace": False,
            "message": "Upload",
        }
        api.create_repo(str(request["repo_id"]))

        def upload() -> str:
            return run([python, "-I", HUB, "upload", json.dumps(request)], environment, tmp_path)

        assert "has all 6 files" in upload()
        shutil.move(folder / "generation_config.json", tmp_path)
        assert "has all 5 files" in upload()
        left = set(api.list_repo_files(str(request["repo_id"])))
        assert left == exported - {"generation_config.json"} | {".gitattributes", "tpuops-upload.json"}
