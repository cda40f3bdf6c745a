# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin as Ansible reads it, over HTTP, on a local cloud with nodes in several zones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible.utils.display import Display

from localcloud.google.seed import seed_nodes
from tests.contract.served import Served, serving

A, B = "us-west1-c", "us-west4-a"
LATER = {
    "acceleratorType": "v5litepod-8",
    "runtimeVersion": "v2-alpha-tpuv5-lite",
    "labels": {"team": "blue"},
}


class Site:
    """Inventory files, read on a cloud that has three nodes in A and a slice of four workers in B."""

    def __init__(self, served: Served, directory: Path) -> None:
        self.served = served
        self.path = directory / "tpu_vm.yml"
        self.cache = directory / "cache"
        token = Path(served.description["access_token_file"]).read_text(encoding="utf-8").strip()
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.options: dict[str, Any] = {
            "plugin": "tpuops.maxtext.tpu_vm",
            "project": served.description["project"],
            "auth_kind": "accesstoken",
            "access_token": token,
            "tpu_endpoint": served.description["endpoints"]["tpu"],
            "known_hosts_file": str(directory / "known_hosts"),
            "host_keys_limit": 0,
        }

    def read(self, fresh: bool = False, **options: Any) -> Any:
        """What Ansible knows then. fresh: as of `meta: refresh_inventory`."""
        self.path.write_text(yaml.safe_dump({**self.options, **options}), encoding="utf-8")
        loader = DataLoader()
        data = InventoryManager(loader=loader, sources=None)._inventory
        plugin = inventory_loader.get("tpuops.maxtext.tpu_vm")
        plugin.parse(data, loader, str(self.path), cache=not fresh)
        if plugin.get_option("cache"):
            plugin.update_cache_if_changed()
        data.reconcile_inventory()
        return data

    def cached(self, fresh: bool = False, **options: Any) -> Any:
        kind = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile"}
        return self.read(fresh, **kind, cache_connection=str(self.cache), **options)

    def asked(self, mark: int) -> list[str]:
        """Paths that were asked for since then, without what all have in common."""
        return sorted(
            exchange.path.removeprefix(f"/v2/projects/{self.options['project']}/locations/")
            for exchange in self.served.since(mark)
        )


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("inventory") / "cloud") as served:
        store = served.server.cloud.store
        seed_nodes(store, 3, zone=A, prefix="one")
        seed_nodes(store, 1, zone=B, accelerator_type="v5litepod-16", prefix="many")
        yield served


@pytest.fixture
def site(seeded: Served, collection: None, tmp_path: Path) -> Iterator[Site]:
    yield Site(seeded, tmp_path)
    seeded.clear()


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _self, message, *_more: shown.append(message))
    return shown


ONE = [f"one-{number:05d}" for number in range(3)]
MANY = [f"many-00000-{worker}" for worker in range(4)]


def names(data: Any, group: str = "tpu_vm") -> list[str]:
    return sorted(host.name for host in data.groups[group].get_hosts())


def test_all_zones_in_one_list_and_listed_ones_each(site: Site) -> None:
    mark = len(site.served.exchanges)
    everywhere = site.read()
    assert site.asked(mark) == ["-/nodes"]
    mark = len(site.served.exchanges)
    listed = site.read(zones=[A, B])
    assert site.asked(mark) == [f"{A}/nodes", f"{B}/nodes"]
    assert names(everywhere) == names(listed) == sorted(ONE + MANY)
    assert names(site.read(zones=[B])) == MANY
    for host in everywhere.hosts:
        assert everywhere.get_host(host).get_vars() == listed.get_host(host).get_vars()


def test_every_worker_of_a_slice(site: Site) -> None:
    data = site.read()
    assert names(data, "node_many_00000") == names(data, "type_v5litepod_16") == MANY
    variables = [data.get_host(name).get_vars() for name in MANY]
    assert [value["tpu_worker_id"] for value in variables] == [0, 1, 2, 3]
    assert len({value["tpu_internal_address"] for value in variables}) == 4
    assert {value["tpu_worker_count"] for value in variables} == {4}
    assert {value["tpu_slice"] for value in variables} == {"many-00000"}


