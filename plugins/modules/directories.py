#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The tpuops.maxtext maintainers
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
    description: The directories, parents before children.
    type: list
    elements: path
    required: true
  parents:
    version_added: 0.2.0
    description:
      - Directories above them that belong to root, with mode V(0755), so that nobody else renames what is in
        them. They are made first.
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
from contextlib import suppress

from ansible.module_utils.basic import AnsibleModule


def take_over(top: str, owner: str) -> None:
    """Give what is below a directory, and belongs to its owner, to another owner; the directory stays.

    By descriptors of the directories: whoever writes there cannot lead root elsewhere meanwhile.
    """
    try:
        user = pwd.getpwnam(owner).pw_uid
    except KeyError:  # which the caller's next call tells
        return
    former = os.stat(top)
    if former.st_uid == user:
        return
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


def give_up(error: OSError) -> None:
    raise error


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "parents": {"type": "list", "elements": "path", "default": []},
            "owner": {"type": "str"},
            "recursive": {"type": "bool", "default": False},
            "group": {"type": "str"},
            "mode": {"type": "str", "default": "0755"},
        },
        supports_check_mode=True,
    )
    created: list[str] = []
    adjusted: list[str] = []
    roots = {**module.params, "owner": "root", "group": "root", "mode": "0755", "recursive": False}
    wanted = [(path, roots) for path in module.params["parents"]]
    wanted += [(path, module.params) for path in module.params["paths"]]
    for path, options in wanted:
        if not os.path.isdir(path):
            created.append(path)
            if module.check_mode:
                continue
            try:
                os.makedirs(path, exist_ok=True)
            except OSError as error:
                module.fail_json(msg=f"paths: {path} cannot be made: {error.strerror}.")
        elif options["recursive"] and options["owner"] and not module.check_mode:
            try:
                take_over(path, options["owner"])
            except OSError as error:
                module.fail_json(msg=f"paths: the owner of {path} cannot be changed: {error.strerror}.")
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
