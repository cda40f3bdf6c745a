# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that say what a node of the TPU API is: module_utils/node.py reads them."""

from __future__ import annotations


class ModuleDocFragment:
    """For the modules that keep a node or ask for nodes."""

    DOCUMENTATION = r"""
options:
  accelerator_type:
    description:
      - Accelerator type, as V(v5litepod-8). It is checked against what the zone offers before a node is
        created.
      - A new node needs it or O(accelerator_config). It cannot change.
    type: str
  accelerator_config:
    description: Generation and topology, in place of O(accelerator_type). It cannot change.
    type: dict
    suboptions:
      type:
        description: Generation.
        type: str
        required: true
        choices: [V2, V3, V4, V5LITE_POD, V5P, V6E]
      topology:
        description: Chips in each dimension, as V(2x4) or V(2x2x2).
        type: str
        required: true
  runtime_version:
    description: Runtime version, the image of the workers, as V(v2-alpha-tpuv5-lite). A new node needs it. It
      cannot change.
    type: str
  description:
    description: Free text.
    type: str
  labels:
    description: All labels of the node.
    type: dict
  tags:
    description: All network tags of the node.
    type: list
    elements: str
  metadata:
    description:
      - Metadata that the workers can read. Values that are not text are sent as JSON.
      - Keys that are not named keep their values.
    type: dict
  startup_script:
    description: Script that the workers run at each start, the metadata C(startup-script).
    type: str
  ssh_keys:
    description:
      - Who may log in, added to the metadata C(ssh-keys). The lines of others stay.
      - Given when the node is created, they work as soon as it is ready.
    type: list
    elements: dict
    suboptions:
      user:
        description: User on the workers, made if need be, with sudo.
        type: str
        required: true
      key:
        description: Public key, a line of a C(.pub) file.
        type: str
        required: true
  data_disks:
    description: All disks that are attached beside the boot disk, in the order in which the workers number
      them.
    type: list
    elements: dict
    suboptions:
      source:
        description: Name of a disk in the same project and zone, or its full path.
        type: str
        required: true
      mode:
        description: How it is attached. A slice of several workers takes V(read-only) alone.
        type: str
        choices: [read-write, read-only]
        default: read-write
  network:
    description: Network of the workers, V(default) by default. It cannot change.
    type: str
  subnetwork:
    description: Subnetwork of the workers. It cannot change.
    type: str
  external_ips:
    description: Whether the workers have external addresses, V(true) for a new node by default.
    type: bool
  can_ip_forward:
    description: Whether the workers may send and receive packets of others' addresses. It cannot change.
    type: bool
    version_added: 0.2.0
  queue_count:
    description: Number of queues of the network interface. It cannot change.
    type: int
    version_added: 0.2.0
  networks:
    description: Several network interfaces for each worker, in place of O(network) and the options beside it.
      They cannot change.
    type: list
    elements: dict
    suboptions:
      network:
        description: Network of the interface.
        type: str
      subnetwork:
        description: Subnetwork of the interface.
        type: str
      external_ips:
        description: Whether the interface has an external address.
        type: bool
        default: false
      can_ip_forward:
        description: Whether the interface forwards packets of others' addresses.
        type: bool
        version_added: 0.2.0
      queue_count:
        description: Number of queues of the interface.
        type: int
        version_added: 0.2.0
  cidr_block:
    description: Range of addresses of the workers, a C(/29) or larger. It cannot change.
    type: str
    version_added: 0.2.0
  service_account:
    description: Service account that programs on the workers act as. It cannot change.
    type: dict
    suboptions:
      email:
        description: Its address; the default account of Compute Engine if left out.
        type: str
      scopes:
        description: Scopes of its tokens; all of them if left out.
        type: list
        elements: str
  secure_boot:
    description: Whether the workers boot signed software only. It cannot change.
    type: bool
  boot_disk_kms_key:
    description: Key of Cloud KMS that encrypts the boot disk. It cannot change.
    type: str
  recreate:
    description: Whether a node that differs in what cannot change is deleted, with its boot disk, and created
      again.
    type: bool
    default: false
  wait:
    description: Whether to wait until Google has done what was asked. Without it, workers may be missing in
      the result.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait. What is not done by then is left to go on; its name is returned as
        C(failure.operation), and running again waits for it further.
    type: int
    default: 1800
"""
