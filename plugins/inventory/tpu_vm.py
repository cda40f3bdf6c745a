# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every worker of the TPU VMs of a project as a host, with its host key in a known_hosts file of its own."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tpu_vm
short_description: TPU VMs of Google Cloud
version_added: 0.1.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Makes a host of every worker of the nodes of the TPU API. A node with one worker gives a host of the
    node's name, a slice gives hosts C(<node>-<worker>).
  - Every host is in the group C(tpu_vm), and in C(node_<name>), C(state_<state>), C(zone_<zone>),
    C(type_<accelerator type>) and C(label_<key>_<value>), in lower case and with underscores for what a
    group's name cannot have.
  - SSH trusts the host keys that the workers publish through Google's API and nothing else. The name under
    which it knows them holds the node's unique id, so a node made again is not mistaken for the old one.
  - The file's name ends in C(tpu_vm.yml) or C(tpu_vm.yaml).
  - While the project is not known or its TPU API is not enabled yet there are no hosts, which C(-v) tells.
notes:
  - Every option may be a template. It sees extra variables, the variables of the group C(all) that stand in
    C(group_vars) beside this file, and C(inventory_dir). One that gives C(omit) counts as not set.
extends_documentation_fragment:
  - tpuops.maxtext.gcp.inventory
  - tpuops.maxtext.gcp
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: This plugin.
    type: str
    required: true
    choices: [tpuops.maxtext.tpu_vm]
  zones:
    description: Zones to look in. All zones, in one list, by default.
    type: list
    elements: str
    default: []
  filters:
    description:
      - Which nodes are of interest, as the API gives them. Keys are dotted paths such as V(state) or
        V(labels.team), values what is wanted there, or a list of them. V(name) is the node's own name.
    type: dict
    default: {}
  user:
    description: Whom Ansible logs in as; not set on the hosts if it is empty.
    type: str
    default: ""
  address:
    description: Which address Ansible connects to. A worker without an external address is reached by its
      internal one.
    type: str
    choices: [external, internal]
    default: external
  known_hosts_file:
    description:
      - Where the host keys are kept for SSH.
      - C(~/.cache/tpuops-maxtext/known_hosts/<project>) by default.
    type: path
  hostvars_prefix:
    description: What the names of the host variables begin with.
    type: str
    default: tpu_
  unreachable:
    description: What to do when Google cannot ask some of the zones, whose hosts are then missing.
    type: str
    choices: [error, warn, ignore]
    default: warn
"""

EXAMPLES = r"""
# tpu_vm.yml
plugin: tpuops.maxtext.tpu_vm
project: my-project
zones: [us-west1-c]
user: tpu
filters:
  state: READY
