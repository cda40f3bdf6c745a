# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of a job: start it, follow it, show its progress, say how it ended.

The base of the action plugins whose module starts a job.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.parameters import remove_values
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.progress import (
    Progress,
    duration,
    parser,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import interruption
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.job_end import failure
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.job_lines import SHOW_SHARE, Shown
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.node_loss import NodeLost, Watch
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.quiet import HOST_KEY_REFUSED, Quiet
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.shown_text import shown

# Seconds that the first look at the job takes, by how much each later one is longer, and up to which length.
FIRST_WAIT, WAIT_GROWTH, EARLY_WAIT = 1.0, 1.5, 5.0
# Seconds from the end of a job on a machine that shuts down until Google says why it did.
SHUTDOWN = 60.0
SHUT_DOWN = "the machine shut down"  # the runner's reason

display = Display()


class JobAction(Quiet):
    """Runs a module that starts a job or attaches to one, and then job_info until that job has ended.

    The module's result names the record of the job as ``job``, unless there is nothing to run.
    """

    _supports_check_mode = True
    _supports_async = False
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        super().run(tmp, task_vars)
        self.reached: Json = {}
        self.name = str(self._task.args.get("name") or "")
        node = self._task.args.get("node")
        self.watch = Watch(node) if node and not self._task.check_mode else None
        try:
            return self.run_job(task_vars or {})
        except NodeLost as lost:
            message = f"job {self.name}: {lost}" if self.name else f"T{str(lost)[1:]}"
            return {**failed(message), "failure": lost.failure, "reached": self.reached}

    def run_job(self, variables: Json) -> Json:
        """Start the job or attach to it, and follow it. Raises NodeLost when its machine is lost."""
        result = self.start(variables)
        if result.get("failed") or self._task.check_mode or not self.to_follow(result):
            return result
        again = self.restarts()
        while True:
            self.name = result["job"]["name"]
            with interruption.explained(result["job"]):
                ended = {**result, **self.follow(result["job"], variables)}
            if not ended.get("failed") or ended["job"]["status"] != "interrupted" or again <= 0:
                return ended
            again -= 1
            display.display(
                f"{self.label(ended['job'], variables)}  {ended['job']['reason']}; starting it again"
            )
            result = self.start(variables)
            if result.get("failed") or not self.to_follow(result):
                return result

    def start(self, variables: Json) -> Json:
        """Run the module. The options of the node are for the controller alone."""
        arguments = {key: value for key, value in self._task.args.items() if key != "node"}
        try:
            result: Json = self._execute_module(module_args=arguments, task_vars=variables)
        except AnsibleConnectionFailure:
            if self.watch:
                self.watch.check()
            raise
        if self.watch and no_answer(result):
            self.watch.check()
        return result

    def to_follow(self, result: Json) -> bool:
        """Whether the module left a job that the task waits for."""
        return result.get("action") in ("run", "attach") and self._task.args.get("state") != "started"

    def restarts(self) -> int:
        """How often the job is started again when its machine restarted under it."""
        return int((self._task.args.get("restart") or {}).get("interrupted") or 0)

    def secrets(self) -> set[str]:
        """What must not be shown, should the program have written it to its log."""
        return {str(secret) for secret in (self._task.args.get("secrets") or {}).values() if str(secret)}

    def follow(self, job: Json, variables: Json) -> Json:
        """Wait for the end of the job; the fields of the task's result that it decides."""
        needed = (job.get("disk") or {}).get("needed")
        reporter = Shown(
            self.make_progress(job, variables),
            lambda line: display.display(shown(self.scrubbed(line))),
            needed,
        )
        offset, wait, started, longest = (
            -1,
            FIRST_WAIT,
            time.monotonic(),
            float(self._task.args.get("poll", 60)),
        )
        missing_since: float | None = None
        while True:
            # Later as often as a line is shown: each look sends a module.
            seldom = (time.monotonic() - started) * SHOW_SHARE
            answer = self.look(job, offset, min(longest, max(wait, seldom)), variables)
            if answer.get("failed"):
                return answer
            if not answer["jobs"]:  # a machine that restarts answers before its data disk is mounted
                missing_since = time.monotonic() if missing_since is None else missing_since
                if time.monotonic() - missing_since > self.reconnect_timeout():
                    return failed(
                        f"the record of job {job['name']} is gone. Is the disk mounted? "
                        f"{job['log']} may tell more"
                    )
                time.sleep(self.reconnect_interval())
                continue
            missing_since = None
            offset = answer["offset"]
            reporter.update(answer["text"], answer.get("written"))
            self.reached = reporter.reached
            record = answer["jobs"][0]
            if record["fingerprint"] != job["fingerprint"]:
                return failed(f"job {job['name']} was started anew by someone else. Run this again")
            if record["started"] != job["started"]:  # by another controller, which waits for it as well
                job, offset, wait = record, -1, FIRST_WAIT
                continue
            if record["status"] != "running":
                reporter.last()
                self.check_end(record)
                return self.ended(record, answer.get("log_tail", []), variables)
            wait = min(wait * WAIT_GROWTH, EARLY_WAIT)

    def reconnect_timeout(self) -> float:
        """Seconds for which a machine, or the disk with its records, may stay away."""
        return float(self._task.args.get("reconnect_timeout", 300))

    def reconnect_interval(self) -> float:
        """Seconds between two attempts to reach the machine, to find the record, or to hear from Google."""
        return float(self._task.args.get("reconnect_interval", 5))

    def look(self, job: Json, offset: int, wait: float, variables: Json) -> Json:
        """One look at the job, across cuts of the connection shorter than reconnect_timeout."""
        records_dir = os.path.dirname(job["log"])
        arguments = {"name": job["name"], "records_dir": records_dir, "offset": offset, "wait": wait}
        limit = self.reconnect_timeout()
        lost_at: float | None = None
        while True:
            try:
                answer: Json = self._execute_module(
                    "tpuops.maxtext.job_info", module_args=arguments, task_vars=variables
                )
                if not no_answer(answer):
                    return answer
                raise AnsibleConnectionFailure(str(answer.get("msg")))
            except AnsibleConnectionFailure as error:
                if lost_at is None:
                    lost_at = time.monotonic()
                    display.display(f"{job['name']}  connection lost; trying again for {duration(limit)}")
                waited_out = time.monotonic() - lost_at > limit
                state = self.watch.check(patient=not waited_out) if self.watch else None
                if waited_out:
                    raise AnsibleConnectionFailure(
                        f"job {job['name']}: the machine could not be reached for {duration(limit)}; "
                        f"the job may still run. Run the same command again to attach to it ({error})"
                        + (f". {self.watch.silent()}" if self.watch and state == "READY" else "")
                    ) from error
                if self.watch and HOST_KEY_REFUSED in str(error):
                    for worker in self.watch.renew_host_keys():
                        display.display(
                            f"{job['name']}  {worker} has published a new host key; SSH trusts it"
                        )
            with contextlib.suppress(AnsibleConnectionFailure):
                self._connection.reset()  # a master connection that died would be used again
            time.sleep(self.reconnect_interval())

    def check_end(self, record: Json) -> None:
        """Raise NodeLost where a job did not finish because its node was preempted or lost.

        A preemption reaches the job first, as the shutdown of its machine, and only then what Google says.
        """
        if self.watch is None or record["status"] in ("finished", "stopped"):
            return  # the user who stops a job may delete its node next
        until = time.monotonic() + (SHUTDOWN if record["reason"] == SHUT_DOWN else 0.0)
        self.watch.check()
        while time.monotonic() < until:
            time.sleep(self.reconnect_interval())
            self.watch.check()

    def make_progress(self, job: Json, variables: Json) -> Progress | str:
        """What to show lines with: the job's progress, or its label where it tells no steps."""
        options = job["progress"]
        if "format" not in options:
            return self.label(job, variables)
        parse = parser(options["format"], options.get("pattern"))
        return Progress(self.label(job, variables), parse, options.get("total"))

    def label(self, job: Json, variables: Json) -> str:
        """The job's name, with the host's where the play has several."""
        several = len(variables.get("ansible_play_hosts", [])) > 1
        return f"{variables.get('inventory_hostname')}: {job['name']}" if several else str(job["name"])

    def ended(self, record: Json, log_tail: list[str], variables: Json) -> Json:
        if record["status"] == "finished":
            return {"job": record}
        message = failure(record, log_tail, str(variables.get("inventory_hostname")))
        return {**failed(self.scrubbed(message)), "job": record}

    def scrubbed(self, value: Any) -> Any:
        return remove_values(value, self.secrets())


def no_answer(result: Json) -> bool:
    """Whether this is what Ansible has of a machine that falls silent.

    No connection, a systemd that goes down, or a module that was killed with its machine: a shell's exit
    status for a signal, and nothing that Ansible could read.
    """
    killed = "module_stdout" in result and int(result.get("rc") or 0) > 128
    return bool(result.get("unreachable") or result.get("silent") or killed)


def failed(message: str) -> Json:
    return {"failed": True, "msg": as_started(message)}
