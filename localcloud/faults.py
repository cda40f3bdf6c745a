# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that a user arms: what kinds there are, which are armed, and whether one meets a request.

A kind is one entry of `KINDS`; from it follow the subcommand of `localcloud fault`, its options and its help.
The code that answers requests or does work asks `Faults.meet` at one place, and acts on the answer. Armed
faults are records of the store, so they outlive a restart of the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from localcloud.json_types import Json
from localcloud.state import Store

#: Selector -> what a user is told about it. A fault meets only what each given selector matches, a glob.
SELECTORS = {
    "api": "Only calls of this API: tpu, compute, serviceusage, resourcemanager, oslogin or oauth.",
    "method": "Only calls of this method, by its id in Google's discovery document, such as "
    "tpu.projects.locations.nodes.create (a token request is oauth.token), or by a glob such as "
    "'*.nodes.create'.",
    "zone": "Only what happens in this zone.",
    "route": "Only requests to this part of the Hub, such as commits.commit, lfs.put or xet.put_xorb, "
    "or a glob such as 'files.*'.",
    "repository": "Only requests whose path names this repository of the Hub.",
}

#: Methods that take capacity or quota.
CREATE = ("tpu.*.nodes.create", "tpu.*.queuedResources.create")
#: Methods that change something.
WRITES = tuple(
    f"*.{verb}"
    for verb in (
        *("create", "insert", "importSshPublicKey", "provisionPosixAccount"),
        *("patch", "update", "resize", "setLabels", "start", "stop", "reset", "delete"),
        *("enable", "batchEnable", "disable"),
    )
)
#: Parts of the Hub that a gated repository opens only to whom its owner lets in, and the one that says so.
GATED = ("trees.info", "trees.auth_check", "files.resolve", "xet.read_token")
HUB = ("route", "repository")


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    place: where it strikes, as given to `Faults.meet`; methods: globs of the methods that it can strike;
    selectors: keys of SELECTORS by which a user limits it; seconds: default of its duration, None when it has
    none; size: default of the bytes that go through before it strikes, None likewise; lasting: what it has
    struck stays struck until it is cleared.
    """

    name: str
    summary: str
    place: str
    methods: tuple[str, ...] = ("*",)
    selectors: tuple[str, ...] = ("api", "method", "zone")
    seconds: float | None = None
    size: int | None = None
    lasting: bool = False


_KINDS = (
    Kind("error-500", "Calls are answered with 500 INTERNAL.", "call"),
    Kind("error-503", "Calls are answered with 503 UNAVAILABLE.", "call"),
    Kind(
        "rate-limit",
        "Calls are answered with 429 RESOURCE_EXHAUSTED; Retry-After asks for --seconds.",
        "call",
        seconds=1.0,
    ),
    Kind("permission", "Calls are answered with 403 PERMISSION_DENIED.", "call"),
    Kind("service-disabled", "Calls are answered with 403 SERVICE_DISABLED.", "call"),
    Kind(
        "location",
        "Calls about what is in a zone are answered with 403, as if the project had no TPUs there.",
        "call",
        methods=("tpu.projects.locations.*.*",),
    ),
    Kind("not-found", "Calls are answered with 404 NOT_FOUND.", "call"),
    Kind(
        "conflict",
        "Calls that change something are answered with 409: the name is taken, or another change under way.",
        "call",
        methods=WRITES,
    ),
    Kind(
        "precondition",
        "Calls that change something are answered with 400 FAILED_PRECONDITION.",
        "call",
        methods=WRITES,
    ),
    Kind("unauthorized", "Calls are answered with 401, as if the token had expired.", "call"),
    Kind("quota", "Creating calls are answered with 429 and a QuotaFailure.", "call", methods=CREATE),
    Kind(
        "disk-quota",
        "Creations of disks are answered with 403 quotaExceeded.",
        "call",
        methods=("compute.disks.insert",),
        selectors=("zone",),
    ),
    Kind("drop-before", "The connection is closed before the call has any effect.", "call"),
    Kind("drop", "The call takes effect, then the connection is closed: its answer is lost.", "answer"),
    Kind("slow", "Calls are answered --seconds late.", "delay", seconds=5.0),
    Kind(
        "unreachable",
        "A zone cannot be reached: lists of all zones leave it out and say so, TPU calls of its own are "
        "answered with 503.",
        "zone",
        methods=("tpu.*",),
        selectors=("zone",),
    ),
    Kind(
        "stockout",
        "There is no capacity: creations and starts of nodes fail with code 8, queued resources wait. Each "
        "attempt that a queued resource makes, one a second, counts.",
        "capacity",
        methods=(*CREATE, "tpu.*.nodes.start"),
        selectors=("zone",),
    ),
    Kind(
        "disk-stockout",
        "There is no room for disks: their creations fail with ZONE_RESOURCE_POOL_EXHAUSTED.",
        "capacity",
        methods=("compute.disks.insert",),
        selectors=("zone",),
    ),
    Kind("stuck-operation", "Operations do not end until the fault is cleared.", "operation", lasting=True),
    Kind("failing-operation", "Operations end with code 13.", "operation"),
    Kind(
        "preempted-while-creating",
        "Creations of nodes end with code 3; the node stays, PREEMPTED.",
        "operation",
        methods=("tpu.*.nodes.create",),
        selectors=("zone",),
    ),
    Kind("hub-error-500", "The Hub answers 500.", "hub", selectors=HUB),
    Kind("hub-error-503", "The Hub answers 503.", "hub", selectors=HUB),
    Kind(
        "hub-rate-limit",
        "The Hub answers 429; Retry-After and RateLimit ask for --seconds.",
        "hub",
        selectors=HUB,
        seconds=1.0,
    ),
    Kind("hub-unauthorized", "The Hub answers 401, as if the token had been revoked.", "hub", selectors=HUB),
    Kind(
        "hub-gated",
        "Repositories are gated: their files are refused with 403 GatedRepo.",
        "hub",
        methods=GATED,
        selectors=("repository",),
    ),
    Kind("hub-slow", "The Hub answers --seconds late.", "hub-delay", selectors=HUB, seconds=5.0),
    Kind(
        "hub-drop-upload",
        "The Hub closes the connection once --bytes of a request that is larger have come in.",
        "hub-upload",
        selectors=HUB,
        size=1 << 20,
    ),
    Kind(
        "hub-drop",
        "The request takes effect, then the Hub closes the connection: its answer is lost.",
        "hub-answer",
        selectors=HUB,
    ),
)
KINDS = {kind.name: kind for kind in _KINDS}


@dataclass(frozen=True)
class Fault:
    """An armed fault.

    left: how often it strikes yet, None for ever; seconds: its duration, if it has one; size: how many bytes
    go through before it strikes, likewise; struck: how often it has struck.
    """

    name: str
    kind: str
    where: dict[str, str]
    left: int | None
    seconds: float | None
    size: int | None = None
    struck: int = 0

    def matches(self, traits: dict[str, str]) -> bool:
        """Whether a request, described by a value for each selector, is one that the fault strikes."""
        methods = KINDS[self.kind].methods
        return any(fnmatchcase(traits.get("method", ""), method) for method in methods) and all(
            fnmatchcase(traits.get(selector, ""), wanted) for selector, wanted in self.where.items()
        )


class Faults:
    """The armed faults of one cloud."""

    KIND = "fault"
    COUNTER = "fault-counter"

    def __init__(self, store: Store) -> None:
        self._store = store

    def arm(
        self,
        kind: str,
        where: dict[str, str],
        count: int | None = None,
        seconds: float | None = None,
        size: int | None = None,
    ) -> Fault:
        """Arm a fault. count: how often it strikes, None for ever. ValueError when it makes no sense."""
        if kind not in KINDS:
            raise ValueError(f"there is no fault {kind!r}; there are {', '.join(KINDS)}")
        if unknown := sorted(set(where) - set(KINDS[kind].selectors)):
            raise ValueError(f"{kind} cannot be limited by {', '.join(unknown)}")
        if KINDS[kind].seconds is None and seconds is not None:
            raise ValueError(f"{kind} has no duration")
        if KINDS[kind].size is None and size is not None:
            raise ValueError(f"{kind} has no size")
        with self._store.lock:
            # No number comes twice: an operation may be held by a fault of that name.
            number = (self._store.get(self.COUNTER, "last") or {"number": 0})["number"] + 1
            self._store.put(self.COUNTER, "last", {"number": number})
            record: Json = {
                "kind": kind,
                "where": where,
                "left": count,
                "seconds": KINDS[kind].seconds if seconds is None else seconds,
                "size": KINDS[kind].size if size is None else size,
            }
            name = f"fault-{number}"
            self._store.put(self.KIND, name, record)
            return Fault(name, **record)

    def armed(self) -> list[Fault]:
        """All faults, oldest number first."""
        faults = [Fault(name, **record) for name, record in self._store.items(self.KIND)]
        return sorted(faults, key=lambda fault: int(fault.name.rpartition("-")[2]))

    def get(self, name: str) -> Fault | None:
        record = self._store.get(self.KIND, name)
        return Fault(name, **record) if record else None

    def clear(self, names: Sequence[str] = ()) -> list[Fault]:
        """Clear faults by name or by kind, all when none is given; what was cleared.

        ValueError when a name is neither that of an armed fault nor that of a kind.
        """
        with self._store.lock:
            armed = self.armed()
            known = {fault.name for fault in armed} | set(KINDS)
            if unknown := [name for name in names if name not in known]:
                raise ValueError(f"no fault is armed under {', '.join(unknown)}")
            cleared = [fault for fault in armed if not names or fault.name in names or fault.kind in names]
            for fault in cleared:
                self._store.delete(self.KIND, fault.name)
            return cleared

    def meet(self, place: str, size: int = 0, /, **traits: str) -> Fault | None:
        """The fault that strikes here, which uses up one of its count; None when there is none.

        size: of the request in bytes, which must be more than the fault lets through; traits: what describes
        the request, by selector. A lasting fault that has struck for the last time
        stays, spent, until it is cleared.
        """
        if not self._store.items(self.KIND):
            return None
        with self._store.lock:
            for fault in self.armed():
                strikes = KINDS[fault.kind].place == place and fault.left != 0 and fault.matches(traits)
                if strikes and (fault.size is None or size > fault.size):
                    self._use(fault)
                    return fault
        return None

    def _use(self, fault: Fault) -> None:
        if fault.left == 1 and not KINDS[fault.kind].lasting:
            self._store.delete(self.KIND, fault.name)
            return
        left = None if fault.left is None else fault.left - 1
        record: Json = {
            **(self._store.get(self.KIND, fault.name) or {}),
            "left": left,
            "struck": fault.struck + 1,
        }
        self._store.put(self.KIND, fault.name, record)
