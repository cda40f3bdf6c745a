# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m localcloud`."""

from localcloud.cli import main

main(prog_name="localcloud")
