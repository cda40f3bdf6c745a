#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: directories
short_description: Make a list of directories in one call
version_added: 0.1.0
description:
  - Makes each directory that is missing, with its parents, and sets owner, group and mode of those named.
  - One call for the whole list; a loop over M(ansible.builtin.file) costs a connection's round trip for each.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  paths:
    description: The directories. Whatever the order, parents are made before their children.
    type: list
    elements: path
    required: true
  parents:
    version_added: 0.2.0
    description:
      - Directories that belong to root, with mode V(0755), so that nobody else renames what is in them. A
        symbolic link in the place of one is refused.
    type: list
    elements: path
    default: []
  shared:
    version_added: 0.2.0
    description:
      - Directories of root's in which O(owner) may create files too, and rename or delete only its own. Their
        group is that of O(owner), their mode V(1775). A symbolic link in the place of one is refused.
    type: list
    elements: path
    default: []
  owner:
    description: Name of the user who owns them.
    type: str
  recursive:
    version_added: 0.2.0
    description:
      - Whether the files below a directory of another owner become O(owner)'s too. That takes a moment, once.
        A disk that comes from another machine may have the files of a user who has another number here.
      - Only what the directory's former owner has is changed. Links are not followed, nor mounts entered. The
        directory itself comes last, so that a change which was cut off is taken up again.
      - Refused while a job of the former owner runs (C(tpuops-*.service)), which would lose its files.
    type: bool
    default: false
  group:
    description: Name of the group that owns them.
    type: str
  mode:
    description: Their mode, octal as a string.
    type: str
    default: "0755"
"""

EXAMPLES = r"""
- name: Make the tree of the data disk
  tpuops.maxtext.directories:
    parents: [/mnt/disks/checkpoints]
    paths:
      - /mnt/disks/checkpoints/maxtext
      - /mnt/disks/checkpoints/huggingface
    owner: tpu
    recursive: true
  become: true
"""

RETURN = r"""
created:
  description: The directories that were missing.
  returned: success
  type: list
  elements: str
"""

import os
import pwd
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PROC = "/proc"
JOB = re.compile(r"/(tpuops-[^/]+\.service)$", re.MULTILINE)
ROOTS = {"owner": "root", "group": "root", "mode": "0755"}


class Busy(Exception):
    """A job of a directory's former owner runs; the text is the name of its unit."""


def take_over(top: str, owner: str, done: int | None = None) -> None:
    """Give what is below a directory, and belongs to its owner, to another owner; the directory stays.

    By descriptors of the directories: a user who writes there cannot lead root elsewhere meanwhile.

    done: whom the directory itself belongs to afterwards, by default the new owner. Raises Busy.
    """
    try:
        user = pwd.getpwnam(owner).pw_uid
    except KeyError:  # which the caller's next call tells
        return
    former = os.stat(top)
    if former.st_uid == (user if done is None else done):
        return
    if unit := job_of(former.st_uid):
        raise Busy(unit)
    for _path, directories, files, place in os.fwalk(top, topdown=True, onerror=give_up):
        inside = []
        for name in directories + files:
            with suppress(FileNotFoundError):  # deleted meanwhile
                found = os.stat(name, dir_fd=place, follow_symlinks=False)
                if found.st_dev == former.st_dev:
                    inside.append(name)
                    if found.st_uid == former.st_uid:
                        os.chown(name, user, -1, dir_fd=place, follow_symlinks=False)
        directories[:] = [name for name in directories if name in inside]


def job_of(user: int) -> str | None:
    """The unit of a job that a process of this user belongs to, where there is one."""
    for path in Path(PROC).glob("[0-9]*/cgroup"):
        with suppress(OSError):  # it ended meanwhile
            found = JOB.search(path.read_text(encoding="utf-8", errors="replace"))
            if found and path.parent.stat().st_uid == user:
                return found[1]
    return None


def give_up(error: OSError) -> None:
    raise error


def wanted(params: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The directories, parents first, each with its owner, group and mode."""
    roots = {**params, **ROOTS, "recursive": False}
    shared = {**params, **ROOTS, "group": group_of(params["owner"]), "mode": "1775"}
    found = dict.fromkeys(params["paths"], params)
    found |= dict.fromkeys(params["parents"], roots)
    found |= dict.fromkeys(params["shared"], shared)
    return sorted(found.items(), key=lambda item: item[0])


def known(owner: str | None) -> bool:
    with suppress(KeyError):
        return owner is None or bool(pwd.getpwnam(owner))
    return False


def group_of(owner: str | None) -> str | None:
    """The number of the user's group; the user's name where there is no user, which the next call tells."""
    try:
        return str(pwd.getpwnam(owner or "root").pw_gid)
    except KeyError:
        return owner


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "parents": {"type": "list", "elements": "path", "default": []},
            "shared": {"type": "list", "elements": "path", "default": []},
            "owner": {"type": "str"},
            "recursive": {"type": "bool", "default": False},
            "group": {"type": "str"},
            "mode": {"type": "str", "default": "0755"},
        },
        supports_check_mode=True,
    )
    created: list[str] = []
    adjusted: list[str] = []
    for path, options in wanted(module.params):
        roots = options["owner"] == "root"
        if roots and os.path.islink(path):
            module.fail_json(msg=f"paths: {path} is a symbolic link. Remove it; it has to be a directory.")
        if not os.path.isdir(path):
            created.append(path)
            if module.check_mode:
                continue
            try:
                os.makedirs(path, exist_ok=True)
            except OSError as error:
                module.fail_json(msg=f"paths: {path} cannot be created: {error.strerror}.")
        elif options["recursive"] and options["owner"] and not module.check_mode:
            try:
                take_over(path, module.params["owner"], 0 if roots else None)
            except Busy as unit:
                module.fail_json(
                    msg=f"owner: {path} cannot become {module.params['owner']}'s while {unit} runs, a job of "
                    "its former owner. Wait until the job has ended (ansible-playbook playbooks/follow.yml), "
                    f"or stop it (sudo systemctl stop {unit} on the machine)."
                )
            except OSError as error:
                module.fail_json(msg=f"paths: the owner of {path} cannot be changed: {error.strerror}.")
        if module.check_mode and not known(options["owner"]):  # a task before this one would create the user
            adjusted += [path] if path not in created else []
            continue
        attributes = module.load_file_common_arguments(options, path=path)
        if module.set_fs_attributes_if_different(attributes, False) and path not in created:
            adjusted.append(path)

    module.exit_json(
        changed=bool(created or adjusted),
        created=created,
        diff={
            "before": "".join(f"{path}: owner or mode differs\n" for path in adjusted),
            "after": "".join(f"{path}\n" for path in sorted(created + adjusted)),
        },
    )


if __name__ == "__main__":
    main()
