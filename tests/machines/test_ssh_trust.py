# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom Ansible's SSH trusts and who is let in, on real machines with a real sshd each. Needs root."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.e2e.support import ROOT, Cloud, local_cloud
from tests.json_types import Json

from .support import output

pytestmark = pytest.mark.machines


class Google:
    """The APIs of a cloud, as a person calls them."""

    def __init__(self, settings: Json) -> None:
        self.parent = f"projects/{settings['project']}/locations/{settings['zone']}"
        self.root = settings["endpoints"]["tpu"]
        self.session = requests.Session()
        token = Path(settings["access_token_file"]).read_text().strip()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Json | None = None, **query: str) -> Json:
        response = self.session.request(method, f"{self.root}/{path}", json=body, params=query, timeout=60)
        assert response.status_code == 200, response.text
        answer: Json = response.json()
        return answer

    def finish(self, operation: Json) -> None:
        for _attempt in range(600):
            if operation.get("done"):
                break
            time.sleep(0.1)
            operation = self.call("GET", f"v2/{operation['name']}")
        assert operation.get("done"), operation
        assert "error" not in operation, operation

    def begin_node(self, name: str, external: bool, ssh_keys: str) -> Json:
        node = {
            "acceleratorType": "v5litepod-1",
            "labels": {"created-by": "tpuops-maxtext", "owner": "me"},
            "runtimeVersion": "v2-alpha-tpuv5-lite",
            "networkConfig": {"enableExternalIps": external},
            "metadata": {"ssh-keys": ssh_keys},
        }
        return self.call("POST", f"v2/{self.parent}/nodes", node, nodeId=name)

    def node(self, name: str) -> Json:
        return self.call("GET", f"v2/{self.parent}/nodes/{name}")

    def add_metadata(self, name: str, **values: str) -> None:
        metadata = {**self.node(name)["metadata"], **values}
        path = f"v2/{self.parent}/nodes/{name}"
        self.finish(self.call("PATCH", path, {"metadata": metadata}, updateMask="metadata"))

    def host_key(self, name: str) -> str:
        """A node's key as the line of a known_hosts file has it."""
        answer = self.call("POST", f"v2/{self.parent}/nodes/{name}:getGuestAttributes", {})
        items = answer["guestAttributes"][0]["queryValue"]["items"]
        return next(f"{item['key']} {item['value']}" for item in items if item["key"] == "ssh-ed25519")


