# SPDX-License-Identifier: GPL-3.0-or-later
"""A Hugging Face Hub for one local cloud: models, data sets, revisions, uploads by LFS and by Xet, ranges."""

from .accounts import Account, Accounts
from .app import create_app
from .store import HubStore

__all__ = ["Account", "Accounts", "HubStore", "create_app"]
