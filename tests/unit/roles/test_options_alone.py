# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible checks the options of every role of a play, also where --tags leaves out the role's tasks.

So no default may need what an earlier task would have found.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from .test_disk_space import ROLES, load

#: What tasks of the roles and of Ansible find.
FOUND = "_common_commits|_common_kept|_common_jobs|_common_checkpoints|_checkpoints|_present|_job"
OPTIONS = [
    (role.name, option)
    for role in sorted(ROLES.iterdir())
    if (role / "meta" / "argument_specs.yml").exists()
    for option in yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    .get("main", {})
    .get("options", {})
]


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    result: dict[str, Any] = {"role_path": "/roles/x"}
    for role in sorted(ROLES.iterdir()):
        for kind in ("defaults", "vars"):
            for file in (role / kind / "main.yml", *sorted((role / kind / "main").glob("*.yml"))):
                result |= load(file) if file.exists() else {}
    return result


@pytest.mark.parametrize(("role", "option"), OPTIONS)
def test_a_default_needs_no_task(role: str, option: str, variables: dict[str, Any]) -> None:
    if option not in variables:
        return
    try:
        Templar(loader=DataLoader(), variables=variables).template(variables[option])
    except AnsibleError as error:
        cause: BaseException | None = error
        told = ""
        while cause is not None:
            told += f"{cause} "
            cause = cause.__cause__
        assert not any(name in told for name in FOUND.split("|")), f"{role}: {told}"
