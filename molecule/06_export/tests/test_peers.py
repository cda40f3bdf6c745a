# SPDX-License-Identifier: GPL-3.0-or-later
"""What users load an export with, on the same words: transformers 4 and 5, and vLLM.

Both models have a rope base of 1000000 and a tokenizer with additional special tokens. One is the finished
run's own. The other has its weights, and a base with a scaled rope, of which MaxText's converter knows
nothing.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from testinfra.host import Host

from localcloud.tiny import rows
from tests.contract.hub_support import kept

Answer = dict[str, Any]
Ask = Callable[[str, str], Answer]

PEER = Path(__file__).with_name("peer.py")
PLACE = "/var/tmp/peers"  # on the TPU VM
TOP = 20  # tokens of each position that are compared
CLOSE = 1e-3  # between log probabilities; the wrong rope base, or no scaling, makes more than 1
#: The local cloud's serving environment has transformers 5. These come before it on the path.
TRANSFORMERS_4 = ("transformers==4.57.6", "tokenizers==0.22.2", "huggingface_hub==0.36.2")
BASE = "Qwen/Qwen3-4B"
SCALED = {
    "max_position_embeddings": 1024,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
}
ENDS = [2, 0]  # <|im_end|> and <|endoftext|>, by the base's generation_config.json
#: A replacement for MaxText's converter, which gives the weights of the run.
COPY = """
import os, shutil, sys
(target,) = [each.partition("=")[2] for each in sys.argv if each.startswith("base_output_directory=")]
os.makedirs(target)
shutil.copy("{weights}", target)
"""


#: The exit status that a shell gives for SIGABRT. Now and then a thread of vLLM's libraries aborts the
#: interpreter at its end, after the answer. What is compared is the answer.
ABORTED = 134


def remote(vm: Host, command: str, stdin: bytes) -> str:
    """Output of a command of root's on the TPU VM."""
    ssh = ["ssh", "-F", vm.backend.ssh_config, vm.backend.host.name, f"sudo -n sh -c {shlex.quote(command)}"]
    done = subprocess.run(ssh, input=stdin, capture_output=True, check=False)
    answered = any(line.startswith(b"ANSWER {") and line.endswith(b"}") for line in done.stdout.splitlines())
    ended = done.returncode == 0 or (answered and done.returncode == ABORTED)
    assert ended, (done.stdout + done.stderr).decode()[-5000:]
    return done.stdout.decode()


@pytest.fixture(scope="module")
def transformers_4(vm: Host) -> str:
    """A directory of the TPU VM with transformers 4."""

    def make(directory: Path) -> None:
        uv = [
            sys.executable,
            "-m",
            "uv",
            "--quiet",
            "pip",
            "install",
            "--no-deps",
            "--target",
            str(directory),
        ]
        subprocess.run([*uv, "--python-version", "3.11", *TRANSFORMERS_4], check=True)

    here = kept(TRANSFORMERS_4[0].replace("==", "-"), make)
    packed = subprocess.run(["tar", "-C", str(here), "-c", "."], check=True, capture_output=True).stdout
    there = f"{PLACE}/transformers-4"
    remote(vm, f"mkdir -p {there} && tar -C {there} -x", packed)
    return there


