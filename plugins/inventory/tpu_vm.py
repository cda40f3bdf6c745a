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
    node's name, a slice gives hosts C(<node>-<worker>). Where two zones have a node of the same name, the
    hosts of both are C(<host>.<zone>). So is a host whose name would be that of a group or C(localhost). What
    has the same name even then is C(<host>.<zone>.<node>.<worker>), of which a warning tells.
  - Every host is in the group C(tpu_vm), and in C(node_<name>), C(state_<state>), C(zone_<zone>),
    C(type_<accelerator type>) and C(label_<key>_<value>), in lower case and with underscores for what a
    group's name cannot have. A node that a queued resource made is in C(slice_<queued resource>) too, so
    that a play can run on all nodes of a multislice.
  - SSH trusts the host keys that the workers publish through Google's API and nothing else. The name under
    which it knows them holds the node's unique id, so a node made again is not mistaken for the old one.
  - The file's name ends in C(tpu_vm.yml) or C(tpu_vm.yaml).
  - The playbooks of this collection need one inventory source of this plugin, and no more. What it lists
    follows the variables of a run. An option that the file does not set takes its value from them.
    O(project) is the variable C(project). O(zones) are those of C(tpu_vm_candidates), else C(zone). O(nodes)
    are C(tpu_vm_listed), else C(leftovers_delete), else C(tpu_vm_name). O(user), O(ssh_key_file),
    O(os_login) and O(os_login_email) are the variables of these names that begin with C(tpu_vm_). The
    credentials and endpoints are the entries of C(gcp_auth).
  - What the file does set becomes a variable of the group C(all), where no other source sets it. So it is
    enough to set C(project), the zone, the node, the user and the key in the file.
  - A secret (O(access_token), O(service_account_contents)) becomes no variable, as every program that lists
    the inventory would print it. The playbooks refuse a file with credentials or endpoints that their modules
    would not use. Set these in C(gcp_auth) or in the environment.
  - There is an empty group C(workers), which the playbooks fill.
  - While the project is not known or its TPU API is not enabled yet there are no hosts, which C(-v) tells.
