# SPDX-License-Identifier: GPL-3.0-or-later
"""Queued resources of Cloud TPU v2: requests for nodes that wait until a zone has room for all of them.

    CREATING -> ACCEPTED -> WAITING_FOR_RESOURCES -> PROVISIONING -> ACTIVE -> SUSPENDING -> SUSPENDED

A request whose time runs out, or whose nodes cannot be made, ends FAILED. `Queue.tick` moves them; every step
starts from the records alone, so a new server goes on where a killed one stopped.
"""

from __future__ import annotations

import datetime
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from localcloud.cloud import Cloud
from localcloud.google import capacity, nodespec, operations, tpu
from localcloud.google.api import Call
from localcloud.google.capacity import QUEUED
from localcloud.google.errors import ApiError, invalid_field, not_found
from localcloud.google.nodes import NODE
from localcloud.json_types import Json

#: What a queued resource's record lacks: {user, not_before, deadline (seconds since the epoch, or None)}.
PLAN = "queued-resource-plan"
#: Request ids that were used: {operation}.
REQUEST = "queued-resource-request"
API = "queued"
CREATE = "tpu.projects.locations.queuedResources.create"
#: The method that its nodes' operations are of, so that what faults do to creations they do to these as well.
CREATE_NODE = "tpu.projects.locations.nodes.create"
IDENTIFIER = re.compile(r"[A-Za-z0-9_.~+%-]{1,63}")
#: States in which a queued resource has no nodes and may be deleted without force.
IDLE = ("ACCEPTED", "WAITING_FOR_RESOURCES", "FAILED", "SUSPENDED")


def state(name: str, initiator: str = "SERVICE", **data: Any) -> Json:
    """QueuedResourceState: a state with its own data field beside it."""
    words = name.lower().split("_")
    field = words[0] + "".join(word.title() for word in words[1:]) + "Data"
    extra = {} if name == "WAITING_FOR_RESOURCES" else {field: data}
    return {"state": name, "stateInitiator": initiator, **extra}


# ---- calls


def _path(call: Call) -> str:
    return f"{tpu.location(call)}/queuedResources/{call.path['queuedResourcesId']}"


def _queued(call: Call) -> Json:
    found = call.cloud.store.get(QUEUED, _path(call))
    if found is None:
        raise not_found(_path(call))
    return found


@tpu.api.method("tpu.projects.locations.queuedResources.get")
def get(call: Call) -> Json:
    return _queued(call)


@tpu.api.method("tpu.projects.locations.queuedResources.list")
def list_queued(call: Call) -> Json:
    return tpu.listing(call, QUEUED, "queuedResources")


@tpu.api.method(CREATE)
def create(call: Call) -> Json:
    location = tpu.location(call)
    identifier = call.query.get("queuedResourceId") or f"qr-{uuid.uuid4().hex[:12]}"
    if not IDENTIFIER.fullmatch(identifier):
        raise invalid_field(
            "queued_resource_id",
            f"Invalid queued resource id '{identifier}': it must match {IDENTIFIER.pattern}.",
        )
    name = f"{location}/queuedResources/{identifier}"
    store = call.cloud.store
    with store.lock:
        if repeated := _repeated(call):
            return repeated
        if store.get(QUEUED, name) is not None:
            raise ApiError("ALREADY_EXISTS", f"Resource '{name}' already exists")
        body = _checked(call, identifier)
        zone = call.path["locationsId"]
        capacity.check_quota(call.cloud, call.project, zone, capacity.queued_demand(zone, body))
        not_before, deadline = _window(body.get("queueingPolicy", {}))
        record = {**body, "name": name, "createTime": operations.now(), "state": state("CREATING", "USER")}
        store.put(PLAN, name, {"user": call.principal, "not_before": not_before, "deadline": deadline})
        store.put(QUEUED, name, record)
        return _begin(call, "create", name)


def _repeated(call: Call) -> Json | None:
    """The operation of an earlier call with the same request id."""
    request = call.query.get("requestId")
    known = (
        call.cloud.store.get(REQUEST, f"{tpu.location(call)}/{call.method.id}/{request}") if request else None
    )
    record = call.cloud.store.get(operations.KIND, known["operation"]) if known else None
    return tpu.render(record) if record else None


