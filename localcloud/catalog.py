# SPDX-License-Identifier: GPL-3.0-or-later
"""What Google offers where: projects, zones, accelerator types, runtime versions, disk types."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Project:
    """A project. The number follows from the id, so that it is the same in every local cloud."""

    project_id: str
    name: str

    @property
    def number(self) -> str:
        digest = hashlib.sha256(self.project_id.encode()).digest()
        return str(10**11 + int.from_bytes(digest[:8]) % (9 * 10**11))

    @property
    def service_account(self) -> str:
        """The default service account of its machines."""
        return f"{self.number}-compute@developer.gserviceaccount.com"


DEFAULT_PROJECT = Project("local-tpu-project", "Local TPU project")
#: The others give filters something to do; their names are those that a hands-on lab account sees.
PROJECTS = (
    DEFAULT_PROJECT,
    Project("qwiklabs-gcp-01-localcloud", "qwiklabs-gcp-01-localcloud"),
    Project("qwiklabs-resources", "Qwiklabs Resources"),
)
DEFAULT_ZONE = "us-west1-c"


def find_project(key: str) -> Project | None:
    """The project with an id or a number."""
    return next((project for project in PROJECTS if key in (project.project_id, project.number)), None)


@dataclass(frozen=True)
class AcceleratorType:
    """A slice shape. version and topology: as AcceleratorConfig has them; workers: its number of hosts."""

    name: str
    version: str
    topology: str
    workers: int

    @property
    def chips(self) -> int:
        return math.prod(map(int, self.topology.split("x")))


def _family(prefix: str, version: str, *shapes: tuple[int, str, int]) -> tuple[AcceleratorType, ...]:
    return tuple(
        AcceleratorType(f"{prefix}-{size}", version, topology, workers) for size, topology, workers in shapes
    )


#: Sizes as Google's tables have them: chips for v5e and v6e, TensorCores for the others. A v5e or v6e host
#: holds eight chips alone and four as a part of a slice.
_FAMILIES = {
    "v2": _family("v2", "V2", (8, "2x2", 1), (32, "4x4", 4)),
    "v3": _family("v3", "V3", (8, "2x2", 1), (32, "4x4", 4)),
    "v4": _family("v4", "V4", (8, "2x2x1", 1), (16, "2x2x2", 2), (32, "2x2x4", 4), (64, "2x4x4", 8)),
    "v5e": _family(
        "v5litepod",
        "V5LITE_POD",
        *((1, "1x1", 1), (4, "2x2", 1), (8, "2x4", 1), (16, "4x4", 4), (32, "4x8", 8), (64, "8x8", 16)),
        *((128, "8x16", 32), (256, "16x16", 64)),
    ),
    "v5p": _family("v5p", "V5P", (8, "2x2x1", 1), (16, "2x2x2", 2), (32, "2x2x4", 4), (64, "2x4x4", 8)),
    "v6e": _family(
        "v6e",
        "V6E",
        *((1, "1x1", 1), (4, "2x2", 1), (8, "2x4", 1), (16, "4x4", 4), (32, "4x8", 8), (64, "8x8", 16)),
        *((128, "8x16", 32), (256, "16x16", 64)),
    ),
}

#: Zone -> families offered there, a cut of Google's table.
ZONES = {
    "asia-northeast1-b": ("v6e",),
    "europe-west4-a": ("v3", "v6e"),
    "europe-west4-b": ("v5e", "v5p"),
    "us-central1-a": ("v3", "v5e", "v5p"),
    "us-central1-b": ("v2", "v3"),
    "us-central2-b": ("v4",),
    "us-east5-a": ("v5p", "v6e"),
    "us-west1-c": ("v5e",),
    "us-west4-a": ("v5e",),
}

RUNTIME_VERSIONS = (
    "tpu-ubuntu2204-base",
    "tpu-vm-base",
    "v2-alpha-tpuv5",
    "v2-alpha-tpuv5-lite",
    "v2-alpha-tpuv6e",
)

#: Disk type -> (default size in GB, range of sizes as the API words it).
DISK_TYPES = {
    "hyperdisk-balanced": (100, "4GB-65536GB"),
    "hyperdisk-ml": (100, "4GB-65536GB"),
    "pd-balanced": (100, "10GB-65536GB"),
    "pd-ssd": (100, "10GB-65536GB"),
    "pd-standard": (500, "10GB-65536GB"),
}

#: Service -> title, as the consent pages name it.
SERVICES = {
    "compute.googleapis.com": "Compute Engine API",
    "tpu.googleapis.com": "Cloud TPU API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
    "oslogin.googleapis.com": "Cloud OS Login API",
    "serviceusage.googleapis.com": "Service Usage API",
    "storage.googleapis.com": "Cloud Storage API",
}


def accelerator_types(zone: str) -> list[AcceleratorType]:
    """The types that a zone offers, in the order of its families."""
    return [kind for family in ZONES[zone] for kind in _FAMILIES[family]]


def region(zone: str) -> str:
    return zone.rpartition("-")[0]
