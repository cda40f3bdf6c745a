# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Debian the machines are, from where it comes, and when an image is made anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localcloud.machines import MachineError, image

DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n'
DEBIAN_13 = 'VERSION_ID="13"\nVERSION_CODENAME="trixie"\nID="debian"\n'
DEBIAN_14 = "VERSION_CODENAME=forky\nID=debian\n"
UBUNTU = 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n'
DERIVATIVE = "ID=mydebian\nVERSION_CODENAME=trixie\n"
SID = 'PRETTY_NAME="Debian GNU/Linux sid"\nID=debian\n'


@pytest.mark.parametrize(
    ("os_release", "suite"),
    [
        (DEBIAN_12, "bookworm"),
        (DEBIAN_13, "trixie"),
        (DEBIAN_14, "bookworm"),
        (UBUNTU, "bookworm"),
        (DERIVATIVE, "bookworm"),
        (SID, "bookworm"),
        ("", "bookworm"),
    ],
)
def test_default_suite_follows_the_host_where_it_is_debian(os_release: str, suite: str) -> None:
    assert image.default_suite(os_release) == suite


def test_the_suite_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCLOUD_SUITE", "trixie")
    assert image.chosen_suite() == "trixie"


def test_an_unknown_suite_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCLOUD_SUITE", "jammy")
    with pytest.raises(MachineError, match=r"LOCALCLOUD_SUITE='jammy'.*bookworm, trixie"):
        image.chosen_suite()


DEB822 = """\
# the archive
Types: deb
# a mirror nearby
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://download.example/linux
Suites: bookworm
Components: stable

Types: deb
URIs: http://mirror.example/debian
Suites: trixie
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


def test_sources_are_the_hosts_debian_entries_of_the_suite() -> None:
    assert image.debian_sources({"debian.sources": DEB822}, "bookworm") == (
        "Types: deb\n"
        "URIs: http://mirror.example/debian\n"
        "Suites: bookworm bookworm-updates\n"
        "Components: main contrib\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )


def test_one_line_sources_are_understood_too() -> None:
    text = (
        "# deb http://old.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm-security main  # why\n"
        "deb http://b.example/apt cloud-sdk-bookworm main\n"
    )
    assert image.debian_sources({"sources.list": text}, "bookworm") == (
        "Types: deb\nURIs: http://a.example/debian\nSuites: bookworm-security\nComponents: main\n"
        "Signed-By: /k.gpg\n"
    )


def test_a_key_within_the_sources_is_kept_whole() -> None:
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    text = f"Types: deb\nURIs: http://a.example\nSuites: trixie\nComponents: main\n{key}"
    assert image.debian_sources({"a.sources": text}, "trixie").endswith(key.replace("By:", "By: "))


def test_no_sources_without_a_debian_entry() -> None:
    assert image.debian_sources({"debian.sources": DEB822, "sources.list": ""}, "sid") == ""


def test_another_suite_machine_or_recipe_is_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    first = image.image_hash("bookworm", "x86_64")
    assert first == image.image_hash("bookworm", "x86_64")
    others = {image.image_hash("trixie", "x86_64"), image.image_hash("bookworm", "aarch64")}
    monkeypatch.setattr(image, "PACKAGES", (*image.PACKAGES, "vim"))
    others.add(image.image_hash("bookworm", "x86_64"))
    assert len(others | {first}) == 4


def test_bootstrap_reads_sources_only_where_there_are_any() -> None:
    assert image.bootstrap_command("trixie", Path("/r"), has_sources=True)[-3:] == ["trixie", "/r", "-"]
    assert image.bootstrap_command("trixie", Path("/r"), has_sources=False)[-2:] == ["trixie", "/r"]


def test_a_cached_image_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCLOUD_SUITE", "bookworm")
    monkeypatch.setattr(image, "_build", lambda *_: pytest.fail("built again"))
    cached = tmp_path / "image" / image.image_hash("bookworm", os.uname().machine)
    cached.mkdir(parents=True)
    assert image.ensure_image(tmp_path, pytest.fail) == cached


def test_a_build_that_fails_leaves_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise MachineError("no network")

    monkeypatch.setenv("LOCALCLOUD_SUITE", "bookworm")
    monkeypatch.setattr(image, "run", fail)
    with pytest.raises(MachineError, match="no network"):
        image.ensure_image(tmp_path, lambda _: None)
    assert [path.suffix for path in (tmp_path / "image").iterdir()] == [".lock"]
