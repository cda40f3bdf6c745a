# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that are preempted or lost under the playbooks, with real machines and fake programs. Needs root.

Each test creates its own starting state. This order needs the fewest new nodes.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from localcloud.hub.store import HubStore
from localcloud.tiny.dataset import dataset_files
from localcloud.tiny.questions import rows
from localcloud.tiny.seed import DATASET, publish
from tests.advice import advised
from tests.e2e.support import RECORDS, ROOT

from . import fakes
from .support import ALL, DISK, NODE, PERIOD, SKIP_PREFLIGHT, SSH, STEPS, Running, Site, words

pytestmark = pytest.mark.machines

SECURITY = ROOT / "docs" / "security.md"
LOST_AT = (17, 28)  # steps, neither of them one with a checkpoint
EPHEMERAL = "The node is deleted, as tpu_vm_ephemeral says; its disk is kept."


def records(site: Site) -> list[Any]:
    """Those of the jobs that must not run again."""
    paths = [f"{fakes.DISK}/.tpuops/jobs/{name}.json" for name in ("env-train", "convert-qwen3-4b-*")]
    return [json.loads(site.cloud.ssh(f"sudo -n sh -c 'cat {path}'")) for path in paths]


def attach(site: Site, name: str, *before: dict[str, Any], **options: Any) -> Running:
    """A job that sleeps, and a playbook that is attached to it as training is. before: its first tasks."""
    job = {
        "name": name,
        "argv": ["/bin/sh", "-c", "echo asleep; sleep infinity"],
        "node": {
            "name": "{{ tpu_node }}",
            "zone": "{{ tpu_zone }}",
            "project": "{{ project }}",
            "auth": "{{ gcp_auth }}",
        },
        **options,
    }
    run = site.begin(site.book(*before, {"tpuops.maxtext.job": job, "become": True}, rescue="recover"))
    run.wait_until_told(rf"^{name}  \d+ s")
    return run


def test_a_run_ends_by_itself_when_its_node_is_preempted_twice(site: Site) -> None:
    site.ready("tpu_vm,data_disk,maxtext_env,convert")
    finished, before = site.finished(), records(site)
    run = site.train(*LOST_AT, run_name="preempted", tpu_vm_max_recoveries=2)
    run.wait_until_told(f"step {LOST_AT[0]}/{STEPS}")
    refused = site.play("playbooks/teardown.yml", status=2)
    assert "there is a job that runs: sft-preempted." in refused.output
    assert site.nodes() == ["READY"]
    site.preempt()
    run.wait_until_told(f"step {LOST_AT[1]}/{STEPS}")
    site.preempt()
    run.succeed()

    assert site.finished() == [*finished, "train"]
    assert records(site) == before
    assert site.nodes() == ["READY"]
    trained: list[int] = []
    resumed_at = 0
    for number, lost_at in enumerate(LOST_AT, 1):
        trained += range(resumed_at + 1, lost_at + 1)
        resumed_at = lost_at // PERIOD * PERIOD
        told = f"tpu-v5e-8 is PREEMPTED; its last word was step {lost_at}. Recovery {number} of 2"
        assert told in run.words
        lost = lost_at - resumed_at
        assert f"preempted goes on from step {resumed_at}; {lost} steps were lost" in run.words
    trained += range(resumed_at + 1, STEPS + 1)
    history = site.cloud.ssh(f"cat {fakes.DISK}/maxtext/preempted/history")
    assert [int(step) for step in history.split()] == trained
    assert "tpu-v5e-8 is there again: us-west1-c, v5litepod-8, on-demand" in run.words

    # Following or stopping a job that has ended changes nothing.
    jobs = site.cloud.records()
    for playbook in ("follow", "stop"):
        played = site.play(f"playbooks/{playbook}.yml", "-e", "job_name=sft-preempted")
        assert played.recap["changed"] == 0
        refused = site.play(f"playbooks/{playbook}.yml", "-e", "job_name=sft-wrong", status=2)
        assert "job_name: " in refused.output and "sft-wrong" in refused.output
    assert site.cloud.records() == jobs


