# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a locked Python environment on this machine; run as a job by the role locked_env.

The environment is complete when it holds the file .complete, which is written last. One that is not complete
is the remains of an installation that was interrupted, and is made anew: uv's cache still has what was
downloaded. Needs Python 3.9 and either its venv or its pip; everything else comes from the package index, by
the hashes of the lock.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
COMPLETE = ".complete"

# Finds the modules named on the command line, imports those with a "!", and says for each one that fails why.
CHECK = """
import importlib.util, sys
failures = []
for name in sys.argv[1:]:
    try:
        if name.endswith("!"):
            importlib.import_module(name[:-1])
        elif importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
    except Exception as error:
        failures.append(f"{name.rstrip('!')} ({type(error).__name__}: {error})")
sys.exit("; ".join(failures) or 0)
"""


class InstallError(Exception):
    """The environment cannot be installed; the text says why, and what to do."""


def run(command: list[str]) -> None:
    """Run a command; its output goes to the log of the job."""
    subprocess.run(command, check=True)


def output_of(command: list[str]) -> str | None:
    """What a command prints, or None where it cannot be run or fails."""
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


class Lock:
    """A file of pinned requirements with hashes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")

    @property
    def python(self) -> str | None:
        """The version of Python that it was resolved for, such as 3.12; it is in the first line."""
        found = re.match(r"# Python (\d+\.\d+)", self.text)
        return found[1] if found else None

    @property
    def names_cpu_builds(self) -> bool:
        return "+cpu" in self.text

    def entry(self, name: str) -> str:
        """The requirement of one package with its hashes, as pip takes it."""
        found = re.search(rf"^{re.escape(name)}==(?:.*\\\n)*.*\n", self.text, re.MULTILINE)
        if not found:
            raise InstallError(f"{self.path} does not pin {name}; add it to the .in file and lock again.")
        return found[0]

    def version(self, name: str) -> str:
        return re.split(r"==|\s", self.entry(name))[1]


def install_uv(lock: Lock, directory: Path) -> str:
    """The path of the uv that the lock pins, installed under the directory by this machine's own Python."""
    version = lock.version("uv")
    home = directory / f"uv-{version}"
    uv = home / "bin" / "uv"
    if (output_of([str(uv), "--version"]) or "").startswith(f"uv {version}"):
        return str(uv)
    if importlib.util.find_spec("ensurepip"):
        run([sys.executable, "-m", "venv", "--clear", str(home)])
        pip = [str(home / "bin" / "python"), "-m", "pip", "install"]
    elif importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "install", "--upgrade", "--target", str(home)]
    else:
        raise InstallError(f"{sys.executable} has neither venv nor pip; install the package python3-venv.")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
        requirement.write(lock.entry("uv"))
        requirement.flush()
        run([*pip, "--quiet", "--no-deps", "--require-hashes", "--requirement", requirement.name])
    return str(uv)


def python_setting(role: str) -> str:
    """The setting that names the interpreter. That of maxtext_env is one of the whole run."""
    return "python" if role == "maxtext_env" else f"{role}_python"


def check_python(options: argparse.Namespace, lock: Lock) -> None:
    """Refuse an interpreter, given by its path, that is not there or not the one that the lock is for."""
    setting = python_setting(options.role)
    if "/" not in options.python:
        return
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = output_of([options.python, "-c", code])
    if version is None:
        raise InstallError(
            f"{setting}: {options.python} cannot be run on this machine; give the path of a "
            f"Python {lock.python}, or the version alone to let uv find or download one."
        )
    if lock.python and version != lock.python:
        raise InstallError(
            f"{setting}: {options.python} is Python {version}, but {lock.path.name} is for "
            f"Python {lock.python}; give the path of one, or the version alone."
        )


def make_environment(uv: str, options: argparse.Namespace) -> None:
    try:
        run([uv, "venv", "--clear", "--python", options.python, str(options.prefix)])
    except subprocess.CalledProcessError as error:
        setting = python_setting(options.role)
        raise InstallError(
            f"{setting}: uv can create no environment with Python {options.python}; its reason "
            f"stands above. Where this machine can download none, install one and give its path."
        ) from error


def install_packages(uv: str, options: argparse.Namespace, lock: Lock) -> None:
    """Everything the lock names, and nothing that it does not: nothing is resolved here."""
    command = [uv, "pip", "install", "--python", str(options.prefix / "bin" / "python"), "--no-deps"]
    command += ["--requirements", str(lock.path), "--build-constraints", str(lock.path)]
    command += ["--require-build-hashes", "--preview-features", "build-dependency-hashes"]
    for directory in options.find_links:
        command += ["--find-links", directory]
    if lock.names_cpu_builds and not options.find_links:
        command += ["--torch-backend", "cpu"]
    try:
        run(command)
    except subprocess.CalledProcessError as error:
        raise InstallError(
            f"uv cannot install what {lock.path.name} pins; its reason stands above. Check that this machine "
            f"reaches the package index, and the space left on {options.prefix.parent}."
        ) from error


