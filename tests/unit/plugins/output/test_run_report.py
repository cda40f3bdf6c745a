# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run prints at its start and its end, and the status at any time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import leftovers
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.run_report import (
    Details,
    View,
    start,
    status,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.shown_text import shown

from tests.json_types import Json

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
PRICES = {
    "currency": "USD",
    "chip_hour": {"v5e": {"us-west1": {"on-demand": 1.2}}},
    "disk_gb_month": {"pd-balanced": {"us-west1": 0.1}},
}
LABELS = {"created-by": "tpuops-maxtext", "owner": "me", "run": "r"}
SSH = ("ssh", "-i", "/home/me/my key", "tpu@192.0.2.1")
TRAINING = {
    "status": "finished",
    "seconds": 240.0,
    "started": "2026-11-24T04:00:00+00:00",
    "steps": 60,
    "first": {"step": 1.0, "loss": 6.94},
    "last": {"step": 60.0, "loss": 1.234},
}
RUN = {
    "name": "qwen3-4b-sft",
    "training": TRAINING,
    "export": {"status": "finished", "directory": "/mnt/d/huggingface/qwen3-4b-sft"},
    "upload": {"status": "finished", "repo": "me/qwen3-4b-sft"},
}
SERVER = {"model": "me/qwen3-4b-sft", "port": 8000, "run": "qwen3-4b-sft", "healthy": True}
INFO: Json = {"runs": [RUN], "running": [], "server": SERVER}


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict(args=("site.yml",), inventory=[], extra_vars=()))


def node(name: str = "tpu-1", state: str = "READY", **more: Any) -> Json:
    return {
        "name": f"projects/p/locations/us-west1-c/nodes/{name}",
        "state": state,
        "acceleratorType": "v5litepod-8",
        "createTime": (NOW - timedelta(hours=2)).isoformat(),
        "labels": LABELS,
        **more,
    }


def disk(name: str = "data") -> Json:
    return {
        "name": name,
        "zone": "projects/p/zones/us-west1-c",
        "type": "projects/p/zones/us-west1-c/diskTypes/pd-balanced",
        "sizeGb": "256",
        "status": "READY",
        "labels": LABELS,
        "creationTimestamp": (NOW - timedelta(days=2)).isoformat(),
    }


def told(
    nodes: list[Json],
    disks: list[Json] = [],  # noqa: B006
    queued: list[Json] = [],  # noqa: B006
    zones: tuple[str, ...] = ("us-west1-c",),
    **details: Any,
) -> str:
    known = {("us-west1-c", name.replace("_", "-")): value for name, value in details.items()}
    view = View(
        project="p",
        account="me@example.com",
        name="tpu-1",
        run="qwen3-4b-sft",
        zones=zones,
        resources=leftovers.found(nodes, queued, disks, PRICES),
        details=known,
        now=NOW,
        currency="USD",
        hub="https://huggingface.co",
    )
    return "\n".join(status(view))


@pytest.mark.parametrize(
    ("kind", "option"),
    [("base", " -e vllm_serve_model=base"), ("export", " -e vllm_serve_source=export"), ("hub", "")],
)
def test_the_commands_for_the_server_keep_its_model(kind: str, option: str) -> None:
    """A chat starts the server again where the server has another model than the chat would serve."""
    text = told([node()], tpu_1=Details({**INFO, "server": {**SERVER, "kind": kind}}, SSH))
    assert f"    Chat:   ansible-playbook playbooks/chat.yml{option}\n" in text
    assert f"    Client: ansible-playbook playbooks/connect.yml{option}\n" in text


def test_the_whole_of_a_run_that_ended() -> None:
    text = told([node()], [disk()], tpu_1=Details(INFO, SSH))
    for line in (
        "Project p, account me@example.com",
        "Node tpu-1 in us-west1-c: READY, v5litepod-8, created 2 h 0 min ago",
        "  Cost:     9.60 USD an hour, at most 19.20 USD so far",
        "  Job:      none runs",
        "    Training: finished in 4 min, step 60 of 60, loss 6.94 (step 1) -> 1.23",
        "    Hub:      https://huggingface.co/me/qwen3-4b-sft",
        "    Disk:     /mnt/d/huggingface/qwen3-4b-sft",
        "  Served:   me/qwen3-4b-sft, of run qwen3-4b-sft, on port 8000 of the node alone",
        "    Chat:   ansible-playbook playbooks/chat.yml",
        "    Ask:    ansible-playbook playbooks/chat.yml -e prompt=Hello",
        "    Client: ansible-playbook playbooks/connect.yml",
        "    Tunnel: ssh -i '/home/me/my key' -N -L 8000:127.0.0.1:8000 tpu@192.0.2.1",
        "    Key:    ssh -i '/home/me/my key' tpu@192.0.2.1 sudo -n cat /etc/tpuops/vllm-api-key",
        "Disk data in us-west1-c: 0.035 USD an hour, about 1.68 USD so far",
        "To stop paying:",
        "  stop tpu-1, keep it: ansible-playbook playbooks/stop_node.yml",
        "  delete tpu-1, keep its data disk: ansible-playbook playbooks/teardown.yml",
        "  delete the disk data and the checkpoints on it, after its node: "
        "ansible-playbook playbooks/leftovers.yml -e leftovers_delete=disk:us-west1-c/data",
    ):
        assert line in text.splitlines(), text


