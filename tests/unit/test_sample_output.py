# SPDX-License-Identifier: GPL-3.0-or-later
"""The output that the READMEs show is what the code prints.

The steps, losses and times are those of a run of tests/e2e on the local cloud. Names and prices are Google's.
"""

from __future__ import annotations

import re
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

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
NAME, ZONE, KIND, RUN = "tpu-v5e-8", "us-west1-c", "v5litepod-8", "qwen3-4b-sft"
#: Of the log of the training.
LOG = (
    "completed step: 1, seconds: 22.025, TFLOP/s/device: 0.000, Tokens/s/device: 5.811, loss: 7.442",
    "completed step: 15, seconds: 1.954, TFLOP/s/device: 0.001, Tokens/s/device: 65.521, loss: 3.757",
    "completed step: 30, seconds: 0.815, TFLOP/s/device: 0.002, Tokens/s/device: 156.983, loss: 1.633",
    "completed step: 60, seconds: 0.764, TFLOP/s/device: 0.002, Tokens/s/device: 167.580, loss: 0.910",
)
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
                "first": {"step": 1.0, "loss": 7.442},
                "last": {"step": 60.0, "loss": 0.910},
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
    progress = Progress(f"sft-{RUN}", parser("maxtext", None), 60)
    for line in LOG:
        assert progress.feed(line)
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
        resources=leftovers.found([node], [], [disk], prices),
        details={(ZONE, NAME): Details(INFO)},
        now=NOW,
        currency=str(prices["currency"]),
        hub="https://huggingface.co",
    )
    return [*lines, *status(view)]


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_the_sample_is_what_is_printed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ImmutableDict(args=("site.yml",), inventory=["inventories/gcp"], extra_vars=())
    monkeypatch.setattr(context, "CLIARGS", arguments)
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shown = [line for block in blocks for line in block.splitlines() if line.strip() not in ("", "...")]
    assert len(shown) > 15
    lines = printed()
    assert [line for line in shown if line not in lines] == [], "\n".join(lines)
    assert [lines.index(line) for line in shown] == sorted(lines.index(line) for line in shown)
