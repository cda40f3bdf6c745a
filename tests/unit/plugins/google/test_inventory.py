# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleParserError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import tpu_hosts

from tests.json_types import Json
from tests.keys import public_key

from .conftest import Api

LIST = "GET tpu/v2/projects/my-project/locations/us-west1-c/nodes"
ANY_ZONE = "GET tpu/v2/projects/my-project/locations/-/nodes"
BIG = {"pageSize": "1000"}
OPTIONS: Json = {
    "plugin": "tpuops.maxtext.tpu_vm",
    "project": "my-project",
    "zones": ["us-west1-c"],
    "auth_kind": "accesstoken",
    "access_token": "the-token",
}


def node(name: str, workers: int = 1, **more: Any) -> Json:
    return {
        "name": f"projects/my-project/locations/us-west1-c/nodes/{name}",
        "id": f"id-{name}",
        "acceleratorType": "v5litepod-8",
        "runtimeVersion": "v2-alpha-tpuv5-lite",
        "state": "READY",
        "health": "HEALTHY",
        "networkEndpoints": [
            {"ipAddress": f"10.0.0.{number}", "accessConfig": {"externalIp": f"1.2.3.{number}"}}
            for number in range(workers)
        ],
        **more,
    }


def keys_call(name: str) -> str:
    return f"POST tpu/v2/projects/my-project/locations/us-west1-c/nodes/{name}:getGuestAttributes"


def keys(*values: str) -> Json:
    return {
        "guestAttributes": [
            {"queryValue": {"items": [{"namespace": "hostkeys", "key": "ssh-ed25519", "value": value}]}}
            for value in values
        ]
    }


class Source:
    """An inventory file in a directory of its own, read as Ansible reads it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "tpu_vm.yml"
        self.known_hosts = directory / "known_hosts"

    def write(self, **options: Any) -> None:
        merged = {**OPTIONS, "known_hosts_file": str(self.known_hosts), **options}
        self.path.write_text(
            yaml.safe_dump({key: value for key, value in merged.items() if value is not None})
        )

    def read(self, *, cache: bool = True, earlier: Json | None = None, group: str = "other") -> Any:
        """Inventory data. `cache` is false where a play asks for a fresh look (meta: refresh_inventory).

        earlier: variables by host that an inventory which was read before has; group: one of its groups.
        """
        loader = DataLoader()
        data = InventoryManager(loader=loader, sources=None)._inventory
        data.add_group(group)
        for host, variables in (earlier or {}).items():
            data.add_host(host)
            for name, value in variables.items():
                data.set_variable(host, name, value)
        plugin = inventory_loader.get("tpuops.maxtext.tpu_vm")
        assert plugin.verify_file(str(self.path))
        plugin.parse(data, loader, str(self.path), cache=cache)
        if plugin.get_option("cache"):
            plugin.update_cache_if_changed()  # as Ansible does after each source
        data.reconcile_inventory()
        return data

    def variables(self, host: str) -> Json:
        return dict(self.read().get_host(host).get_vars())


@pytest.fixture
def source(tmp_path: Path) -> Source:
    found = Source(tmp_path)
    found.write()
    return found


def listing(api: Api, *nodes: Json, call: str = LIST) -> Api:
    return api.on(call, {"nodes": list(nodes)}, query=BIG)


def groups_of(data: Any, host: str) -> set[str]:
    return {group.name for group in data.get_host(host).get_groups()}


def test_one_worker_is_a_host_of_the_nodes_name(api: Api, source: Source) -> None:
    source.write(user="tpu")
    listing(api, node("tpu", labels={"team": "Red-1"})).on(
        keys_call("tpu"), keys(public_key("AAAA")), body={}
    )
    data = source.read()
    assert groups_of(data, "tpu") == {
        "all",
        "tpu_vm",
        "node_tpu",
        "state_ready",
        "zone_us_west1_c",
        "type_v5litepod_8",
        "label_team_Red_1",
    }
    variables = data.get_host("tpu").get_vars()
    ssh = shlex.split(variables.pop("ansible_ssh_common_args"))
    known = {
        "tpu_node": "tpu",
        "tpu_project": "my-project",
        "tpu_zone": "us-west1-c",
        "tpu_state": "READY",
        "tpu_health": "HEALTHY",
        "tpu_accelerator_type": "v5litepod-8",
        "tpu_runtime_version": "v2-alpha-tpuv5-lite",
        "tpu_labels": {"team": "Red-1"},
        "tpu_worker_id": 0,
        "tpu_worker_count": 1,
        "tpu_internal_address": "10.0.0.0",
        "tpu_external_address": "1.2.3.0",
        "tpu_known_hosts_file": str(source.known_hosts),
        "tpu_slice": "tpu",
        "tpu_spot": False,
        "ansible_host": "1.2.3.0",
        "ansible_user": "tpu",
    }
    assert {name: variables[name] for name in known} == known
    assert data.groups["tpu_vm"].get_vars() == {
        "ansible_pipelining": True,
        "ansible_python_interpreter": "auto_silent",
    }
    assert [value for value in ssh if value != "-o"] == [
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={source.known_hosts}",
        "GlobalKnownHostsFile=/dev/null",
        "CheckHostIP=no",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "HostKeyAlias=tpu.id-tpu-0",
    ]
    assert source.known_hosts.read_text() == f"tpu.id-tpu-0 ssh-ed25519 {public_key('AAAA')}\n"
    assert source.known_hosts.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("there", [True, False])
def test_gcloud_s_key_is_used_where_it_is(
    api: Api, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    key = tmp_path / ".ssh" / "google_compute_engine"
    key.parent.mkdir()
    if there:
        key.touch()
    listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    variables = source.read().groups["tpu_vm"].get_vars()
    assert variables.get("ansible_ssh_private_key_file") == (str(key) if there else None)


def test_every_worker_of_a_slice_is_a_host(api: Api, source: Source) -> None:
    listing(api, node("slice", 2)).on(
        keys_call("slice"), keys(public_key("AAAA"), public_key("BBBB")), body={}
    )
    data = source.read()
    assert sorted(host.name for host in data.groups["node_slice"].get_hosts()) == ["slice-0", "slice-1"]
    variables = data.get_host("slice-1").get_vars()
    assert (variables["tpu_node"], variables["tpu_worker_id"], variables["tpu_worker_count"]) == (
        "slice",
        1,
        2,
    )
    assert source.known_hosts.read_text().splitlines() == [
        f"tpu.id-slice-0 ssh-ed25519 {public_key('AAAA')}",
        f"tpu.id-slice-1 ssh-ed25519 {public_key('BBBB')}",
    ]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the plugin warns of."""
    found: list[str] = []
    monkeypatch.setattr("ansible.utils.display.Display.warning", lambda _self, text, **_: found.append(text))
    return found


