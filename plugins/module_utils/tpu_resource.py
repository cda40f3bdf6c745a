# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes and queued resources have in common: how they are found, and waited for."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.resource import Resource
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import Tpus


class TpuResource(Resource):
    """collection: the API's word for such resources, nodes or queuedResources."""

    collection = ""

    def __init__(self, module: AnsibleModule, client: Client) -> None:
        super().__init__(module, client)
        self.tpus = Tpus(self.client, self.project, self.zone)

    def fetch(self) -> Json | None:
        return self.tpus.find(self.collection, self.name)

    def settle(self, current: Json) -> Json | None:
        return self.tpus.settle(current["name"], self.fetch, self.is_settled, self.deadline)
