#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of this name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: settings
short_description: Check the settings of a run before anything is done
version_added: 0.2.0
description:
  - Fails when a variable on the command line, in the inventory or in the play looks like a setting of this
    collection and is none, and names the setting that is probably meant. A variable whose name begins with
    that of a role is taken for a setting of this collection. So is one whose name differs from that of a
    setting in one letter, or in two where it has six letters or more.
  - Fails when a setting has a value of another type, out of its range or not among its choices.
  - Fails when the command line names a tag that is neither in C(playbook_tags) nor in C(other_tags), or
    skips one that is neither in C(playbook_skips) nor in C(other_tags).
  - Fails when the command line limits the hosts.
  - Asks neither Google nor a machine.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
options:
  values:
    description: Settings whose values are checked, by name. Nothing else is checked then. The default is to
      check all that the user of the run has set.
    type: dict
"""

EXAMPLES = r"""
- name: Check the settings
  tpuops.maxtext.settings:
  run_once: true

- name: Check the settings of a role
  tpuops.maxtext.settings:
    values:
      steps: "{{ steps }}"
"""

RETURN = r""" # """