keyed_groups:
  - prefix: runtime
    key: tpu_runtime_version
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/tpuops-maxtext/inventory
---
# One service account and one endpoint for a cloud on this machine, described by variables of group_vars/all.
plugin: tpuops.maxtext.tpu_vm
project: "{{ project }}"
auth_kind: serviceaccount
service_account_file: "{{ gcp_auth.service_account_file }}"
token_uri: "{{ gcp_auth.token_uri | default(omit) }}"
tpu_endpoint: "{{ gcp_auth.tpu_endpoint | default(omit) }}"
"""

import hashlib
import os
import shlex
from typing import Any

from ansible.errors import AnsibleParserError, AnsibleValueOmittedError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.vars.plugins import get_vars_from_path
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import check_names, connect
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import known_hosts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import ApiDisabled, GcpError
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.filters import lookup
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import Tpus, short_name, workers, zone_of

# These are expressions for later, which the constructed features evaluate themselves.
NOT_TEMPLATES = {"compose", "groups", "keyed_groups"}
Json = dict[str, Any]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    NAME = "tpuops.maxtext.tpu_vm"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(("tpu_vm.yml", "tpu_vm.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._set_variables(os.path.dirname(os.path.abspath(path)))
        self._read_config_data(path)
        options = dict(self.get_options())
        if not options["project"]:
            self.display.v(f"{path}: the project is not known yet, so there are no TPU VMs")
            return
        if not options["known_hosts_file"]:
            directory = os.path.expanduser("~/.cache/tpuops-maxtext/known_hosts")
            options["known_hosts_file"] = os.path.join(directory, options["project"])
        try:
            check_names(project=options["project"])
            found = self._found(options, path, cache)
        except ApiDisabled as error:
            self.display.v(f"{path}: there are no TPU VMs yet: {error}")
            return
        except GcpError as error:
            raise AnsibleParserError(f"{path}: {error}") from error
        self._populate(found, options)

    def _set_variables(self, directory: str) -> None:
        """What templates in the options see: what stands beside the file, as a playbook would see it."""
        everybody = self.inventory.groups["all"]
        self.templar.available_variables = {
            **everybody.get_vars(),
            **get_vars_from_path(self.loader, directory, [everybody], "task"),
            "inventory_dir": directory,
            **self._vars,
        }

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        """Evaluate templates first, so that types and choices are checked on what they give."""
        evaluated = {}
        for name, value in (direct or {}).items():
            try:
                evaluated[name] = value if name in NOT_TEMPLATES else self.templar.template(value)
            except AnsibleValueOmittedError:
                continue
            except Exception as error:
                raise AnsibleParserError(f"The option {name} cannot be evaluated: {error}") from error
        super().set_options(task_keys=task_keys, var_options=var_options, direct=evaluated)

    def _found(self, options: Json, path: str, cache: bool) -> Json:
        """{nodes, host_keys}: from the cache where `cache` allows and it has them, else from the API."""
        if not self.get_option("cache"):
            return self._fetched(options)
        key = self.get_cache_key(path)
        if cache and key in self._cache:
            found: Json = self._cache[key]
            return found
        self._cache[key] = self._fetched(options)
        return dict(self._cache[key])

    def _fetched(self, options: Json) -> Json:
        client = connect(options)
        nodes = self._nodes(client, options)
        return {"nodes": nodes, "host_keys": self._host_keys(client, nodes, options)}

    def _nodes(self, client: Client, options: Json) -> list[Json]:
        nodes: list[Json] = []
        missing: list[str] = []
        for zone in options["zones"] or ["-"]:
            if zone != "-":
                check_names(zone=zone)
            for page in Tpus(client, options["project"], zone).node_pages():
                nodes += page.get("nodes", [])
                missing += page.get("unreachable", [])
        if missing:
            self._unreachable(options["unreachable"], ", ".join(map(short_name, missing)))
        return [node for node in nodes if matches(node, options["filters"])]

    def _unreachable(self, policy: str, zones: str) -> None:
        message = f"Google could not ask these zones, their TPU VMs are missing: {zones}"
        if policy == "error":
            raise AnsibleParserError(message)
        if policy == "warn":
            self.display.warning(message)

    def _host_keys(self, client: Client, nodes: list[Json], options: Json) -> dict[str, str]:
        """Alias -> host key of all workers; asked from Google only for those that the file does not know."""
        known = known_hosts.read(options["known_hosts_file"])
        keys: dict[str, str] = {}
        for node in nodes:
            aliases = [worker["host_key_alias"] for worker in workers(node)]
            if node.get("state") == "READY" and not known.keys() >= set(aliases):
                tpus = Tpus(client, options["project"], zone_of(node))
                published = workers(node, tpus.host_keys(short_name(node["name"])))
                known.update({w["host_key_alias"]: w["host_key"] for w in published if w["host_key"]})
            keys.update({alias: known[alias] for alias in aliases if alias in known})
        return keys

    def _populate(self, found: Json, options: Json) -> None:
        path = options["known_hosts_file"]
        if found["host_keys"]:
            known_hosts.add(path, found["host_keys"])
        self.inventory.add_group("tpu_vm")
        for node in found["nodes"]:
            machines = workers(node)
            groups = [self.inventory.add_group(self._sanitize_group_name(name)) for name in group_names(node)]
            shared = node_variables(node, len(machines))
            for worker in machines:
                self._add_host(worker, groups, shared, options)

    def _add_host(self, worker: Json, groups: list[str], shared: Json, options: Json) -> None:
        host = self.inventory.add_host(worker["name"], group="tpu_vm")
        for group in groups:
            self.inventory.add_child(group, host)
        mine = {"worker_id": worker["worker_id"], "internal_address": worker["internal_address"]}
        variables = {options["hostvars_prefix"] + name: value for name, value in {**shared, **mine}.items()}
        variables["ansible_host"] = worker[
            "internal_address" if options["address"] == "internal" else "address"
        ]
        variables["ansible_control_path"] = control_path(worker["host_key_alias"])
        variables["ansible_ssh_common_args"] = ssh_arguments(
            options["known_hosts_file"], worker["host_key_alias"]
        )
        if options["user"]:
            variables["ansible_user"] = options["user"]
        for name, value in variables.items():
            self.inventory.set_variable(host, name, value)
        strict = options["strict"]
        self._set_composite_vars(options["compose"], variables, host, strict)
        self._add_host_to_composed_groups(options["groups"], variables, host, strict)
        self._add_host_to_keyed_groups(options["keyed_groups"], variables, host, strict)


def matches(node: Json, filters: Json) -> bool:
    """Whether the node has, at every path, the value or one of the values that the filters want."""
    for path, wanted in filters.items():
        have = short_name(node["name"]) if path == "name" else lookup(node, path)
        if have not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def group_names(node: Json) -> list[str]:
    labels = [f"label_{key}_{value}" for key, value in node.get("labels", {}).items()]
    return [
        f"node_{short_name(node['name'])}",
        f"state_{node.get('state', 'unknown').lower()}",
        f"zone_{zone_of(node)}",
        f"type_{node.get('acceleratorType', 'unknown')}",
        *labels,
    ]


def node_variables(node: Json, count: int) -> Json:
    """Host variables, without their prefix, that the workers of a node share."""
    return {
        "node": short_name(node["name"]),
        "project": node["name"].split("/")[1],
        "zone": zone_of(node),
        "state": node.get("state", ""),
        "health": node.get("health", ""),
        "accelerator_type": node.get("acceleratorType", ""),
        "runtime_version": node.get("runtimeVersion", ""),
        "labels": node.get("labels", {}),
        "worker_count": count,
    }


def control_path(alias: str) -> str:
    """One shared connection for each machine and user, where Ansible has one for each address.

    A node made again often has the address of the old one, whose connection hangs for a while.
    """
    return f"%(directory)s/{hashlib.sha256(alias.encode()).hexdigest()[:10]}-%%r"


def ssh_arguments(known_hosts_file: str, alias: str) -> str:
    """Trust the published key alone: neither the user's own files nor an unknown key."""
    settings = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": known_hosts_file,
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": alias,
        "CheckHostIP": "no",
    }
    return " ".join(f"-o {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
