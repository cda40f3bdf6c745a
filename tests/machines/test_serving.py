# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM's unit lets the server reach, on a machine with a small program in its place. Needs root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localcloud.machines import Machine

from .support import Cloud
from .test_job import DISK, JOBS, ROOT, SERVER, Controller, cloud, vm  # noqa: F401

pytestmark = pytest.mark.machines

MANIFEST = ROOT / "plugins" / "module_utils" / "manifest.py"
REPOSITORY = f"{DISK}/cache/hf/hub/models--me--tuned"
SNAPSHOT = f"{REPOSITORY}/snapshots/c0ffee"
OTHERS = f"{DISK}/cache/hf/hub/models--me--private"
#: As the Hub's client keeps a large file that it downloaded by Xet: in a store of all repositories.
LAYOUT = f"""
mkdir -p {SNAPSHOT} {REPOSITORY}/blobs {DISK}/cache/hf/hub/blobs/ab {OTHERS} {DISK}/cache/hf/manifests
mkdir -p {DISK}/maxtext/run {DISK}/huggingface/run {DISK}/env/serve-0 {DISK}/env/train-0
echo weights > {DISK}/cache/hf/hub/blobs/ab/abc
ln -s ../../blobs/ab/abc {REPOSITORY}/blobs/e1
ln -s ../../blobs/e1 {SNAPSHOT}/model.safetensors
for place in {OTHERS} {DISK}/maxtext/run {DISK}/huggingface/run {DISK}/env/train-0; do
  echo x > $place/file
done
"""
#: In place of vLLM: says what it reaches, and stays.
SERVE = f"""
import os, time
print("user", os.getuid(), "home", os.environ["HOME"], "key", os.environ["VLLM_API_KEY"])
print("weights", open("{SNAPSHOT}/model.safetensors").read())
seen = [os.path.join(top, name) for top, _, names in os.walk("{DISK}") for name in names]
print("seen", *sorted(path.removeprefix("{DISK}/") for path in seen))
tops = ("{DISK}", "/etc", "/usr/local", "/var", "/opt")
writable = [top for start in tops for top, _, _ in os.walk(start) if os.access(top, os.W_OK)]
print("writable", *writable)
print("pids", {{os.stat("/proc/" + pid).st_uid for pid in os.listdir("/proc") if pid.isdigit()}})
print("homes", [path for path in ("/home", "/root") if os.access(path, os.X_OK)], flush=True)
time.sleep(1000)
"""


def play(controller: Controller, *tasks: dict[str, Any], **variables: Any) -> None:
    """Tasks that know the variables of the role vllm_serve, as they are on a machine."""
    roles = [f"{ROOT}/roles/{role}/{kind}/main.yml" for role in ("common", "vllm_serve") for kind in KINDS]
    named = [{"name": f"Task {number}", **task} for number, task in enumerate(tasks)]
    plays = [{"hosts": "vm", "become": True, "vars_files": roles, "tasks": named}]
    path = controller.home / "serving.json"
    path.write_text(json.dumps(plays))
    controller.play(path, "--extra-vars", json.dumps(variables))


KINDS = ("defaults", "vars")


@pytest.fixture
def told(cloud: Cloud, vm: Machine, tmp_path: Path) -> dict[str, str]:  # noqa: F811
    """The lines of the server, by their first words."""
    cloud.ssh(
        vm, f"sudo chmod 755 {DISK} && sudo install -d -o {JOBS} {DISK}/cache {DISK}/env {DISK}/maxtext"
    )
    cloud.ssh(vm, f"sudo install -d -o {JOBS} {DISK}/huggingface && sudo -u {JOBS} sh -ec '{LAYOUT}'")
    cloud.ssh(
        vm,
        f"sudo install -d {DISK}/env/programs/tpuops /etc/tpuops && "
        "echo key | sudo tee /etc/tpuops/vllm-api-key",
    )
    files = ROOT / "roles" / "vllm_serve"
    program = "/usr/local/sbin/tpuops-vllm-service"
    cache = {"parents": ["{{ _common_vllm_cache_dir }}"], "paths": ["{{ _vllm_serve_cache_dir }}"]}
    build = (
        f"import sys; sys.path.insert(0, '{DISK}/env/programs/tpuops'); import manifest; "
        f"manifest.write('{{{{ _vllm_serve_manifest }}}}', manifest.build('{SNAPSHOT}', {{}}))"
    )
    play(
        Controller(cloud, vm, tmp_path),
        {"ansible.builtin.copy": {"src": f"{files}/files/vllm_service.py", "dest": program, "mode": "0755"}},
        {
            "ansible.builtin.copy": {
                "src": str(MANIFEST),
                "dest": f"{DISK}/env/programs/tpuops/",
                "mode": "0644",
            }
        },
        {"ansible.builtin.copy": {"content": SERVE, "dest": f"{DISK}/env/serve-0/file", "mode": "0755"}},
        {"ansible.builtin.command": {"argv": ["python3", "-B", "-c", build]}},
        {"tpuops.maxtext.directories": {**cache, "owner": SERVER, "mode": "0750", "recursive": True}},
        {
            "ansible.builtin.template": {
                "src": f"{files}/templates/vllm.service.j2",
                "dest": "/etc/systemd/system/vllm.service",
                "mode": "0644",
            }
        },
        {"ansible.builtin.systemd_service": {"name": "vllm", "state": "started", "daemon_reload": True}},
        vllm_serve_repo="me/tuned",
        _vllm_serve_commit="c0ffee",
        _vllm_serve_prefix=f"{DISK}/env/serve-0",
        vllm_serve_lock=str(ROOT / "environments" / "serve-cpu.txt"),
        _vllm_serve_model_fingerprint="x",
        _vllm_serve_argv=["/usr/bin/python3", "-u", f"{DISK}/env/serve-0/file"],
    )
    journal = "sudo journalctl --unit=vllm --output=cat"
    cloud.ssh(
        vm, f"until {journal} | grep -q ^homes; do systemctl is-failed -q vllm && exit 1; sleep 0.1; done"
    )
    lines = [line.partition(" ") for line in cloud.ssh(vm, journal).splitlines()]
    return {first: rest for first, _, rest in lines}


def test_the_server_sees_its_program_its_model_and_its_cache_and_writes_to_the_last(
    told: dict[str, str],
) -> None:
    user, _, home, _, key = told["user"].split()
    assert (user, key) == ("60802", "key")
    assert home.startswith(f"{DISK}/cache/vllm/")
    assert told["weights"] == "weights"
    own = home.removeprefix(f"{DISK}/")
    assert [path for path in told["seen"].split() if not path.startswith(own)] == [
        "cache/hf/hub/blobs/ab/abc",
        "cache/hf/hub/models--me--tuned/blobs/e1",
        "cache/hf/hub/models--me--tuned/snapshots/c0ffee/model.safetensors",
        "cache/hf/manifests/me--tuned@c0ffee.json",
        "env/programs/tpuops/manifest.py",
        "env/serve-0/file",
    ]
    assert [path for path in told["writable"].split() if not path.startswith((home, "/var/tmp"))] == []
    assert (told["pids"], told["homes"]) == ("{60802}", "[]")
