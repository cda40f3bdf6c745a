# SPDX-License-Identifier: GPL-3.0-or-later
"""Xet storage: files as lists of chunks, which lie in xorbs and are sent once for all repositories."""

from .shards import ShardError
from .store import XetStore
from .tokens import Grant, XetTokens

__all__ = ["Grant", "ShardError", "XetStore", "XetTokens"]