def test_hosts_that_have_not_published_a_key_are_named(
    api: Api, source: Source, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tpu_hosts, "THREADS", 1)  # what is asked at once has no order
    listing(api, node("slice", workers=2), node("tpu"))
    api.on(keys_call("slice"), keys(public_key("AAAA")), body={}).on(keys_call("tpu"), {}, body={})
    source.read()
    warning = warnings[-1]
    refused = "These hosts have not published a host key, and SSH will refuse them without asking: "
    assert warning.startswith(f"{refused}slice-1, tpu. Try again in a minute.")
    assert source.known_hosts.read_text() == f"tpu.id-slice-0 ssh-ed25519 {public_key('AAAA')}\n"


@pytest.mark.parametrize(
    "more", ["\n@cert-authority * ssh-ed25519 {key}", "\ntpu.id-other-0 ssh-ed25519 {key}", " x"]
)
def test_what_a_worker_publishes_beside_a_key_never_reaches_the_file(
    api: Api, source: Source, warnings: list[str], more: str
) -> None:
    """A worker writes its guest attributes itself, and may hold anybody's program."""
    listing(api, node("tpu", workers=2))
    bad = public_key("AAAA") + more.format(key=public_key("EVIL"))
    api.on(keys_call("tpu"), keys(bad, public_key("BBBB")), body={})
    source.read()
    assert source.known_hosts.read_text() == f"tpu.id-tpu-1 ssh-ed25519 {public_key('BBBB')}\n"
    assert "SSH will refuse them without asking: tpu-0." in warnings[-1]


@pytest.mark.parametrize("id", ["1 -o ProxyCommand=evil", "*", "1\n@cert-authority *"])
def test_an_id_that_is_no_id_gives_no_arguments_of_ssh(api: Api, source: Source, id: str) -> None:
    listing(api, node("tpu", id=id, state="STOPPED"))
    with pytest.raises(AnsibleParserError, match="is no name of a host key"):
        source.read()


def test_a_path_with_a_blank_or_a_percent_sign_is_one_file_to_ssh(
    api: Api, source: Source, tmp_path: Path
) -> None:
    directory = tmp_path / "Tokyo Office 100%h"
    source.write(known_hosts_file=str(directory / "known_hosts"))
    listing(api, node("tpu", state="STOPPED"))
    arguments = shlex.split(source.variables("tpu")["ansible_ssh_common_args"])
    shown = subprocess.run(
        ["ssh", "-F", "/dev/null", "-G", *arguments, "x"], capture_output=True, text=True, timeout=60
    )
    assert f"userknownhostsfile {directory}/known_hosts" in shown.stdout.splitlines(), shown


