# SPDX-License-Identifier: GPL-3.0-or-later
"""Service Usage v1: which APIs a project has enabled."""

from __future__ import annotations

from collections.abc import Sequence

from localcloud import catalog
from localcloud.catalog import Project
from localcloud.cloud import Cloud
from localcloud.filters import FilterError, compile_filter
from localcloud.google import operations
from localcloud.google.api import Api, Call, page
from localcloud.google.errors import ApiError, invalid_field, not_found
from localcloud.json_types import Json

api = Api("serviceusage.v1")

#: Google's limits of the batch methods.
MAX_BATCH_ENABLE = 20
MAX_BATCH_GET = 30
#: Seconds that a switching call waits for its operation, which is done at once unless a fault strikes it.
PATIENCE = 2.0
_TYPES = "type.googleapis.com/google.api.serviceusage.v1"


def _service(cloud: Cloud, project: Project, name: str) -> Json:
    if name not in catalog.SERVICES:
        raise ApiError(
            "PERMISSION_DENIED",
            f"Not found or permission denied for service(s): {name}.",
            details=[
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED",
                    "domain": "serviceusage.googleapis.com",
                    "metadata": {"services": name},
                }
            ],
        )
    parent = f"projects/{project.number}"
    return {
        "name": f"{parent}/services/{name}",
        "parent": parent,
        "config": {"name": name, "title": catalog.SERVICES[name]},
        "state": "ENABLED" if cloud.service_enabled(project, name) else "DISABLED",
    }


def _begin(call: Call, names: Sequence[str], kind: str, *, on: bool) -> Json:
    """Switch services. kind: the message that the operation ends with."""
    for name in names:
        _service(call.cloud, call.project, name)
    parent = f"projects/{call.project.number}"
    project, services = call.project.project_id, [*names]
    record = call.begin(
        "serviceusage",
        "switch",
        parent,
        f"{parent}/services",
        project=project,
        services=services,
        kind=kind,
        on=on,
    )
    return _operation(call.cloud.operations.wait(record["name"], PATIENCE) or record)


def _operation(record: Json) -> Json:
    """An operation as Service Usage has it, whose name says its project by number."""
    arguments = record["arguments"]
    _, number, _, short = record["name"].split("/")
    operation: Json = {
        "name": f"operations/acf.p2-{number}-{short}",
        "done": record["done"],
        "metadata": {
            "@type": f"{_TYPES}.OperationMetadata",
            "resourceNames": [f"projects/{number}/services/{name}" for name in arguments["services"]],
        },
    }
    if "error" in record:
        operation["error"] = record["error"]
    elif record["done"]:
        operation["response"] = {"@type": f"{_TYPES}.{arguments['kind']}", **record["response"]}
    return operation


def register(cloud: Cloud) -> None:
    """Say how the operations of this API are done."""

    def switch(operation: Json) -> Json:
        arguments = operation["arguments"]
        project = catalog.find_project(arguments["project"])
        assert project is not None
        for name in arguments["services"]:
            cloud.set_service(project, name, arguments["on"])
        services = [_service(cloud, project, name) for name in arguments["services"]]
        return {"services": services} if arguments["kind"].startswith("Batch") else {"service": services[0]}

    cloud.operations.register("serviceusage", "switch", switch)


@api.method("serviceusage.services.get")
def get(call: Call) -> Json:
    return _service(call.cloud, call.project, call.path["servicesId"])


@api.method("serviceusage.services.list")
def list_services(call: Call) -> Json:
    try:
        predicate = compile_filter(call.query.get("filter", ""))
    except FilterError as error:
        raise invalid_field("filter", str(error)) from None
    services = [(name, _service(call.cloud, call.project, name)) for name in sorted(catalog.SERVICES)]
    return page(call, [item for item in services if predicate(item[1])], "services", default=50)


@api.method("serviceusage.services.batchGet")
def batch_get(call: Call) -> Json:
    names = call.query.get("names", [])
    if len(names) > MAX_BATCH_GET:
        raise invalid_field(
            "names", f"at most {MAX_BATCH_GET} services can be read at once, not {len(names)}"
        )
    return {"services": [_service(call.cloud, call.project, name.rpartition("/")[2]) for name in names]}


@api.method("serviceusage.services.enable")
def enable(call: Call) -> Json:
    return _begin(call, [call.path["servicesId"]], "EnableServiceResponse", on=True)


@api.method("serviceusage.services.batchEnable")
def batch_enable(call: Call) -> Json:
    names = call.body.get("serviceIds", [])
    if not names or len(names) > MAX_BATCH_ENABLE:
        raise invalid_field(
            "service_ids", f"1 to {MAX_BATCH_ENABLE} services can be enabled at once, not {len(names)}"
        )
    return _begin(call, names, "BatchEnableServicesResponse", on=True)


@api.method("serviceusage.services.disable")
def disable(call: Call) -> Json:
    return _begin(call, [call.path["servicesId"]], "DisableServiceResponse", on=False)


@api.method("serviceusage.operations.get")
def get_operation(call: Call) -> Json:
    name = call.path["operationsId"]
    number, _, short = name.removeprefix("acf.p2-").partition("-")
    record = call.cloud.store.get(operations.KIND, f"projects/{number}/operations/{short}")
    if record is None:
        raise not_found(f"operations/{name}")
    return _operation(record)
