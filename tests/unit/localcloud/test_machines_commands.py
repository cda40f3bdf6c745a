# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host must have, and how a tool's failure is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud.machines import SYSTEM_PACKAGES, MachineError, commands, missing_packages
from localcloud.machines.commands import run


def test_a_bare_host_lacks_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_PATH", str(tmp_path))
    monkeypatch.setattr(commands, "_KEYRINGS", tmp_path)
    assert missing_packages() == sorted(SYSTEM_PACKAGES)


@pytest.mark.parametrize("name", ["debian-archive-keyring.gpg", "debian-archive-keyring.pgp"])
def test_only_what_is_not_there_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in commands.TOOLS.keys() - {"nft"}:
        (tmp_path / tool).touch(mode=0o755)
    (tmp_path / name).touch()
    monkeypatch.setattr(commands, "_PATH", str(tmp_path))
    monkeypatch.setattr(commands, "_KEYRINGS", tmp_path)
    assert missing_packages() == ["nftables"]


def test_a_failure_names_command_status_and_last_words() -> None:
    with pytest.raises(MachineError, match=r"^sh -c 'echo why >&2; exit 7' failed with exit status 7: why$"):
        run(["sh", "-c", "echo why >&2; exit 7"])


def test_what_a_command_reads_is_not_in_its_error() -> None:
    with pytest.raises(MachineError) as failure:
        run(["false"], stdin="not to be told")
    assert "not to be told" not in str(failure.value)