@dataclass(frozen=True)
class Controller:
    """Somebody who runs Ansible, with an SSH configuration and a known_hosts file of their own.

    shared: a cloud with the nodes `target`, which has no external address, and `bastion`.
    """

    shared: Cloud
    google: Google
    home: Path

    def __post_init__(self) -> None:
        # SSH finds a person's files by the account and not by HOME; this is used in place of ~/.ssh/config.
        (self.home / "ssh_config").write_text(
            f"IdentityFile {self.home}/key\nIdentitiesOnly yes\nUserKnownHostsFile {self.user_known_hosts}\n"
        )
        command = self.home / "bin" / "ssh"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.home}/ssh_config "$@"\n')
        command.chmod(0o755)

    @property
    def user_known_hosts(self) -> Path:
        return self.home / "known_hosts"

    @property
    def known_hosts(self) -> Path:
        """The inventory's own."""
        return self.home / "inventory_known_hosts"

    @property
    def credentials(self) -> Json:
        settings = self.shared.settings
        return {
            "project": settings["project"],
            "auth_kind": "serviceaccount",
            "service_account_file": settings["service_account_file"],
            "token_uri": settings["token_uri"],
            "tpu_endpoint": settings["endpoints"]["tpu"],
            "serviceusage_endpoint": settings["endpoints"]["serviceusage"],
            "oslogin_endpoint": settings["endpoints"]["oslogin"],
        }

    def ansible(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """An ansible command that logs in anew, and has nobody to ask."""
        environment = {
            "PATH": f"{self.home}/bin:{self.shared.environment['PATH']}",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ControlPath=none -o ConnectTimeout=20",
            "ANSIBLE_SSH_USETTY": "0",
        }
        return self.shared.command(["ansible", *arguments], **environment)

    def inventory(self, **options: Any) -> str:
        """The file of an inventory with `target` alone; options are the plugin's."""
        path = self.home / "tpu_vm.yml"
        options = {"user": "tpu", "known_hosts_file": str(self.known_hosts), **options}
        content = {"plugin": "tpuops.maxtext.tpu_vm", **self.credentials, **options}
        path.write_text(json.dumps({**content, "filters": {"name": "target"}}))
        return str(path)

    def try_shell(self, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A shell command on `target`; options are the inventory's."""
        inventory = self.inventory(**options)
        return self.ansible("-i", inventory, "tpu_vm", "-m", "ansible.builtin.raw", "-a", command)

    def play(self, *tasks: Json) -> subprocess.CompletedProcess[str]:
        """A playbook on `target`, with the variable of the role common by which Google is asked."""
        common = yaml.safe_load((ROOT / "roles" / "common" / "defaults" / "main.yml").read_text())
        auth = {key: value for key, value in self.credentials.items() if key != "project"}
        variables = {"common_node": common["common_node"], "gcp_auth": auth}
        play = {"hosts": "tpu_vm", "gather_facts": False, "vars": variables, "tasks": tasks}
        book = self.home / "book.yml"
        book.write_text(json.dumps([play]))
        environment = {"PATH": f"{self.home}/bin:{self.shared.environment['PATH']}"}
        command = ["ansible-playbook", "-i", self.inventory(), str(book)]
        return self.shared.command(command, **environment)

    def shell(self, command: str, **options: Any) -> str:
        """What a command that must succeed says."""
        done = self.try_shell(command, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.partition(">>\n")[2].strip()

    def refusal(self, command: str = "true", **options: Any) -> str:
        """How SSH says that it does not connect, warnings included."""
        done = self.try_shell(command, **options)
        assert (done.returncode, "UNREACHABLE" in done.stdout) == (4, True), done.stdout + done.stderr
        return " ".join((done.stderr + done.stdout).split())

    def module(self, module: str, /, **options: Any) -> None:
        """Run a module here; it must succeed."""
        arguments = json.dumps({**self.credentials, **options})
        done = self.ansible("localhost", "-m", f"tpuops.maxtext.{module}", "-a", arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def public_key(self, name: str = "key") -> str:
        return (self.home / f"{name}.pub").read_text().strip()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", str(path))
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Iterator[Cloud]:
    with local_cloud(tmp_path_factory.mktemp("ssh")) as cloud:
        google = Google(cloud.settings)
        services = ["tpu.googleapis.com", "oslogin.googleapis.com"]
        path = f"v1/projects/{cloud.settings['project']}/services:batchEnable"
        google.call("POST", path, {"serviceIds": services})
        line = key.with_suffix(".pub").read_text().strip()
        made = [
            google.begin_node("target", external=False, ssh_keys=f"tpu:{line}"),
            google.begin_node("bastion", external=True, ssh_keys=f"jump:{line}"),
        ]
        for operation in made:
            google.finish(operation)
        yield cloud


@pytest.fixture
def controller(shared: Cloud, key: Path, tmp_path: Path) -> Controller:
    """Somebody new, who knows no host."""
    for name in (key.name, f"{key.name}.pub"):
        shutil.copy(key.parent / name, tmp_path)
    return Controller(shared, Google(shared.settings), tmp_path)


def test_a_node_without_external_address_is_reached_through_a_bastion(controller: Controller) -> None:
    google = controller.google
    address = google.node("bastion")["networkEndpoints"][0]["ipAddress"]
    bastion = {"bastion": f"jump@{address}"}

    unknown = controller.refusal(**bastion)
    assert f"No ED25519 host key is known for {address} and you have requested strict checking" in unknown

    controller.user_known_hosts.write_text(f"{address} {google.host_key('bastion')}\n")
    came_from = controller.shell("echo $SSH_CONNECTION", **bastion).split()[0]
    assert came_from == address

    controller.user_known_hosts.write_text(f"{address} {google.host_key('target')}\n")
    changed = controller.refusal(**bastion)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in changed

    # The key of the second machine is checked as strictly.
    controller.user_known_hosts.write_text(f"{address} {google.host_key('bastion')}\n")
    alias = controller.known_hosts.read_text().split()[0]
    controller.known_hosts.write_text(f"{alias} {google.host_key('bastion')}\n")
    changed = controller.refusal(**bastion, host_keys_limit=0)
    assert f"Host key for {alias} has changed and you have requested strict checking" in changed


def test_a_host_that_has_published_no_key_is_refused_and_nobody_is_asked(controller: Controller) -> None:
    refusal = controller.refusal(host_keys_limit=0)
    alias = f"tpu.{controller.google.node('target')['id']}-0"
    assert f"No ED25519 host key is known for {alias} and you have requested strict checking" in refusal
    assert "Host key verification failed" in refusal
    assert "continue connecting" not in refusal


def test_a_key_that_is_added_later_takes_nobodys_away(controller: Controller) -> None:
    output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(controller.home / "hers"))
    node = {"name": "target", "zone": controller.shared.settings["zone"]}
    hers = {"user": "her", "key": controller.public_key("hers")}
    controller.module("tpu_vm", **node, ssh_keys=[hers])
    assert controller.shell("whoami") == "tpu"
    assert "Permission denied (publickey)" in controller.refusal(user="her")
    for suffix in ("", ".pub"):
        shutil.copy(controller.home / f"hers{suffix}", controller.home / f"key{suffix}")
    assert controller.shell("whoami; sudo whoami", user="her").split() == ["her", "root"]


PUBLISH = (
    "curl -sf -X PUT -H Metadata-Flavor:Google --data-binary @- "
    "http://metadata.google.internal/computeMetadata/v1/instance/guest-attributes/hostkeys/ssh-ed25519"
)


def test_a_changed_host_key_is_refused_until_the_machine_publishes_it(controller: Controller) -> None:
    google = controller.google
    path = f"v2/{google.parent}/nodes/target"
    before = google.host_key("target")
    controller.shell("sudo sh -c 'rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl reload ssh'")
    alias = controller.known_hosts.read_text().split()[0]
    refusal = controller.refusal()
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refusal
    assert f"Host key for {alias} has changed and you have requested strict checking" in refusal
    assert str(controller.known_hosts) in refusal

    # It comes up with that key, and publishes it, as after a repair: the run goes on by itself.
    for verb in ("stop", "start"):
        google.finish(google.call("POST", f"{path}:{verb}", {}))
    assert google.host_key("target") != before
    assert controller.shell("whoami") == "tpu"
    assert controller.known_hosts.read_text() == f"{alias} {google.host_key('target')}\n"


NEW_KEY = "rm /etc/ssh/ssh_host_ed25519_key*; ssh-keygen -A; systemctl reload ssh"
PUBLIC = "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub | tr -d '\\n'"


def test_a_key_that_changes_between_two_tasks_is_followed_once_it_is_published(
    controller: Controller,
) -> None:
    before = controller.google.host_key("target")
    done = controller.play(
        {"ansible.builtin.shell": f"{NEW_KEY}; {PUBLIC} | {PUBLISH}", "become": True},
        {"ansible.builtin.meta": "reset_connection"},
        {"tpuops.maxtext.job_info": {}, "become": True, "register": "found"},
        {"ansible.builtin.debug": {"var": "found.jobs"}},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "target has published a new host key; SSH trusts it" in done.stdout
    now = controller.google.host_key("target")
    assert now != before
    assert controller.known_hosts.read_text().split(maxsplit=1)[1].strip() == now


def test_what_a_worker_publishes_opens_no_other_host(controller: Controller) -> None:
    """Any program on a worker writes its guest attributes, lines for SSH among them."""
    google = controller.google
    assert controller.shell("whoami") == "tpu"
    alias = controller.known_hosts.read_text().split()[0]
    kind, own = google.host_key("target").split()
    foreign = google.host_key("bastion")
    lines = f"{own}\\n@cert-authority * {foreign}\\ntpu.1-0 {foreign}\\n* {foreign}"
    try:
        controller.shell(f"printf '{lines}' | {PUBLISH}")
        assert foreign in google.host_key("target")
        assert controller.shell("whoami") == "tpu"  # by the machine's key of another type
        ((name, other, key),) = (line.split() for line in controller.known_hosts.read_text().splitlines())
        assert (name, other != kind, key in lines) == (alias, True, False)
    finally:
        controller.shell(f"printf {own} | {PUBLISH}")
    assert controller.shell("whoami") == "tpu"
    assert controller.known_hosts.read_text() == f"{alias} {kind} {own}\n"


@pytest.fixture
def os_login(controller: Controller) -> Iterator[Controller]:
    """A controller whose role has put the key into a profile and told `target` to use OS Login."""
    variables = {
        "tpu_vm_name": "target",
        "tpu_vm_owner": "me",
        "tpu_vm_accelerator_type": "v5litepod-1",
        "tpu_vm_disk_name": "",
        "tpu_vm_ssh_key_file": str(controller.home / "key"),
        "tpu_vm_os_login": True,
    }
    for changed in (True, False):
        played = controller.shared.play("-e", json.dumps(variables), playbook="playbooks/provision.yml")
        assert played.status == 0, played.output
        assert (played.recap["changed"] > 0) is changed, played.output
    yield controller
    controller.google.add_metadata("target", **{"enable-oslogin": "FALSE"})


def test_os_login_lets_in_whom_a_profile_names_until_the_key_expires(os_login: Controller) -> None:
    user, root = os_login.shell("whoami; sudo whoami", os_login=True).split()
    assert (user.startswith("sa_"), root) == (True, "root")
    denied = "Permission denied (publickey)"
    assert denied in os_login.refusal()  # a key of the metadata

    os_login.module("gcp_oslogin_key", key=os_login.public_key(), state="absent")
    assert denied in os_login.refusal(os_login=True)

    os_login.module("gcp_oslogin_key", key=os_login.public_key(), ttl=3600)
    assert os_login.shell("whoami", os_login=True) == user
    expire(os_login)
    assert denied in os_login.refusal(os_login=True)


def expire(controller: Controller) -> None:
    """Let the service account's keys expire in a second, and wait for that."""
    settings = controller.shared.settings
    account = json.loads(Path(settings["service_account_file"]).read_text())["client_email"]
    url = f"{settings['metadata']}/computeMetadata/v1/instance/service-accounts/default/token"
    answer = requests.get(url, headers={"Metadata-Flavor": "Google"}, timeout=60).json()
    google = Google(settings)
    google.session.headers["Authorization"] = f"Bearer {answer['access_token']}"
    end = time.time() + 1
    for key in google.call("GET", f"v1/users/{account}/loginProfile")["sshPublicKeys"].values():
        changes = {"expirationTimeUsec": str(int(end * 1e6))}
        google.call("PATCH", f"v1/{key['name']}", changes, updateMask="expirationTimeUsec")
    time.sleep(max(0.0, end + 1 - time.time()))  # sshd counts whole seconds
