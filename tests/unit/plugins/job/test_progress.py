# SPDX-License-Identifier: GPL-3.0-or-later
"""The line that a user reads while a job runs."""

from __future__ import annotations

import json

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.progress import (
    Progress,
    Transfer,
    duration,
    parser,
    phase,
)

MAXTEXT = (
    "I1124 04:05:00 train.py:12] completed step: {step}, seconds: {seconds}, TFLOP/s/device: 0.000, "
    "Tokens/s/device: 8.013, total_weights: 109, loss: {loss}, lm_loss: 0.000, perplexity: 1028.983"
)


def test_maxtext_line() -> None:
    progress = Progress("sft-demo", parser("maxtext", None), 100)
    for step in range(1, 41):
        assert progress.feed(MAXTEXT.format(step=step, seconds=30.0 if step == 1 else 2.1, loss=1.234))
    shown = "sft-demo  step 40/100  loss 1.23  2.1 s/step  8 tokens/s/device  ETA 2 min"
    assert progress.describe() == shown


def test_the_first_step_compiles_and_estimates_nothing() -> None:
    progress = Progress("sft", parser("maxtext", None), 60)
    progress.feed(MAXTEXT.format(step=1, seconds=55.3, loss=7.44))
    assert progress.describe() == "sft  step 1/60  loss 7.44  55.3 s/step  8 tokens/s/device"
    progress.feed(MAXTEXT.format(step=2, seconds=1.5, loss=7.4))
    assert progress.describe().endswith("  ETA 87 s")


def test_a_transfer_that_has_hardly_begun_estimates_nothing() -> None:
    transfer = Transfer(2_500_000_000)
    for now, written in ((0.0, 0), (9.0, 14_000_000)):
        transfer.feed(written, now)
    assert transfer.describe() == "0.0 of about 2.5 GB written  1.6 MB/s"
    transfer.feed(500_000_000, 50.0)
    assert transfer.describe() == "0.5 of about 2.5 GB written  10.0 MB/s  ETA 3 min"


def test_a_conversion_says_what_it_does_and_not_what_it_has_done() -> None:
    assert phase("1 files, 8045 MB, are on this disk already") == "1 files, 8045 MB, are on the disk already"
    assert phase("the base model lies in /mnt/disks/checkpoints/cache") == "converts the base model"


@pytest.mark.parametrize(
    "line", ["", "Restored params from step: 30", "completed step: x", "{}", "[1]", "step"]
)
@pytest.mark.parametrize("name", ["maxtext", "json"])
def test_other_lines_tell_nothing(name: str, line: str) -> None:
    assert Progress("x", parser(name, None), None).feed(line) is False


def test_json_lines_tell_what_they_have() -> None:
    progress = Progress("eval", parser("json", None), None)
    progress.feed(json.dumps({"step": 3, "total": 12, "message": "scoring", "loss": None, "other": 1}))
    assert progress.describe() == "eval  step 3/12  scoring"


def test_a_pattern_of_ones_own() -> None:
    progress = Progress(
        "convert", parser("pattern", r"tensor (?P<step>\d+) of (?P<total>\d+) in (?P<seconds>\S+)"), None
    )
    progress.feed("tensor 5 of 398 in 0.5")
    assert progress.describe() == "convert  step 5/398  0.5 s/step  ETA 3 min"


def test_a_loss_that_is_no_number() -> None:
    progress = Progress("sft", parser("maxtext", None), None)
    progress.feed(MAXTEXT.format(step=1, seconds=1, loss="nan"))
    assert progress.describe() == "sft  step 1  loss nan  1.0 s/step  8 tokens/s/device"


def test_the_last_step_has_nothing_left_to_estimate() -> None:
    progress = Progress("sft", parser("json", None), 2)
    progress.feed('{"step": 2, "seconds": 1}')
    assert progress.describe() == "sft  step 2/2  1.0 s/step"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (600, "10 min"), (5400, "1 h 30 min"), (90000, "25 h 0 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
