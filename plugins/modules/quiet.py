#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of this name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: quiet
short_description: How the modules of this collection run
version_added: 0.2.0
description:
  - This is no task. C(meta/runtime.yml) names it as the action plugin of the modules of this collection that
    have none of their own.
  - It keeps the arguments of modules out of what Ansible prints with C(ANSIBLE_DEBUG), and gives the commands
    in their messages the inventory of the running command.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
options: {}
"""

EXAMPLES = r"""
# Of meta/runtime.yml
# plugin_routing:
#   modules:
#     gcp_disk:
#       action_plugin: tpuops.maxtext.quiet
"""

RETURN = r""" # """
