# SPDX-License-Identifier: GPL-3.0-or-later
"""What a teardown that found nothing says of the name, by the operations that Google remembers."""

from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.elsewhere import past

from tests.json_types import Json

from .fakes import OURS

BOBS = {**OURS, "owner": "bob"}


def event(verb: str, hour: int, labels: Json | None = None, zone: str = "a", failed: bool = False) -> Json:
    """An operation; labels: those of what a creation made, None where Google does not say."""
    time = f"2026-11-24T{hour:02}:00:00Z"
    return {"zone": zone, "kind": "nodes", "verb": verb, "time": time, "labels": labels, "failed": failed}


DELETED = " Google remembers that it was deleted in a at 2026-11-24T02:00:00Z."
OTHERS = (
    " Google remembers a TPU VM n in a until 2026-11-24T02:00:00Z. It was not yours: it had owner=bob, "
    "yours have owner=me."
)

#: case -> operations, what is told, whether the name is one of ours as far as is known.
CASES: dict[str, tuple[list[Json], str, bool]] = {
    "nothing is remembered": ([], "", False),
    "ours was deleted": ([event("create", 1, OURS), event("delete", 2)], DELETED, True),
    "somebody else's was deleted": ([event("create", 1, BOBS), event("delete", 2)], OTHERS, False),
    "ours came after somebody else's": (
        [event("create", 0, BOBS), event("delete", 0), event("create", 1, OURS), event("delete", 2)],
        DELETED,
        True,
    ),
    "somebody else's came after ours": (
        [event("create", 0, OURS), event("delete", 0), event("create", 1, BOBS), event("delete", 2)],
        OTHERS,
        False,
    ),
    "somebody else's is in another zone": (
        [event("create", 0, BOBS, "b"), event("create", 1, OURS), event("delete", 2)],
        DELETED,
        True,
    ),
    "the creation is forgotten": ([event("delete", 2)], f"{DELETED} It does not say whose it was.", True),
    "a creation failed": (
        [event("create", 2, failed=True)],
        " Google remembers an operation on the name, which failed: create in a at 2026-11-24T02:00:00Z.",
        True,
    ),
    "a creation failed after ours was deleted": (
        [event("create", 0, OURS), event("delete", 1), event("create", 2, failed=True)],
        " Google remembers an operation on the name, which failed: create in a at 2026-11-24T02:00:00Z.",
        True,
    ),
    "it had no labels": (
        [event("create", 1, {}), event("delete", 2)],
        " Google remembers a TPU VM n in a until 2026-11-24T02:00:00Z. It was not yours: it had no owner, "
        "yours have owner=me.",
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_told_of_the_past_of_a_name(case: str) -> None:
    events, told, ours = CASES[case]
    assert past("n", events, OURS) == (told, ours)
    assert past("n", list(reversed(events)), OURS) == (told, ours)


def test_operations_of_one_second_are_told_in_their_order() -> None:
    """Google writes fractions of a second or none: as texts, 02:00:00.5Z comes before 02:00:00Z."""
    created = {**event("create", 2, OURS), "time": "2026-11-24T02:00:00Z"}
    deleted = {**event("delete", 2), "time": "2026-11-24T02:00:00.5Z"}
    told = " Google remembers that it was deleted in a at 2026-11-24T02:00:00.5Z."
    assert past("n", [deleted, created], OURS) == (told, True)