PROFILE = "GET oslogin/v1/users/me@example.com/loginProfile"
HERE = {"projectId": "my-project"}
OS_LOGIN: Json = {"user": "tpu", "os_login": True, "os_login_email": "me@example.com"}


def test_with_os_login_hosts_have_the_user_of_its_profile(api: Api, source: Source) -> None:
    source.write(**OS_LOGIN)
    listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    api.on(PROFILE, {"posixAccounts": [{"username": "me_example_com"}]}, query=HERE)
    assert source.variables("tpu")["ansible_user"] == "me_example_com"


def test_without_nodes_os_login_is_not_asked(api: Api, source: Source) -> None:
    source.write(**OS_LOGIN)
    listing(api)
    assert source.read().hosts == {}


@pytest.mark.parametrize("enabled", [True, False])
def test_before_there_is_an_account_of_os_login_a_warning_says_so(
    api: Api, source: Source, warnings: list[str], enabled: bool
) -> None:
    source.write(**OS_LOGIN)
    listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    if enabled:
        api.on(PROFILE, {"name": "1"}, query=HERE)
    else:
        details = [{"reason": "SERVICE_DISABLED"}]
        api.error(PROFILE, 403, "PERMISSION_DENIED", "It is off", query=HERE, details=details)
    assert source.variables("tpu")["ansible_user"] == "tpu"
    reason = (
        "OS Login has no account of me@example.com in the project my-project yet" if enabled else "It is off"
    )
    assert warnings[-1].startswith(f"SSH logs in without OS Login: {reason}. Run the role tpu_vm with")


@pytest.mark.parametrize(
    ("email", "words"),
    [("", "Set os_login_email to the e-mail address"), ("her@example.com", "whose credentials are in use")],
)
def test_os_login_of_nobody_or_somebody_else_is_an_error(
    api: Api, source: Source, email: str, words: str
) -> None:
    source.write(**{**OS_LOGIN, "os_login_email": email})
    listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    if email:
        api.error(PROFILE.replace("me@", "her@"), 403, "PERMISSION_DENIED", "closed", query=HERE)
    with pytest.raises(AnsibleParserError, match=words):
        source.read()


def test_host_keys_that_are_published_still_change_nothing(
    api: Api, source: Source, warnings: list[str]
) -> None:
    for _time in range(2):
        listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    source.read()
    before = source.known_hosts.stat().st_ino
    source.read()
    assert source.known_hosts.stat().st_ino == before
    assert [text for text in warnings if "host key" in text] == []


def test_a_new_host_key_that_is_published_takes_the_place_of_the_old_one(
    api: Api, source: Source, warnings: list[str]
) -> None:
    """Google has moved or repaired the machine, whose keys are made anew then."""
    listing(api, node("tpu", 2)).on(keys_call("tpu"), keys(*map(public_key, ("AAAA", "BBBB"))), body={})
    source.read()
    listing(api, node("tpu", 2)).on(keys_call("tpu"), keys(*map(public_key, ("AAAA", "CCCC"))), body={})
    source.read()
    assert source.known_hosts.read_text().splitlines() == [
        f"tpu.id-tpu-0 ssh-ed25519 {public_key('AAAA')}",
        f"tpu.id-tpu-1 ssh-ed25519 {public_key('CCCC')}",
    ]
    assert [text for text in warnings if "have published new host keys" in text and ": tpu-1." in text]


@pytest.mark.parametrize("answer", [{}, keys(""), keys("AAAA\n* ssh-ed25519 AAAA")])
def test_a_known_key_stays_while_no_other_is_published(
    api: Api, source: Source, warnings: list[str], answer: Json
) -> None:
    listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    source.read()
    listing(api, node("tpu")).on(keys_call("tpu"), answer, body={})
    source.read()
    assert source.known_hosts.read_text() == f"tpu.id-tpu-0 ssh-ed25519 {public_key('AAAA')}\n"
    assert [text for text in warnings if "host key" in text] == []


@pytest.mark.parametrize("known", [True, False])
def test_a_refusal_to_tell_host_keys_leaves_the_hosts(
    api: Api, source: Source, warnings: list[str], known: bool
) -> None:
    if known:
        listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
        source.read()
    listing(api, node("tpu"))
    api.error(keys_call("tpu"), 403, "PERMISSION_DENIED", "Guest attributes are not yours", body={})
    assert list(source.read().hosts) == ["tpu"]
    told = [text for text in warnings if "Guest attributes are not yours" in text]
    assert len(told) == (0 if known else 1)


