# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines borrow from the host: a Python new enough for MaxText, wheels, certificates, name servers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .commands import MachineError, run
from .image import SUITE_VARIABLE

MINIMUM = (3, 12)
SYSTEM_PYTHON = "/usr/bin/python3"
WHEELS = "/usr/local/share/wheels"
# Modules that MaxText's libraries import, and that a Python built from source may lack.
NEEDED_MODULES = ("bz2", "ctypes", "lzma", "sqlite3", "ssl", "zlib", "venv")


@dataclass(frozen=True)
class Runtime:
    """A Python of at least MINIMUM as the machines see it.

    path:   the interpreter inside the machines.
    prefix: directory of the host to bind read-only at `target`; None where the image's own is new enough.
    """

    path: str
    prefix: Path | None = None
    target: str = ""

    @property
    def shared_libraries(self) -> list[str]:
        """Names of the interpreter's own libraries, which it looks for under the prefix it was built for."""
        return (
            sorted(library.name for library in self.prefix.glob("lib/libpython3.*.so.*"))
            if self.prefix
            else []
        )


def image_python_version(root: Path) -> tuple[int, int]:
    """Version of the Python that the image itself has, from its libraries' directory."""
    versions = [re.fullmatch(r"python(\d+)\.(\d+)", path.name) for path in root.glob("usr/lib/python3.*")]
    return max((int(match[1]), int(match[2])) for match in versions if match)


def find_runtime(image: Path) -> Runtime:
    """The Python for the machines: the image's own if it is new enough, else the one that runs this.

    Raises MachineError where neither can be used.
    """
    if image_python_version(image) >= MINIMUM:
        return Runtime(SYSTEM_PYTHON)
    prefix = Path(sys.base_prefix).resolve()
    if prefix == Path("/usr") or Path("/usr") in prefix.parents:
        version = "{}.{}".format(*MINIMUM)
        raise MachineError(
            f"the machines need a Python {version} or later, and the one that runs this ({prefix}) belongs "
            f"to the host's distribution and cannot be lent to them: run with a Python in a directory of its "
            f"own (`uv python install {version}`), or set {SUITE_VARIABLE}=trixie, which brings one"
        )
    name = "python{}.{}".format(*sys.version_info)
    target = f"/opt/{name}"
    return Runtime(f"{target}/bin/{name}", prefix, target)


def probe_command(image: Path, scratch: Path, runtime: Runtime) -> list[str]:
    """Run the Python without rights in a root as the machines have it; its mounts end with the command.

    scratch: holds `upper` (seeded as a machine's), `work` and `root`.
    """
    root = scratch / "root"
    steps = [["mount", "-t", "overlay", "overlay", "-o", overlay_options(image, scratch), str(root)]]
    if runtime.prefix:
        target = f"{root}{runtime.target}"
        steps += [["mkdir", "-p", target], ["mount", "--bind", str(runtime.prefix), target]]
    code = f"import {', '.join(NEEDED_MODULES)}"
    steps.append(["exec", "chroot", "--userspec=65534:65534", str(root), runtime.path, "-I", "-c", code])
    return ["unshare", "--mount", "sh", "-ec", "\n".join(map(shlex.join, steps))]


def overlay_options(image: Path, directory: Path) -> str:
    """Mount options of a machine's root: the image below, the machine's own files in `directory` above."""
    layers = {"lowerdir": image, "upperdir": directory / "upper", "workdir": directory / "work"}
    return ",".join(f"{name}={_escape(path, ',:')}" for name, path in layers.items())


def check_runtime(image: Path, scratch: Path, runtime: Runtime) -> None:
    """MachineError where the Python does not run inside the machines, as for want of a newer C library."""
    try:
        run(probe_command(image, scratch, runtime))
    except MachineError as error:
        raise MachineError(
            f"the Python of {runtime.prefix or 'the image'} does not run inside the machines ({error}): run "
            f"with another (`uv python install {MINIMUM[0]}.{MINIMUM[1]}`), or set {SUITE_VARIABLE}=trixie"
        ) from error


def wheel_directories(settings: str) -> list[Path]:
    """Local directories among pip's find-links (paths, file: URLs, pages on the net), in their order."""
    directories = []
    for link in settings.split():
        url = urlsplit(link)
        path = Path(unquote(url.path)) if url.scheme == "file" else Path(link)
        if url.scheme in ("", "file") and path.is_dir() and path.resolve() not in directories:
            directories.append(path.resolve())
    return directories


def host_wheel_directories() -> list[Path]:
    """The directories in which the host's pip looks for wheels beside its index."""
    return wheel_directories(f"{os.environ.get('PIP_FIND_LINKS', '')} {_pip_find_links()}")


def _pip_find_links() -> str:
    """pip's own answer, since it merges several files; "" on a host without pip."""
    pip = shutil.which("pip3") or shutil.which("pip")
    if pip is None:
        return ""
    command = [pip, "config", "get", "global.find-links"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def bind_options(runtime: Runtime, wheels: Sequence[Path], uv_cache: Path, guest_uv_cache: str) -> list[str]:
    """systemd-nspawn's options for what the machines borrow."""
    options = ["--bind-ro=/etc/ssl/certs", f"--bind={_escape(uv_cache)}:{guest_uv_cache}"]
    if any(Path("/usr/local/share/ca-certificates").glob("*")):
        options.append("--bind-ro=/usr/local/share/ca-certificates")
    if runtime.prefix:
        options.append(f"--bind-ro={_escape(runtime.prefix)}:{runtime.target}")
    if len(wheels) == 1:
        options.append(f"--bind-ro={_escape(wheels[0])}:{WHEELS}")
    elif wheels:
        options.append(f"--overlay-ro={':'.join(map(_escape, wheels))}:{WHEELS}")
    return options


def _escape(path: Path, separators: str = ":") -> str:
    return re.sub(rf"([{separators}\\])", r"\\\1", str(path))


def name_servers(texts: Mapping[str, str]) -> str:
    """A resolv.conf for the machines out of the host's (path -> text, in order of preference).

    The first text with a name server beyond the host's loopback wins, without those on the loopback, which a
    machine could not reach. "" where there is none: the machines then have no name service.
    """
    for text in texts.values():
        lines = [
            line
            for line in text.splitlines()
            if line.split()[:1] in (["nameserver"], ["search"], ["options"])
        ]
        kept = [line for line in lines if not _is_loopback_server(line)]
        if any(line.startswith("nameserver") for line in kept):
            return "\n".join(kept) + "\n"
    return ""


def _is_loopback_server(line: str) -> bool:
    words = line.split()
    return words[0] == "nameserver" and len(words) > 1 and ip_address(words[1].split("%")[0]).is_loopback


def host_name_servers() -> str:
    """The host's name servers for the machines; with systemd-resolved the ones that it asks itself."""
    files = [Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")]
    return name_servers({str(file): file.read_text() for file in files if file.is_file()})