def test_a_job_that_runs() -> None:
    job = {"name": "sft-r", "started": "2026-11-24T05:15:00+00:00"}
    training = {**TRAINING, "status": "running", "seconds": None, "started": job["started"]}
    run = {"name": "r", "training": training, "export": None, "upload": None}
    text = told([node()], tpu_1=Details({"runs": [run], "running": [job], "server": None}, SSH))
    assert "  Job:      sft-r, for 45 min" in text
    assert "    Training: running for 45 min, step 60 of 60, loss 6.94" in text
    assert "  Served:   nothing. To serve the model: ansible-playbook site.yml --tags vllm_serve" in text
    assert "Hub:" not in text


def test_a_stopped_node_costs_nothing_and_its_disk_does() -> None:
    text = told([node(state="STOPPED")], [disk()])
    assert "  Cost:     nothing now, as it is STOPPED; its disks cost money" in text
    assert "stop_node.yml" not in text
    assert "delete tpu-1, keep its data disk: " in text


def test_the_key_of_the_server_is_where_its_unit_has_it() -> None:
    server = {**SERVER, "key_file": "/root/the key"}
    text = told([node()], tpu_1=Details({**INFO, "server": server}, SSH))
    assert text.count("sudo -n cat '/root/the key'") == 2


@pytest.mark.parametrize(
    "kind",
    [
        {"schedulingConfig": {"spot": True}},
        {"schedulingConfig": {"preemptible": True}},
        {"queuedResource": "projects/p/locations/us-west1-c/queuedResources/tpu-1"},
        {"networkEndpoints": [{}, {}]},
    ],
    ids=["spot", "preemptible", "queued", "slice"],
)
def test_a_node_that_google_does_not_start_again_is_not_to_be_stopped(kind: Json) -> None:
    text = told([node(**kind)])
    assert "stop_node.yml" not in text
    assert "delete tpu-1, keep its data disk: " in text


def test_another_node_of_ours_has_commands_of_its_own() -> None:
    text = told([node(), node("tpu-2")], tpu_1=Details(INFO, SSH))
    assert "  Runs:     ansible-playbook playbooks/status.yml -e tpu_vm_name=tpu-2" in text
    assert "stop tpu-2, keep it: ansible-playbook playbooks/stop_node.yml -e tpu_vm_name=tpu-2" in text


def test_a_node_where_no_candidate_is_has_the_command_that_deletes_it() -> None:
    """Teardown and stop_node look at the candidates' zones alone."""
    text = told([node()], zones=("us-east5-a",))
    delete = "ansible-playbook playbooks/leftovers.yml -e leftovers_delete=node:us-west1-c/tpu-1"
    assert f"  delete tpu-1, keep its data disk: {delete}\n" in f"{text}\n"
    assert "stop_node.yml" not in text and "teardown.yml" not in text


def test_the_commands_of_a_served_model_ask_that_model() -> None:
    """The chat serves the model of its own run, in place of the one that is served."""
    text = told([node()], tpu_1=Details({**INFO, "server": {**SERVER, "run": "try-2"}}, SSH))
    for line in (
        "    Chat:   ansible-playbook playbooks/chat.yml -e run_name=try-2",
        "    Ask:    ansible-playbook playbooks/chat.yml -e run_name=try-2 -e prompt=Hello",
        "    Client: ansible-playbook playbooks/connect.yml -e run_name=try-2",
    ):
        assert line in text.splitlines()


def test_a_node_that_does_not_answer_is_told_with_the_reason() -> None:
    text = told([node()], tpu_1=Details(None, (), "tpu-1 does not answer over SSH: timed out"))
    assert "  Runs:     not known: tpu-1 does not answer over SSH: timed out" in text
    assert "To stop paying:" in text


def test_a_slice_cannot_be_stopped() -> None:
    assert "stop_node" not in told([node(networkEndpoints=[{}, {}])])


def test_nothing_is_there() -> None:
    assert "There is nothing of yours: no node, no queued resource, no disk. Nothing costs money." in told([])


def test_an_unknown_price_is_no_price() -> None:
    text = told([node(acceleratorType="v9-8")])
    assert "no price in tpu_vm_prices, an unknown amount so far" in text


@pytest.mark.parametrize("bad", ["\x1b]0;title\x07", "a\nb", "\u202eevil", "\x9b31m"])
def test_nothing_of_others_reaches_the_terminal_as_it_is(bad: str) -> None:
    run = {
        **RUN,
        "name": bad,
        "export": {"status": bad, "directory": bad},
        "upload": {"status": bad, "repo": bad},
    }
    server = {**SERVER, "model": bad, "run": bad}
    info = {"runs": [run], "running": [{"name": bad, "started": bad}], "server": server}
    text = told([node(acceleratorType=bad)], tpu_1=Details(info, SSH))
    assert bad not in text
    assert all(line.isprintable() for line in text.splitlines())
    assert bad not in "\n".join(start(bad, bad, bad, [{"label": bad, "zone": bad, "cost": bad}], bad, bad))
    assert shown("日本語 ok") == "日本語 ok"


def test_the_start_of_a_run_in_a_few_lines() -> None:
    places = [
        {"label": "us-west1-c, v5litepod-8, on-demand", "cost": "9.635 USD an hour (node 9.600, disk 0.035)"},
        {"label": "us-east5-a, v6e-8, spot", "cost": "?"},
    ]
    assert start("p", "me@example.com", "tpu-1", places, "me/r", "https://huggingface.co") == [
        "Project:   p",
        "Account:   me@example.com",
        "Node:      tpu-1, us-west1-c, v5litepod-8, on-demand (or 1 more: us-east5-a, v6e-8, spot)",
        "Price:     9.635 USD an hour (node 9.600, disk 0.035)",
        "Publishes: https://huggingface.co/me/r",
    ]
    assert start("p", "a", "n", places[:1], "", "h")[-1] == (
        "Publishes: nowhere: neither hf_username nor hf_repo is set"
    )