def test_a_node_made_again_is_another_host_to_ssh(api: Api, source: Source) -> None:
    listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    old = source.variables("tpu")
    listing(api, node("tpu", id="new")).on(keys_call("tpu"), keys(public_key("BBBB")), body={})
    new = source.variables("tpu")
    assert "HostKeyAlias=tpu.new-0" in new["ansible_ssh_common_args"]
    assert new["ansible_host"] == old["ansible_host"]
    assert new["ansible_control_path"] != old["ansible_control_path"]
    assert f"tpu.new-0 ssh-ed25519 {public_key('BBBB')}" in source.known_hosts.read_text()


def test_the_host_key_of_a_node_under_maintenance_is_asked_for(api: Api, source: Source) -> None:
    """A play that waits for the machine has read the inventory already."""
    listing(api, node("tpu", state="REPAIRING")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    source.read()
    assert f"ssh-ed25519 {public_key('AAAA')}" in source.known_hosts.read_text()


def test_nodes_that_do_not_run_are_hosts_by_their_state(api: Api, source: Source) -> None:
    listing(api, node("a", state="STOPPED"), node("b", state="CREATING", networkEndpoints=[]))
    data = source.read()
    assert [host.name for host in data.groups["state_stopped"].get_hosts()] == ["a"]
    assert data.groups["state_creating"].get_hosts() == []


def test_addresses(api: Api, source: Source) -> None:
    inside = node("inside", networkEndpoints=[{"ipAddress": "10.0.0.9"}], state="STOPPED")
    listing(api, inside, node("tpu", state="STOPPED"))
    data = source.read()
    assert [data.get_host(name).get_vars()["ansible_host"] for name in ("inside", "tpu")] == [
        "10.0.0.9",
        "1.2.3.0",
    ]
    source.write(address="internal")
    listing(api, inside, node("tpu", state="STOPPED"))
    data = source.read()
    assert [data.get_host(name).get_vars()["ansible_host"] for name in ("inside", "tpu")] == [
        "10.0.0.9",
        "10.0.0.0",
    ]


def test_through_a_bastion_to_the_internal_address(api: Api, source: Source) -> None:
    source.write(bastion="me@door.example.com:2222")
    listing(api, node("tpu", state="STOPPED"))
    variables = source.variables("tpu")
    assert variables["ansible_host"] == "10.0.0.0"
    command = ["ssh", *shlex.split(variables["ansible_ssh_common_args"]), "-G", "10.0.0.0"]
    meant = dict(
        line.split(" ", 1)
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    )
    assert meant["hostkeyalias"] == "tpu.id-tpu-0"
    assert meant["stricthostkeychecking"] == "true"
    assert shlex.split(meant["proxycommand"]) == [
        *("ssh", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-W", "[%h]:%p"),
        *("-p", "2222", "me@door.example.com"),
    ]


def test_the_address_is_a_choice_with_a_bastion_as_well(api: Api, source: Source) -> None:
    source.write(bastion="door", address="external")
    listing(api, node("tpu", state="STOPPED"))
    assert source.variables("tpu")["ansible_host"] == "1.2.3.0"


@pytest.mark.parametrize("bastion", ["-oProxyCommand=x", "me@", "a b", "host:port", "me@-x", "$(id)"])
def test_what_is_no_bastion_is_refused(api: Api, source: Source, bastion: str) -> None:
    source.write(bastion=bastion)
    with pytest.raises(AnsibleParserError, match=r"bastion: .* is not valid\. Give user@host"):
        source.read()
    assert api.calls == []


def test_all_pages_of_all_zones_in_one_list(api: Api, source: Source) -> None:
    source.write(zones=None)
    first = {"nodes": [node("a", state="STOPPED")], "nextPageToken": "t"}
    api.on(ANY_ZONE, first, query=BIG)
    api.on(ANY_ZONE, {"nodes": [node("b", state="STOPPED")]}, query={**BIG, "pageToken": "t"})
    assert sorted(source.read().hosts) == ["a", "b"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"state": "READY"}, ["b"]),
        ({"state": ["READY", "STOPPED"]}, ["a", "b"]),
        ({"labels.team": "red"}, ["a"]),
        ({"name": "a", "labels.team": "blue"}, []),
    ],
)
def test_filters(api: Api, source: Source, filters: Json, found: list[str]) -> None:
    source.write(filters=filters)
    listing(api, node("a", state="STOPPED", labels={"team": "red"}), node("b"))
    if "b" in found:
        api.on(keys_call("b"), {}, body={})
    assert sorted(source.read().hosts) == found


