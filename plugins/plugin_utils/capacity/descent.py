# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way down: the node is deleted or stopped, wherever it is, and what stays is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import DEAD, zone_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import elsewhere, own_end
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.ladder import Ladder, refused
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.elsewhere import Elsewhere
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.found import (
    GOING,
    by_hand,
    serves,
    state_of,
    whose,
)


@dataclass
class Descent(Ladder):
    """One way down."""

    DOWN = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kept: list[str] = []  # what has the name and is not ours
        self.left: list[str] = []  # what may still cost money

    def descend(self, delete_disk: str = "") -> Json:
        """Delete the node and its queued resource, wherever they are, and the disk of this name."""
        nodes, queued = self.survey.nodes(), self.survey.queued()
        gone = [node for node in nodes if self.purged(node)]
        going = [item for item in queued if self.purged(item)]
        rest = [item for item in [*nodes, *queued] if item not in gone and item not in going]
        self._keep([item for item in rest if not serves(item, gone)])
        self.delete_all(going, gone)
        itself = [f"{told} " for told in map(own_end.of_node, gone) if told]
        if not self.changed:
            self.left += self.kept
        found = self._tell_elsewhere()
        if delete_disk:
            self._delete_disk(delete_disk)
        self._leave_unasked()
        told, doubt = self._told_down(found, delete_disk), ""
        if not self.changed and not self.left:
            # A second teardown is no error, a wrong name is one. Google's operations tell the two apart.
            history = self.survey.history()
            past, ours = elsewhere.past(self.name, history, self.labels)
            if ours and (by_itself := own_end.of_history(self.name, history, self.labels)):
                past = f" {by_itself}"
            if found.others and not ours:
                doubt = elsewhere.doubt(self.name, self.zones, found, past)
            else:
                told += past + found.having()
        return {
            "changed": self.changed,
            "diff": self.diffs,
            "kept": self.kept,
            "left": self.left,
            "doubt": doubt,
            "told": "".join([*itself, told]),
        }

    def stop(self) -> Json:
        """Stop the node, wherever it runs. Raises LadderError where there is none of ours that could run."""
        nodes = self.survey.nodes()
        ours = [node for node in nodes if self.survey.ours(node) and state_of(node) not in DEAD | {GOING}]
        self._keep([node for node in nodes if not self.purged(node)])
        for node in ours:
            arguments = {"name": self.name, "zone": zone_of(node), "state": "stopped"}
            result = self.play("tpu_vm", {**arguments, "wait_timeout": self.down_timeout})
            self.count(result, f"TPU VM {self.name} in {zone_of(node)}")
        stays = self.survey.elsewhere().stays(self.name, self.zones)
        self._leave_unasked()
        if not ours:
            told = [f"There is no TPU VM {self.name} of yours to stop in {', '.join(self.zones)}."]
            raise refused(" ".join([*told, *stays, *self.left]), "noNode", "not_found")
        self.warnings += stays
        done = [diff["before_header"] for diff in self.diffs]
        already = f"Stopped nothing: TPU VM {self.name} in {zone_of(ours[0])} is stopped already."
        told_done = f"{'Would stop' if self.check else 'Stopped'}: {', '.join(done)}."
        return {
            "changed": self.changed,
            "diff": self.diffs,
            "kept": self.kept,
            "left": self.left,
            "told": told_done if done else already,
        }

    def _keep(self, others: Sequence[Json]) -> None:
        """Tell the user that resources of the same name that are not ours stay."""
        for item in others:
            told = f"{whose(item, self.labels)} It stays. If nobody needs it, delete it with {by_hand(item)}"
            self.kept.append(told)
            self.warnings.append(told)

    def _delete_disk(self, name: str) -> None:
        """Delete the disk that is named; why it is still there, or nowhere, goes to `left`."""
        disks, missing = self.survey.disks(name)
        found = [disk for disk in disks if disk["zone"] in self.zones]
        here = [disk["zone"] for disk in found if self.survey.ours(disk)]
        if len(here) > 1:
            raise refused(
                f"There is a disk {name} in each of {', '.join(here)}. Keep only the candidates in the "
                "zone of the disk to delete."
            )
        for zone in here:
            # A check run still sees the node that the disk is attached to.
            if self.check and self.changed:
                (disk,) = [disk for disk in found if disk["zone"] == zone]
                result = {"changed": True, "diff": {"before": disk, "after": {}}}
            else:
                result = self.play("gcp_disk", {"name": name, "zone": zone, "state": "absent"})
            self.count(result, f"disk {name} in {zone}")
        if here:
            return
        told = len(self.kept)
        self._keep(found)
        self.left += self.kept[told:]
        elsewhere = [disk["zone"] for disk in disks if disk not in found and self.survey.ours(disk)]
        if elsewhere:
            self.left.append(
                as_started(
                    f"The disk {name} is in {', '.join(elsewhere)}, where no candidate is, and stays. "
                    "Delete it: ansible-playbook "
                    f"playbooks/leftovers.yml -e leftovers_delete=disk:{elsewhere[0]}/{name}"
                )
            )
        elif missing:
            self.left.append(
                f"The disk {name} was not found, and Google could not ask {', '.join(missing)}. Run again."
            )
        elif not found:
            self.left.append(
                f"There is no disk {name} of yours to delete: it is deleted already, or the name is wrong."
            )

    def _tell_elsewhere(self) -> Elsewhere:
        """What stays in other zones is a warning where something was done here: it may be another run's."""
        found = self.survey.elsewhere(everything=not self.changed)
        told = found.stays(self.name, self.zones)
        if self.changed:
            self.warnings += told
        else:
            self.left += told
        return found

    def _leave_unasked(self) -> None:
        """Add to what is left what may be in the candidates' zones that Google could not be asked about."""
        for zone in self.zones:
            if zone in self.survey.unasked:
                self.left.append(
                    f"Whether there is a TPU VM {self.name} in {zone} is not known: "
                    f"{self.survey.unasked[zone]['msg'].rstrip('.')}. If there is, it costs money. Run again."
                )

    def _told_down(self, found: Elsewhere, disk: str) -> str:
        """What the way down came to, in a sentence."""
        done = [diff["before_header"] for diff in self.diffs]
        if done:
            return f"{'Would delete' if self.check else 'Deleted'}: {', '.join(done)}."
        where = found.where([zone for zone in self.zones if zone not in self.survey.unasked])
        nothing = not self.left and not found.others
        also = f", and no other that has owner={self.labels.get('owner', '')}" if nothing else ""
        also += f", and no disk {disk}" if disk else ""
        return f"Deleted nothing: there is no TPU VM {self.name} of yours{where}{also}."