def test_a_run_goes_on_with_its_own_data_and_data_type(site: Site) -> None:
    """What preflight judges is what the run keeps; only the node that runs can tell it."""
    site.ready("tpu_vm,data_disk,maxtext_env,convert")
    site.train(run_name="kept", steps=PERIOD, sft_num_epoch=STEPS, sft_weight_dtype="bfloat16").succeed()
    store = HubStore(Path(site.cloud.settings["state_dir"]) / "hub")
    publish(store, DATASET, dataset_files([{"messages": []}]))
    try:
        run = site.train(run_name="kept", steps=2 * PERIOD, sft_num_epoch=STEPS, checked=True)
        run.succeed()
        assert "Check model, tokenizer and data of the training" in run.text.partition("PLAY [Train]")[2]
        assert "has changed on the Hub since run kept began" in run.words
        assert "Run kept goes on with weights in bfloat16, as its checkpoints have them." in run.words
        again: dict[str, Any] = {"run_name": "kept", "sft_num_epoch": STEPS, "checked": True}
        other = site.train(**again, steps=3 * PERIOD, sft_weight_dtype="float32")
        other.fail()
        assert "Run kept began with another weight_dtype" in other.words
        fresh = site.train(run_name="fresh", checked=True)
        fresh.fail()
        assert "dataset: row 0 of llm-jp/Synthetic-JP-EN-Coding-Dataset: it has no messages" in fresh.words
        assert "If run fresh has begun, it keeps its commit. Set dataset_revision to that" in fresh.words
        assert not [each for each in (other, fresh) if "PLAY [Convert" in each.text]
    finally:
        publish(store, DATASET, dataset_files(rows()))
    site.cloud.ssh(advised(other.text, "sudo rm -r"))
    site.train(**again, steps=PERIOD, sft_weight_dtype="float32").succeed()


def test_a_start_that_trained_nothing_binds_the_next_one_to_no_rows(site: Site) -> None:
    """So "correct the rows, and run the same command again" helps. After a checkpoint it cannot."""
    site.ready("tpu_vm,data_disk,maxtext_env,convert")
    store = HubStore(Path(site.cloud.settings["state_dir"]) / "hub")

    def commit() -> str:
        return str(site.cloud.records()["sft-begun"]["inputs"]["dataset_commit"])

    given: dict[str, Any] = {"run_name": "begun", "hf_repo": "", "sft_num_epoch": STEPS}
    site.train(**given, steps=PERIOD, _sft_argv=["/bin/false"]).fail()
    first = commit()
    try:
        publish(store, DATASET, dataset_files(rows()[:-1]))
        site.train(**given, steps=PERIOD).succeed()
        second = commit()
        assert second != first
        publish(store, DATASET, dataset_files([{"messages": []}]))
        run = site.train(**given, steps=2 * PERIOD, checked=True)
        run.succeed()
        assert commit() == second
        assert "has changed on the Hub since run begun began" in run.words
        assert "choose another run_name" in run.words
    finally:
        publish(store, DATASET, dataset_files(rows()))


def test_a_base_model_with_a_file_cut_off_is_converted_again(site: Site) -> None:
    site.ready("tpu_vm,data_disk,maxtext_env,convert")
    before = site.finished()
    site.cloud.ssh(f"sudo sh -c 'truncate --size=1 {fakes.DISK}/maxtext/qwen3-4b-*/0/items/d/0'")
    site.start("convert", **fakes.variables(steps=STEPS, period=PERIOD)).succeed()
    assert site.finished() == [*before, "convert"]


