# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes without machines, for measurements."""

from __future__ import annotations

import pytest

from localcloud.google.seed import seed_nodes
from tests.unit.localcloud.google_client import PROJECT, Google

EVERYWHERE = f"/v2/projects/{PROJECT.project_id}/locations/-/nodes"


def test_seeded_nodes_are_listed_and_never_booted(google: Google) -> None:
    names = seed_nodes(google.cloud.store, 3, zone="us-east5-a", accelerator_type="v6e-16")
    found = google.call("GET", EVERYWHERE)["nodes"]
    assert [node["name"] for node in found] == names
    assert {node["state"] for node in found} == {"READY"}
    addresses = {endpoint["ipAddress"] for node in found for endpoint in node["networkEndpoints"]}
    assert len(addresses) == 3 * 4
    assert google.work.unsettled() == []
    google.work.repair()
    assert google.machines.machines == {}
    google.finish(google.call("DELETE", f"/v2/{names[0]}"))
    assert len(google.call("GET", EVERYWHERE)["nodes"]) == 2


def test_what_a_zone_does_not_offer_is_not_seeded(google: Google) -> None:
    with pytest.raises(ValueError, match="us-west1-c does not offer v6e-8; there are v5litepod-1"):
        seed_nodes(google.cloud.store, 1, accelerator_type="v6e-8")