@pytest.mark.parametrize(
    ("hostnames", "host"),
    [
        (["name"], "slice-0"),
        (["external_address", "name"], "1.2.3.0"),
        (["internal_address"], "10.0.0.0"),
        (["labels.missing", "labels.host"], "red"),
        (["{{ tpu_zone }}/{{ tpu_node }}.{{ tpu_worker_id }}"], "us-west1-c/slice.0"),
        (["{{ nothing }}", "labels.missing"], "slice-0"),
    ],
)
def test_hostnames_in_order_of_preference(api: Api, source: Source, hostnames: list[str], host: str) -> None:
    source.write(hostnames=hostnames, filters={"name": "slice"})
    workers = 1 if host == "red" else 2
    listing(api, node("slice", workers, state="STOPPED", labels={"host": "red"}))
    assert host in source.read().hosts


def test_strict_refuses_a_name_that_cannot_be_evaluated(api: Api, source: Source) -> None:
    source.write(hostnames=["{{ nothing }}"], strict=True)
    listing(api, node("tpu", state="STOPPED"))
    with pytest.raises(AnsibleParserError, match="Could not name the host tpu"):
        source.read()


def test_hosts_of_one_name_are_told_apart_by_their_zones(api: Api, source: Source) -> None:
    source.write(zones=None)
    other = {**node("tpu", state="STOPPED"), "name": "projects/my-project/locations/us-west4-a/nodes/tpu"}
    listing(api, node("tpu", state="STOPPED"), other, node("b", state="STOPPED"), call=ANY_ZONE)
    data = source.read()
    assert sorted(data.hosts) == ["b", "tpu.us-west1-c", "tpu.us-west4-a"]
    assert [host.name for host in data.groups["zone_us_west4_a"].get_hosts()] == ["tpu.us-west4-a"]
    assert len(data.groups["node_tpu"].get_hosts()) == 2