def test_another_stage_and_a_run_without_recoveries_left_say_what_to_do(site: Site) -> None:
    """Two commands, and one preemption."""
    site.ready("tpu_vm,data_disk,maxtext_env")
    site.cloud.ssh(f"sudo touch {fakes.HOLD}")
    values = {**fakes.variables(steps=STEPS, period=PERIOD), "model": "qwen3-0.6b"}
    converting = site.start("convert", **values)
    converting.wait_until_told(r"TASK \[tpuops.maxtext.convert : Download")
    used_up = {"ansible.builtin.set_fact": {"_tpu_vm_recoveries": 1, "tpu_vm_max_recoveries": 1}}
    attached = attach(site, "once-more", used_up)
    site.cloud.ssh("until systemctl is-active --quiet 'tpuops-convert-qwen3-0.6b-*'; do sleep 0.1; done")
    site.preempt()
    for run in (converting, attached):
        run.fail()
        assert "Recovery" not in run.words
    told = "the TPU VM tpu-v5e-8 is PREEMPTED. Run the same command again"
    assert told in converting.words
    assert f"{told}: it creates the TPU VM again, with the same disk" in attached.words
    assert "That was tried 1 times (tpu_vm_max_recoveries)." in attached.words
    assert site.nodes() == ["PREEMPTED"]


def test_a_node_that_nobody_prepared_deletes_itself(site: Site) -> None:
    """The controller stopped before it could set the timer over SSH. The node's startup script has set it."""
    site.absent()
    # How this ends does not matter: on a busy machine the node is gone by then.
    site.cloud.play("-e", f"tpu_vm_max_hours={10 / 3600}", playbook="playbooks/provision.yml")
    site.wait_until_no_node()
    asked = (Path(site.cloud.settings["state_dir"]) / "server.log").read_text()
    assert re.search(rf"DELETE /v2/\S+/nodes/{NODE} 200", asked.rpartition("POST ")[2])
    assert site.disks() == [DISK]


def test_whatever_failed_google_is_asked_about_the_node(site: Site) -> None:
    """A task fails for a reason that says nothing of the node, which is there, gone, or over its time."""
    site.ready()
    connection = "{{ {'project': project, 'zone': zone} | combine(gcp_auth) }}"
    delete = {
        "tpuops.maxtext.tpu_vm": {"name": NODE, "state": "absent"},
        "module_defaults": {"group/tpuops.maxtext.gcp": connection},
        "delegate_to": "localhost",
    }
    limit = {"ansible.builtin.include_role": {"name": "tpuops.maxtext.tpu_vm", "tasks_from": "guard"}}
    over = {"ansible.builtin.set_fact": {"_tpu_vm_deadline": "{{ _tpu_vm_deadline | float - 7200 }}"}}
    fail = {"ansible.builtin.fail": {"msg": "a disk cannot be mounted"}}

    told = words(site.play(site.book(fail, rescue="recover"), status=2).output)
    assert told.count("Recovery") == 0
    assert told.count("a disk cannot be mounted") > 1

    told = words(site.play(site.book(delete, fail, rescue="recover")).output)
    assert "tpu-v5e-8 is lost. Recovery 1 of 3" in told
    assert site.nodes() == ["READY"]

    # It does not recover from this loss, and changes nothing.
    hours = ("-e", "tpu_vm_max_hours=2")
    told = words(site.play(site.book(limit, over, delete, fail, rescue="recover"), *hours, status=2).output)
    assert "It deleted itself, 2 hours after it was created (tpu_vm_max_hours)." in told
    assert told.count("Recovery") == 0
    assert site.nodes() == []


