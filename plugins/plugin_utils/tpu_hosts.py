# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory plugin asks Google for, and what it makes of the answers."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import oslogin
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    NOT_ZONAL,
    ApiDisabled,
    GcpError,
    InvalidArgument,
    PreconditionFailed,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.filters import lookup
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import (
    QUEUED,
    Tpus,
    node_specs,
    project_of,
    short_name,
    workers,
    zone_of,
)

# Requests at a time, over one session and with one token: as many as its pool has connections.
THREADS = 10
# What of a node is kept, in memory and in the cache. Its metadata, which may hold secrets, is not.
KEPT = (
    *("name", "id", "state", "health", "acceleratorType", "runtimeVersion", "labels", "queuedResource"),
    *("networkEndpoints", "networkConfigs", "schedulingConfig"),
)
ADD_KEY = "Run the role tpu_vm with tpu_vm_os_login, or tpuops.maxtext.gcp_oslogin_key, which create it."
BASTION = re.compile(r"(?P<login>(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9_][\w.-]*)(?::(?P<port>[0-9]{1,5}))?")


def survey(
    client: Client,
    project: str,
    zones: Sequence[str],
    filters: Json,
    queued: bool,
    nodes: Sequence[str] = (),
) -> Json:
    """All that the zones have, asked in parallel; no zones: all of them in one list.

    Returns {nodes, waiting, missing}: nodes and nodes-to-be (of queued resources, where `queued` asks for
    them) that match and are among `nodes` (all where that is empty), cut to what is KEPT; and zone -> reason
    where Google could not say. Raises the error of the first zone when none could.
    """
    names = list(dict.fromkeys(zones)) or ["-"]
    with ThreadPoolExecutor(max_workers=THREADS) as threads:
        answers = list(threads.map(lambda zone: _survey_zone(Tpus(client, project, zone), queued), names))
    errors = [answer for answer in answers if isinstance(answer, GcpError)]
    if len(errors) == len(names):
        raise errors[0]
    found: Json = {"nodes": [], "waiting": [], "missing": {}}
    for zone, answer in zip(names, answers, strict=True):
        if isinstance(answer, GcpError):
            found["missing"][zone] = str(answer)
            continue
        for key in ("nodes", "waiting"):
            found[key] += [cut(node) for node in answer[key] if matches(node, filters) and named(node, nodes)]
        found["missing"].update(answer["missing"])
    present = {node["name"] for node in found["nodes"]}
    found["waiting"] = [node for node in found["waiting"] if node["name"] not in present]
    return found


def _survey_zone(tpus: Tpus, queued: bool) -> Json | GcpError:
    found: Json = {"nodes": [], "waiting": [], "missing": {}}
    try:
        for page in tpus.node_pages():
            found["nodes"] += page.get("nodes", [])
            found["missing"].update(_unreachable(page))
        for page in tpus.queued_resource_pages() if queued else ():
            found["waiting"] += [node for item in page.get("queuedResources", []) for node in to_be(item)]
            found["missing"].update(_unreachable(page))
    except NOT_ZONAL:
        raise
    except GcpError as error:
        return error
    return found


def _unreachable(page: Json) -> dict[str, str]:
    return {short_name(place): "Google could not ask it" for place in page.get("unreachable", [])}


def to_be(queued: Json) -> Iterator[Json]:
    """The nodes that a queued resource still waits for, each with the queued resource's state."""
    state = queued.get("state", {}).get("state", "")
    if state not in QUEUED:
        return
    parent = queued["name"].rpartition("/queuedResources/")[0]
    for name, node in node_specs(queued):
        here = {"name": f"{parent}/nodes/{name}", "state": state, "queuedResource": queued["name"]}
        yield {**node, **here}


def cut(node: Json) -> Json:
    return {key: node[key] for key in KEPT if key in node}


def matches(node: Json, filters: Json) -> bool:
    """Whether the node has, at every path, the value or one of the values that the filters want."""
    for path, wanted in filters.items():
        have = short_name(node["name"]) if path == "name" else lookup(node, path)
        if have not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def running(nodes: Sequence[Json]) -> list[Json]:
    """The nodes that run, or will again by themselves."""
    return [node for node in nodes if node.get("state") in ("READY", "REPAIRING")]


def named(node: Json, names: Sequence[str]) -> bool:
    """Whether one of the names, NAME, ZONE/NAME or KIND:ZONE/NAME, is the node's or its queued resource's."""
    if not names:
        return True
    own, maker = short_name(node["name"]), short_name(node.get("queuedResource") or "")
    meant = {own, f"node:{own}", *((maker, f"queued:{maker}") if maker else ())}
    return any(name.replace(f"{zone_of(node)}/", "", 1) in meant for name in names)


def strangers(nodes: Sequence[Json], known: Mapping[str, str]) -> list[Json]:
    """The nodes of which a worker's host key is not known."""
    return [node for node in nodes if not all(worker["host_key_alias"] in known for worker in workers(node))]


