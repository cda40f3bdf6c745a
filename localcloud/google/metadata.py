# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata server, as each machine sees it.

The caller's address says which worker of which node it is; one that still boots is told to ask again. Root of
this host sees a machine without attributes: enough for `auth_kind: machineaccount` and for google-auth.
Nobody else gets anything, for with a token one makes a node, and is root there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from localcloud import callers, catalog
from localcloud.cloud import Cloud
from localcloud.google import nodes
from localcloud.google.oauth import token_answer
from localcloud.json_types import Json

HEADERS = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
ROOT = "computeMetadata/v1/"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
GUEST_ATTRIBUTES = "instance/guest-attributes/"
#: As at Google: 256 KiB.
LARGEST = 262144
_ATTRIBUTE = re.compile(r"[A-Za-z0-9_-]{1,128}/[A-Za-z0-9_.-]{1,128}")
#: The user whose process on this host made a connection, as `callers.owner` tells it.
Owner = Callable[[callers.Address, callers.Address], int | None]
#: A tree of directories; a leaf is text, a list of lines or a function that makes an object (a token).
Tree = Mapping[str, Any]


def application(cloud: Cloud, owner: Owner = callers.owner) -> Starlette:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(answer, cloud, request, owner)

    async def write(request: Request) -> Response:
        return await run_in_threadpool(publish, cloud, request, await request.body())

    return Starlette(
        routes=[
            Route("/{path:path}", endpoint, methods=["GET", "HEAD"]),
            Route("/{path:path}", write, methods=["PUT"]),
        ]
    )


def answer(cloud: Cloud, request: Request, owner: Owner) -> Response:
    """The value at a path, or the listing of a directory (`?recursive=true`: its contents as JSON)."""
    if refusal := _refusal(request):
        return refusal
    path = request.path_params["path"]
    if path in ("", "computeMetadata", "computeMetadata/"):
        return PlainTextResponse("v1/\n" if path else "computeMetadata/\n", headers=HEADERS)
    address = request.client.host if request.client else ""
    if not _is_machine(cloud, address) and not _is_root(request, owner):
        return PlainTextResponse("Only root of this host may ask.\n", 403, headers=HEADERS)
    found = tree(cloud, address)
    if found is None:
        return PlainTextResponse("This machine is not known yet.\n", 503, headers=HEADERS)
    value = _look_up(found, path)
    if value is None:
        return PlainTextResponse(f"{path} not found\n", 404, headers=HEADERS)
    return _render(value, recursive=request.query_params.get("recursive", "").lower() == "true")


def publish(cloud: Cloud, request: Request, value: bytes) -> Response:
    """Write a guest attribute of the calling worker. Any program there may write anything, as at Google."""
    if refusal := _refusal(request):
        return refusal
    path = request.path_params["path"].removeprefix(ROOT)
    if not path.startswith(GUEST_ATTRIBUTES):
        return PlainTextResponse(f"{path} is read-only\n", 405, headers=HEADERS)
    attribute = path.removeprefix(GUEST_ATTRIBUTES)
    found = _worker_at(cloud, request.client.host if request.client else "")
    if found is None or not _ATTRIBUTE.fullmatch(attribute):
        return PlainTextResponse(f"{path} not found\n", 404, headers=HEADERS)
    if len(value) > LARGEST:
        return PlainTextResponse("The value is too large.\n", 413, headers=HEADERS)
    name, worker, _ = found
    written = {**worker.get("guest_attributes", {}), attribute: value.decode(errors="replace")}
    cloud.store.update(nodes.WORKER, name, guest_attributes=written)
    return PlainTextResponse("", headers=HEADERS)


def _refusal(request: Request) -> Response | None:
    if request.headers.get("metadata-flavor") != "Google":
        return PlainTextResponse("Missing Metadata-Flavor:Google header.\n", 403, headers=HEADERS)
    if request.headers.get("x-forwarded-for"):
        return PlainTextResponse("X-Forwarded-For is not allowed.\n", 403, headers=HEADERS)
    return None


def _is_root(request: Request, owner: Owner) -> bool:
    """Whether root of this host calls: the user that the machines need anyway."""
    if request.client is None:
        return False
    client: callers.Address = (request.client.host, request.client.port)
    return owner(client, request.scope["server"]) == 0


def _look_up(root: Tree, path: str) -> Any:
    if not f"{path}/".startswith(ROOT):
        return None
    value: Any = root
    for part in f"{path}/".removeprefix(ROOT).split("/"):
        if not part:
            continue
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _render(value: Any, *, recursive: bool) -> Response:
    if callable(value):
        return JSONResponse(value(), headers=HEADERS)
    if isinstance(value, Mapping):
        if recursive:
            return JSONResponse(_contents(value), headers=HEADERS)
        names = sorted(f"{name}/" if isinstance(item, Mapping) else name for name, item in value.items())
        return PlainTextResponse("".join(f"{name}\n" for name in names), headers=HEADERS)
    return PlainTextResponse("\n".join(value) + "\n" if isinstance(value, list) else value, headers=HEADERS)