def _begin(call: Call, verb: str, name: str, **arguments: object) -> Json:
    record = call.cloud.operations.begin(
        API, verb, tpu.location(call), name, user=call.principal, method=call.method.id, **arguments
    )
    if request := call.query.get("requestId"):
        key = f"{tpu.location(call)}/{call.method.id}/{request}"
        call.cloud.store.put(REQUEST, key, {"operation": record["name"]})
    return tpu.render(record)


def _checked(call: Call, identifier: str) -> Json:
    """The body of a request, refused when it makes no sense."""
    body = call.body
    tiers = [tier for tier in ("spot", "guaranteed", "reservationName") if tier in body]
    if len(tiers) > 1:
        raise invalid_field("queued_resource", f"At most one tier may be given, not {' and '.join(tiers)}.")
    timing = list(body.get("queueingPolicy", {}))
    if len(timing) > 1:
        raise invalid_field(
            "queued_resource.queueing_policy",
            "Invalid value at 'queued_resource.queueing_policy' (oneof), oneof field "
            f"'start_timing_constraints' is already set. Cannot set '{timing[1]}'",
        )
    specs = body.get("tpu", {}).get("nodeSpec", [])
    if not specs:
        raise invalid_field("queued_resource.tpu.node_spec", "At least one node spec is needed.")
    seen: set[str] = set()
    for spec in specs:
        _check_spec(call, spec)
        for node_id in _node_ids(spec, identifier):
            nodespec.check_node_id(node_id)
            path = f"{tpu.location(call)}/nodes/{node_id}"
            if node_id in seen or call.cloud.store.get(NODE, path) is not None:
                raise ApiError("ALREADY_EXISTS", f"Resource '{path}' already exists")
            seen.add(node_id)
    return body


def _check_spec(call: Call, spec: Json) -> None:
    field = "queued_resource.tpu.node_spec"
    zone = call.path["locationsId"]
    parents = [f"projects/{key}/locations/{zone}" for key in (call.project.project_id, call.project.number)]
    if spec.get("parent") not in parents:
        raise invalid_field(
            f"{field}.parent", f"Invalid parent '{spec.get('parent', '')}': not {parents[0]}."
        )
    if ("nodeId" in spec) == ("multisliceParams" in spec):
        raise invalid_field(field, "Exactly one of node_id and multislice_params is needed.")
    count = spec.get("multisliceParams", {}).get("nodeCount", 0)
    if "multisliceParams" in spec and count < 2:
        raise invalid_field(f"{field}.multislice_params", f"node_count must be greater than 1, not {count}.")
    body = spec.get("node", {})
    kind = nodespec.check(zone, body)
    nodespec.data_disks(call.cloud, zone, body.get("dataDisks", []), kind, holder="")


def _node_ids(spec: Json, identifier: str) -> list[str]:
    if "nodeId" in spec:
        return [spec["nodeId"]]
    slices = spec["multisliceParams"]
    prefix = slices.get("nodeIdPrefix") or identifier
    return [f"{prefix}-{index}" for index in range(slices["nodeCount"])]


def _window(policy: Json) -> tuple[float | None, float | None]:
    """When the nodes may be made at the earliest and at the latest, seconds since the epoch."""
    interval = policy.get("validInterval", {})
    start = policy.get("validAfterTime") or interval.get("startTime")
    end = policy.get("validUntilTime") or interval.get("endTime")
    after, until = policy.get("validAfterDuration"), policy.get("validUntilDuration")
    return (_moment(start) if start else _later(after)), (_moment(end) if end else _later(until))


def _moment(text: str) -> float:
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise invalid_field("queued_resource.queueing_policy", f"Invalid time '{text}'.") from None


def _later(duration: str | None) -> float | None:
    if duration is None:
        return None
    if not re.fullmatch(r"\d+(\.\d+)?s", duration):
        raise invalid_field(
            "queued_resource.queueing_policy", f"Invalid duration '{duration}': it must look like '3600s'."
        )
    return time.time() + float(duration[:-1])