def add_alias(prefix: Path, alias: str) -> None:
    """Give an installed distribution a second name: NAME=DISTRIBUTION[+LOCAL].

    A program that was renamed for its platform asks for its version by its first name, and vLLM takes its
    platform from the local part of that version.
    """
    name, _equals, source = alias.partition("=")
    distribution, plus, local = source.partition("+")
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    version = output_of([str(prefix / "bin" / "python"), "-c", code, distribution])
    if version is None:
        raise InstallError(f"{name} is to be an alias of {distribution}, which the lock does not install.")
    metadata = prefix / "site-packages" / f"{name}-{version}{plus}{local}.dist-info"
    metadata.mkdir(exist_ok=True)
    fields = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}{plus}{local}", ""]
    (metadata / "METADATA").write_text("\n".join(fields), encoding="utf-8")
    (metadata / "INSTALLER").write_text("tpuops.maxtext\n", encoding="utf-8")
    (metadata / "RECORD").write_text("", encoding="utf-8")


def link(target: str, path: Path) -> None:
    """Make or turn a symbolic link in one step."""
    fresh = path.with_name(f".{path.name}.new")
    if fresh.is_symlink():
        fresh.unlink()
    fresh.symlink_to(target)
    if path.is_dir() and not path.is_symlink():
        raise InstallError(f"{path} is a directory, not a link; move it away.")
    fresh.replace(path)


def build(options: argparse.Namespace, lock: Lock) -> None:
    """Make the environment from nothing; the stamp comes last, when everything is on the disk."""
    started = time.monotonic()
    check_python(options, lock)
    uv = install_uv(lock, options.prefix.parent)
    make_environment(uv, options)
    install_packages(uv, options, lock)
    packages = next((options.prefix / "lib").glob("python*/site-packages"))
    link(str(packages.relative_to(options.prefix)), options.prefix / "site-packages")
    for alias in options.alias:
        add_alias(options.prefix, alias)
    run(["sync", "--file-system", str(options.prefix)])
    seconds = round(time.monotonic() - started, 1)
    fresh = options.prefix / f"{COMPLETE}.new"
    fresh.write_text(json.dumps({"lock": lock.path.name, "seconds": seconds}) + "\n", encoding="utf-8")
    fresh.replace(options.prefix / COMPLETE)
    print(f"installed {options.prefix} in {seconds} s", flush=True)


def check(options: argparse.Namespace) -> None:
    """Look for what the later stages call. An import proves more than to find a module, and takes seconds."""
    modules = [*options.module, *(f"{name}!" for name in options.imports)]
    command = [str(options.prefix / "bin" / "python"), "-c", CHECK, *modules]
    # No chip is touched: another program may hold it.
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    print(f"checking {', '.join([*options.module, *options.imports])}", flush=True)
    result = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or [f"Python ended with {result.returncode}"])[-1]
        raise InstallError(
            f"{options.prefix} lacks what the later stages call: {reason}. Its lock, {options.lock.name}, "
            f"and the version asked for do not belong together; name one that does in {options.role}_lock."
        )


def is_complete(prefix: Path) -> bool:
    """Also false when its interpreter is gone, as on a VM made anew from another image."""
    return (prefix / COMPLETE).exists() and os.access(prefix / "bin" / "python", os.X_OK)


def same_file_system(first: Path, second: Path) -> bool:
    """Whether files can be linked from one directory to the other; both are made when missing."""
    for directory in (first, second):
        directory.mkdir(parents=True, exist_ok=True)
    return first.stat().st_dev == second.stat().st_dev


def prepare_settings(options: argparse.Namespace) -> None:
    """Settings of uv and pip, where the job's environment does not set them."""
    directory = options.prefix.parent
    linkable = same_file_system(options.uv_cache, directory)
    settings = {
        "UV_CACHE_DIR": str(options.uv_cache),
        "UV_LINK_MODE": "hardlink" if linkable else "copy",
        # On the data disk, so that the environment outlives the VM that it was made on.
        "UV_PYTHON_INSTALL_DIR": str(directory / "python"),
        "UV_NO_CONFIG": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    if SYSTEM_CERTIFICATES.exists():
        settings.update(UV_SYSTEM_CERTS="1", PIP_CERT=str(SYSTEM_CERTIFICATES))
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    option = parser.add_argument
    option("--role", required=True, help="role whose variables the messages name")
    option("--lock", type=Path, required=True, help="file of pinned requirements, uv among them")
    option("--prefix", type=Path, required=True, help="directory of the environment")
    option("--link", type=Path, required=True, help="symbolic link to create to it")
    option("--python", required=True, help="version or path of the interpreter")
    option("--uv-cache", type=Path, required=True, help="directory of uv's cache")
    option("--find-links", action="append", default=[], help="directory of wheels to look in as well")
    option("--alias", action="append", default=[], help="NAME=DISTRIBUTION[+LOCAL]")
    option("--module", action="append", default=[], help="module that must be found")
    option("--import", dest="imports", action="append", default=[], help="module that must be imported")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    try:
        prepare_settings(options)
        if not is_complete(options.prefix):
            build(options, Lock(options.lock))
        check(options)
        link(options.prefix.name, options.link)
    except InstallError as error:
        print(f"InstallError: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
