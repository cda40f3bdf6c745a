# SPDX-License-Identifier: GPL-3.0-or-later
"""Google Cloud's APIs, as far as a run needs them, over machines and disks of this host."""