def test_the_node_of_an_ephemeral_run_goes_with_it(site: Site) -> None:
    """Well or badly, also where it fails before there is a worker to play on."""
    tags = "tpu_vm,data_disk,maxtext_env,convert,sft"
    well = site.train(tags=tags, run_name="brief", tpu_vm_ephemeral=True)
    well.succeed()
    assert EPHEMERAL in well.words
    assert (site.nodes(), site.disks()) == ([], [DISK])

    badly = site.train(tags=tags, run_name="bad", tpu_vm_ephemeral=True, _sft_argv=["/bin/false"])
    badly.fail()
    assert "job sft-bad failed after" in badly.words
    assert EPHEMERAL in badly.words
    assert (site.nodes(), site.disks()) == ([], [DISK])

    # The node is made, and the inventory does not show it.
    elsewhere = site.home / "elsewhere"
    shutil.copytree(ROOT / "inventories" / "local", elsewhere)
    hosts = elsewhere / "tpu_vm.yml"
    hosts.write_text(f"{hosts.read_text()}filters: {{name: other}}\n")
    given = {**fakes.variables(steps=STEPS, period=PERIOD), "tpu_vm_ephemeral": True}
    arguments = ("site.yml", "--tags", tags, *SKIP_PREFLIGHT)
    nowhere = site.begin(*arguments, given=given, ANSIBLE_INVENTORY=str(elsewhere))
    nowhere.fail()
    assert "The inventory has no worker of the node tpu-v5e-8." in nowhere.words
    assert "The node is deleted, as tpu_vm_ephemeral says" in nowhere.words
    assert (site.nodes(), site.disks()) == ([], [DISK])


def test_a_new_machine_that_does_not_answer_yet_is_waited_for(site: Site) -> None:
    """It falls silent before the inventory was read, so that SSH does not know the host key yet."""
    site.absent()
    role = {"name": "tpuops.maxtext.tpu_vm"}
    cut = f"{sys.executable} -m localcloud machine cut {NODE}"
    silent = {"host": "{{ _tpu_vm_made.workers[0].address }}", "port": 22, "state": "stopped"}
    make: list[dict[str, Any]] = [
        {"ansible.builtin.import_role": role},
        {"ansible.builtin.command": {"cmd": cut, "chdir": str(ROOT)}},
        {"ansible.builtin.wait_for": silent},
        {"ansible.builtin.meta": "refresh_inventory"},
    ]
    reach: list[dict[str, Any]] = [
        {"ansible.builtin.import_role": {**role, "tasks_from": "reached"}},
        {"ansible.builtin.ping": {}},
    ]
    books = [site.book(*make, hosts="localhost"), site.book(*reach)]
    plays = [play for book in books for play in json.loads(Path(book).read_text())]
    both = site.home / "silent.json"
    both.write_text(json.dumps(plays))
    run = site.begin(str(both), "-vvv")
    run.wait_until_told(r"TASK \[tpuops.maxtext.tpu_vm : Wait until a machine that was just created")
    run.wait_until_told(r"\(255, b'")  # SSH's status and output after an attempt that failed
    site.localcloud("machine", "heal", NODE)
    run.succeed()
    assert "ping: pong" in run.text
    assert site.nodes() == ["READY"]


def test_a_run_that_ends_under_maintenance_says_that_the_node_comes_back(site: Site) -> None:
    site.ready()
    silent = {"host": "{{ ansible_host }}", "port": 22, "state": "stopped"}
    book = site.book(
        {"ansible.builtin.wait_for": silent, "delegate_to": "localhost"},
        {"ansible.builtin.fail": {"msg": "the machine falls silent"}},
        rescue="ended",
    )
    site.localcloud("maintenance", NODE, "--begin")
    told = words(site.play(book, status=2).output)
    site.localcloud("maintenance", NODE, "--end")
    assert "the machine falls silent. The TPU VM tpu-v5e-8 is REPAIRING: Google brings it back" in told


