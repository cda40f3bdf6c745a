# SPDX-License-Identifier: GPL-3.0-or-later
"""Which test runs a command that a message prints, as it is printed and in the situation that prints it.

A command of the sources without a row here fails. A new row needs a test that takes the command out of what
was printed (tests/advice.py) and runs it, or the reason why none does.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests import advice
from tests.advice import ROOT

from .roles.conftest import load

#: Why no test runs a command.
ACCOUNT = "asks a person at Google to log in"
V1 = "the local cloud has no TPU API v1, which only this command of gcloud asks"
MACHINE = "reboots or reads the machine; the fault that it helps with is a broken disk, which stays broken"
VLLM = "needs a server of vLLM: tests/damage plays the stages by the same tags"
ASKED = "the playbook starts a server that does not answer; only one that ends just then comes here"
LOST = "the job runs again when its checkpoint is lost; only a disk that loses it just then comes here"
VERSION = "needs an environment with another MaxText"
NOT_YET = "needs real MaxText or vLLM; tests/damage plays these stages, and not yet as they are printed"
TERMINAL = "needs a terminal; tests/machines/test_chat.py types the playbook there, not what was printed"
PINNED = "tests/damage reads it, and plays it for the commit of the rows that its run was made from"
LIKE_ANY = "the job is followed like any other; the test of the next row runs the other way out"
CHIPS = "another node of the local cloud would have no chips either"
NO_UNIT = "the test of the next row stops a service; kill is no command of ours"
TIME = "a machine of the local cloud has the clock of this machine"
OWN = "the playbooks check for the disk first; only a playbook of one's own comes here"

ENDINGS = "tests/contract/test_endings.py"
TEARDOWN = "tests/contract/test_teardown.py"
STATUS = "tests/contract/test_status.py"
GCLOUD = "tests/contract/test_gcloud.py"
ACTIONS = "tests/contract/test_actions.py"
RECOVERY = "tests/recovery/test_recovery.py"
REPORT = "tests/recovery/test_report.py"
CHAT = "tests/machines/test_chat.py"
JOB = "tests/machines/test_job.py"
DAMAGE = "tests/damage/test_damage.py"
HOST = "tests/machines/test_host.py"

BUSY = f"{HOST}::test_a_busy_device_names_who_has_it"
CLOSED = f"{HOST}::test_a_device_that_a_job_cannot_open"
LACKS = f"{RECOVERY}::test_a_stage_says_what_it_lacks_and_how_to_create_it"
SILENT = f"{ENDINGS}::test_a_stage_that_loses_its_machine_ends_with_what_costs_money"
KEPT = f"{ENDINGS}::test_an_ephemeral_run_keeps_a_node_that_may_run_a_job_and_says_so"
OFF = f"{ENDINGS}::test_the_command_for_a_node_that_does_not_run"
ALONE = f"{ENDINGS}::test_the_command_that_plays_a_stage_and_the_one_that_creates_its_node"
ELSEWHERE = f"{TEARDOWN}::test_what_is_where_no_candidate_is_has_the_command_that_deletes_it"
ERRORS = f"{GCLOUD}::test_the_commands_that_errors_print"
FOLLOWED = f"{RECOVERY}::test_a_running_job_is_followed_and_stopped"
COSTS = f"{RECOVERY}::test_the_commands_for_a_node_that_costs_money"
OWNER = f"{JOB}::test_a_disk_of_an_older_version_is_taken_over_when_its_job_has_ended"
TUNNEL = f"{CHAT}::test_what_a_client_needs"
WHOLE = f"{REPORT}::test_the_status_and_the_commands_that_it_prints"

#: (source, command) -> the situation that prints it, and the test that runs it, or why none does.
PRINTED: dict[tuple[str, str], tuple[str, str]] = {
    ("playbooks/stop.yml", "follow"): ("no job is named, or there is none of the name", FOLLOWED),
    ("playbooks/tasks/stage.yml", "site"): ("a stage is played alone", ALONE),
    ("plugins/action/prerequisites.py", "site --tags X"): ("a stage lacks what another creates", LACKS),
    ("plugins/callback/unreachable.py", "teardown"): ("a machine cannot be reached over SSH", SILENT),
    ("plugins/module_utils/accounts.py", "sudo"): (
        "a user or group of ours has another number",
        "changes the machine's users; molecule/02_data_disk has the refusal",
    ),
    ("plugins/module_utils/arguments.py", "gcloud compute tpus locations list"): (
        "a zone has no name that Google takes",
        V1,
    ),
    ("plugins/module_utils/arguments.py", "gcloud projects list"): (
        "a project has no id that Google takes",
        ERRORS,
    ),
    ("plugins/module_utils/gcp/auth.py", "gcloud auth print-access-token"): ("a token has a blank", ERRORS),
    ("plugins/module_utils/gcp/errors.py", "gcloud auth application-default login"): (
        "Google refuses the credentials",
        ACCOUNT,
    ),
    ("plugins/module_utils/gcp/errors.py", "gcloud compute tpus locations list"): ("a zone has no TPUs", V1),
    ("plugins/module_utils/gcp/oslogin.py", "gcloud config get account"): (
        "the credentials do not tell whose they are",
        ERRORS,
    ),
    ("plugins/module_utils/job/launch.py", "site --tags data_disk"): ("a job's user is not there", OWN),
    ("plugins/module_utils/job/launch.py", "sudo systemctl stop"): (
        "a job runs that another conflicts with",
        f"{JOB}::test_a_job_is_refused_beside_what_it_conflicts_with",
    ),
    ("plugins/module_utils/host/problems.py", "site"): ("a new node has no TPU, or too few chips", CHIPS),
    ("plugins/module_utils/host/problems.py", "teardown"): ("a new node has no TPU, or too few chips", CHIPS),
    ("plugins/module_utils/host/problems.py", "sudo dmesg"): ("the data disk is read-only", MACHINE),
    ("plugins/module_utils/host/problems.py", "sudo reboot"): (
        "the data disk is read-only, or memory is short",
        MACHINE,
    ),
    ("plugins/module_utils/host/problems.py", "sudo kill"): (
        "a process that is no service has a chip open",
        NO_UNIT,
    ),
    ("plugins/module_utils/host/problems.py", "sudo systemctl stop"): ("a service has a chip open", BUSY),
    ("plugins/module_utils/host/problems.py", "sudo chmod a+rw"): ("the jobs cannot open a chip", CLOSED),
    ("plugins/module_utils/host/problems.py", "sudo timedatectl set-ntp true"): ("the clock is wrong", TIME),
    ("plugins/module_utils/job/space.py", "sudo dmesg"): ("a disk fails", MACHINE),
    ("plugins/module_utils/job/space.py", "sudo reboot"): ("a disk fails", MACHINE),
    ("plugins/module_utils/manifest.py", "sudo rm"): ("what is served is damaged", NOT_YET),
    ("plugins/module_utils/served.py", "site --tags export,vllm_serve,evaluate"): (
        "the server has an older export",
        VLLM,
    ),
    ("plugins/module_utils/served.py", "site --tags vllm_serve,evaluate"): (
        "the server has the model of another run",
        VLLM,
    ),
    ("plugins/module_utils/training/maxtext_settings.py", "hf upload"): (
        "files are given in place of a data set",
        "tests/contract/test_hub_clients.py::test_files_become_a_data_set_by_the_command_of_the_error",
    ),
    ("plugins/modules/chat.py", "site --tags vllm_serve"): ("the server does not run when it is asked", VLLM),
    ("plugins/modules/directories.py", "follow"): ("a job of a former owner runs", LIKE_ANY),
    ("plugins/modules/directories.py", "sudo systemctl stop"): ("a job of a former owner runs", OWNER),
    ("plugins/modules/hf_upload.py", "site --tags export"): (
        "an export is damaged before its upload",
        NOT_YET,
    ),
    ("plugins/modules/hf_upload.py", "sudo rm"): ("an export is damaged before its upload", NOT_YET),
    ("plugins/plugin_utils/capacity/descent.py", "leftovers -e leftovers_delete"): (
        "a disk is where no candidate is",
        ELSEWHERE,
    ),
    ("plugins/plugin_utils/capacity/survey.py", "leftovers -e leftovers_delete"): (
        "a queued resource is where no candidate is",
        ELSEWHERE,
    ),
    ("plugins/plugin_utils/elsewhere.py", "leftovers -e leftovers_delete"): (
        "a node is where no candidate is",
        f"{TEARDOWN}::test_a_node_where_no_candidate_is_is_no_success_and_the_command_that_is_told_deletes_it",
    ),
    ("plugins/plugin_utils/ephemeral.py", "teardown -e tpu_vm_force"): (
        "the node of an ephemeral run is kept",
        KEPT,
    ),
    ("plugins/plugin_utils/found.py", "gcloud compute"): (
        "a node or a disk of the name is somebody else's",
        f"{ACTIONS}::test_what_is_somebody_elses_is_kept_until_it_is_labelled_as_ours",
    ),
    ("plugins/plugin_utils/interruption.py", "follow"): ("a run is interrupted while its job runs", FOLLOWED),
    ("plugins/plugin_utils/interruption.py", "stop"): ("a run is interrupted while its job runs", FOLLOWED),
    ("plugins/plugin_utils/interruption.py", "sudo systemctl stop"): (
        "a run is interrupted while its job runs",
        f"{JOB}::test_ctrl_c_says_that_the_job_goes_on",
    ),
    ("plugins/plugin_utils/job_end.py", "sudo tail"): (
        "a job fails",
        f"{JOB}::test_the_login_user_reads_the_log_as_printed",
    ),
    ("plugins/plugin_utils/node_loss.py", "teardown"): ("a node is unhealthy", COSTS),
    ("plugins/plugin_utils/run_end.py", "status"): ("Google does not answer at the end of a run", COSTS),
    ("plugins/plugin_utils/run_end.py", "teardown"): ("Google does not answer at the end of a run", COSTS),
    ("plugins/plugin_utils/run_report.py", "chat"): ("a model is served: a chat", TERMINAL),
    ("plugins/plugin_utils/run_report.py", "chat -e prompt"): ("a model is served: a question", WHOLE),
    ("plugins/plugin_utils/run_report.py", "connect"): ("a model is served: a tunnel", TERMINAL),
    ("plugins/plugin_utils/run_report.py", "curl"): ("a model is served, with a tunnel", WHOLE),
    ("plugins/plugin_utils/run_report.py", "leftovers -e leftovers_delete"): (
        "a disk, a queued resource, or a node where no candidate is",
        WHOLE,
    ),
    ("plugins/plugin_utils/run_report.py", "python3"): ("a tunnel is open", TUNNEL),
    ("plugins/plugin_utils/run_report.py", "site --tags vllm_serve"): ("nothing is served", VLLM),
    ("plugins/plugin_utils/run_report.py", "status"): (
        "another node of the same owner is READY",
        f"{STATUS}::test_the_status_of_ones_own_and_the_command_that_ends_the_cost",
    ),
    ("plugins/plugin_utils/run_report.py", "stop_node"): ("a node is READY", WHOLE),
    ("plugins/plugin_utils/run_report.py", "teardown"): ("there is a node", WHOLE),
    ("plugins/plugin_utils/run_workers.py", "site -e tpu_vm_name --tags X"): (
        "there is no node, or it does not run",
        OFF,
    ),
    ("plugins/plugin_utils/run_workers.py", "teardown -e tpu_vm_name"): ("a repair of the node failed", OFF),
    ("plugins/plugin_utils/tunnel_action.py", "status"): ("no server answers behind a tunnel", ASKED),
    ("roles/common/files/installed.py", "site --tags maxtext_env"): (
        "the environment has another version",
        VERSION,
    ),
    ("roles/export/files/export.py", "site --tags convert,export"): (
        "the base of adapters is not whole",
        NOT_YET,
    ),
    ("roles/export/files/export.py", "sudo rm"): ("the base of adapters is damaged", NOT_YET),
    ("roles/export/files/export.py", "site --tags sft,export"): (
        "a checkpoint is damaged when it is exported",
        PINNED,
    ),
    ("roles/export/tasks/main.yml", "site --tags sft"): ("there is no checkpoint to export", NOT_YET),
    ("roles/export/tasks/main.yml", "site --tags sft,export"): (
        "the newest checkpoint is not whole",
        NOT_YET,
    ),
    ("roles/export/tasks/main.yml", "sudo mv"): ("the newest checkpoint is not whole", NOT_YET),
    ("roles/sft/files/train_sft.py", "site --tags convert"): (
        "the converted model is damaged",
        f"{DAMAGE}::test_a_base_model_that_rotted_is_not_trained",
    ),
    ("roles/sft/files/train_sft.py", "sudo rm"): (
        "the converted model is damaged",
        f"{DAMAGE}::test_a_base_model_that_rotted_is_not_trained",
    ),
    ("roles/sft/tasks/kept.yml", "sudo rm"): (
        "a run began with other inputs",
        f"{RECOVERY}::test_a_run_goes_on_with_its_own_data_and_data_type",
    ),
    ("roles/sft/tasks/main.yml", "sudo rm"): ("the disk lost the last checkpoint", LOST),
    ("roles/tpu_vm/tasks/guard_armed.yml", "teardown"): ("the time of the node is over", COSTS),
    ("roles/tpu_vm/tasks/running.yml", "follow -e tpu_vm_name"): (
        "a job runs on a node that is to go",
        FOLLOWED,
    ),
    ("roles/tpu_vm/tasks/running.yml", "stop -e tpu_vm_name"): (
        "a job runs on a node that is to go",
        FOLLOWED,
    ),
    ("roles/vllm_serve/tasks/export.yml", "site --tags export"): ("there is no export to serve", NOT_YET),
}


def in_sources() -> set[tuple[str, str]]:
    found = {
        (str(path.relative_to(ROOT)), command)
        for path, text in load("scripts/long_sentences.py").messages()
        for command in advice.in_text(text)
    }
    plugins = [path for path in (ROOT / "plugins").rglob("*.py") if path.name != "command_line.py"]
    return found | {
        (str(path.relative_to(ROOT)), command) for path in plugins for command in advice.of_calls(path)
    }


def test_every_command_of_a_message_has_a_row() -> None:
    found = in_sources()
    assert len(found) > 50
    assert sorted(found - PRINTED.keys()) == []
    assert sorted(PRINTED.keys() - found) == []


@pytest.mark.parametrize("test", sorted({test for _, test in PRINTED.values() if "::" in test}))
def test_the_test_of_a_row_runs_what_was_printed(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    (function,) = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == name]
    statements = [ast.unparse(each) for each in ast.walk(function) if isinstance(each, ast.stmt)]
    # What is no more than read is not run.
    run = [each for each in statements if not each.startswith(("def ", "advised("))]
    assert re.search(r"\b(advised|printed|follow|cloud\.ssh)\(|\bprinted\b", "\n".join(run))


def test_the_helper_finds_what_ansible_prints() -> None:
    """As the terminal has it: the message, and the result as YAML, which wraps and quotes it."""
    place = """-e '{"tpu_vm_candidates": [{"zone": "a"}]}'"""
    text = (
        "[ERROR]: Task failed: Action failed: It stays. Delete it: ansible-playbook -i a "
        f"playbooks/teardown.yml {place} -e tpu_vm_name=n. Or stop it (sudo systemctl stop u.service on the "
        "machine).\n"
        "fatal: [localhost]: FAILED! => \n"
        "    msg: 'It stays. Delete it: ansible-playbook -i a\n"
        "        playbooks/teardown.yml -e ''{\"tpu_vm_candidates\"'\n"
        "\n"
        "    Chat:   ansible-playbook -i a tpuops.maxtext.chat\n"
    )
    assert advice.commands(text) == [
        f"ansible-playbook -i a playbooks/teardown.yml {place} -e tpu_vm_name=n",
        "sudo systemctl stop u.service",
        "ansible-playbook -i a tpuops.maxtext.chat",
    ]
    assert Path(advice.ROOT, "tests").is_dir()
