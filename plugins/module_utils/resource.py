# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A resource of one of Google's APIs, kept as a module's options say.

The base class owns what is the same for all: check mode, diff, drift, fields that cannot change, adoption of
what is there already, waiting for what is under way, replacement, cleaning up after a failed creation. A
module names its fields and gives the calls. "Current" is only ever what the API returned; the options are
never mixed into it.
"""

from __future__ import annotations

import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import check_names
from ansible_collections.tpuops.maxtext.plugins.module_utils.fields import (
    Change,
    Field,
    differences,
    predicted,
    replaced,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.deadline import Deadline
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    ApiDisabled,
    Conflict,
    GcpError,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.filters import lookup
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.operations import error_of
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json

UPDATE_ATTEMPTS = 5
CLEAN_UP_TIMEOUT = 300
#: The options that every resource has, beside those of its own.
IDENTITY: Json = {
    "name": {"type": "str", "required": True},
    "zone": {"type": "str", "required": True},
}


class Resource(ABC):
    """Subclass, give `noun`, `result`, `fields` and the calls, and return `execute()`.

    noun:         what messages call it.
    result:       the key of the module's result that holds what the API returned ({} if there is nothing).
    fields:       what is compared; a field that the options leave out is not.
    state_path:   where the API keeps its state, dotted.
    transitional: the states in which something is under way that must end before anything else can be asked,
                  each with the one that it ends in, "" where the resource is gone then.
    identity:     the options whose names Google has rules for, which are checked first.
    """

    noun = "resource"
    result = "resource"
    fields: Sequence[Field] = ()
    state_path = "state"
    transitional: Mapping[str, str] = {}
    identity: Sequence[str] = ("name", "zone", "project")

    def __init__(self, module: AnsibleModule, client: Client) -> None:
        self.module = module
        self.params: Json = module.params
        self.deadline = Deadline(self.params.get("wait_timeout", math.inf))
        self.client = client.within(self.deadline)
        self.changed = False
        self.created = False
        self.recreated = False
        self.api_off = False
        self.name, self.zone, self.project = (self.params.get(key) for key in ("name", "zone", "project"))
        check_names(**{option: self.params[option] for option in self.identity})

    # What a module gives.

    @abstractmethod
    def fetch(self) -> Json | None:
        """What the API has now, None if there is nothing."""

    @abstractmethod
    def settle(self, current: Json) -> Json | None:
        """Wait until its state is not transitional, as an earlier run may have left it; what is there."""

    @abstractmethod
    def body(self, current: Json | None) -> Json:
        """The resource as the options want it, in the API's shape, without what they leave out."""

    @abstractmethod
    def create(self, body: Json) -> Json:
        """Create it and return it as the API has it then."""

    def update(self, current: Json, changes: Sequence[Change], body: Json) -> Json:
        """Apply changes of mutable fields, if there are such; returns the resource as the API has it then."""
        return current

    @abstractmethod
    def delete(self, current: Json) -> None:
        """Delete it; return when it is gone."""

    def changes(self, current: Json, body: Json) -> list[Change]:
        """Where `current` is not what `body` wants."""
        return differences(self.fields, current, body)

    def check_create(self, body: Json) -> None:  # noqa: B027 (a hook)
        """Refuse what cannot be created, in check mode too."""

    def check_update(self, current: Json, changes: Sequence[Change]) -> None:  # noqa: B027 (a hook)
        """Refuse changes that the API would, or that lose data."""

    def check_replace(self, current: Json) -> None:  # noqa: B027 (a hook)
        """Refuse to delete and create again what must be replaced otherwise."""

    def check_delete(self, current: Json) -> None:  # noqa: B027 (a hook)
        """Refuse to delete what must stay."""

    def is_dead(self, current: Json) -> bool:
        """Whether it must be replaced before it is of use again."""
        return False

    def is_remains(self, current: Json) -> bool:
        """Whether a failed creation left this, so that nothing is lost with it."""
        return True

    def finish(self, current: Json) -> Json:
        """Take a resource that is there and as wanted to its state of running; returns it."""
        return current

    def facts(self, current: Json | None) -> Json:
        """More of the module's result."""
        return {}

    # What all share.

    def execute(self) -> Json:
        """Bring the resource to the state that the options want; the module's result."""
        after: Json | None = None
        if self.params["state"] == "absent":
            before = self._absent()
        else:
            before = self._read(self.read)
            after = self.finish(self._present(before))
        return {
            "changed": self.changed,
            self.result: after or {},
            "diff": {"before": before or {}, "after": after or {}},
            **self.facts(after),
        }

    @property
    def check_mode(self) -> bool:
        return bool(self.module.check_mode)

    @property
    def waits(self) -> bool:
        return bool(self.params.get("wait", True))

    def state_of(self, current: Json) -> str:
        """The state that the API says it is in."""
        return str(lookup(current, self.state_path) or "")

    def read(self) -> Json | None:
        """What the API has once nothing is under way on it any more, None if there is nothing then."""
        current = self.fetch()
        if current is None or self.is_settled(current):
            return current
        end = self.transitional[self.state_of(current)]
        if not self.waits:
            if self.is_going(current):
                raise Conflict(
                    f"The {self.noun} {self.name} is being deleted",
                    remedy="Run again when it is gone, or wait for that with wait=true.",
                )
            return current
        if self.check_mode:
            return replaced(current, self.state_path, end) if end else None
        return self.settle(current)

    def is_going(self, current: Json) -> bool:
        """Whether what is under way on it ends with it gone."""
        return self.transitional.get(self.state_of(current)) == ""

    def is_settled(self, current: Json) -> bool:
        """Whether nothing is under way on it; {} stands for a resource that is gone."""
        return not current or self.state_of(current) not in self.transitional

    def made(self, creation: Json) -> None:
        """Raise the error of a finished creation, once what a failed one left behind is gone."""
        error = error_of(creation)
        if error is None:
            return
        if not isinstance(error, Conflict):
            self.clean_up()
        raise error

    def clean_up(self) -> None:
        """Delete what a failed creation left: it would take quota and be in the way of the next try."""
        self.deadline.restart(CLEAN_UP_TIMEOUT)
        try:
            left = self.fetch()
            if left is not None and self.is_remains(left) and not self.is_going(left):
                self.delete(left)
        except NotFound:
            return
        except GcpError as error:
            self.module.warn(f"The {self.noun} {self.name} is left over from the failed creation: {error}")

    def _read(self, read: Callable[[], Json | None]) -> Json | None:
        try:
            return read()
        except ApiDisabled as error:
            if not self.check_mode:
                raise
            # A check run of a whole playbook has not enabled the API either; nothing can be there yet.
            self.api_off = True
            self.module.warn(f"{error.message} It is taken as enabled for the check.")
            return None

    def _absent(self) -> Json | None:
        """Delete it, whatever is under way on it; what was there. One that goes already counts as gone."""
        current = self._read(self.fetch)
        if current is not None and self.is_going(current):
            current = self.settle(current) if self.waits and not self.check_mode else None
        if current is not None:
            self.check_delete(current)
            self._delete(current)
        return current

    def _present(self, current: Json | None) -> Json:
        if current is None:
            return self._create()
        if self.is_dead(current):
            return self._replace(current)
        for attempt in range(UPDATE_ATTEMPTS):
            try:
                return self._updated(current)
            except Conflict:
                # Somebody else's change came in between: take it into account, and wait for it to end.
                if attempt == UPDATE_ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0.5, 1.5) * 2**attempt)
                found = self.read()
                if found is None:
                    return self._create()
                if not self.is_settled(found):
                    raise  # it takes a wait that nobody wants
                current = found
        return current

    def _updated(self, current: Json) -> Json:
        body = self.body(current)
        changes = self.changes(current, body)
        fixed = [change for change in changes if not change.field.mutable]
        if fixed and self.params.get("recreate"):
            return self._replace(current)
        if fixed:
            raise self._immutable(fixed)
        if not changes:
            return current
        self.check_update(current, changes)
        self.changed = True
        return predicted(current, changes) if self.check_mode else self.update(current, changes, body)

    def _create(self, checked: bool = False) -> Json:
        body = self.body(None)
        if not checked and not self.api_off:
            self.check_create(body)
        self.changed = self.created = True
        if self.check_mode:
            return body
        try:
            return self.create(body)
        except Conflict:
            # A lost answer to our own request, or another controller was first.
            found = self.read()
        if found is not None and not self.is_dead(found):
            self.created = False
            return self._updated(found)
        # What began behind the lost answer came to nothing, its reason untold: a second try tells it.
        if found is not None:
            self.check_replace(found)
            self._delete(found)
        return self.create(body)

    def _replace(self, current: Json) -> Json:
        self.check_replace(current)
        self.check_delete(current)
        self.check_create(self.body(None))
        self._delete(current)
        self.recreated = True
        return self._create(checked=True)

    def _delete(self, current: Json) -> None:
        """Delete it now. What is under way on it is waited for only where Google insists."""
        self.changed = True
        if self.check_mode:
            return
        try:
            self.delete(current)
        except NotFound:
            return  # gone meanwhile, which is what was wanted
        except (Conflict, PreconditionFailed) as refusal:
            if isinstance(refusal, Conflict) or not self.is_settled(current):
                self._delete_after(refusal, current)
            else:
                raise

    def _delete_after(self, refusal: GcpError, current: Json) -> None:
        """Delete what Google refused to delete for what is under way on it, if that may be waited for."""
        waits = self.waits or self.params["state"] != "absent"
        found = self.fetch()
        if found is None or (self.is_going(found) and not waits):
            # Being deleted already: by another controller, or by our own request whose answer was lost.
            return
        if self.is_settled(found) and self.is_settled(current):
            raise refusal
        if not self.is_settled(found) and not waits:
            raise refusal
        left = found if self.is_settled(found) else self.settle(found)
        if left is not None and self.is_going(found):
            raise refusal
        if left is not None:
            self.delete(left)

    def _immutable(self, changes: Sequence[Change]) -> InvalidArgument:
        listed = ", ".join(f"{c.field.option} (is {c.have!r}, wanted {c.want!r})" for c in changes)
        remedy = "Leave the option as it is"
        remedy += ", or allow a replacement with recreate=true." if "recreate" in self.params else "."
        return InvalidArgument(
            f"The {self.noun} {self.name} exists and cannot change in: {listed}",
            reason="immutable",
            remedy=remedy,
        )
