#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: program_files
short_description: Write the programs of the stages into a directory
version_added: 0.2.0
description:
  - Writes small text files, all in one task. M(ansible.builtin.copy) needs a task for each.
  - Files that are there and not named stay.
options:
  path:
    description: The directory. It is created when it is missing.
    type: path
    required: true
  files:
    description:
      - The text of each file by its name. A name may have one directory in it, as in C(tpuops/manifest.py).
    type: dict
    required: true
extends_documentation_fragment:
  - tpuops.maxtext.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Write the program that converts
  tpuops.maxtext.program_files:
    path: /mnt/disks/checkpoints/env/programs
    files:
      convert.py: "{{ lookup('ansible.builtin.file', 'convert.py', rstrip=false) }}"
"""

RETURN = r"""
written:
  description: The files that were missing or differed.
  returned: success
  type: list
  elements: str
  sample: [convert.py]
"""

import os
import re

from ansible.module_utils.basic import AnsibleModule

NAME = re.compile(r"(?:[a-z_]+/)?[a-z_]+\.py")


def differs(path: str, text: str) -> bool:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read() != text
    except (FileNotFoundError, UnicodeDecodeError):
        return True


def write(path: str, text: str) -> None:
    """Replace the file in one step: a program that starts meanwhile reads the old text or the new one."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    following = path + ".next"
    with open(following, "w", encoding="utf-8") as handle:
        os.fchmod(handle.fileno(), 0o644)
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(following, path)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    top, files = module.params["path"], module.params["files"]
    for name in files:
        if not NAME.fullmatch(name):
            module.fail_json(msg=f"files: {name!r} is not the name of a program, such as tpuops/manifest.py")
    try:
        written = [name for name, text in files.items() if differs(os.path.join(top, name), text)]
        if not module.check_mode:
            for name in written:
                write(os.path.join(top, name), files[name])
    except OSError as error:
        module.fail_json(msg=f"path: {error}")
    module.exit_json(changed=bool(written), written=written)


if __name__ == "__main__":
    main()