def test_what_failed_is_told_without_blame(site: Site) -> None:
    """Google is not blamed where nobody asked it; a module that was killed with its machine is silence."""
    site.ready()
    reach = {"ansible.builtin.import_role": {"name": "tpuops.maxtext.tpu_vm", "tasks_from": "reached"}}
    refused = {
        "tpuops.maxtext.tpu_vm_info": {
            "project": site.cloud.settings["project"],
            "zones": [site.cloud.settings["zone"]],
            "auth_kind": "accesstoken",
            "access_token": "expired",
        },
        "delegate_to": "localhost",
    }
    told = site.play(site.book(reach, refused, rescue="ended"), status=2).output
    assert "TASK [Show why the run ended]" in told
    assert "Google did not say" not in told
    killed = {"ansible.builtin.shell": "kill -KILL $PPID"}  # the module is the parent of its shell
    told = words(site.play(site.book(killed, rescue="ended"), status=2).output)
    assert "The machine did not answer in time. Jobs on it go on. Run the same command again." in told


def test_the_commands_for_a_node_that_costs_money(site: Site) -> None:
    """Its time is over, Google does not say whether it is there, or it is unhealthy."""
    site.ready()
    over = site.play(
        "site.yml", "--tags", "tpu_vm", *SKIP_PREFLIGHT, "-e", "tpu_vm_max_hours=0.0001", status=2
    )
    assert "0.0001 hours after tpu-v5e-8 was created have passed." in words(over.output)
    assert f"TPU VM {NODE}" in site.follow(f"{advised(over.output, 'teardown.yml')} --check")

    killed = {"ansible.builtin.shell": "kill -KILL $PPID"}  # the module is the parent of its shell
    fault = [
        sys.executable,
        "-m",
        "localcloud",
        "fault",
        "unreachable",
        "--zone",
        site.cloud.settings["zone"],
    ]
    # After Ansible has read the inventory.
    silence = {"ansible.builtin.command": {"argv": fault, "chdir": str(ROOT)}, "delegate_to": "localhost"}
    try:
        unasked = site.play(site.book(silence, killed, rescue="ended"), status=2).output
    finally:
        site.localcloud("fault", "clear")
    assert "Google did not say whether the node is there" in words(unasked)
    assert f"Node {NODE} in us-west1-c: READY" in site.follow(advised(unasked, "tpuops.maxtext.status"))
    site.follow(f"{advised(unasked, 'tpuops.maxtext.teardown')} --check")

    site.localcloud("health", NODE, "TIMEOUT")
    unhealthy = site.play(site.book(killed, rescue="ended"), status=2).output
    assert "The TPU VM tpu-v5e-8 is TIMEOUT." in words(unhealthy)
    site.follow(advised(unhealthy, "tpuops.maxtext.teardown"))
    assert (site.nodes(), site.disks()) == ([], [DISK])


def test_the_timer_is_set_once_moved_and_shut_in(site: Site) -> None:
    site.ready()
    once, moved = site.hours(36_000), site.hours(72_000)
    for hours, changed in ((once, True), (once, False), (moved, True)):
        limited = ("--tags", "tpu_vm", "-e", f"tpu_vm_max_hours={hours}")
        played = site.play("site.yml", *limited, *SKIP_PREFLIGHT)
        assert (played.recap["changed"] > 0) == changed
        show = "systemctl show --value --property"
        due = int(site.cloud.ssh(f'date +%s -d "$({show} NextElapseUSecRealtime tpuops-guard.timer)"'))
        assert abs(due - site.made().timestamp() - float(hours) * 3600) < 2
        # The program itself deletes nothing before this moment.
        assert f" {due} ;" in site.cloud.ssh(f"{show} ExecStart tpuops-guard.service")
    told = site.cloud.ssh("systemd-analyze security --no-pager tpuops-guard.service")
    exposure = re.search(r"Overall exposure level for tpuops-guard.service: ([\d.]+)", told)
    documented = re.search(r"^\| the timer's service .* \| ([\d.]+) \|$", SECURITY.read_text(), re.MULTILINE)
    assert exposure and documented
    assert float(exposure[1]) <= float(documented[1])


