# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options decide about a resource, and where that differs from what the API has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.filters import lookup
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json


@dataclass(frozen=True)
class Field:
    """One thing about a resource that the options decide.

    path:    where the API keeps it, dotted.
    option:  the module's option, for messages.
    mutable: whether the API changes it on a living resource.
    default: what it means when the API leaves it out.
    same:    whether the API's value is what is wanted.
    """

    path: str
    option: str
    mutable: bool = False
    default: Any = None
    same: Callable[[Any, Any], bool] = lambda have, want: bool(have == want)


@dataclass(frozen=True)
class Change:
    field: Field
    have: Any
    want: Any


def differences(fields: Sequence[Field], current: Json, body: Json) -> list[Change]:
    """Where `current` is not what `body` wants."""
    found = []
    for field in fields:
        want = lookup(body, field.path)
        have = lookup(current, field.path)
        have = field.default if have is None else have
        if want is not None and not field.same(have, want):
            found.append(Change(field, have, want))
    return found


def predicted(current: Mapping[str, Any], changes: Sequence[Change]) -> Json:
    """`current` with the changes applied, for check mode."""
    result: Json = dict(current)
    for change in changes:
        result = replaced(result, change.field.path, change.want)
    return result


def replaced(current: Mapping[str, Any], path: str, value: Any) -> Json:
    """`current` with another value at a dotted path."""
    first, _dot, rest = path.partition(".")
    return {**current, first: replaced(current.get(first) or {}, rest, value) if rest else value}


def given(**fields: Any) -> Json:
    """The fields that are set."""
    return {name: value for name, value in fields.items() if value is not None}


def texts(options: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Labels and metadata have text values: true and 8 become "true" and "8"."""
    if options is None:
        return None
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in options.items()}