def published_keys(
    client: Client, project: str, nodes: Sequence[Json]
) -> tuple[dict[str, str], dict[str, str]]:
    """Of the workers of nodes, one request a node, in parallel: alias -> host key, and node -> why Google did
    not tell."""

    def ask(node: Json) -> list[Json] | GcpError:
        try:
            keys = Tpus(client, project, zone_of(node)).host_keys(short_name(node["name"]))
        except NOT_ZONAL:
            raise
        except GcpError as error:  # SSH refuses these hosts, or knows them; the others are of use
            return error
        return workers(node, keys)

    with ThreadPoolExecutor(max_workers=THREADS) as threads:
        answers = list(zip(nodes, threads.map(ask, nodes), strict=True))
    found: dict[str, str] = {}
    refused: dict[str, str] = {}
    for node, answer in answers:
        if isinstance(answer, GcpError):
            refused[node["name"]] = str(answer)
        else:
            found.update((one["host_key_alias"], one["host_key"]) for one in answer if one["host_key"])
    return found, refused


def without_key(nodes: Sequence[Json], known: Mapping[str, str]) -> list[str]:
    """Names of the workers of nodes whose host key is not known."""
    found = (worker for node in nodes for worker in workers(node))
    return [worker["name"] for worker in found if worker["host_key_alias"] not in known]


def with_another_key(nodes: Sequence[Json], known: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of the workers of nodes that were known by another key than the one found now."""
    every = ((worker["name"], worker["host_key_alias"]) for node in nodes for worker in workers(node))
    return [
        name for name, alias in every if alias in known and found.get(alias, known[alias]) != known[alias]
    ]


def os_login_user(client: Client, email: str, project: str) -> str:
    """Whom SSH logs in as where nodes use OS Login. email: whose account, "" for that of the credentials.

    Raises PreconditionFailed where nobody has put a key there yet.
    """
    email = oslogin.account(client, email, "os_login_email")
    try:
        user = oslogin.username(oslogin.profile(client, email, project))
    except ApiDisabled as error:
        raise PreconditionFailed(error.message, remedy=ADD_KEY) from error
    if not user:
        raise PreconditionFailed(
            f"OS Login has no account of {email} in the project {project} yet", remedy=ADD_KEY
        )
    return user


def has_external_addresses(node: Json) -> bool:
    """Whether the workers' `address` is an external one; all of a node's have one, or none."""
    return any(
        endpoint.get("accessConfig", {}).get("externalIp") for endpoint in node.get("networkEndpoints", [])
    )


def group_names(node: Json) -> list[str]:
    labels = [f"label_{key}_{value}" for key, value in node.get("labels", {}).items()]
    slices = [f"slice_{short_name(node['queuedResource'])}"] if node.get("queuedResource") else []
    return [
        f"state_{node.get('state', 'unknown').lower()}",
        f"zone_{zone_of(node)}",
        f"type_{node.get('acceleratorType', 'unknown')}",
        *slices,
        *labels,
    ]


def node_variables(node: Json, count: int) -> Json:
    """Host variables, without their prefix, that the workers of a node share."""
    scheduling = node.get("schedulingConfig", {})
    return {
        "node": short_name(node["name"]),
        "project": project_of(node),
        "zone": zone_of(node),
        "state": node.get("state", ""),
        "health": node.get("health", ""),
        "accelerator_type": node.get("acceleratorType", ""),
        "runtime_version": node.get("runtimeVersion", ""),
        "labels": node.get("labels", {}),
        "spot": bool(scheduling.get("spot") or scheduling.get("preemptible")),
        "slice": short_name(node.get("queuedResource") or node["name"]),
        "worker_count": count,
    }


def control_path(alias: str) -> str:
    """One shared connection for each machine and user, where Ansible has one for each address.

    A node made again often has the address of the old one, whose connection hangs for a while.
    """
    return f"%(directory)s/{hashlib.sha256(alias.encode()).hexdigest()[:10]}-%%r"


def ssh_arguments(known_hosts_file: str, bastion: str) -> str:
    """Options that trust the published key alone (neither the user's own files nor an unknown key), and the
    way through the bastion; the alias of the host key follows."""
    settings = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": one_path(known_hosts_file),
        "GlobalKnownHostsFile": "/dev/null",
        "CheckHostIP": "no",
        # A machine that falls silent is noticed within a minute, unless ssh_args say otherwise.
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        **({"ProxyCommand": proxy_command(bastion)} if bastion else {}),
    }
    return "".join(f"-o {shlex.quote(f'{name}={value}')} " for name, value in settings.items())


def one_path(path: str) -> str:
    """A path as an option of SSH has it. SSH splits at blanks and replaces what follows a percent sign."""
    path = path.replace("%", "%%")
    return f'"{path}"' if re.search(r"\s", path) else path


def proxy_command(bastion: str) -> str:
    """What ProxyJump does, with an unknown or changed host key of the bastion refused and not asked about.

    Options of a command line do not reach the connection to a ProxyJump; the user's configuration and
    known_hosts hold for this one as well.
    """
    parts = BASTION.fullmatch(bastion)
    if not parts:
        raise InvalidArgument(
            f"bastion: {bastion!r} is not valid", remedy="Give user@host, or user@host:port."
        )
    port = f"-p {parts['port']} " if parts["port"] else ""
    return f"ssh -o StrictHostKeyChecking=yes -o BatchMode=yes -W '[%h]:%p' {port}{parts['login']}"
