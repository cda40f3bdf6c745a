# SPDX-License-Identifier: GPL-3.0-or-later
"""The output that the READMEs show has the words that the code prints.

tests/e2e compares it with what its run prints, and writes it (tests/transcript.py). This tells at once where
a change of the code has to be written there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.progress import Progress, parser
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import leftovers
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prices import cost, origin
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.run_report import Details, View, start, status

from tests import transcript

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
NAME, ZONE, KIND, RUN = "tpu-v5e-8", "us-west1-c", "v5litepod-8", "qwen3-4b-sft"
#: Of a few steps: number, seconds, tokens a second for each device, and loss.
STEPS = ((1, 4.8, 26.5, 7.44), (30, 0.8, 157.0, 1.63), (50, 0.8, 157.0, 1.01), (60, 0.8, 168.0, 0.91))
#: What the module run_info read of that run.
INFO: dict[str, Any] = {
    "running": [],
    "runs": [
        {
            "name": RUN,
            "training": {
                "status": "finished",
                "seconds": 84.427,
                "started": "2026-11-24T05:51:00+00:00",
                "steps": 60,
                "first": {"step": 1.0, "loss": STEPS[0][3]},
                "last": {"step": 60.0, "loss": STEPS[-1][3]},
            },
            "export": {"status": "finished", "directory": f"/mnt/disks/checkpoints/huggingface/{RUN}"},
            "upload": {"status": "finished", "repo": f"me/{RUN}"},
        }
    ],
    "server": {"model": f"me/{RUN}", "port": 8000, "run": RUN, "healthy": True},
}


def printed() -> list[str]:
    prices = yaml.safe_load((ROOT / "roles/tpu_vm/defaults/main/prices.yml").read_text())["tpu_vm_prices"]
    price = str(cost(prices, ZONE, KIND, "on-demand", "pd-balanced", 256))
    places = [{"label": f"{ZONE} {KIND} on-demand", "zone": ZONE, "cost": price}]
    account = "me@example.com"
    lines = start("my-project", account, NAME, places, f"me/{RUN}", "https://huggingface.co")
    lines += [f"           ({origin(prices)})"]
    lines.append("ok: [localhost]")
    progress = Progress(f"sft-{RUN}", parser("maxtext", None), 60)
    for number, seconds, tokens, loss in STEPS:
        step = f"completed step: {number}, seconds: {seconds}, TFLOP/s/device: 0.000"
        assert progress.feed(f"{step}, Tokens/s/device: {tokens}, total_weights: 489, loss: {loss}")
        lines.append(progress.describe())
    labels = {"created-by": "tpuops-maxtext", "owner": "me", "run": RUN}
    created = (NOW - timedelta(minutes=6)).isoformat()
    node = {
        "name": f"projects/my-project/locations/{ZONE}/nodes/{NAME}",
        "state": "READY",
        "acceleratorType": KIND,
        "createTime": created,
        "labels": labels,
    }
    disk = {
        "name": "tpu-data-disk",
        "zone": f"projects/my-project/zones/{ZONE}",
        "type": f"projects/my-project/zones/{ZONE}/diskTypes/pd-balanced",
        "sizeGb": "256",
        "status": "READY",
        "labels": labels,
        "creationTimestamp": created,
    }
    view = View(
        project="my-project",
        account=account,
        name=NAME,
        run=RUN,
        zones=[ZONE],
        resources=leftovers.found([node], [], [disk], prices),
        details={(ZONE, NAME): Details(INFO, ("ssh", "tpu@192.0.2.1"))},
        now=NOW,
        currency=str(prices["currency"]),
        hub="https://huggingface.co",
    )
    return [*lines, *status(view)]


@pytest.mark.parametrize("document", transcript.DOCUMENTS, ids=lambda path: str(path.name))
def test_the_sample_is_what_is_printed(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ImmutableDict(args=(str(ROOT / "site.yml"),), inventory=["inventories/gcp"], extra_vars=())
    monkeypatch.setattr(context, "CLIARGS", arguments)
    monkeypatch.chdir(ROOT)
    shown = transcript.shapes(transcript.documented(document))
    assert shown == transcript.shapes(transcript.sample("\n".join(printed())))


def test_a_sample_is_written_from_a_run_and_keeps_the_prices(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("a\n```text\nPrice: 9.6 USD\nold\n```\nb\n```text\nend\n```\n")
    transcript.write(document, [["Price: 9.1 USD", "step 3"], ["the end"]])
    assert document.read_text() == "a\n```text\nPrice: 9.6 USD\nstep 3\n```\nb\n```text\nthe end\n```\n"


def test_the_shape_of_a_line_has_its_words_and_names() -> None:
    line = "sft-qwen3-4b-sft  step 10/60  loss 5.09  0.6 s/step  198 tokens/s/device  ETA 35 s"
    other = "sft-qwen3-4b-sft  step 7/60  loss 5  1.6 s/step  18 tokens/s/device  ETA 2 min"
    assert transcript.shape(line) == transcript.shape(other)
    node = "Node tpu-v5e-8 in us-west1-c: READY, v5litepod-8, created 6 min ago"
    assert transcript.shape(node) == "Node tpu-v5e-8 in us-west1-c: READY, v5litepod-8, created T ago"
