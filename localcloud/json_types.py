# SPDX-License-Identifier: GPL-3.0-or-later
"""What JSON has between braces: an answer of Google's or of the Hub's, a result of Ansible's, a record."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
