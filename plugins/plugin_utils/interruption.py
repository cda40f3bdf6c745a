# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C while a task follows a job: the job goes on, and the user is told how to come back to it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started, extra_variable


@contextlib.contextmanager
def explained(job: Json) -> Iterator[None]:
    """On Ctrl-C, or SIGTERM, say that the job goes on, how to attach to it again and how to stop it.

    Ansible detaches its workers from the terminal and stops reading their messages when it is
    interrupted, so the words go straight to the standard error of the process that has the terminal.
    It sends them SIGTERM right after SIGINT, and whichever Python handles first would end the worker
    within the handler of the other.
    """
    told = f"\n{goes_on(job)}\n".encode()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(handlers: dict[signal.Signals, Any]) -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    with terminal() as screen:

        def explain(number: int, _frame: Any) -> None:
            handle(dict.fromkeys(before, signal.SIG_IGN))
            with contextlib.suppress(OSError):
                os.write(screen, told)
            handle(before)
            signal.raise_signal(number)

        handle(dict.fromkeys(before, explain))
        try:
            yield
        finally:
            handle(before)


def goes_on(job: Json) -> str:
    """What becomes of a job that nobody follows any more."""
    arguments = extra_variable("job_name", job["name"])
    return as_started(
        f"Job {job['name']} goes on without this command.\n"
        "To follow it, run the same command again, or: "
        f"ansible-playbook playbooks/follow.yml {arguments}\n"
        f"To stop it: ansible-playbook playbooks/stop.yml {arguments}, "
        f"or on the machine: sudo systemctl stop {job['unit']}"
    )


@contextlib.contextmanager
def terminal() -> Iterator[int]:
    """The standard error of the process that has the terminal: Ansible's own, the parent of this worker.

    It is opened while that process lives, and never waited for: it may be a full pipe that nobody reads.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(f"/proc/{os.getppid()}/fd/2", flags)
    except OSError:
        descriptor = os.open(os.devnull, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