@tpu.api.method("tpu.projects.locations.queuedResources.delete")
def delete(call: Call) -> Json:
    with call.cloud.store.lock:
        if repeated := _repeated(call):
            return repeated
        queued = _queued(call)
        now = queued["state"]["state"]
        if now == "DELETING":
            raise ApiError("ABORTED", f"{queued['name']} is being deleted already.")
        if not call.query.get("force") and now not in IDLE and list(members(call.cloud, queued["name"])):
            raise ApiError(
                "FAILED_PRECONDITION",
                f"Queued resource {queued['name']} is {now} and has nodes: delete them first, or use force.",
            )
        call.cloud.store.update(QUEUED, queued["name"], state=state("DELETING", "USER"))
        return _begin(call, "delete", queued["name"], before=queued["state"])


@tpu.api.method("tpu.projects.locations.queuedResources.reset")
def reset(call: Call) -> Json:
    with call.cloud.store.lock:
        queued = _queued(call)
        now = queued["state"]["state"]
        if now not in ("FAILED", "SUSPENDED"):
            raise ApiError(
                "FAILED_PRECONDITION",
                f"Queued resource {queued['name']} is {now}: only FAILED and SUSPENDED ones can be reset.",
            )
        plan = call.cloud.store.get(PLAN, queued["name"]) or {}
        not_before, deadline = _window(queued.get("queueingPolicy", {}))
        call.cloud.store.put(PLAN, queued["name"], {**plan, "not_before": not_before, "deadline": deadline})
        return _begin(call, "reset", queued["name"])


# ---- what happens to them


def members(cloud: Cloud, name: str) -> Iterator[Json]:
    """The nodes of a queued resource."""
    location = name.partition("/queuedResources/")[0]
    for _, node in cloud.store.items(NODE, f"{location}/"):
        if node.get("queuedResource") == name:
            yield node