@pytest.mark.parametrize("policy", ["error", "warn", "ignore"])
def test_a_zone_that_refuses(site: Site, warnings: list[str], policy: str) -> None:
    site.served.fault("permission", {"zone": B})
    if policy == "error":
        with pytest.raises(AnsibleError, match=rf"missing: {B} \(Permission .* denied"):
            site.read(zones=[A, B], unreachable=policy)
        return
    assert names(site.read(zones=[A, B], unreachable=policy)) == ONE
    told = [text for text in warnings if "missing" in text and B in text]
    assert len(told) == (1 if policy == "warn" else 0)
    with pytest.raises(AnsibleError, match="Permission"):
        site.read(zones=[B], unreachable=policy)


def test_filters(site: Site) -> None:
    assert names(site.read(filters={"labels.parity": "odd"})) == ["one-00001"]
    assert names(site.read(filters={"acceleratorType": ["v5litepod-16"], "state": "READY"})) == MANY
    assert list(site.read(filters={"state": "STOPPED"}).hosts) == []


def test_names_prefix_groups_and_variables(site: Site) -> None:
    data = site.read(
        hostvars_prefix="g_",
        hostnames=["labels.nothing", "{{ g_node }}.{{ g_zone }}.{{ g_worker_id }}"],
        compose={"place": "g_zone", "where": "g_zone ~ '/' ~ g_node"},
        groups={"first": "g_worker_id == 0"},
        keyed_groups=[{"prefix": "parity", "key": "g_labels.parity"}, {"prefix": "at", "key": "place"}],
    )
    assert names(data, "first") == [f"many-00000.{B}.0", *(f"{name}.{A}.0" for name in ONE)]
    assert names(data, "parity_odd") == [f"one-00001.{A}.0"]
    assert len(names(data, "at_us_west4_a")) == 4
    variables = data.get_host(f"one-00002.{A}.0").get_vars()
    assert (variables["place"], variables["where"]) == (A, f"{A}/one-00002")
    assert [key for key in variables if key.startswith("tpu_")] == []


@pytest.mark.parametrize(
    "options",
    [
        {"hostnames": ["{{ nothing }}"]},
        {"compose": {"bad": "nothing.at.all"}},
        {"groups": {"bad": "nothing.at.all"}},
        {"keyed_groups": [{"prefix": "bad", "key": "tpu_labels.nothing"}]},
    ],
)
def test_strict(site: Site, options: dict[str, Any]) -> None:
    assert names(site.read(**options)) == sorted(ONE + MANY)
    with pytest.raises(AnsibleError):
        site.read(strict=True, **options)


def test_queued_resources_on_request(site: Site) -> None:
    site.served.fault("stockout", {"zone": A})
    parent = f"projects/{site.options['project']}/locations/{A}"
    url = f"{site.options['tpu_endpoint']}/v2/{parent}/queuedResources"
    spec = {"parent": parent, "nodeId": "later", "node": LATER}
    made = site.session.post(
        url, params={"queuedResourceId": "place"}, json={"tpu": {"nodeSpec": [spec]}}, timeout=60
    )
    assert made.status_code == 200
    assert "later" not in site.read().hosts
    data = site.read(queued_resources=True)
    assert names(data, "tpu_vm_waiting") == names(data, "label_team_blue") == ["later"]
    assert names(data) == sorted(ONE + MANY)
    variables = data.get_host("later").get_vars()
    assert (variables["tpu_slice"], variables["tpu_accelerator_type"]) == ("place", "v5litepod-8")
    assert "ansible_host" not in variables
    assert site.session.delete(f"{url}/place", params={"force": "true"}, timeout=60).status_code == 200


def test_the_cache_answers_while_google_does_not(site: Site) -> None:
    first = site.cached()
    (file,) = site.cache.iterdir()
    assert (site.cache.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    site.served.fault("permission", {})
    mark = len(site.served.exchanges)
    second = site.cached(access_token="expired", compose={"place": "tpu_zone"})
    assert site.asked(mark) == []
    assert names(second) == names(first) == sorted(ONE + MANY)
    assert second.get_host(MANY[0]).get_vars()["place"] == B
    with pytest.raises(AnsibleError, match="Permission"):
        site.cached(fresh=True)
    assert site.asked(mark) == ["-/nodes"]