def test_hosts_of_one_name_in_a_zone_are_told_apart_by_their_nodes(
    api: Api, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's labels must not be in anybody's way."""
    warnings: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _self, message, *_more: warnings.append(message))
    source.write(hostnames=["labels.team"])
    red: Json = {"state": "STOPPED", "labels": {"team": "red"}}
    listing(api, node("a", **red), node("b", **red), node("c", state="STOPPED", labels={"team": "blue"}))
    assert sorted(source.read().hosts) == ["blue", "red.us-west1-c.a.0", "red.us-west1-c.b.0"]
    assert "same name: red.us-west1-c." in "".join(warnings)


def test_a_node_that_is_called_as_the_worker_of_a_slice_is_told_apart(api: Api, source: Source) -> None:
    source.write()
    listing(api, node("a-0", state="STOPPED"), node("a", workers=2, state="STOPPED"))
    data = source.read()
    assert sorted(data.hosts) == ["a-0.us-west1-c.a-0.0", "a-0.us-west1-c.a.0", "a-1"]


@pytest.mark.parametrize("name", ["all", "ungrouped", "localhost", "workers", "tpu"])
def test_a_node_that_is_called_as_something_of_ansibles_gets_the_zone(
    api: Api, source: Source, name: str
) -> None:
    """A host `all` is an error to Ansible, and one called localhost would be the controller."""
    listing(api, node(name, state="STOPPED"))
    data = source.read(earlier={"localhost": {}}, group="tpu")
    assert f"{name}.us-west1-c" in data.hosts
    assert "tpu_node" not in data.get_host("localhost").get_vars()
    assert data.get_host(f"{name}.us-west1-c").get_vars()["tpu_node"] == name


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([], ["all", "mine", "q-node", "theirs"]),
        (["mine"], ["mine"]),
        ("mine,us-west1-c/theirs", ["mine", "theirs"]),
        (["node:us-west1-c/mine", "disk:us-west1-c/theirs", "us-west4-a/all"], ["mine"]),
        (["q"], ["q-node"]),
        (["queued:us-west1-c/q"], ["q-node"]),
        (["none"], []),
    ],
)
def test_only_the_nodes_that_are_looked_for_are_hosts(
    api: Api, source: Source, nodes: Any, found: list[str]
) -> None:
    source.write(nodes=nodes)
    maker = "projects/my-project/locations/us-west1-c/queuedResources/q"
    names = [node(name, state="STOPPED") for name in ("mine", "theirs", "all")]
    listing(api, *names, node("q-node", state="STOPPED", queuedResource=maker))
    hosts = {name.removesuffix(".us-west1-c") for name in source.read().hosts}
    assert sorted(hosts) == found


def test_constructed_variables_and_groups(api: Api, source: Source) -> None:
    source.write(
        hostvars_prefix="g_",
        compose={"where": "g_zone ~ '/' ~ g_node"},
        groups={"first": "g_worker_id == 0"},
        keyed_groups=[{"prefix": "runtime", "key": "g_runtime_version"}],
    )
    listing(api, node("tpu", state="STOPPED"))
    data = source.read()
    assert data.get_host("tpu").get_vars()["where"] == "us-west1-c/tpu"
    assert {"first", "runtime_v2_alpha_tpuv5_lite"} <= groups_of(data, "tpu")


def test_strict_refuses_an_expression_that_cannot_be_evaluated(api: Api, source: Source) -> None:
    source.write(compose={"where": "nothing.at.all"}, strict=True)
    listing(api, node("tpu", state="STOPPED"))
    with pytest.raises(Exception, match="Could not set where for host tpu"):
        source.read()


# Templates


def test_options_may_be_templates_on_variables_beside_the_file(api: Api, source: Source) -> None:
    everybody = source.directory / "group_vars" / "all"
    everybody.mkdir(parents=True)
    (source.directory / "token").write_text("another-token")
    variables = {
        "cloud": "{{ lookup('ansible.builtin.file', inventory_dir ~ '/cloud.json') | from_json }}",
        "token": "{{ lookup('ansible.builtin.file', inventory_dir ~ '/token') }}",
    }
    (everybody / "cloud.yml").write_text(yaml.safe_dump(variables))
    (source.directory / "cloud.json").write_text('{"project": "my-project", "tpu": "http://local.test:1/"}')
    source.write(
        project="{{ cloud.project }}",
        zones=["{{ 'us' ~ '-west1-c' }}"],
        access_token="{{ token }}",
        auth_kind="{{ 'access' ~ 'token' }}",
        tpu_endpoint="{{ cloud.tpu }}",
        timeout="{{ 10 * 2 }}",
        service_account_file="{{ cloud.nothing | default(omit) }}",
    )
    listing(api, node("tpu", state="STOPPED"), call=LIST.replace("tpu/", "local/", 1))
    assert list(source.read().hosts) == ["tpu"]
    assert api.sent[0].headers["Authorization"] == "Bearer another-token"


def test_what_the_file_does_not_set_follows_the_variables_of_the_run(api: Api, source: Source) -> None:
    """A file of one line, as the README has it for users of Galaxy."""
    variables = {
        "project": "my-project",
        "zone": "us-west1-c",
        "tpu_vm_name": "mine",
        "tpu_vm_user": "me",
        "tpu_vm_ssh_key_file": "/keys/mine",
        "gcp_auth": {"auth_kind": "accesstoken", "access_token": "of-the-run"},
    }
    everybody = source.directory / "group_vars"
    everybody.mkdir()
    (everybody / "all.yml").write_text(yaml.safe_dump(variables))
    source.path.write_text(f"plugin: tpuops.maxtext.tpu_vm\nknown_hosts_file: {source.known_hosts}\n")
    listing(api, node("mine"), node("other")).on(keys_call("mine"), keys(public_key("AAAA")), body={})
    data = source.read()
    assert data.get_host("mine").get_vars()["ansible_user"] == "me"
    assert data.groups["tpu_vm"].get_vars()["ansible_ssh_private_key_file"] == "/keys/mine"
    assert api.sent[0].headers["Authorization"] == "Bearer of-the-run"
    listed = {"project": "my-project", "zones": ["us-west1-c"], "nodes": ["mine"], "unshared": []}
    assert data.groups["all"].get_vars() == {"_tpu_vm_sources": [{"file": str(source.path), **listed}]}


def test_the_candidates_say_where_the_nodes_of_the_run_are(api: Api, source: Source) -> None:
    everybody = source.directory / "group_vars"
    everybody.mkdir()
    candidates = [{"zone": "us-west1-c"}, {"zone": "us-west1-c", "provisioning": "spot"}]
    variables = {"zone": "us-east5-a", "tpu_vm_candidates": candidates}
    (everybody / "all.yml").write_text(yaml.safe_dump(variables))
    source.write(zones=None)
    listing(api)
    source.read()
    assert len(api.calls) == 1


def test_what_the_file_sets_is_a_setting_of_the_run(api: Api, source: Source) -> None:
    """The file alone is enough; a secret in it becomes no variable, which any program would print."""
    key = {"user": "me", "ssh_key_file": "/keys/mine"}
    source.write(nodes=["us-west1-c/mine"], timeout=9.0, **key)
    listing(api, node("mine", state="STOPPED"))
    variables = source.read().groups["all"].get_vars()
    assert variables.pop("_tpu_vm_sources")
    assert variables == {
        "project": "my-project",
        "zone": "us-west1-c",
        "tpu_vm_name": "mine",
        "tpu_vm_user": "me",
        "tpu_vm_ssh_key_file": "/keys/mine",
        "gcp_auth": {"auth_kind": "accesstoken", "timeout": 9.0},
    }


def unshared(api: Api, source: Source, call: str = LIST) -> list[str]:
    """Which credentials and endpoints of the file the modules of a run would not use."""
    listing(api, call=call)
    (found,) = source.read().groups["all"].get_vars()["_tpu_vm_sources"]
    names: list[str] = found["unshared"]
    return names


def test_credentials_that_the_modules_of_a_run_do_not_get_are_named(
    api: Api, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would act as another account, or in another cloud."""
    assert unshared(api, source) == ["access_token"]
    monkeypatch.setenv("GCP_ACCESS_TOKEN", "another")
    assert unshared(api, source) == ["access_token"]
    monkeypatch.setenv("GCP_ACCESS_TOKEN", "the-token")
    assert unshared(api, source) == []


def test_credentials_that_differ_from_those_of_the_run_are_named(api: Api, source: Source) -> None:
    source.write(access_token="{{ gcp_auth.access_token }}", auth_kind="{{ gcp_auth.auth_kind }}")
    everybody = source.directory / "group_vars"
    everybody.mkdir()
    run = {"auth_kind": "accesstoken", "access_token": "of-the-run"}
    (everybody / "all.yml").write_text(yaml.safe_dump({"gcp_auth": run}))
    assert unshared(api, source) == []
    source.write(auth_kind="accesstoken", access_token="of-the-file", tpu_endpoint="http://local.test:1")
    local = LIST.replace("tpu/", "local/", 1)
    assert unshared(api, source, local) == ["access_token", "tpu_endpoint"]


def test_a_template_that_cannot_be_evaluated_names_its_option(api: Api, source: Source) -> None:
    source.write(project="{{ nothing }}")
    with pytest.raises(AnsibleParserError, match="The option project cannot be evaluated"):
        source.read()


def test_the_environment_of_the_modules_serves_too(
    api: Api, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCP_PROJECT", "my-project")
    monkeypatch.setenv("GCP_AUTH_KIND", "accesstoken")
    monkeypatch.setenv("GCP_ACCESS_TOKEN", "from-environment")
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU", "http://local.test:1/")
    source.write(project=None, auth_kind=None, access_token=None)
    listing(api, call=LIST.replace("tpu/", "local/", 1))
    source.read()
    assert api.sent[0].headers["Authorization"] == "Bearer from-environment"


def test_the_known_hosts_of_a_project_have_a_place_of_their_own(
    api: Api, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    source.write(known_hosts_file=None)
    listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    source.read()
    assert (tmp_path / ".cache/tpuops-maxtext/known_hosts/my-project").exists()


# No hosts yet, and errors


def test_without_a_project_there_are_no_hosts(api: Api, source: Source) -> None:
    source.write(project="")
    data = source.read()
    assert list(data.hosts) == []
    # The settings of their group_vars are checked before there is a node.
    assert {"tpu_vm", "workers"} <= data.groups.keys()
    assert api.calls == []


def test_without_the_api_there_are_no_hosts(api: Api, source: Source) -> None:
    details = [{"reason": "SERVICE_DISABLED"}]
    api.error(LIST, 403, "PERMISSION_DENIED", "TPU API is off", query=BIG, details=details)
    data = source.read()
    assert list(data.hosts) == []
    # The settings of their group_vars are checked before there is a node.
    assert {"tpu_vm", "workers"} <= data.groups.keys()


@pytest.mark.parametrize(
    ("status", "canonical", "message"),
    [
        (403, "PERMISSION_DENIED", "Not yours"),
        (401, "UNAUTHENTICATED", "Who are you"),
        (404, "NOT_FOUND", "No"),
    ],
)
def test_other_errors_are_errors_with_their_remedy(
    api: Api, source: Source, status: int, canonical: str, message: str
) -> None:
    api.error(LIST, status, canonical, message, query=BIG)
    with pytest.raises(AnsibleParserError, match=rf"tpu_vm.yml: {message}\. [A-Z]"):
        source.read()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"project": "P"}, "project: 'P' is not valid"), ({"zones": ["x"]}, "zone: 'x' is not valid")],
)
def test_bad_names(api: Api, source: Source, options: Json, message: str) -> None:
    source.write(**options)
    with pytest.raises(AnsibleParserError, match=message):
        source.read()
    assert api.calls == []