class Queue:
    """Moves the queued resources of a cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        for verb in ("create", "reset"):
            cloud.operations.register(API, verb, self._accept)
        cloud.operations.register(API, "delete", self._delete, self._undo_delete)

    def _accept(self, operation: Json) -> Json:
        with self._cloud.store.lock:
            queued = self._cloud.store.get(QUEUED, operation["target"])
            if queued is None or queued["state"]["state"] == "DELETING":
                raise ApiError("ABORTED", f"{operation['target']} was deleted.")
            return self._move(queued, state("ACCEPTED"))

    def _delete(self, operation: Json) -> Json:
        name = operation["target"]
        while list(members(self._cloud, name)):
            self._empty(name)
            if self._cloud.operations.closed.wait(0.05):
                raise operations.ClosedError
        self._cloud.store.delete(QUEUED, name)
        self._cloud.store.delete(PLAN, name)
        return {}

    def _undo_delete(self, operation: Json, error: Exception) -> None:
        """A deletion that failed leaves what there was."""
        with self._cloud.store.lock:
            if queued := self._cloud.store.get(QUEUED, operation["target"]):
                self._move(queued, operation["arguments"]["before"])

    def tick(self) -> None:
        """One look at every queued resource."""
        steps = {
            "ACCEPTED": self._wait,
            "WAITING_FOR_RESOURCES": self._wait,
            "PROVISIONING": self._provisioning,
            "ACTIVE": self._active,
            "SUSPENDING": self._suspending,
        }
        for name, _ in self._cloud.store.items(QUEUED):
            with self._cloud.store.lock:
                queued = self._cloud.store.get(QUEUED, name)
                step = steps.get(queued["state"]["state"]) if queued else None
                if queued and step:
                    step(queued)

    def _move(self, queued: Json, to: Json) -> Json:
        return self._cloud.store.update(QUEUED, queued["name"], state=to)

    def _fail(self, queued: Json, error: Json) -> None:
        self._move(queued, state("FAILED", error=error))
        self._empty(queued["name"])

    def _wait(self, queued: Json) -> None:
        plan = self._cloud.store.get(PLAN, queued["name"]) or {}
        now, zone = time.time(), queued["name"].split("/")[3]
        if plan["deadline"] is not None and now >= plan["deadline"]:
            error = ApiError(
                "DEADLINE_EXCEEDED", "The request was not fulfilled before its valid-until time."
            )
            self._fail(queued, error.rpc())
            return
        early = plan["not_before"] is not None and now < plan["not_before"]
        if early or not capacity.fits(self._cloud, zone, capacity.queued_demand(zone, queued), CREATE):
            if queued["state"]["state"] != "WAITING_FOR_RESOURCES":
                self._move(queued, state("WAITING_FOR_RESOURCES"))
            return
        try:
            made = self._nodes(queued)
        except ApiError as error:
            self._fail(queued, error.rpc())
            return
        self._move(queued, state("PROVISIONING"))
        for node in made:
            self._cloud.store.put(NODE, node["name"], node)
            location = node["name"].partition("/nodes/")[0]
            operation = self._cloud.operations.begin(
                "tpu", "create", location, node["name"], user=plan["user"], method=CREATE_NODE
            )
            plan = {**plan, "operations": [*plan.get("operations", []), operation["name"]]}
        self._cloud.store.put(PLAN, queued["name"], plan)

    def _nodes(self, queued: Json) -> list[Json]:
        """The records of its nodes. ApiError when what it was checked against has changed since."""
        location, _, identifier = queued["name"].partition("/queuedResources/")
        zone = location.split("/")[3]
        project = tpu.project_of(location)
        made = []
        for spec in queued["tpu"]["nodeSpec"]:
            body = spec["node"]
            kind = nodespec.check(zone, body)
            for node_id in _node_ids(spec, identifier):
                name = f"{location}/nodes/{node_id}"
                if self._cloud.store.get(NODE, name) is not None:
                    raise ApiError("ALREADY_EXISTS", f"Resource '{name}' already exists")
                disks = nodespec.data_disks(self._cloud, zone, body.get("dataDisks", []), kind, holder=name)
                node = nodespec.new_node(
                    project, name, body, kind, disks=disks, subnet=self._cloud.config.subnet
                )
                if "spot" in queued:
                    node["schedulingConfig"] = {**node["schedulingConfig"], "spot": True}
                if "reservationName" in queued:
                    node["schedulingConfig"] = {**node["schedulingConfig"], "reserved": True}
                made.append({**node, "queuedResource": queued["name"]})
        return made

    def _provisioning(self, queued: Json) -> None:
        plan = self._cloud.store.get(PLAN, queued["name"]) or {}
        found = [self._cloud.store.get(operations.KIND, name) for name in plan.get("operations", [])]
        # A user may delete the record of an operation that is done.
        records = [record for record in found if record]
        error = next((record["error"] for record in records if "error" in record), None)
        if any(node["state"] == "PREEMPTED" for node in members(self._cloud, queued["name"])):
            self._suspend(queued)
        elif error:
            self._forget(queued, plan)
            self._fail(queued, error)
        elif all(record["done"] for record in records):
            self._forget(queued, plan)
            self._move(queued, state("ACTIVE"))

    def _forget(self, queued: Json, plan: Json) -> None:
        self._cloud.store.put(PLAN, queued["name"], {**plan, "operations": []})

    def _active(self, queued: Json) -> None:
        found = list(members(self._cloud, queued["name"]))
        if any(node["state"] == "PREEMPTED" for node in found):
            self._suspend(queued)
        elif not found:
            self._move(queued, state("SUSPENDED", "USER"))

    def _suspend(self, queued: Json) -> None:
        plan = self._cloud.store.get(PLAN, queued["name"]) or {}
        self._forget(queued, plan)
        self._move(queued, state("SUSPENDING"))
        self._empty(queued["name"])

    def _suspending(self, queued: Json) -> None:
        if list(members(self._cloud, queued["name"])):
            self._empty(queued["name"])
        else:
            self._move(queued, state("SUSPENDED"))

    def _empty(self, name: str) -> None:
        """Begin to delete the nodes of a queued resource."""
        with self._cloud.store.lock:
            for node in members(self._cloud, name):
                if node["state"] != "DELETING":
                    self._cloud.operations.cancel_all(node["name"])
                    self._cloud.store.update(NODE, node["name"], state="DELETING")
                    location = name.partition("/queuedResources/")[0]
                    self._cloud.operations.begin("tpu", "delete", location, node["name"])


def register(cloud: Cloud) -> Queue:
    """Say how the operations on queued resources are done; returns what moves them."""
    return Queue(cloud)
