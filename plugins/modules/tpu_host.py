#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpu_host
short_description: Check that a TPU VM can do its jobs, before anything is downloaded
version_added: 0.2.0
description:
  - Checks the chips, the memory, the disks, the clock and the way to the Hub, in a second or two.
  - Fails with a sentence for each problem, and its remedy.
  - The chips must be there, as many as the type has, and in use by no other process. The user of the jobs
    must be able to open them, in a sandbox like that of M(tpuops.maxtext.job).
  - The clock may be wrong by a minute. It is compared with the Hub's.
  - Turns transparent huge pages on, now and at each boot, on TPU v5e and newer, for which JAX asks for them.
  - What takes a moment is looked at once in a boot. It is the look from the sandbox, and the Hub.
  - Needs root on the target (C(become)) and systemd 247 or later.
options:
  platform:
    description: Whether the jobs compute on chips. With V(cpu) neither chips nor huge pages are looked at.
    type: str
    choices: [tpu, cpu]
    default: tpu
  accelerator_type:
    description: Type of the node. Without it the number of chips is not compared.
    type: str
  user:
    description: User of the jobs.
    type: str
    default: tpuops
  paths:
    description: Directories whose file systems need free space. A missing directory is not looked at.
    type: list
    elements: path
    default: [/]
  endpoint:
    description: URL of the Hub. Without it the Hub is not asked, and the clock not compared.
    type: str
  environment:
    description: Environment of the jobs, in which the Hub is asked. It may name a proxy and certificates.
    type: dict
    default: {}
  downloaded:
    description:
      - A path that is there when something was downloaded already. A Hub that does not answer is then a
        warning, since the caches may be enough.
    type: path
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
- name: Check the machine
  tpuops.maxtext.tpu_host:
    accelerator_type: v5litepod-8
    paths: [/, /mnt/disks/checkpoints]
    endpoint: https://huggingface.co
  become: true
"""

RETURN = r"""
devices:
  description: The device files of the chips.
  returned: success
  type: list
  elements: str
  sample: [/dev/vfio/0, /dev/vfio/1]
probed:
  description: Whether the sandbox and the Hub were looked at. V(false) after the first time in a boot.
  returned: success
  type: bool
clock:
  description: Seconds by which the machine's clock is ahead of the Hub's. Null where it was not compared.
  returned: success
  type: float
  sample: 0.4
memory_bytes:
  description: Bytes of memory that are free.
  returned: success
  type: int
  sample: 201863462912
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils import accounts
from ansible_collections.tpuops.maxtext.plugins.module_utils.host import look
from ansible_collections.tpuops.maxtext.plugins.module_utils.host import problems as told
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import systemd


def look_at(params: dict[str, Any], wanted: told.Wanted, known: bool) -> told.Seen:
    """What the machine has. known: what takes a moment was looked at in this boot."""
    devices = look.devices() if wanted.platform == "tpu" else []
    owners = look.owners(devices)
    probed = None
    if not known:
        # Nobody can open a chip that another process has open.
        closed = [] if owners else devices
        probed = look.probed(wanted.user, closed, wanted.endpoint, params["environment"])
    return told.Seen(devices, owners, look.memory(), look.disks(params["paths"]), probed)


def check(module: AnsibleModule) -> None:
    params = module.params
    wanted = told.Wanted(
        params["platform"], params["accelerator_type"] or "", params["user"], params["endpoint"] or ""
    )
    inputs = {
        name: params[name] for name in ("platform", "accelerator_type", "user", "endpoint", "environment")
    }
    # A check run on a new machine has not created the user.
    unready = module.check_mode and accounts.uid_of(wanted.user) is None
    seen = look_at(params, wanted, unready or look.is_recorded(inputs))
    found = told.problems(wanted, seen)
    no_hub = told.of_hub(wanted, seen)
    if no_hub and params["downloaded"] and os.path.exists(params["downloaded"]):
        module.warn(f"{no_hub} What was downloaded before is used.")
    elif no_hub:
        found.append(no_hub)
    result = {
        "devices": list(seen.devices),
        "probed": seen.probed is not None,
        "clock": seen.probed["hub"]["clock"] if seen.probed else None,
        "memory_bytes": seen.memory,
    }
    if found:
        module.fail_json(msg=" ".join(found))
    changed = False
    if wanted.huge_pages:
        try:
            changed = look.set_huge_pages(module.check_mode)
        except OSError as error:
            module.warn(
                f"huge pages: they cannot be turned on: {error.strerror}. The start and the end of a "
                "program on the TPU take longer."
            )
    if seen.probed and not seen.owners and not no_hub and not module.check_mode:
        look.record(inputs)
    module.exit_json(changed=changed, **result)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "platform": {"type": "str", "choices": ["tpu", "cpu"], "default": "tpu"},
            "accelerator_type": {"type": "str"},
            "user": {"type": "str", "default": "tpuops"},
            "paths": {"type": "list", "elements": "path", "default": ["/"]},
            "endpoint": {"type": "str"},
            "environment": {"type": "dict", "default": {}},
            "downloaded": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        check(module)
    except systemd.SystemdError as error:
        module.fail_json(msg=f"user: no program can be started as {module.params['user']}: {error}.")
    except OSError as error:
        module.fail_json(msg=f"the machine cannot be looked at: {error}.")


if __name__ == "__main__":
    main()