notes:
  - Every option may be a template. It sees extra variables, the variables of the group C(all) that stand in
    C(group_vars) beside this file, and C(inventory_dir). One that gives C(omit) counts as not set.
  - The cache is looked at before anything else, so that a cached answer needs neither network nor
    credentials. It holds addresses, labels and public host keys of nodes, never their metadata, and a file
    of it can be read by its owner only.
  - Of thousands of nodes the time goes into templates, which Ansible compiles anew for each host, about a
    millisecond each. A name with or without dots, such as C(tpu_labels.team) in O(keyed_groups) or
    O(compose), or V(labels.team) in O(hostnames), is looked up without.
  - A list takes a request for every 1,000 nodes; host keys take one a node (see O(host_keys_limit)).
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
    description: Zones to look in, all at once. All zones, in one list, by default.
    type: list
    elements: str
    default: []
  nodes:
    version_added: 0.2.0
    description:
      - Nodes to look for, each V(NAME), V(ZONE/NAME) or V(KIND:ZONE/NAME) as M(tpuops.maxtext.tpu_leftovers)
        takes them. V(NAME) may also be the queued resource that nodes come from. All nodes, by default.
      - What others have in the project is then of no concern.
    type: list
    elements: str
    default: []
  filters:
    description:
      - Which nodes are of interest, as the API gives them. Keys are dotted paths such as V(state) or
        V(labels.team), values what is wanted there, or a list of them. V(name) is the node's own name.
      - They are applied here, since the API's list of nodes knows no filter.
    type: dict
    default: {}
  queued_resources:
    version_added: 0.2.0
    description:
      - Whether nodes that a queued resource still waits for are hosts as well, one a node and without an
        address. They are in the groups C(tpu_vm_waiting), C(state_waiting_for_resources) and the like,
        C(zone_), C(type_), C(slice_) and C(label_), and never in C(tpu_vm) or C(node_<name>). They are in
        C(all), like every host.
    type: bool
    default: false
  hostnames:
    version_added: 0.2.0
    description:
      - What a host is called, in order of preference; the first that is not empty counts.
      - Each is V(name), V(external_address), V(internal_address), a host variable without its prefix such
        as V(zone) or V(labels.team), or a template on the host variables.
    type: list
    elements: str
    default: [name]
  user:
    description: Whom Ansible logs in as; not set on the hosts if it is empty.
    type: str
    default: tpu
  ssh_key_file:
    description:
      - The private key that Ansible logs in with; not set if it is empty, or if it is the default and is not
        there.
      - One that this file does not set is a variable of the group C(tpu_vm), so that C(group_vars) come
        before it.
    type: str
    default: ~/.ssh/google_compute_engine
    version_added: 0.2.0
  os_login:
    description:
      - Whether Ansible logs in as the POSIX account that OS Login has for O(os_login_email) in the project,
        for nodes with the metadata C(enable-oslogin=TRUE). It takes a request more, and O(user) counts only
        while there is no such account, of which a warning tells.
      - M(tpuops.maxtext.gcp_oslogin_key) puts the key there that SSH logs in with.
    type: bool
    default: false
    version_added: 0.2.0
  os_login_email:
    description:
      - E-mail address of the Google account with O(os_login).
      - That of the credentials by default. The credentials of a person and access tokens do not tell it.
    type: str
    default: ""
    version_added: 0.2.0
  address:
    description: Which address Ansible connects to. A worker without an external address is reached by its
      internal one. V(external) by default, V(internal) with O(bastion).
    type: str
    choices: [external, internal]
  bastion:
    version_added: 0.2.0
    description:
      - A machine through which SSH reaches the workers, C(<user>@<host>) or C(<user>@<host>:<port>).
      - Its host key must be in the known_hosts of the account that runs Ansible; an unknown or changed one is
        refused. Which key logs in there is said in the SSH configuration or by an agent.
    type: str
    default: ""
  known_hosts_file:
    description:
      - Where the host keys are kept for SSH. The file is this plugin's alone. One that holds anything else,
        such as a person's own known_hosts, is refused and left as it is.
      - C(~/.cache/tpuops-maxtext/known_hosts/<project>) by default.
    type: path
  host_keys_limit:
    version_added: 0.2.0
    description:
      - For how many nodes a run may ask Google for host keys. That takes a request a node, for nodes that
        run or are being repaired.
      - All of them are asked for, known or not, as a machine may have new keys when Google has moved or
        repaired it. Where there are more nodes, only keys that O(known_hosts_file) does not have are asked
        for.
      - Where there are more unknown ones, none is asked for, a warning says so, and SSH refuses those hosts.
        Name the nodes of interest with O(filters), or allow more. V(0) never asks and never warns.
      - A warning names the hosts that have not published a key; SSH refuses them as well, until they have.
    type: int
    default: 256
  hostvars_prefix:
    description: What the names of the host variables begin with.
    type: str
    default: tpu_
  unreachable:
    description:
      - What to do when some of the zones fail or when Google cannot ask them, whose hosts are then missing.
      - It is an error in any case when no zone answers.
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
---
# Workers of all zones without external addresses, named by a label if they have it, and what is to come.
plugin: tpuops.maxtext.tpu_vm
project: my-project
bastion: me@bastion.example.com
hostnames:
  - labels.host
  - "{{ tpu_node }}-{{ tpu_zone }}-{{ tpu_worker_id }}"