@pytest.mark.parametrize(("policy", "warned"), [("warn", True), ("ignore", False)])
def test_zones_that_google_cannot_ask(
    api: Api, source: Source, policy: str, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible.utils.display import Display

    warnings: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _self, message, *_more: warnings.append(message))
    source.write(unreachable=policy)
    page = {"nodes": [node("tpu", state="STOPPED")], "unreachable": ["projects/p/locations/us-east1-d"]}
    api.on(LIST, page, query=BIG)
    assert list(source.read().hosts) == ["tpu"]
    assert any("us-east1-d" in warning for warning in warnings) is warned
    source.write(unreachable="error")
    api.on(LIST, page, query=BIG)
    with pytest.raises(AnsibleParserError, match="us-east1-d"):
        source.read()


@pytest.mark.parametrize("name", ["tpu_vm.json", "tpu.yml", "gcp.yaml"])
def test_files_of_other_names_are_not_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("plugin: tpuops.maxtext.tpu_vm")
    assert inventory_loader.get("tpuops.maxtext.tpu_vm").verify_file(str(tmp_path / name)) is False


# The cache


@pytest.fixture
def cached(source: Source) -> Callable[..., None]:
    def write(**options: Any) -> None:
        source.write(
            cache=True,
            cache_plugin="ansible.builtin.jsonfile",
            cache_connection=str(source.directory / "cache"),
            **options,
        )

    write()
    return write


