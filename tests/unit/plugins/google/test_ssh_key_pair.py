# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of keys that open a node, made by the real ssh-keygen."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.json_types import Json

from .conftest import Run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def keep(run: Run, path: str | Path, check: bool = False) -> Json:
    options = {"project": None, "auth_kind": None, "access_token": None}
    return run("ssh_key_pair", check=check, path=str(path), comment="tpu", **options)


def keygen(path: Path, passphrase: str = "") -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True)
    return Path(f"{path}.pub").read_text().strip()


def test_a_pair_is_made_once_in_the_home_that_the_tilde_means(run: Run, home: Path) -> None:
    made = keep(run, "~/new/key")
    assert (made["changed"], made["path"]) == (True, f"{home}/new/key")
    assert made["public_key"] == (home / "new" / "key.pub").read_text().strip()
    assert made["public_key"].endswith(" tpu")
    modes = [(home / "new" / name).stat().st_mode & 0o777 for name in ("", "key")]
    assert modes == [0o700, 0o600]
    again = keep(run, "~/new/key")
    assert (again["changed"], again["public_key"]) == (False, made["public_key"])


def test_a_check_run_makes_nothing(run: Run, home: Path) -> None:
    predicted = keep(run, home / "key", check=True)
    assert (predicted["changed"], list(home.iterdir())) == (True, [])
    assert predicted["public_key"].startswith("ssh-ed25519 ")


def test_a_check_run_of_a_pair_that_is_there_has_its_key(run: Run, home: Path) -> None:
    line = keygen(home / "key")
    assert keep(run, home / "key", check=True)["public_key"] == line


@pytest.mark.parametrize("check", [True, False])
def test_a_public_half_that_is_missing_is_made_from_the_private_one(
    run: Run, home: Path, check: bool
) -> None:
    line = keygen(home / "key")
    (home / "key.pub").unlink()
    found = keep(run, home / "key", check)
    assert (found["changed"], found["public_key"].split()[:2]) == (True, line.split()[:2])
    assert (home / "key.pub").exists() is not check


def test_a_key_with_a_passphrase_is_left_to_an_agent(run: Run, home: Path) -> None:
    line = keygen(home / "key", "secret words")
    assert keep(run, home / "key")["public_key"] == line
    (home / "key.pub").unlink()
    assert "has a passphrase" in keep(run, home / "key")["msg"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda home: (home / "key").unlink(), "no .*/key that belongs to it.*is not overwritten"),
        (
            lambda home: keygen(home / "other") and (home / "other.pub").rename(home / "key.pub"),
            "public half",
        ),
        (lambda home: (home / "key.pub").write_text("nonsense"), "not a public key in OpenSSH's format"),
        (lambda home: (home / "key").write_text("nonsense"), "no private key that SSH can use"),
        (lambda home: (home / "key").chmod(0o644), "chmod 600"),
    ],
)
def test_a_pair_with_which_nobody_could_log_in_is_refused(
    run: Run, home: Path, spoil: object, said: str
) -> None:
    keygen(home / "key")
    assert callable(spoil)
    spoil(home)
    before = {path: path.read_bytes() for path in home.iterdir()}
    failed = keep(run, home / "key")
    assert failed["failed"] is True
    assert re.search(said, failed["msg"]), failed["msg"]
    assert {path: path.read_bytes() for path in home.iterdir()} == before


@pytest.mark.parametrize(
    ("path", "said"),
    [("keys/key", "is not absolute"), ("~nobody-here/key", "not absolute|nobody's home"), ("/", "directory")],
)
def test_a_path_that_means_no_file_is_refused(run: Run, home: Path, path: str, said: str) -> None:
    assert re.search(said, keep(run, path)["msg"])
    assert list(home.iterdir()) == []


def test_a_controller_without_openssh_is_told_what_to_install(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home))
    refused = keep(run, home / "key")
    assert refused["msg"].startswith(
        "path: ssh-keygen, which creates and checks keys, is not on the controller"
    )
    assert "Install the client of OpenSSH" in refused["msg"]
    assert list(home.iterdir()) == []
