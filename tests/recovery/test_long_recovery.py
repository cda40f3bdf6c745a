# SPDX-License-Identifier: GPL-3.0-or-later
"""Recoveries that take minutes of a clock, or repeat what others show, for `make soak`."""

from __future__ import annotations

import re

import pytest

from . import fakes
from .support import ALL, DISK, NODE, PERIOD, STEPS, Site

pytestmark = [pytest.mark.machines, pytest.mark.soak]


def test_training_ends_with_the_node_whose_time_is_up(site: Site) -> None:
    """The timer wins over a job that hangs, and no recovery makes the node again."""
    for seconds in (60, 300):  # on a busy machine the shorter time may be up before training is
        site.absent()
        name = f"timed-{seconds}"
        run = site.train(7, tags=ALL, run_name=name, tpu_vm_max_hours=seconds / 3600)
        run.fail()
        site.wait_until_no_node()
        if f"step 7/{STEPS}" in run.words:
            break
    ended = r"It deleted itself, [\d.]+ hours after it was created \(tpu_vm_max_hours\)\."
    assert re.search(ended, run.words), run.words
    assert "Recovery" not in run.words
    assert site.disks() == [DISK]


def test_a_timer_that_is_set_to_an_earlier_moment_deletes_the_node_then(site: Site) -> None:
    site.ready()
    site.play("site.yml", "--tags", "tpu_vm", "-e", f"tpu_vm_max_hours={site.hours(600)}")
    # How this ends is no matter: on a busy machine the node is gone by then.
    site.cloud.play("--tags", "tpu_vm", "-e", f"tpu_vm_max_hours={site.hours(45)}")
    site.wait_until_no_node()
    assert site.disks() == [DISK]


def test_a_run_recovers_as_often_as_it_may_and_ends_then(site: Site) -> None:
    site.ready()
    run = site.train(7, 17, run_name="limited", tpu_vm_max_recoveries=1)
    for step in (7, 17):
        run.wait_until_told(f"step {step}/{STEPS}")
        site.preempt()
    run.fail()
    assert "Recovery 1 of 1" in run.words
    assert run.words.count("Recovery") == 1
    assert "That was tried 1 times (tpu_vm_max_recoveries)." in run.words
    assert site.nodes() == ["PREEMPTED"]


def test_a_stopped_node_is_started_and_trains_on(site: Site) -> None:
    site.ready()
    run = site.train(7, run_name="stopped")
    run.wait_until_told(f"step 7/{STEPS}")
    site.google("POST", ":stop")
    run.succeed()
    # A watch that asks while the machine still goes down hears so, and that is a loss already.
    assert re.search(r"tpu-v5e-8 is STOPP(ING|ED); its last word was step 7\. Recovery 1 of 3", run.words)


def test_a_node_is_torn_down_under_a_running_job_where_that_is_forced(site: Site) -> None:
    site.ready()
    run = site.train(17, run_name="forced")
    run.wait_until_told(f"step 17/{STEPS}")
    site.play("playbooks/teardown.yml", "-e", "tpu_vm_force=true")
    run.fail()
    assert "job sft-forced was stopped after" in run.words  # and not lost: nobody makes the node again
    assert "Recovery" not in run.words
    assert (site.nodes(), site.disks()) == ([], [DISK])


def test_a_run_without_recoveries_says_what_to_do_and_the_same_command_ends_it(site: Site) -> None:
    site.ready("tpu_vm,data_disk,maxtext_env,convert")
    run = site.train(7, tags=ALL, run_name="once", tpu_vm_max_recoveries=0)
    run.wait_until_told(f"step 7/{STEPS}")
    site.preempt()
    run.fail()
    assert "the TPU VM tpu-v5e-8 is PREEMPTED. Run the same command again" in run.words
    assert "goes on from what is there. The TPU VM" not in run.words  # once is enough
    assert "Recovery" not in run.words
    assert site.nodes() == ["PREEMPTED"]
    site.train(7, tags=ALL, run_name="once", tpu_vm_max_recoveries=0).succeed()
    history = site.cloud.ssh(f"cat {fakes.DISK}/maxtext/once/history").split()
    assert [int(step) for step in history] == [*range(1, 8), *range(7 // PERIOD * PERIOD + 1, STEPS + 1)]


@pytest.mark.parametrize("strike", ["cut", "maintenance"])
def test_a_machine_that_is_silent_for_long_is_waited_for(site: Site, strike: str) -> None:
    """While a job runs that outlives the silence, and one that does not."""
    site.ready()
    run = site.train(steps=900, run_name=f"silent-{strike}")
    run.wait_until_told(r"step \d+/900")
    if strike == "cut":
        site.localcloud("machine", "cut", NODE)
        run.wait_until_told("connection lost; trying again")
        site.localcloud("machine", "heal", NODE)
    else:
        site.localcloud("maintenance", NODE, "--begin")
        run.wait_until_told("connection lost; trying again")
        site.localcloud("maintenance", NODE, "--end")
    run.succeed()
    assert "Recovery" not in run.words
