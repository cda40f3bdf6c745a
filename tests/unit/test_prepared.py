# SPDX-License-Identifier: GPL-3.0-or-later
"""The finished run that tests start from, as far as it needs no cloud."""

from __future__ import annotations

import yaml

from tests.e2e.support import PLACE, ROOT


def test_molecule_has_the_place_of_the_finished_run() -> None:
    config = yaml.safe_load((ROOT / ".config" / "molecule" / "config.yml").read_text())
    for environment in (config["ansible"]["env"], config["verifier"]["env"]):
        assert {name: environment[name] for name in PLACE} == PLACE
