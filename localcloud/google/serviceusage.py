# SPDX-License-Identifier: GPL-3.0-or-later
"""Service Usage v1: which APIs a project has enabled."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from localcloud import catalog
from localcloud.discovery import Json
from localcloud.filters import FilterError, compile_filter
from localcloud.google.api import Api, Call, page
from localcloud.google.errors import ApiError, invalid_field, not_found

api = Api("serviceusage.v1")

#: Google's limits of the batch methods.
MAX_BATCH_ENABLE = 20
MAX_BATCH_GET = 30
OPERATION_KIND = "serviceusage-operation"
_TYPES = "type.googleapis.com/google.api.serviceusage.v1"


def _service(call: Call, name: str) -> Json:
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
    parent = f"projects/{call.project.number}"
    return {
        "name": f"{parent}/services/{name}",
        "parent": parent,
        "config": {"name": name, "title": catalog.SERVICES[name]},
        "state": "ENABLED" if call.cloud.service_enabled(call.project, name) else "DISABLED",
    }


def _operation(call: Call, names: Sequence[str], kind: str, response: Json) -> Json:
    """A finished operation: switching a service is immediate here."""
    operation: Json = {
        "name": f"operations/acf.p2-{call.project.number}-{uuid.uuid4()}",
        "done": True,
        "metadata": {
            "@type": f"{_TYPES}.OperationMetadata",
            "resourceNames": [f"projects/{call.project.number}/services/{name}" for name in names],
        },
        "response": {"@type": f"{_TYPES}.{kind}", **response},
    }
    call.cloud.store.put(OPERATION_KIND, operation["name"], operation)
    return operation


@api.method("serviceusage.services.get")
def get(call: Call) -> Json:
    return _service(call, call.path["servicesId"])


@api.method("serviceusage.services.list")
def list_services(call: Call) -> Json:
    try:
        predicate = compile_filter(call.query.get("filter", ""))
    except FilterError as error:
        raise invalid_field("filter", str(error)) from None
    services = [(name, _service(call, name)) for name in sorted(catalog.SERVICES)]
    return page(call, [item for item in services if predicate(item[1])], "services", default=50)


@api.method("serviceusage.services.batchGet")
def batch_get(call: Call) -> Json:
    names = call.query.get("names", [])
    if len(names) > MAX_BATCH_GET:
        raise invalid_field(
            "names", f"at most {MAX_BATCH_GET} services can be read at once, not {len(names)}"
        )
    return {"services": [_service(call, name.rpartition("/")[2]) for name in names]}


def _switch(call: Call, on: bool) -> Json:
    name = call.path["servicesId"]
    _service(call, name)
    call.cloud.set_service(call.project, name, on)
    response = f"{'Enable' if on else 'Disable'}ServiceResponse"
    return _operation(call, [name], response, {"service": _service(call, name)})


@api.method("serviceusage.services.enable")
def enable(call: Call) -> Json:
    return _switch(call, True)


@api.method("serviceusage.services.batchEnable")
def batch_enable(call: Call) -> Json:
    names = call.body.get("serviceIds", [])
    if not names or len(names) > MAX_BATCH_ENABLE:
        raise invalid_field(
            "service_ids", f"1 to {MAX_BATCH_ENABLE} services can be enabled at once, not {len(names)}"
        )
    for name in names:
        _service(call, name)
    for name in names:
        call.cloud.set_service(call.project, name, True)
    services = [_service(call, name) for name in names]
    return _operation(call, names, "BatchEnableServicesResponse", {"services": services})


@api.method("serviceusage.services.disable")
def disable(call: Call) -> Json:
    return _switch(call, False)


@api.method("serviceusage.operations.get")
def get_operation(call: Call) -> Json:
    name = f"operations/{call.path['operationsId']}"
    operation = call.cloud.store.get(OPERATION_KIND, name)
    if operation is None:
        raise not_found(name)
    return operation
