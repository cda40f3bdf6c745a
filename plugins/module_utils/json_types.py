# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What JSON has between braces: an answer of Google's or of the Hub's, a result of Ansible's, a record."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