#: On the node, once nobody is logged in: the guard looks, and looks again as if it were half an hour later.
UNUSED = r"""
while pgrep -u tpu sshd; do sleep 0.1; done
rm -rf /run/tpuops-guard
systemctl start tpuops-guard
more=/run/systemd/system/tpuops-guard.service.d
mkdir -p $more
command=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/tpuops-guard.service)
printf '[Service]\nExecStart=\nExecStart=%s 1800\n' "$command" > $more/later.conf
systemctl daemon-reload
systemctl start tpuops-guard
"""


def test_a_node_that_nobody_uses_deletes_itself_and_the_next_commands_say_why(site: Site) -> None:
    """The startup script arms the timer, site.yml keeps, changes and removes it."""
    site.absent()
    # A connection that is kept open is a login.
    once = "-o ControlMaster=no -o ControlPath=none"
    site.play("playbooks/provision.yml", "-e", "tpu_vm_max_idle_minutes=30", ANSIBLE_SSH_ARGS=once)
    site.cloud.ssh("until systemctl is-active --quiet tpuops-guard.timer; do sleep 0.1; done")
    show = "systemctl show --value --property=ExecStart tpuops-guard.service"
    assert f"/nodes/{NODE} never 30 deleted ;" in site.cloud.ssh(show)

    def play(minutes: int) -> int:
        given = ("--tags", "tpu_vm", "-e", f"tpu_vm_max_idle_minutes={minutes}")
        return site.play("site.yml", *given, ANSIBLE_SSH_ARGS=once).recap["changed"]

    play(30)
    assert play(30) == 0
    assert play(60) > 0
    assert " never 60 deleted ;" in site.cloud.ssh(show)
    assert play(0) > 0
    assert site.cloud.ssh("systemctl is-enabled tpuops-guard.timer 2>&1 || true").strip() != "enabled"
    assert play(0) == 0
    assert play(30) > 0

    site.cloud.ssh(
        "sudo systemctl stop tpuops-guard.timer && "
        f"sudo systemd-run --quiet --unit=unused sh -ec {shlex.quote(UNUSED)}"
    )
    site.wait_until_no_node()
    assert site.disks() == [DISK]
    told = (
        f"TPU VM {NODE} deleted itself after 30 minutes without a job, a request or a login "
        "(tpu_vm_max_idle_minutes), at 2"
    )
    limit = ("-e", "tpu_vm_max_idle_minutes=30")
    assert told in site.play("playbooks/status.yml").output
    assert told in words(site.play("playbooks/teardown.yml").output)
    assert f"{NODE}  {told}" in site.play("playbooks/provision.yml", *limit).output
    assert site.nodes() == ["READY"]


def test_a_running_job_is_followed_and_stopped(site: Site) -> None:
    site.ready()
    run = site.train(7, run_name="followed")
    run.wait_until_told(f"step 7/{STEPS}")
    follower = site.begin("playbooks/follow.yml")
    follower.wait_until_told("Running: sft-followed")
    follower.wait_until_told(f"step 7/{STEPS}")
    follower.process.send_signal(signal.SIGINT)
    assert follower.wait() == 99
    assert "Job sft-followed goes on without this command." in follower.words
    again = site.begin_as_printed(advised(follower.text, "playbooks/follow.yml"))
    again.wait_until_told(f"step 7/{STEPS}")
    # Somebody else's run does not take the node with it.
    other = site.train(steps=STEPS + 1, run_name="followed", sft_num_epoch=STEPS, tpu_vm_ephemeral=True)
    other.fail()
    kept = "The node is kept, although tpu_vm_ephemeral is set, as a job runs on it: sft-followed."
    assert kept in other.words
    # The leftovers playbook does not delete it either.
    named = ("-e", f"leftovers_delete=us-west1-c/{NODE},{DISK}")
    told = site.play("playbooks/leftovers.yml", *named, status=2).output
    assert "On tpu-v5e-8 there is a job that runs: sft-followed." in words(told)
    assert (site.nodes(), site.disks()) == (["READY"], [DISK])
    second = site.begin_as_printed(advised(told, "playbooks/follow.yml"))
    second.wait_until_told("Running: sft-followed")
    wrong = site.play("playbooks/stop.yml", "-e", "job_name=sft-folowed", status=2).output
    assert "job_name: no job sft-folowed has run on tpu-v5e-8." in words(wrong)
    stop = advised(told, "playbooks/stop.yml")
    assert "changed=1" in site.follow(stop)
    assert "changed=0" in site.follow(advised(follower.text, "playbooks/stop.yml"))
    assert "No job is running." in site.follow(advised(wrong, "playbooks/follow.yml"))
    for each in (again, second, run):
        each.fail()
        assert "job sft-followed was stopped after" in each.words
    assert site.nodes() == ["READY"]
    # Now nothing runs, and the node can be stopped.
    assert site.play("playbooks/stop_node.yml").recap["changed"] == 1
    assert site.nodes() == ["STOPPED"]


