# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery documents as the judge of messages."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud import discovery
from localcloud.discovery import Violation

TPU = discovery.load("tpu.v2")
COMPUTE = discovery.load("compute.v1")
CREATE = TPU.methods["tpu.projects.locations.nodes.create"]
LIST = TPU.methods["tpu.projects.locations.nodes.list"]
INSERT = COMPUTE.methods["compute.disks.insert"]


def test_methods_know_their_path_and_parameters() -> None:
    assert CREATE.http_method == "POST"
    assert CREATE.path == "/v2/projects/{projectsId}/locations/{locationsId}/nodes"
    assert INSERT.path == "/compute/v1/projects/{project}/zones/{zone}/disks"
    assert set(CREATE.query) == {"nodeId"}


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"acceleratorTyp": "v4-8"}, "", 'Unknown name "acceleratorTyp": Cannot find field.'),
        ({"schedulingConfig": {"cheap": True}}, "schedulingConfig", "\"cheap\" at 'schedulingConfig'"),
        ({"schedulingConfig": {"spot": "yes"}}, "schedulingConfig.spot", 'TYPE_BOOL), "yes"'),
        ({"tags": ["a", 1]}, "tags[1]", "TYPE_STRING), 1"),
        ({"dataDisks": [{"mode": "RW"}]}, "dataDisks[0].mode", 'TYPE_ENUM), "RW"'),
        ({"labels": {"a": 1}}, "labels.a", "TYPE_STRING"),
        ([], "", "TYPE_MESSAGE"),
    ],
)
def test_wrong_requests_name_the_field(body: Any, field: str, words: str) -> None:
    violations = TPU.request_violations(CREATE, body)
    assert [violation.field for violation in violations] == [field]
    assert words in violations[0].description


def test_long_numbers_come_as_text_or_number_and_leave_as_text() -> None:
    for size in ("10", 10):
        assert COMPUTE.request_violations(INSERT, {"name": "d", "sizeGb": size}) == []
    assert COMPUTE.request_violations(INSERT, {"name": "d", "sizeGb": "ten"})[0].field == "sizeGb"
    get = COMPUTE.methods["compute.disks.get"]
    assert COMPUTE.response_violations(get, {"sizeGb": "10"}) == []
    assert COMPUTE.response_violations(get, {"sizeGb": 10})[0].field == "sizeGb"


def test_patterns_hold_for_the_whole_value() -> None:
    (violation,) = COMPUTE.request_violations(INSERT, {"name": "D_bad"})
    assert violation.field == "name"
    assert "Must be a match of regex" in violation.description


def test_output_only_fields_of_a_request_are_ignored() -> None:
    body = {"name": "x", "state": "READY", "labels": {"a": "b"}, "networkEndpoints": [{"port": 1}]}
    assert TPU.accept(CREATE, body) == {"labels": {"a": "b"}}


def test_enumeration_numbers_become_names() -> None:
    body = {"dataDisks": [{"sourceDisk": "d", "mode": 2}], "acceleratorConfig": {"type": 9}}
    accepted = TPU.accept(CREATE, body)
    assert accepted == {
        "dataDisks": [{"sourceDisk": "d", "mode": "READ_ONLY"}],
        "acceleratorConfig": {"type": "V5LITE_POD"},
    }
    assert TPU.request_violations(CREATE, accepted) == []


def test_query_parameters_have_types() -> None:
    values, violations = TPU.parse_query(LIST, [("pageSize", "5"), ("alt", "json"), ("$alt", "json")])
    assert (values, violations) == ({"pageSize": 5}, [])
    _, violations = TPU.parse_query(LIST, [("pageSize", "five"), ("pagesize", "1")])
    assert violations[0] == Violation("pageSize", "Invalid value at 'pageSize' (TYPE_INT32), \"five\"")
    assert "Cannot bind query parameter. Field 'pagesize'" in violations[1].description


def test_booleans_and_repeated_parameters() -> None:
    delete = TPU.methods["tpu.projects.locations.queuedResources.delete"]
    assert TPU.parse_query(delete, [("force", "True")])[0] == {"force": True}
    assert TPU.parse_query(delete, [("force", "1")])[1]
    usage = discovery.load("serviceusage.v1")
    batch = usage.methods["serviceusage.services.batchGet"]
    assert usage.parse_query(batch, [("names", "a"), ("names", "b")])[0] == {"names": ["a", "b"]}


def test_a_body_where_none_belongs() -> None:
    assert TPU.request_violations(LIST, {"a": 1})
    assert TPU.request_violations(LIST, {}) == []