def _contents(value: Mapping[str, Any]) -> Json:
    """A directory as JSON: names in camel case except for attributes; tokens are left out, as Google does."""
    contents: Json = {}
    for name, item in value.items():
        if callable(item):
            continue
        key = re.sub(r"-(\w)", lambda match: match[1].upper(), name)
        if name == "attributes":
            contents[key] = dict(item)
        else:
            contents[key] = _contents(item) if isinstance(item, Mapping) else item
    return contents


def tree(cloud: Cloud, address: str) -> Tree | None:
    """Everything that a caller at an address may read; None for a machine that is not a worker yet."""
    if found := _worker_at(cloud, address):
        _, worker, node = found
        return _worker_tree(cloud, node, worker)
    if _is_machine(cloud, address):
        return None
    project = catalog.DEFAULT_PROJECT
    accounts = _service_accounts(cloud, cloud.service_account, [CLOUD_PLATFORM])
    return {"project": _project(project), "instance": {"service-accounts": accounts}, "universe": _UNIVERSE}


def _worker_at(cloud: Cloud, address: str) -> tuple[str, Json, Json] | None:
    """The worker at an address: its record's name, its record, and its node."""
    for name, worker in cloud.store.items(nodes.WORKER):
        if worker["address"] == address and (node := cloud.store.get(nodes.NODE, worker["node"])):
            return name, worker, node
    return None


def _is_machine(cloud: Cloud, address: str) -> bool:
    try:
        caller = ip_address(address)
    except ValueError:  # no address at all, as with a socket
        return False
    return caller in cloud.config.subnet and caller != cloud.config.address


_UNIVERSE = {"universe-domain": "googleapis.com"}


def _project(project: catalog.Project) -> Tree:
    return {"project-id": project.project_id, "numeric-project-id": project.number, "attributes": {}}


def _service_accounts(cloud: Cloud, email: str, scopes: list[str]) -> Tree:
    token: Callable[[], Json] = lambda: token_answer(cloud, email)  # noqa: E731 - a leaf, not a function of its own
    account = {"email": email, "aliases": ["default"], "scopes": scopes, "token": token}
    return {"default": account, email: account}


def _worker_tree(cloud: Cloud, node: Json, worker: Json) -> Tree:
    _, project_id, _, zone, _, name = node["name"].split("/")
    project = catalog.find_project(project_id)
    assert project is not None
    zone_path = f"projects/{project.number}/zones/{zone}"
    peers = nodes.workers(cloud, node["name"])
    account = node["serviceAccount"]
    attributes = {
        **node.get("metadata", {}),
        "accelerator-type": node["acceleratorType"],
        "agent-node-name": worker["machine"],
        "agent-worker-number": str(worker["index"]),
        "instance-id": name,
        "tpu-env": _tpu_env(node, worker),
        "worker-network-endpoints": ",".join(f"unknown:unknown:{peer['address']}" for peer in peers),
    }
    instance = {
        "attributes": attributes,
        "description": node.get("description", ""),
        "guest-attributes": _guest_attributes(worker),
        "hostname": f"{worker['machine']}.{zone}.c.{project_id}.internal",
        "id": node["id"],
        "machine-type": f"{zone_path}/machineTypes/ct-local",
        "name": worker["machine"],
        "network-interfaces": {
            "0": {"ip": worker["address"], "network": f"projects/{project.number}/networks/default"}
        },
        "scheduling": {"preemptible": "TRUE" if _preemptible(node) else "FALSE"},
        "service-accounts": _service_accounts(cloud, account["email"], account["scope"]),
        "tags": node.get("tags", []),
        "zone": zone_path,
    }
    return {"project": _project(project), "instance": instance, "universe": _UNIVERSE}


def _guest_attributes(worker: Json) -> Tree:
    found: dict[str, dict[str, str]] = {}
    for (namespace, key), value in nodes.guest_attributes(worker).items():
        found.setdefault(namespace, {})[key] = value
    return found


def _preemptible(node: Json) -> bool:
    scheduling = node.get("schedulingConfig", {})
    return bool(scheduling.get("spot") or scheduling.get("preemptible"))


def _tpu_env(node: Json, worker: Json) -> str:
    """Settings of the TPU runtime, as the agent of a TPU VM reads them."""
    _, project, _, zone, _, name = node["name"].split("/")
    shape = node["acceleratorConfig"]
    settings = {
        "ACCELERATOR_TYPE": node["acceleratorType"],
        "CONSUMER_PROJECT_ID": project,
        "NODE_ID": name,
        "RUNTIME_VERSION": node["runtimeVersion"],
        "TOPOLOGY": shape["topology"],
        "TYPE": shape["type"],
        "WORKER_ID": str(worker["index"]),
        "ZONE": zone,
    }
    return "".join(f"{key}: '{value}'\n" for key, value in settings.items())
