# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that matter, broken on purpose: `python -m tests.mutants [NAME...]`. Each must make a test fail.

They show whether something is no longer guarded after a test was removed or moved to another layer. Each
mutant is tried in a copy of the tree, with the tests that are to kill it and no others. `make soak` tries
all.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
EXPORT, TARGET = "tests/unit/roles/test_export.py", "tests/unit/plugins/job/test_hf_target.py"
LIMIT = "--timeout=900"  # of a test: a loop that a mutant made endless is a failure
ACTIONS, RECOVERY = "tests/contract/test_actions.py", "tests/recovery/test_recovery.py"


@dataclass(frozen=True)
class Mutant:
    """name: what is lost; file, old, new: the change, of text that is there once; tests: for pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    # ---- nodes and disks at Google
    Mutant(
        "a lack of quota moves on",
        "plugins/plugin_utils/capacity/attempts.py",
        'MOVES_ON = frozenset({"stockout", "quota", "preempted", "timeout"})',
        'MOVES_ON = frozenset({"stockout", "preempted", "timeout"})',
        (ACTIONS, "-k", "moves_on and quota"),
    ),
    Mutant(
        "what is somebody else's stops the ladder",
        "plugins/plugin_utils/capacity/climb.py",
        "        if others:\n            raise refused(\n",
        "        if False:\n            raise refused(\n",
        (ACTIONS, "-k", "somebody_elses"),
    ),
    Mutant(
        "ours is what has our owner",
        "plugins/plugin_utils/labels.py",
        'OURS = (CREATED_BY, "owner")',
        "OURS = (CREATED_BY,)",
        (ACTIONS, "-k", "somebody_else"),
    ),
    Mutant(
        "a run stays in the zone of its disk",
        "plugins/plugin_utils/capacity/climb.py",
        "        allowed = [candidate for candidate in self.candidates if candidate.zone == here[0]]\n",
        "        allowed = list(self.candidates)\n",
        ("tests/contract/test_capacity.py", "-k", "pin_the_next_run"),
    ),
    Mutant(
        "what waits in a queue is deleted on the way down",
        "plugins/plugin_utils/capacity/survey.py",
        'self._listed("tpu_queued_resource_info", {"name": self.name}, "queued_resources")',
        "[]",
        (ACTIONS, "-k", "queue"),
    ),
    Mutant(
        "a change of a node names its fields",
        "plugins/module_utils/tpu.py",
        '{"updateMask": ",".join(mask)}',
        '{"updateMask": mask[0]}',
        ("tests/unit/plugins/google/test_tpu_vm.py",),
    ),
    Mutant(
        "only what has our label is a leftover",
        "plugins/plugin_utils/leftovers.py",
        "labels_of(resource).get(CREATED_BY) == TOOL",
        "CREATED_BY != TOOL",
        (ACTIONS, "-k", "not_our_label"),
    ),
    # ---- jobs and disks on a node
    Mutant(
        "only a blank disk is formatted",
        "plugins/modules/disk_filesystem.py",
        '.strip(b"\\0"):\n                return size, False',
        ' == b"":\n                return size, False',
        ("tests/unit/plugins/disk",),
    ),
    Mutant(
        "a job waits for those that have the chips",
        "plugins/modules/job.py",
        'conflicts=params["conflicts"],',
        "conflicts=[],",
        ("tests/machines/test_job.py", "-k", "conflicts_with"),
    ),
    Mutant(
        "a job of an earlier boot does not run any more",
        "plugins/module_utils/job/records.py",
        'if record["boot_id"] != boot_id():',
        "if not boot_id():",
        ("tests/unit/plugins/job/test_records.py",),
    ),
    Mutant(
        "other inputs are another job",
        "plugins/module_utils/job/records.py",
        'for field in ("environment", "inputs"):',
        'for field in ("environment",):',
        ("tests/unit/plugins/job",),
    ),
    Mutant(
        "what has its name has its contents",
        "roles/data_disk/defaults/main.yml",
        "[discard, nodelalloc]",
        "[discard]",
        ("tests/machines/test_faults.py", "-k", "had_its_name"),
    ),
    # ---- nodes that are taken away
    Mutant(
        "no recovery after tpu_vm_max_hours",
        "roles/tpu_vm/tasks/recover.yml",
        "_tpu_vm_loss.losses | length > 0 and not _tpu_vm_expired and",
        "_tpu_vm_loss.losses | length > 0 and",
        (RECOVERY, "-k", "whatever_failed"),
    ),
    Mutant(
        "a last look before an idle node is deleted",
        "roles/tpu_vm/files/tpu_guard.py",
        "            yield used(minutes, later)",
        '            yield ""',
        ("tests/unit/roles/test_tpu_guard_idle.py", "-k", "last_moment"),
    ),
    Mutant(
        "the guard holds the lock of the jobs",
        "roles/tpu_vm/files/tpu_guard.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        ("tests/unit/roles/test_tpu_guard_idle.py", "-k", "no_job_starts"),
    ),
    Mutant(
        "recoveries are counted",
        "roles/tpu_vm/tasks/recover.yml",
        " and _tpu_vm_recoveries | int <= tpu_vm_max_recoveries | int",
        "",
        (RECOVERY, "-k", "without_recoveries_left"),
    ),
    Mutant(
        "a node that is not well is deleted first",
        "roles/tpu_vm/tasks/recover.yml",
        "  when: _tpu_vm_loss.unhealthy\n",
        "  when: false\n",
        (RECOVERY, "-k", "unhealthy"),
    ),
    Mutant(
        "a node is not deleted while a job runs",
        "roles/tpu_vm/tasks/running.yml",
        "that: _tpu_vm_running | length == 0 or tpu_vm_force | bool",
        "that: true",
        (RECOVERY, "-k", "forced and stop_node"),
    ),
    Mutant(
        "an ephemeral run keeps a node whose jobs it could not read",
        "plugins/plugin_utils/ephemeral.py",
        "    if unread:\n",
        "    if False:\n",
        ("tests/unit/plugins/capacity/test_ephemeral.py",),
    ),
    Mutant(
        "an ephemeral run keeps a node whose machine may run a job",
        "plugins/plugin_utils/ephemeral.py",
        "return not self.unknown and all(state in IDLE for state in self.states)",
        "return True",
        ("tests/unit/plugins/capacity/test_ephemeral.py",),
    ),
    Mutant(
        "an ephemeral run says what became of a node that cannot be reached",
        "roles/tpu_vm/tasks/ephemeral.yml",
        "      ignore_errors: true",
        "      ignore_errors: false",
        ("tests/contract/test_endings.py", "-k", "keeps_a_node_that"),
    ),
    Mutant(
        "a run whose machine cannot be reached comes to its end",
        "playbooks/prepare.yml",
        "hosts: workers,localhost",
        "hosts: workers",
        ("tests/contract/test_endings.py", "-k", "loses_its_machine"),
    ),
    # ---- bad input
    Mutant(
        "no steps are refused before a node is created",
        "plugins/plugin_utils/settings.py",
        '    "steps": _COUNT,',
        '    "steps": Limit(),',
        ("tests/unit/plugins/settings/test_settings.py",),
    ),
    Mutant(
        "data that cannot give all steps are refused before a node is made",
        "plugins/module_utils/training/batches.py",
        "if found is None or found * (1 if amount.scale == 1 else MARGIN) >= plan.steps:",
        "if found is None or found > 0:",
        ("tests/unit/plugins/training/test_batches.py",),
    ),
    Mutant(
        "a row that MaxText drops a part of is refused",
        "plugins/module_utils/training/conversations.py",
        "if role not in ROLES:",
        "if role is None:",
        ("tests/unit/plugins/training/test_conversations.py",),
    ),
    Mutant(
        "training whose data end before its steps is an error",
        "roles/sft/files/training_data.py",
        "if batch is None and train_ctx.train_steps < self.config.steps:",
        "if False:",
        ("tests/unit/roles/test_training_data.py",),
    ),
    Mutant(
        "training that goes on passes over rows, on any number of chips",
        "roles/sft/files/training_rows.py",
        "            position.left = known or 0\n",
        "            position.left = 0\n",
        ("tests/unit/roles/test_training_rows.py",),
    ),
    Mutant(
        "a node of several workers is refused before it is made",
        "plugins/module_utils/training/inputs.py",
        "if workers and workers > 1 and kind:",
        "if False:",
        ("tests/unit/plugins/training/test_inputs.py",),
    ),
    # ---- what is published
    Mutant(
        "a repository with files of others is refused",
        "plugins/module_utils/huggingface/hub.py",
        'if others and not request["replace"]:',
        "if False:",
        (TARGET,),
    ),
    Mutant(
        "what was uploaded and changed since is foreign",
        "plugins/module_utils/huggingface/hub.py",
        'return bool(known[path].get("git") == remote[path].blob_id)',
        "return True",
        (TARGET,),
    ),
    Mutant(
        "the base's configuration is published",
        "roles/export/files/export.py",
        "    copy_files(base_files, tokenizer_files, draft)\n",
        "",
        (EXPORT,),
    ),
    Mutant(
        "the weights have the names of the base's",
        "roles/export/files/export.py",
        "        check_names(set(shapes), set(theirs), base, is_tied(config))\n",
        "        pass\n",
        (EXPORT,),
    ),
    # ---- trust
    Mutant(
        "what a worker publishes is a key",
        "plugins/module_utils/gcp/known_hosts.py",
        '    if len(found) != len(wanted) or not all(map(_fits, found, wanted)):\n        return ""\n',
        "",
        ("tests/unit/plugins/google/test_gcp_ssh.py",),
    ),
    Mutant(
        "a key that is published anew is trusted",
        "plugins/inventory/tpu_vm.py",
        "asked = nodes if len(nodes) <= limit else strangers",
        "asked = strangers",
        ("tests/unit/plugins/google/test_inventory.py",),
    ),
    Mutant(
        "no arguments of modules are printed",
        "plugins/plugin_utils/quiet.py",
        "    display.debug = hidden(original)\n",
        "    display.debug = original\n",
        ("tests/unit/plugins/test_quiet.py",),
    ),
    Mutant(
        "a module that belongs on another host runs there",
        "plugins/plugin_utils/in_process.py",
        'if action._connection.transport != "local" or',
        "if",
        ("tests/unit/plugins/google/test_in_process.py",),
    ),
    Mutant(
        "a result of the task's own process has no secret",
        "plugins/plugin_utils/in_process.py",
        "remove_values(json.loads(json.dumps(result)), secrets_of(operation, checked))",
        "json.loads(json.dumps(result))",
        ("tests/unit/plugins/google/test_in_process.py",),
    ),
    Mutant(
        "of the host only root gets a token",
        "localcloud/google/metadata.py",
        'return owner(client, request.scope["server"]) == 0',
        "return True",
        ("tests/unit/localcloud/test_google_metadata.py",),
    ),
    # ---- users
    Mutant(
        "jobs that run together have no group in common",
        "plugins/module_utils/job/launch.py",
        "    if user != accounts.JOBS_USER:\n        return None\n",
        "    if user:\n        return None\n",
        ("tests/unit/plugins/job/test_job.py", "-k", "no_group_in_common"),
    ),
    Mutant(
        "the users of the jobs have expired",
        "plugins/module_utils/accounts.py",
        "        if not has_expired(self.name):\n",
        "        if not self.name:\n",
        ("tests/unit/plugins/disk/test_system_users.py",),
    ),
    Mutant(
        "a running job keeps its files",
        "plugins/modules/directories.py",
        "    if unit := job_of(former.st_uid):\n",
        "    if unit := None:\n",
        ("tests/unit/plugins/disk/test_directories.py",),
    ),
    Mutant(
        "a directory of root's is no link",
        "plugins/modules/directories.py",
        "        if roots and os.path.islink(path):\n",
        "        if False:\n",
        ("tests/unit/plugins/disk/test_directories.py",),
    ),
    # ---- the local cloud
    Mutant(
        "the Hub compares what it got with what was announced",
        "localcloud/hub/blobs.py",
        "if expected not in (None, sha256):",
        "if sha256 is None:",
        ("tests/unit/localcloud",),
    ),
    Mutant(
        "a preempted node has no machines",
        "localcloud/google/nodes.py",
        "        self._remove_machines(node)\n        return node\n",
        "        return node\n",
        ("tests/unit/localcloud",),
    ),
    Mutant(
        "nothing is left of a local cloud",
        "localcloud/machines/machine.py",
        'for directory in (self._directory, self._state / "disks"):\n',
        "for directory in (self._directory,):\n",
        ("tests/machines/test_machines.py", "-k", "teardown_leaves"),
    ),
)


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """All files but those that git ignores, committed or not."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        for name in filter(None, files.split("\0")):
            if not (ROOT / name).is_symlink() and not (ROOT / name).exists():
                continue  # deleted, and not committed yet
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
        yield tree


