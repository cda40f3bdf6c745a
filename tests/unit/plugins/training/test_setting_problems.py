# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that are no numbers, or no lists. From the command line each value is a string."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.filter.name_list import name_list
from ansible_collections.tpuops.maxtext.plugins.filter.setting_problems import setting_problems

COUNT = "is not a whole number above 0. Set one, for example 100."


def problems(value: Any, kind: str) -> list[str]:
    return setting_problems([{"name": "it", "value": value, "kind": kind, "example": 100}])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("count", [1, 100, "1", "100", " 7 ", 2_000_000]),
        ("batch", [1, 2.0, "4", "4.0"]),
        ("number", [1, 0.5, "0.5", "1e3", "2.e-5"]),
        ("count or 0", [0, "0", 5, "5"]),
        ("number or 0", [0, "0", "0.0", 0.1, "10"]),
        ("rate", ["", None, 1e-5, "2.e-5", "1e-5"]),
        ("list", [[], ["a=b"], ["a", "b"]]),
        ("dict", [{}, {"a": "b"}]),
    ],
)
def test_what_is_taken(kind: str, values: list[Any]) -> None:
    assert [problems(value, kind) for value in values] == [[] for _value in values]


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        ("count", ["abc", "", None, 0, "0", -1, "-5", "1.5", 1.5, "1e2", "100.0", True, [1], "nan"], COUNT),
        ("batch", ["abc", 0, 0.5, "1.5", "-1", "", "inf"], COUNT),
        ("number", ["abc", 0, "0", "-1", "nan", "inf", "", None, True], "is not a number above 0. Set one"),
        ("count or 0", [-1, "x", "1.5", ""], "is not 0 or a whole number above 0. Set one"),
        ("number or 0", [-1, "x", "", "nan"], "is not 0 or a number above 0. Set one"),
        ("rate", ["fast", "0", 0, "-1e-5", "nan", "inf"], "is not a number above 0. Set one"),
        ("list", ["a=b", 5, {"a": 1}, None], 'is not a list. Write it in the inventory, or as JSON: -e'),
        ("dict", ["a=b", 5, ["a"], None], 'is not a dictionary. Write it in the inventory, or as JSON'),
    ],
)  # fmt: skip
def test_what_is_refused(kind: str, values: list[Any], told: str) -> None:
    for value in values:
        found = problems(value, kind)
        assert len(found) == 1, value
        assert found[0].startswith(f"it: {value!r} ")
        assert told in found[0]


def test_every_problem_is_told() -> None:
    found = setting_problems(
        [
            {"name": "steps", "value": "abc", "kind": "count", "example": 100},
            {"name": "sft_num_epoch", "value": 1, "kind": "count", "example": 1},
            {"name": "learning_rate", "value": "fast", "kind": "rate", "example": "2.e-5"},
        ]
    )
    assert [message.partition(":")[0] for message in found] == ["steps", "learning_rate"]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["messages"], ["messages"]),
        (["my column"], ["my column"]),
        ("messages", ["messages"]),
        ("[messages]", ["messages"]),
        ("['prompt', \"completion\"]", ["prompt", "completion"]),
        ("question,answer", ["question", "answer"]),
        ("", []),
        (5, [5]),
    ],
)
def test_a_list_of_names_comes_from_the_command_line_as_a_string(value: Any, names: list[Any]) -> None:
    assert name_list(value) == names


@pytest.mark.parametrize("value", ["relative", "/", "//x", "/a/../b", "/a/", "", None, 3])
def test_a_mount_point_is_an_absolute_path(value: Any) -> None:
    """The directories of the run would lie on the boot disk otherwise, and end with the node."""
    setting = {"name": "data_disk_mount_point", "kind": "directory", "example": "/mnt/disks/checkpoints"}
    assert setting_problems([setting | {"value": value}]) == [
        f"data_disk_mount_point: {value!r} is not the absolute path of a directory of its own. Set one, for "
        "example /mnt/disks/checkpoints."
    ]
    assert setting_problems([setting | {"value": "/mnt/disks/checkpoints"}]) == []


def test_a_choice() -> None:
    setting = {"name": "export_weight_dtype", "kind": "choice", "choices": ["auto", "float32"]}
    assert setting_problems([setting | {"value": "auto"}]) == []
    assert setting_problems([setting | {"value": "int8"}]) == [
        "export_weight_dtype: 'int8' is none of auto, float32. Set one of them."
    ]
