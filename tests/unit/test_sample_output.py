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
#: Of each step: seconds, tokens a second for each device, and loss, as the log of the training has them.
# fmt: off
STEPS = (
    (22.025, 5.811, 7.442), (4.820, 26.553, 7.474), (0.703, 182.194, 6.687), (0.629, 203.610,
    6.246), (0.764, 167.544, 5.968), (0.700, 182.921, 5.840), (0.699, 183.216, 5.623), (0.662,
    193.332, 5.580), (0.661, 193.633, 5.213), (0.647, 197.971, 5.091), (0.665, 192.566, 4.850),
    (0.833, 153.616, 4.538), (0.792, 161.592, 4.301), (0.676, 189.473, 4.066), (1.954, 65.521,
    3.757), (0.741, 172.790, 3.666), (0.684, 187.132, 3.557), (0.747, 171.301, 3.434), (0.635,
    201.727, 3.217), (0.656, 195.179, 2.997), (0.715, 179.022, 2.873), (0.730, 175.414, 2.663),
    (0.705, 181.552, 2.729), (0.625, 204.917, 2.378), (0.683, 187.316, 2.193), (0.808, 158.360,
    2.252), (0.662, 193.392, 2.036), (0.682, 187.553, 1.837), (0.682, 187.574, 1.757), (0.815,
    156.983, 1.633), (0.770, 166.219, 1.809), (0.701, 182.682, 1.633), (0.721, 177.433, 1.400),
    (0.686, 186.609, 1.543), (0.742, 172.515, 1.410), (0.721, 177.547, 1.395), (0.647, 197.893,
    1.385), (0.650, 197.041, 1.306), (0.698, 183.301, 1.201), (0.699, 183.044, 1.164), (0.772,
    165.726, 1.117), (0.682, 187.786, 1.177), (0.618, 207.074, 1.116), (0.668, 191.486, 1.197),
    (0.780, 164.124, 1.057), (0.752, 170.301, 1.029), (0.644, 198.705, 1.083), (0.755, 169.492,
    0.983), (0.658, 194.426, 0.981), (0.680, 188.265, 1.011), (0.681, 188.047, 0.977), (0.643,
    199.184, 0.858), (0.701, 182.685, 0.865), (0.679, 188.593, 0.909), (0.653, 195.978, 0.872),
    (0.754, 169.758, 0.921), (0.676, 189.261, 0.904), (0.725, 176.595, 0.856), (0.632, 202.455,
    0.965), (0.764, 167.580, 0.910),
)
# fmt: on
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
                "first": {"step": 1.0, "loss": STEPS[0][2]},
                "last": {"step": 60.0, "loss": STEPS[-1][2]},
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
    for number, (seconds, tokens, loss) in enumerate(STEPS, 1):
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
