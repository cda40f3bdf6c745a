# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the whole pipeline that are cut again and again, and the table of what that cost.

`python -m tests.chaos --help` says how to start them.
"""
