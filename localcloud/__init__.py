# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of Google Cloud and of the Hugging Face Hub that a run needs, on this machine."""
