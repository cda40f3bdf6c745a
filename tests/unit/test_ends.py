# SPDX-License-Identifier: GPL-3.0-or-later
"""How playbooks end, by what their modules said: well only where what was asked for is done."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.json_types import Json

ROOT = Path(__file__).resolve().parents[2]
Ends = dict[str, tuple[Json, bool, str]]  # case -> what modules said, whether it ends well, what is told


def tasks_of(path: str) -> list[Json]:
    """The tasks of a file of tasks, or of a playbook's last play."""
    content = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    found: list[Json] = content[-1]["tasks"] if "hosts" in content[-1] else content
    return found


def after(path: str, name: str) -> list[Json]:
    """The tasks of a file behind the one of this name."""
    tasks = tasks_of(path)
    return tasks[[task["name"] for task in tasks].index(name) + 1 :]


def check(tmp_path: Path, tasks: list[Json], ends: Ends, **shared: Any) -> None:
    """Each case is a host of one playbook, which costs seconds. Its variables are what its modules said."""
    hosts = {f"case{number}": {**shared, **said} for number, (said, _, _) in enumerate(ends.values())}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory, book = tmp_path / "hosts.json", tmp_path / "book.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": local}}))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / "tpu_vm" / "vars" / "main.yml")],
        "tasks": tasks,
    }
    book.write_text(json.dumps([play]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", inventory, book],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    failed = dict(re.findall(r"^(case\d+) .* failed=(\d+)", output, re.MULTILINE))
    # What is told of a host, however its lines are wrapped.
    parts = re.split(
        r"^(?=ok: \[|fatal: \[|changed: \[|skipping: \[|TASK |PLAY )", output, flags=re.MULTILINE
    )
    told = {
        host: " ".join(" ".join(part for part in parts if f"[{host}]" in part.splitlines()[0]).split())
        for host in hosts
    }
    for host, (case, (_, well, words)) in zip(hosts, ends.items(), strict=True):
        assert (case, failed[host]) == (case, "0" if well else "1"), output
        assert words.replace("HOST", host) in told[host], (case, told[host])


def job(status: str) -> Json:
    return {"status": status, "log": "/l/j.log"}


FOLLOWED: Ends = {
    "nothing was named and nothing runs": ({"_followed": {"skipped": True, "changed": False}}, True, ""),
    "it was followed": ({"_followed": {"action": "attach", "job": job("finished")}}, True, ""),
    "it had finished": (
        {"_followed": {"action": "none", "reason": "its last run is finished", "job": job("finished")}},
        True,
        "j: its last run is finished.",
    ),
    "it had failed": (
        {"_followed": {"action": "none", "reason": "its last run is failed", "job": job("failed")}},
        False,
        "job_name: j on HOST: its last run is failed. Its log is /l/j.log.",
    ),
    "it never ran": (
        {"_followed": {"action": "none", "reason": "it never ran"}},
        False,
        "job_name: j on HOST: it never ran. Jobs there: a, b. Name one of them.",
    ),
}


def test_following_a_job(tmp_path: Path) -> None:
    tasks = after("playbooks/follow.yml", "Follow the job")
    check(tmp_path, tasks, FOLLOWED, job_name="j", _known={"jobs": [{"name": "a"}, {"name": "b"}]})


STOPPED: Ends = {
    "it ran": ({"_stopped": {"changed": True, "reason": "it was running"}}, True, "j: it was running."),
    "it had ended": (
        {"_stopped": {"changed": False, "reason": "it was not running", "job": job("finished")}},
        True,
        "j: it was not running.",
    ),
    "it never ran": (
        {"_stopped": {"changed": False, "reason": "it was not running"}},
        False,
        "job_name: no job j has run on HOST.",
    ),
}


def test_stopping_a_job(tmp_path: Path) -> None:
    check(tmp_path, after("playbooks/stop.yml", "Stop the job"), STOPPED, job_name="j")


GONE = {"changed": True, "left": [], "told": "Deleted: n."}
# The decision itself: tests/unit/plugins/capacity/test_ephemeral.py.
EPHEMERAL: Ends = {
    "it is deleted": (
        {"_tpu_vm_jobs": {"results": [{"jobs": []}]}, "tpu_vm_gone": GONE},
        True,
        "The node is deleted,",
    ),
    "a machine is silent": (
        {"_tpu_vm_jobs": {"results": [{"unreachable": True, "msg": "refused"}]}},
        False,
        "as its machine cannot be reached over SSH and may run a job: refused.",
    ),
    "a job runs": (
        {"_tpu_vm_jobs": {"results": [{"jobs": [{"name": "sft", "status": "running"}]}]}},
        False,
        "The node is kept, although tpu_vm_ephemeral is set, as a job runs on it: sft.",
    ),
    "it may be there": (
        {"_tpu_vm_jobs": {"results": [{"jobs": []}]}, "tpu_vm_gone": {**GONE, "left": ["It may be in a."]}},
        False,
        "It may be in a.",
    ),
    "the deletion fails": (
        {"_tpu_vm_jobs": {"results": [{"jobs": []}]}, "tpu_vm_gone": {"changed": False, "msg": "403"}},
        False,
        "The node could not be deleted, although tpu_vm_ephemeral is set: 403.",
    ),
}


def test_the_end_of_an_ephemeral_run(tmp_path: Path) -> None:
    (block,) = tasks_of("roles/tpu_vm/tasks/ephemeral.yml")
    tasks = [block["block"][-1], *tasks_of("playbooks/tasks/ephemeral.yml")[1:]]
    shared = {"tpu_vm_labels": {}, "tpu_vm_owner": "", "_tpu_vm_workers": {"hosts": []}}
    check(tmp_path, tasks, EPHEMERAL, **shared, _tpu_vm_asked={"nodes": [], "unreachable_zones": ["a"]})


NAMED: Ends = {
    "it is deleted": ({"tpu_vm_gone": {**GONE, "doubt": ""}}, True, "Deleted: n."),
    "it may cost money": (
        {"tpu_vm_gone": {**GONE, "left": ["It stays."], "doubt": ""}},
        False,
        "Deleted: n. It stays.",
    ),
    "the name is wrong": (
        {"tpu_vm_gone": {**GONE, "told": "Nothing.", "doubt": "It is m."}},
        False,
        "Nothing. It is m.",
    ),
}


def test_a_teardown(tmp_path: Path) -> None:
    check(tmp_path, after("playbooks/teardown.yml", "Delete the TPU VM"), NAMED)


HALTED: Ends = {
    "it is stopped": ({"_tpu_vm_stopped": {"left": [], "told": "Stopped: n."}}, True, "Stopped: n."),
    "another may run": (
        {"_tpu_vm_stopped": {"left": ["It may run."], "told": "Stopped: n."}},
        False,
        "Stopped: n. It may run.",
    ),
}


def test_stopping_a_node(tmp_path: Path) -> None:
    check(tmp_path, after("playbooks/stop_node.yml", "Stop the TPU VM"), HALTED)