@pytest.fixture(scope="module")
def without_xet() -> Iterator[None]:
    """Xet's client remembers by the Hub's address what it sent, and each copy of the run has the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield


@pytest.fixture(scope="module")
def exports(
    without_xet: None, vm: Host, mount_point: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The run's own, and one of its weights that the role's program makes for a base with a scaled rope."""
    trained = f"{mount_point}/huggingface/qwen3-4b-sft"
    cloud = json.loads(Path(os.environ["LOCALCLOUD_STATE_DIR"], "localcloud.json").read_text())
    api = HfApi(endpoint=cloud["hub"], token=Path(cloud["hf_token_file"]).read_text().strip())
    place = Path(api.snapshot_download(BASE, local_dir=tmp_path_factory.mktemp("base")))
    files = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    files["config.json"] = json.dumps(json.loads(files["config.json"]) | SCALED).encode()
    name = f"{cloud['hf_username']}/scaled"
    api.create_repo(name, private=False, exist_ok=True)
    operations = [CommitOperationAdd(path_in_repo=each, path_or_fileobj=data) for each, data in files.items()]
    commit = api.create_commit(name, operations, commit_message="Scale the rope")
    converter = COPY.format(weights=f"{trained}/model.safetensors").encode()
    remote(vm, f"mkdir -p {PLACE} && cat > {PLACE}/copied.py", converter)
    scaled = f"{PLACE}/scaled"
    environment = f"HF_HOME={PLACE}/hf HF_ENDPOINT={cloud['hub']} HF_HUB_DISABLE_XET=1 PYTHONPATH={PLACE}"
    program = f"{mount_point}/env/train/bin/python {mount_point}/env/programs/export.py"
    base = f"--base {name} --revision {commit.oid} --output {scaled}"
    steps = f"{mount_point}/maxtext/qwen3-4b-sft/checkpoints/[0-9]*"
    trained_at = f"load_parameters_path=$(ls -d {steps} | sort -V | tail -n 1)/model_params"
    remote(vm, f"{environment} {program} {base} copied base.yml {trained_at}", b"")
    return {"trained": trained, "scaled": scaled}


@pytest.fixture(scope="module")
def ask(vm: Host, mount_point: str, transformers_4: str, exports: dict[str, str]) -> Ask:
    """How a library reads one of the exports; each is asked once."""
    answers: dict[tuple[str, str], Answer] = {}
    given = {"messages": [turn for row in rows()[:5] for turn in row["messages"]], "top": TOP}
    program = shlex.quote(PEER.read_text())
    # TORCHDYNAMO_DISABLE: log probabilities of a prompt need no C++ compiler, which the TPU VM has not.
    settings = f"HOME={PLACE} HF_HUB_OFFLINE=1 TORCHDYNAMO_DISABLE=1"
    settings += " VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_CI_ENV=1"

    def asked(library: str, export: str) -> Answer:
        if (library, export) not in answers:
            path = f"PYTHONPATH={transformers_4}" if library == "transformers 4" else ""
            python = f"{settings} {path} {mount_point}/env/serve/bin/python"
            command = f"cd {PLACE} && {python} -c {program} {library.split()[0]} {exports[export]}"
            told = remote(vm, command, json.dumps(given).encode())
            (line,) = (line for line in told.splitlines() if line.startswith("ANSWER "))
            answers[library, export] = json.loads(line.removeprefix("ANSWER "))
        return answers[library, export]

    return asked


def distance(one: Answer, other: Answer) -> float:
    """The largest difference between log probabilities of tokens that both find among the most probable."""
    pairs = list(zip(one["best"], other["best"], strict=False))  # vLLM says nothing of what follows the last
    assert len(pairs) >= len(one["tokens"]) - 1
    differences = [
        abs(first[token] - second[token]) for first, second in pairs for token in first.keys() & second
    ]
    assert len(differences) > len(pairs) * TOP // 2
    return float(max(differences))


@pytest.mark.parametrize("export", ["trained", "scaled"])
@pytest.mark.parametrize("peer", ["transformers 4", "vllm"])
def test_every_library_reads_the_same_model(ask: Ask, peer: str, export: str) -> None:
    known, found = ask("transformers 5", export), ask(peer, export)
    assert known["version"].startswith("5.")
    assert peer == "vllm" or found["version"].startswith("4.57.")
    assert len(known["tokens"]) > 200  # far enough for a rope to matter
    for what in ("tokens", "special", "ends"):
        assert found[what] == known[what]
    assert distance(known, found) < CLOSE


def test_generation_stops_where_the_base_s_does(ask: Ask) -> None:
    assert ask("transformers 4", "trained")["ends"] == ENDS
    assert "<|im_start|>" in ask("transformers 4", "trained")["special"]


def test_the_scaling_is_read(ask: Ask) -> None:
    assert distance(ask("transformers 4", "trained"), ask("transformers 4", "scaled")) > 1