def test_an_unreachable_machine_whose_node_is_unhealthy_is_replaced(site: Site) -> None:
    site.ready()
    before = site.made()
    run = attach(site, "silent", reconnect_timeout=1, reconnect_interval=0.2)
    site.localcloud("health", NODE, "TIMEOUT")
    site.localcloud("machine", "cut", NODE)
    run.succeed()
    assert "tpu-v5e-8 is TIMEOUT. Recovery 1 of 3" in run.words
    assert site.nodes() == ["READY"]
    assert site.made() > before


def test_a_stopped_node_is_started(site: Site) -> None:
    site.ready()
    run = attach(site, "stopped")
    site.google("POST", ":stop")
    run.succeed()
    # A watch that asks while the machine still goes down hears so, and that is a loss already.
    assert re.search(r"tpu-v5e-8 is STOPP(ING|ED)\. Recovery 1 of 3", run.words)
    assert site.nodes() == ["READY"]


def test_a_node_whose_jobs_cannot_be_read_is_deleted_only_by_force(site: Site) -> None:
    site.ready()
    broken = f"{RECORDS}/broken.json"
    site.cloud.ssh(f"sudo sh -c 'mkdir -p {RECORDS} && touch {broken}'")
    try:
        check_unread(site, broken)
    finally:
        site.cloud.ssh(f"sudo rm {broken}")


def check_unread(site: Site, broken: str) -> None:
    refused = site.play("playbooks/teardown.yml", status=2)
    assert f"{broken}: is not the record of a job" in refused.output
    run = site.start("preflight", tpu_vm_ephemeral=True)
    run.fail()  # in preflight, and the user asked for a deletion that did not happen
    assert f"{broken}: is not the record of a job" in run.words
    assert "The node is kept, although tpu_vm_ephemeral is set, as its jobs could not be read: " in run.words
    assert "teardown.yml -e tpu_vm_force=true stops what runs and deletes the node." in run.words
    forced = site.play("playbooks/teardown.yml", "--check", "-e", "tpu_vm_force=true")
    assert forced.recap["changed"] == 1
    assert site.nodes() == ["READY"]


@pytest.mark.parametrize("playbook", ["stop_node", "leftovers"])
def test_a_node_goes_under_a_running_job_where_that_is_forced(site: Site, playbook: str) -> None:
    site.ready()
    run = attach(site, f"sft-{playbook}")
    book, named = f"playbooks/{playbook}.yml", ("-e", f"leftovers_delete={NODE}")
    if playbook == "stop_node":
        refused = site.play(book, status=2)
        assert "On tpu-v5e-8 there is a job that runs: sft-stop_node." in words(refused.output)
        predicted = site.play(book, "--check", "-e", "tpu_vm_force=true")
        assert (predicted.recap["changed"], site.nodes()) == (2, ["READY"])  # the job and the node
    site.play(book, "-e", "tpu_vm_force=true", *named)
    run.fail()
    assert f"job sft-{playbook} was stopped after" in run.words  # and not lost: nobody makes the node again
    assert "Recovery" not in run.words
    left = ["STOPPED"] if playbook == "stop_node" else []
    assert (site.nodes(), site.disks()) == (left, [DISK])
    if playbook == "stop_node":
        assert (site.play(book).recap["changed"], site.nodes()) == (0, ["STOPPED"])


