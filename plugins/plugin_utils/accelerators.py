# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an accelerator type's name says: its generation and chips, and what Google has for that generation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """A generation of TPUs.

    name:            as price lists have it.
    cores:           what the number in the type's name counts to a chip: TensorCores (2) or chips (1).
    runtime_version: the image that Google's page on runtimes names for it.
    disk_type:       a type of data disk that it takes: v6e takes Hyperdisk only.
    """

    name: str
    cores: int
    runtime_version: str
    disk_type: str = "pd-balanced"


# What accelerator types begin with -> generation.
GENERATIONS = {
    "v2": Generation("v2", 2, "tpu-ubuntu2204-base"),
    "v3": Generation("v3", 2, "tpu-ubuntu2204-base"),
    "v4": Generation("v4", 2, "tpu-ubuntu2204-base"),
    "v5litepod": Generation("v5e", 1, "v2-alpha-tpuv5-lite"),
    "v5p": Generation("v5p", 2, "v2-alpha-tpuv5"),
    "v6e": Generation("v6e", 1, "v2-alpha-tpuv6e", "hyperdisk-balanced"),
}


def generation(accelerator_type: str) -> Generation | None:
    """The generation of a type such as v5litepod-8; None for one that is not known here."""
    return GENERATIONS.get(accelerator_type.partition("-")[0])


def chips(accelerator_type: str) -> int | None:
    """How many chips a slice of this type has; None where its name does not tell."""
    kind, size = generation(accelerator_type), accelerator_type.rpartition("-")[2]
    return int(size) // kind.cores if kind and size.isdecimal() else None
