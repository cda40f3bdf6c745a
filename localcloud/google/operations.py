# SPDX-License-Identifier: GPL-3.0-or-later
"""Long-running operations: work in threads, recorded before it starts and taken up again after a restart."""

from __future__ import annotations

import datetime
import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from localcloud.faults import Fault, Faults
from localcloud.google.errors import ApiError, PreemptedError
from localcloud.json_types import Json
from localcloud.state import Store

log = logging.getLogger(__name__)

KIND = "operation"
#: Does what an operation is for and returns its response. It may run a second time after a restart, so it
#: starts from whatever a first, unfinished run has left.
Work = Callable[[Json], Json]
#: Makes a target whole again after work on it that ended in the given error.
Undo = Callable[[Json, Exception], None]


class ClosedError(Exception):
    """The server ends: the operation stays unfinished, for the next one."""


def now() -> str:
    """This moment as Google writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Operations:
    """Records of the form {name, api, verb, target, user, arguments, createTime, endTime?, done, cancelled,
    response? | error? (google.rpc.Status)}; the APIs render them in their own styles. Operations on one
    target run one after the other.
    """

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self.closed = threading.Event()
        self._work: dict[tuple[str, str], tuple[Work, Undo | None]] = {}
        self._changed = threading.Condition()
        self._target_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._threads = ThreadPoolExecutor(max_workers=64, thread_name_prefix="operation")

    def register(self, api: str, verb: str, work: Work, undo: Undo | None = None) -> None:
        self._work[api, verb] = work, undo

    def begin(
        self,
        api: str,
        verb: str,
        parent: str,
        target: str,
        user: str = "",
        method: str = "",
        **arguments: object,
    ) -> Json:
        """Record an operation and start its work.

        parent: what the operation's name starts with; method: id of the method that asked for it, empty for
        what the cloud does by itself, which no fault strikes.
        """
        name = f"{parent}/operations/operation-{time.time_ns() // 10**6}-{uuid.uuid4().hex[:20]}"
        record = {
            "name": name,
            "api": api,
            "verb": verb,
            "target": target,
            "user": user,
            "method": method,
            "arguments": arguments,
            "createTime": now(),
            "done": False,
            "cancelled": False,
        }
        self._store.put(KIND, name, record)
        self._threads.submit(self._run, name)
        return record

    def resume(self) -> None:
        """Start the work of what an earlier server has left unfinished."""
        for name, record in self._store.items(KIND):
            if not record["done"]:
                log.info("resuming %s of %s", record["verb"], record["target"])
                self._threads.submit(self._run, name)

    def pending(self, target: str) -> list[Json]:
        """Unfinished operations on a target."""
        return [
            record
            for _, record in self._store.items(KIND)
            if not record["done"] and record["target"] == target
        ]

    def cancel(self, name: str) -> None:
        """Ask an operation to end early; work that is about to finish may do so."""
        record = self._store.get(KIND, name)
        if record and not record["done"]:
            self._store.update(KIND, name, cancelled=True)

    def cancel_all(self, target: str) -> None:
        """Ask all operations on a target to end early."""
        for record in self.pending(target):
            self.cancel(record["name"])

    def cancelled(self, name: str) -> bool:
        record = self._store.get(KIND, name)
        return bool(record and record["cancelled"])

    def wait(self, name: str, seconds: float) -> Json | None:
        """The operation once it is done, or as it is after `seconds`; None when there is none."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while (record := self._store.get(KIND, name)) and not record["done"]:
                if (left := deadline - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
        return record

    def close(self) -> None:
        """Start nothing more. What is unfinished when the process ends is taken up by the next server."""
        self.closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, name: str) -> None:
        record = self._store.get(KIND, name)
        if record is None:
            return
        with self._target_locks[record["target"]]:
            try:
                outcome = self._outcome(record)
            except ClosedError:
                return
            self._store.update(KIND, name, done=True, endTime=now(), **outcome)
        with self._changed:
            self._changed.notify_all()

    def _outcome(self, record: Json) -> Json:
        """What the work comes to: {response} or {error}."""
        work, undo = self._work[record["api"], record["verb"]]
        try:
            self._strike(record)
            return {"response": work(record)}
        except ClosedError:
            raise
        except Exception as error:
            if undo:
                undo(record, error)
            if isinstance(error, ApiError):
                return {"error": error.rpc()}
            log.exception("%s of %s failed", record["verb"], record["target"])
            return {"error": ApiError("INTERNAL", f"An internal error has occurred: {error}").rpc()}

    def _strike(self, record: Json) -> None:
        """Let an armed fault strike an operation before its work."""
        method = record.get("method")
        if not method:
            return
        held = self._faults.get(record.get("held_by", ""))
        *_, collection, zone = record["name"].partition("/operations/")[0].split("/")
        zone = zone if collection in ("locations", "zones") else ""
        api = method.partition(".")[0]
        fault = held or self._faults.meet("operation", api=api, method=method, zone=zone)
        match fault and fault.kind:
            case "stuck-operation":
                assert fault is not None
                self._hold(record["name"], fault)
            case "preempted-while-creating":
                raise PreemptedError
            case "failing-operation":
                raise ApiError("INTERNAL", "An internal error has occurred.")

    def _hold(self, name: str, fault: Fault) -> None:
        """Keep an operation from going on until the fault is cleared, beyond a restart of the server."""
        self._store.update(KIND, name, held_by=fault.name)
        while self._faults.get(fault.name):
            if self.cancelled(name):
                raise ApiError("CANCELLED", "The operation was cancelled.")
            if self.closed.wait(0.05):
                raise ClosedError