def test_the_cache_answers_without_any_request(api: Api, source: Source, cached: Callable[..., None]) -> None:
    listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    first = source.read()
    first_calls = list(api.calls)
    source.known_hosts.unlink()
    second = source.read()
    assert api.calls == first_calls
    assert second.get_host("tpu").get_vars() == first.get_host("tpu").get_vars()
    assert source.known_hosts.read_text() == f"tpu.id-tpu-0 ssh-ed25519 {public_key('AAAA')}\n"


def test_a_cached_host_key_does_not_take_the_place_of_a_newer_one(
    api: Api, source: Source, cached: Callable[..., None]
) -> None:
    listing(api, node("tpu")).on(keys_call("tpu"), keys(public_key("AAAA")), body={})
    source.read()
    newer = f"tpu.id-tpu-0 ssh-ed25519 {public_key('BBBB')}\n"
    source.known_hosts.write_text(newer)  # as a run without the cache writes it
    source.read()
    assert source.known_hosts.read_text() == newer


def test_the_cache_is_private_and_without_metadata(
    api: Api, source: Source, cached: Callable[..., None]
) -> None:
    listing(api, node("tpu", state="STOPPED", metadata={"startup-script": "a-secret"}))
    source.read()
    directory = source.directory / "cache"
    (file,) = directory.iterdir()
    assert (directory.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert "10.0.0.0" in file.read_text()
    assert "a-secret" not in file.read_text()


def test_the_cache_answers_without_credentials(api: Api, source: Source, cached: Callable[..., None]) -> None:
    listing(api, node("tpu", state="STOPPED"))
    source.read()
    cached(auth_kind="serviceaccount", access_token=None, service_account_file="/nowhere.json")
    assert list(source.read().hosts) == ["tpu"]


def test_another_question_is_not_answered_from_the_cache(
    api: Api, source: Source, cached: Callable[..., None]
) -> None:
    listing(api, node("a", state="STOPPED"), node("b", state="STOPPED"))
    source.read()
    cached(filters={"name": "b"})
    listing(api, node("a", state="STOPPED"), node("b", state="STOPPED"))
    assert list(source.read().hosts) == ["b"]
    cached()
    assert sorted(source.read().hosts) == ["a", "b"]


def test_the_cache_remembers_which_zones_are_missing(
    api: Api, source: Source, cached: Callable[..., None]
) -> None:
    page = {"nodes": [node("tpu", state="STOPPED")], "unreachable": ["projects/p/locations/us-east1-d"]}
    api.on(LIST, page, query=BIG)
    source.read()
    cached(unreachable="error")
    with pytest.raises(AnsibleParserError, match="us-east1-d"):
        source.read()


def test_a_refresh_looks_again_and_renews_the_cache(
    api: Api, source: Source, cached: Callable[..., None]
) -> None:
    listing(api, node("old", state="STOPPED"))
    source.read()
    listing(api, node("new", state="STOPPED"))
    assert list(source.read(cache=False).hosts) == ["new"]
    assert list(source.read().hosts) == ["new"]
