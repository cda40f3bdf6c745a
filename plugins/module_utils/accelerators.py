# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an accelerator type's name says: its generation, its chips and workers, what Google has for it."""

from __future__ import annotations

from dataclasses import dataclass

SLICE_HOST_CHIPS = 4  # of each worker in a slice of several


@dataclass(frozen=True)
class Generation:
    """A generation of TPUs.

    name:            as price lists have it.
    cores:           what the number in the type's name counts to a chip: TensorCores (2) or chips (1).
    runtime_version: the image that Google's page on runtimes names for it.
    disk_type:       a type of data disk that it takes: v6e takes Hyperdisk only.
    host_chips:      chips of the largest node with one worker.
    devices:         JAX devices to a chip. The batch of a step is counted by devices.
    hbm:             GB of a chip, as Google has them.
    memory:          GiB of a device that a program may use, as the TPU compiler counts them; None: not known
                     here. That of v5e was seen with the locked compiler, the others in published messages.
    serves:          whether the locked vLLM has kernels for it.
    compiles:        whether the locked MaxText can name it to a compiler that has no TPU.
    """

    name: str
    cores: int
    runtime_version: str
    disk_type: str = "pd-balanced"
    host_chips: int = 4
    devices: int = 1
    hbm: int | None = None
    memory: float | None = None
    serves: bool = True
    compiles: bool = True


# What accelerator types begin with -> generation.
GENERATIONS = {
    "v2": Generation("v2", 2, "tpu-ubuntu2204-base", devices=2, hbm=16, serves=False, compiles=False),
    "v3": Generation("v3", 2, "tpu-ubuntu2204-base", devices=2, hbm=32, serves=False, compiles=False),
    "v4": Generation("v4", 2, "tpu-ubuntu2204-base", hbm=32, memory=30.75, serves=False),
    "v5litepod": Generation("v5e", 1, "v2-alpha-tpuv5-lite", host_chips=8, hbm=16, memory=15.75),
    "v5p": Generation("v5p", 2, "v2-alpha-tpuv5", hbm=95, memory=95.74),
    "v6e": Generation("v6e", 1, "v2-alpha-tpuv6e", "hyperdisk-balanced", host_chips=8, hbm=32, memory=31.25),
}

# All types with one worker.
SINGLE_HOST = (
    *("v2-8", "v3-8", "v4-8", "v5litepod-1", "v5litepod-4", "v5litepod-8", "v5p-8"),
    *("v6e-1", "v6e-4", "v6e-8"),
)


def generation(accelerator_type: str) -> Generation | None:
    """The generation of a type such as v5litepod-8; None for one that is not known here."""
    return GENERATIONS.get(accelerator_type.partition("-")[0])


def chips(accelerator_type: str) -> int | None:
    """How many chips a slice of this type has; None where its name does not tell."""
    kind, size = generation(accelerator_type), accelerator_type.rpartition("-")[2]
    return int(size) // kind.cores if kind and size.isdecimal() else None


def devices(accelerator_type: str) -> int | None:
    """How many devices JAX finds on all workers; None where the name does not tell."""
    kind, count = generation(accelerator_type), chips(accelerator_type)
    return count * kind.devices if kind and count is not None else None


def workers(accelerator_type: str) -> int | None:
    """How many workers (hosts) a node of this type has; None where its name does not tell."""
    kind, count = generation(accelerator_type), chips(accelerator_type)
    if kind is None or count is None:
        return None
    return 1 if count <= kind.host_chips else -(-count // SLICE_HOST_CHIPS)


def topology(accelerator_type: str) -> str | None:
    """What MaxText calls a type with one worker when it compiles without a TPU; None where it has no name."""
    kind = generation(accelerator_type)
    if kind is None or not kind.compiles or workers(accelerator_type) != 1:
        return None
    return f"{kind.name}-{accelerator_type.rpartition('-')[2]}"