def passes(tree: Path, tests: tuple[str, ...]) -> bool:
    """Whether tests pass in a tree. AssertionError when none could run."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", LIMIT, *tests]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(tree / "ansible.cfg")}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    # 1: a test failed. Anything else, as that no test was found, says nothing.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 0


def survives(mutant: Mutant) -> bool:
    """Whether its tests pass with the change. AssertionError when it cannot be made."""
    with copy_of_the_tree() as tree:
        source = tree / mutant.file
        text = source.read_text(encoding="utf-8")
        assert text.count(mutant.old) == 1, f"{mutant.name}: the text occurs {text.count(mutant.old)} times"
        source.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        return passes(tree, mutant.tests)


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Try the mutants whose names have one of NAMES in them, by default all.

    A test that fails without the change kills nothing, so each is run without it first.
    """
    chosen = [each for each in MUTANTS if not names or any(name in each.name for name in names)]
    if not chosen:
        raise click.UsageError(f"no mutant has {' or '.join(names)} in its name")
    alive = 0
    with copy_of_the_tree() as tree:
        for tests in dict.fromkeys(mutant.tests for mutant in chosen):
            if not passes(tree, tests):
                raise click.ClickException(f"these tests fail without any mutant: {shlex.join(tests)}")
    for mutant in chosen:
        started = time.monotonic()
        survived = survives(mutant)
        alive += survived
        seconds = time.monotonic() - started
        click.echo(f"{'SURVIVES' if survived else 'killed':9} {seconds:5.0f} s  {mutant.name}")
    sys.exit(1 if alive else 0)


if __name__ == "__main__":
    main()