def test_two_controllers_at_once_from_nothing(site: Site) -> None:
    """Two laptops, each with its own SSH key and host keys: both end well, and nothing runs twice."""
    site.play("playbooks/teardown.yml", "-e", f"tpu_vm_delete_disk={DISK}", "-e", "tpu_vm_force=true")
    assert (site.nodes(), site.disks()) == ([], [])
    laptop = site.home / "laptop"
    laptop.mkdir()
    run = fakes.variables(steps=150, period=PERIOD)
    elsewhere = {"HOME": str(laptop), "ANSIBLE_HOME": f"{laptop}/.ansible"}
    begun = [
        site.start(ALL, **run),
        site.begin(
            *("site.yml", "--tags", ALL),
            given={**run, "tpu_vm_ssh_key_file": f"{laptop}/key"},
            **elsewhere,
        ),
    ]
    for each in begun:
        each.succeed()
    assert sorted(site.finished()) == ["convert", "install", "train"]
    assert (site.nodes(), site.disks()) == (["READY"], [DISK])


def test_a_machine_that_does_not_answer_is_torn_down(site: Site) -> None:
    site.ready()
    site.localcloud("machine", "cut", NODE)
    named = ("--check", "-e", f"leftovers_delete={NODE}")
    assert site.play("playbooks/leftovers.yml", *named, ANSIBLE_SSH_ARGS=SSH).recap["changed"] == 1
    site.play("playbooks/teardown.yml", ANSIBLE_SSH_ARGS=SSH)
    assert (site.nodes(), site.disks()) == ([], [DISK])


def test_a_stage_says_what_it_lacks_and_how_to_create_it(site: Site) -> None:
    """On a new node nothing is mounted; a stopped one runs nothing. The printed ways out work."""
    site.ready()  # all that the stages need is on the disk
    site.absent()
    site.start("tpu_vm").succeed()
    bare = site.train(tags="sft", run_name="bare")
    bare.fail()
    assert f"sft: The data disk is not mounted at {fakes.DISK} on {NODE}." in bare.words
    assert site.cloud.ssh(f"ls {fakes.DISK} 2>/dev/null || true") == ""
    site.follow(advised(bare.text, "--tags data_disk,sft"))
    assert site.mounted()

    site.ready()
    site.cloud.ssh(f"sudo -n mv {fakes.DISK}/env/train {fakes.DISK}/env/away")
    without = site.train(tags="sft", run_name="bare")
    without.fail()
    assert f"The environment {fakes.DISK}/env/train is not installed on {NODE}." in without.words
    site.follow(advised(without.text, "--tags maxtext_env,sft"))

    unserved = site.play("site.yml", "--tags", "evaluate", status=2)
    assert f"evaluate: No model is served: the unit vllm.service does not run on {NODE}." in words(
        unserved.output
    )
    # Only real vLLM serves: its stages are played in tests/damage.
    advised(unserved.output, "ansible-playbook -i inventories/local site.yml --tags vllm_serve,evaluate")

    site.play("playbooks/stop_node.yml")
    for arguments in (["site.yml", "--tags", "evaluate"], ["playbooks/follow.yml"]):
        stopped = site.play(*arguments, status=2)
        assert f"tpu_vm_name: the TPU VM {NODE} is STOPPED. Start it: " in words(stopped.output)
    site.follow(advised(stopped.output, "--tags tpu_vm"))
    assert "No job is running." in site.play("playbooks/follow.yml").output