queued_resources: true
unreachable: error
"""

import gc
import glob
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible.errors import AnsibleParserError, AnsibleValueOmittedError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.template import trust_as_template
from ansible.vars.plugins import get_vars_from_path
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import (
    check_names,
    connect,
    gcp_argument_spec,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import known_hosts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    ApiDisabled,
    GcpError,
    PreconditionFailed,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.filters import lookup
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import short_name, workers
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import tpu_hosts
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.run_workers import LISTED

# Where the options are taken from that the file does not set: the variables of a run, as templates.
OF_RUN = {
    "project": "{{ project | default(omit, true) }}",
    "zones": "{{ (tpu_vm_candidates | map(attribute='zone') | unique) if tpu_vm_candidates is defined"
    " else [zone] if zone is defined else omit }}",
    "nodes": "{{ tpu_vm_listed | default(leftovers_delete | default(tpu_vm_name | default(omit))) }}",
    "user": "{{ tpu_vm_user | default(omit) }}",
    "ssh_key_file": "{{ tpu_vm_ssh_key_file | default(omit) }}",
    "os_login": "{{ tpu_vm_os_login | default(omit) }}",
    "os_login_email": "{{ tpu_vm_os_login_email | default(omit) }}",
}
AUTH = tuple(gcp_argument_spec())[1:]
OF_RUN |= {option: f"{{{{ (gcp_auth | default({{}}))['{option}'] | default(omit) }}}}" for option in AUTH}
# What must not become a variable: every program that lists the inventory would print it.
SECRETS = {"service_account_contents", "access_token"}
KEY = "ansible_ssh_private_key_file"
DEFAULT_KEY = "~/.ssh/google_compute_engine"
# Of the group, so that group_vars come before them. Without pipelining the arguments of modules, secrets
# among them, lie in files on the machine.
SHARED = {"ansible_pipelining": True, "ansible_python_interpreter": "auto_silent"}
# These are expressions for later, which are evaluated for each host.
NOT_TEMPLATES = {"compose", "groups", "keyed_groups", "hostnames"}
# What an answer depends on: the cache keeps one for each set of values.
ASKED = (
    "project",
    "zones",
    "nodes",
    "filters",
    "queued_resources",
    "tpu_endpoint",
    "os_login",
    "os_login_email",
)
# Names with a meaning of their own; the playbooks put the workers of a run into the group `workers`.
RESERVED = ("all", "ungrouped", "localhost", "workers")
# A variable, or what is below it in a dictionary: the expression that needs no template engine.
PLAIN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    NAME = "tpuops.maxtext.tpu_vm"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(("tpu_vm.yml", "tpu_vm.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._set_variables(os.path.dirname(os.path.abspath(path)))
        with private_files():
            self._read_config_data(path)  # which makes the cache's directory
        options = dict(self.get_options())
        # Filled by the playbooks, and below. Group variables of both count, also before there is a node.
        for group in ("workers", "tpu_vm"):
            self.inventory.add_group(group)
        self._tell_run(options, path)
        if not options["project"]:
            self.display.v(f"{path}: the project is not known yet, so there are no TPU VMs")
            return
        if not options["known_hosts_file"]:
            directory = os.path.expanduser("~/.cache/tpuops-maxtext/known_hosts")
            options["known_hosts_file"] = os.path.join(directory, options["project"])
        options["address"] = options["address"] or ("internal" if options["bastion"] else "external")
        try:
            check_names(project=options["project"])
            for zone in options["zones"]:
                check_names(zone=zone)
            ssh = tpu_hosts.ssh_arguments(options["known_hosts_file"], options["bastion"])
            found = self._found(options, path, cache)
            if found["host_keys"]:
                known_hosts.add(options["known_hosts_file"], found["host_keys"])
        except ApiDisabled as error:
            self.display.v(f"{path}: there are no TPU VMs yet: {error}")
            return
        except GcpError as error:
            raise AnsibleParserError(f"{path}: {error}") from error
        try:
            with nothing_collected():
                self._populate(found, options, ssh)
        except GcpError as error:
            raise AnsibleParserError(f"{path}: {error}") from error

    def _set_variables(self, directory: str) -> None:
        """What templates in the options see: what stands beside the file, as a playbook would see it."""
        everybody = self.inventory.groups["all"]
        self.templar.available_variables = {
            **everybody.get_vars(),
            **get_vars_from_path(self.loader, directory, [everybody], "task"),
            "inventory_dir": directory,
            **self._vars,
        }

    def _unshared(self, options: Json) -> list[str]:
        """The credentials and endpoints that the file sets and the modules of a run would not use.

        They get `gcp_auth`, which has what the file sets only where nobody else sets it, and never a secret.
        What they do not get comes from their environment.
        """
        run_has_its_own = "gcp_auth" in self.templar.available_variables
        found = []
        for name in (each for each in AUTH if each in self._given and each != "timeout"):
            spec = gcp_argument_spec()[name]
            _fallback, (variable,) = spec["fallback"]
            theirs = self._of_run.get(name) or os.environ.get(variable) or spec.get("default")
            if not run_has_its_own and name not in SECRETS:
                theirs = options[name]
            if options[name] not in (None, "", []) and comparable(options[name]) != comparable(theirs):
                found.append(name)
        return found

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        """Evaluate templates first, so that types and choices are checked on what they give."""
        self._given = {name for name in direct or {} if name in OF_RUN}
        self._of_run = self._values(of_run())
        evaluated = {**self._of_run, **self._values(direct or {})}
        super().set_options(task_keys=task_keys, var_options=var_options, direct=evaluated)

    def _values(self, options: Mapping[str, Any]) -> Json:
        """The values of options that may be templates; none of what gives `omit`."""
        evaluated = {}
        for name, value in options.items():
            try:
                evaluated[name] = value if name in NOT_TEMPLATES else self.templar.template(value)
            except AnsibleValueOmittedError:
                continue
            except Exception as error:
                raise AnsibleParserError(f"The option {name} cannot be evaluated: {error}") from error
        return evaluated

    # The run

    def _tell_run(self, options: Json, path: str) -> None:
        """Let the roles know what the file sets, and what it lists: a run refuses to make what it could not
        find."""
        given = {name: options[name] for name in self._given if options[name] not in (None, "", [])}
        auth = {name: given[name] for name in AUTH if name in given and name not in SECRETS}
        one = {"zones": "zone", "nodes": "tpu_vm_name"}
        variables = {
            **({"project": given["project"]} if "project" in given else {}),
            **{
                variable: short_name(given[name][0])
                for name, variable in one.items()
                if len(given.get(name, ())) == 1
            },
            **{f"tpu_vm_{name}": given[name] for name in ("user", "ssh_key_file") if name in given},
            **{f"tpu_vm_{name}": given[name] for name in ("os_login", "os_login_email") if name in given},
            **({"gcp_auth": auth} if auth else {}),
        }
        everybody = self.inventory.groups["all"]
        for name, value in variables.items():
            if name not in everybody.get_vars():
                everybody.set_variable(name, value)
        listed: Json = {
            "file": path,
            **{
                name: options[name] or default
                for name, default in (("project", ""), ("zones", []), ("nodes", []))
            },
            "unshared": self._unshared(options),
        }
        everybody.set_variable(LISTED, [*everybody.get_vars().get(LISTED, []), listed])

    # What Google has

    def _found(self, options: Json, path: str, cache: bool) -> Json:
        """{nodes, waiting, missing, host_keys, os_login_user}: from the cache where `cache` allows, else from
        the API."""
        if not self.get_option("cache"):
            return self._fetched(options)
        asked = json.dumps([options[name] for name in ASKED], sort_keys=True)
        key = f"{self.get_cache_key(path)}_{hashlib.sha256(asked.encode()).hexdigest()[:10]}"
        if cache and key in self._cache:
            found: Json = json.loads(self._cache[key]["found"])
            # A run that asked Google meanwhile may have found a newer key.
            known = known_hosts.read(options["known_hosts_file"])
            found["host_keys"] = {
                alias: key for alias, key in found["host_keys"].items() if alias not in known
            }
            self._report(found["missing"], options["unreachable"])
            return found
        found = self._fetched(options)
        # One string: Ansible copies what is to be cached, and looks at every value of it when it is read.
        self._cache[key] = {"found": json.dumps(found)}
        return found

    def _fetched(self, options: Json) -> Json:
        client = connect(options)
        project = options["project"]
        found = tpu_hosts.survey(
            client,
            project,
            options["zones"],
            options["filters"],
            options["queued_resources"],
            options["nodes"],
        )
        self._report(found["missing"], options["unreachable"])
        known = self._host_keys(client, project, found["nodes"], options)
        aliases = [worker["host_key_alias"] for node in found["nodes"] for worker in workers(node)]
        user = ""
        if options["os_login"] and found["nodes"]:
            try:
                user = tpu_hosts.os_login_user(client, options["os_login_email"], project)
            except PreconditionFailed as error:
                # Not for long: the run that reads this may be the one that puts the first key there.
                self.display.warning(f"SSH logs in without OS Login: {error}")
        keys = {alias: known[alias] for alias in aliases if alias in known}
        return {**found, "host_keys": keys, "os_login_user": user}

    def _host_keys(self, client: Any, project: str, nodes: list[Json], options: Json) -> dict[str, str]:
        """What SSH is to trust: the keys that are published, and those that are known already.

        Known ones are asked for again: a machine that Google has moved or repaired may have new ones.
        """
        known = known_hosts.read(options["known_hosts_file"])
        limit = options["host_keys_limit"]
        nodes = tpu_hosts.running(nodes)
        strangers = tpu_hosts.strangers(nodes, known)
        if len(strangers) > limit:
            if limit:
                self.display.warning(
                    f"SSH does not know the host keys of {len(strangers)} TPU VMs, which is more than "
                    f"host_keys_limit allows to ask for ({limit}), and will refuse them. Name those of "
                    "interest with filters, or allow more."
                )
            return known
        asked = nodes if len(nodes) <= limit else strangers
        found, refused = tpu_hosts.published_keys(client, project, asked)
        if changed := tpu_hosts.with_another_key(asked, known, found):
            self.display.warning(
                "These hosts have published new host keys, as happens when Google moves or repairs a "
                f"machine: {listed(changed)}. SSH trusts the new keys alone."
            )
        known = {**known, **found}
        told = [node for node in strangers if node["name"] not in refused]
        if silent := tpu_hosts.without_key(told, known):
            self.display.warning(
                "These hosts have not published a host key, and SSH will refuse them without asking: "
                f"{listed(silent)}. Try again in a minute. If it stays so, their guest agent does not run, "
                "or the project has guest attributes disabled."
            )
        reasons = {node["name"]: refused[node["name"]] for node in strangers if node["name"] in refused}
        if reasons:
            self.display.warning(
                "Google does not tell the host keys of these TPU VMs, and SSH will refuse them without "
                f"asking: {listed([short_name(name) for name in reasons])}. {next(iter(reasons.values()))}"
            )
        return known

    def _report(self, missing: Mapping[str, str], policy: str) -> None:
        """Say which zones are missing, from a cached answer as well, as the policy wants it."""
        if not missing or policy == "ignore":
            return
        listed = "; ".join(f"{zone} ({reason})" for zone, reason in sorted(missing.items()))
        message = f"The TPU VMs of these zones are missing: {listed}"
        if policy == "error":
            raise AnsibleParserError(message)
        self.display.warning(message)

    def update_cache_if_changed(self) -> None:
        super().update_cache_if_changed()
        # Ansible's own plugins that cache in files let everybody read them, under names with a prefix.
        directory = os.path.expanduser(os.path.expandvars(self.get_option("cache_connection") or ""))
        for key in self._cache.keys() if os.path.isdir(directory) else ():
            for file in glob.glob(f"*{glob.escape(key)}", root_dir=directory):
                os.chmod(os.path.join(directory, file), 0o600)

    # Hosts

    def _populate(self, found: Json, options: Json, ssh: str) -> None:
        self._made: dict[str, str] = {}
        hosts = [host for node in found["nodes"] for host in self._hosts(node, options)]
        expected = [self._expected(node) for node in found["waiting"]]
        shared = self._group("tpu_vm")
        for name, value in SHARED.items():
            self.inventory.set_variable(shared, name, value)
        key_file = os.path.expanduser(options["ssh_key_file"] or "")
        # ssh says so each time of a key that is not there. Nobody set the default: it may be an agent's.
        wanted = options["ssh_key_file"] != DEFAULT_KEY or os.path.exists(key_file)
        if "ssh_key_file" not in self._given and key_file and wanted:
            self.inventory.set_variable(shared, KEY, key_file)
        # Ansible would take a host of such a name for the group, or for the controller.
        groups = {group for host in hosts + expected for group in host["groups"]}
        taken = {*RESERVED, *self.inventory.groups, *groups}
        if doubles := distinguish(hosts + expected, taken):
            self.display.warning(
                f"Several hosts of a zone have the same name: {', '.join(doubles)}. They now end in the "
                "node and the number of the worker."
            )
        for host in hosts:
            worker = host["worker"]
            alias = known_hosts.checked_alias(worker["host_key_alias"])
            address = worker["internal_address" if options["address"] == "internal" else "address"]
            connection = {
                "ansible_host": address,
                "ansible_control_path": tpu_hosts.control_path(alias),
                "ansible_ssh_common_args": f"{ssh}-o HostKeyAlias={alias}",
            }
            if user := found["os_login_user"] or options["user"]:
                connection["ansible_user"] = user
            if "ssh_key_file" in self._given and options["ssh_key_file"]:
                connection[KEY] = os.path.expanduser(options["ssh_key_file"])
            self._add_host(host, connection, options)
        for host in expected:
            self._add_host(host, {}, options)

    def _hosts(self, node: Json, options: Json) -> Iterator[Json]:
        """{name, zone, groups, variables, worker} of every worker of a node."""
        machines = workers(node)
        shared = tpu_hosts.node_variables(node, len(machines))
        groups = self._groups(["tpu_vm", f"node_{shared['node']}", *tpu_hosts.group_names(node)])
        external = tpu_hosts.has_external_addresses(node)
        for worker in machines:
            variables = {
                **shared,
                "worker_id": worker["worker_id"],
                "internal_address": worker["internal_address"],
                "external_address": worker["address"] if external else "",
                "known_hosts_file": options["known_hosts_file"],
            }
            name = self._name(worker["name"], variables, options)
            host = {"name": name, "zone": shared["zone"], "groups": groups, "variables": variables}
            yield {**host, "worker": worker}

    def _expected(self, node: Json) -> Json:
        variables = tpu_hosts.node_variables(node, 0)
        groups = self._groups(["tpu_vm_waiting", *tpu_hosts.group_names(node)])
        name = short_name(node["name"])
        return {"name": name, "zone": variables["zone"], "groups": groups, "variables": variables}

    def _name(self, own: str, variables: Json, options: Json) -> str:
        if options["hostnames"] == ["name"]:
            return own
        for preference in options["hostnames"]:
            if "{{" in preference:
                prefix = options["hostvars_prefix"]
                self.templar.available_variables = {prefix + key: value for key, value in variables.items()}
                value = self._evaluated(preference, own, options["strict"])
            else:
                value = lookup({"name": own, **variables}, preference)
            if value:
                return str(value)
        return own

    def _evaluated(self, template: str, host: str, strict: bool) -> Any:
        try:
            return self.templar.template(template)
        except Exception as error:
            if strict:
                raise AnsibleParserError(
                    f"Could not name the host {host} by {template!r}: {error}"
                ) from error
            return ""

    def _groups(self, names: list[str]) -> list[str]:
        return [self._group(name) for name in names]

    def _group(self, name: str) -> str:
        if name not in self._made:
            self._made[name] = self.inventory.add_group(self._sanitize_group_name(name))
        return self._made[name]

    def _add_host(self, host: Json, connection: Json, options: Json) -> None:
        prefix, strict = options["hostvars_prefix"], options["strict"]
        name = self.inventory.add_host(host["name"])
        for group in host["groups"]:
            self.inventory.add_child(group, name)
        variables = {prefix + key: value for key, value in host["variables"].items()} | connection
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        self._set_composite_vars(options["compose"], variables, name, strict)
        self._add_host_to_composed_groups(options["groups"], variables, name, strict)
        self._add_host_to_keyed_groups(options["keyed_groups"], variables, name, strict)

    def _compose(self, template: Any, variables: Json, *arguments: Any) -> Any:
        """Look up what is no more than a name: Ansible compiles an expression anew for each host."""
        if isinstance(template, str) and PLAIN.fullmatch(template) and not self.get_option("use_extra_vars"):
            value = plain(template, variables)
            if value is not None:
                return value
        return super()._compose(template, variables, *arguments)


def comparable(value: Any) -> str:
    """The value of an option, however it is written: a path with or without ~, JSON as text or a mapping."""
    if isinstance(value, str):
        try:
            return json.dumps(json.loads(value), sort_keys=True)
        except ValueError:
            return os.path.expanduser(value)
    return json.dumps(value, sort_keys=True)


def of_run() -> Json:
    """OF_RUN as Ansible evaluates it: it takes nothing for a template that does not come from its user."""
    return {name: trust_as_template(template) for name, template in OF_RUN.items()}


def plain(path: str, variables: Json) -> Any:
    """The number or string that an expression of names and dots has; None where only the engine can tell."""
    value: Any = variables
    for part in path.split("."):
        # To the engine `labels.items` is a method, whatever the labels are.
        if not isinstance(value, dict) or (value is not variables and hasattr(value, part)):
            return None
        value = value.get(part)
    # Another inventory may have given the host a variable that is a template.
    final = "{" not in value if isinstance(value, str) else isinstance(value, int | float)
    return value if final else None


def distinguish(hosts: list[Json], taken: Container[str]) -> list[str]:
    """Give hosts names of their own; the names that even the zone leaves to several.

    A name that several have, as nodes of one name in several zones do, gets the zone, and so does one of
    those that are taken. What others call their nodes must not be in anybody's way.
    """
    shared = set(repeated(hosts))
    for host in hosts:
        if host["name"] in shared or host["name"] in taken:
            host["name"] += f".{host['zone']}"
    doubles = repeated(hosts)
    for host in hosts:
        if host["name"] in doubles:
            worker = host["variables"].get("worker_id", "waiting")
            host["name"] += f".{host['variables']['node']}.{worker}"
    return doubles


def listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} others" if len(names) > 10 else "")


def repeated(hosts: list[Json]) -> list[str]:
    return [name for name, count in Counter(host["name"] for host in hosts).items() if count > 1]


@contextmanager
def private_files() -> Iterator[None]:
    """Whatever directory or file is made meanwhile is its owner's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Keep Python from searching what is made meanwhile for garbage, again and again: it is all in use."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
