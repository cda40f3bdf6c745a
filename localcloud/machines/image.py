# SPDX-License-Identifier: GPL-3.0-or-later
"""The image that every machine starts from: a Debian root, made once for all local clouds of the user."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .commands import MachineError, run

SUITE_VARIABLE = "LOCALCLOUD_SUITE"
DEFAULT_SUITE = "bookworm"
SUITES = ("bookworm", "trixie")

# python3 brings the libraries (bz2, ffi, lzma, sqlite, ssl) that a Python bound from the host needs.
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "openssh-server",
    "sudo",
    "python3",
    "python3-venv",
    "ca-certificates",
    "curl",
    "e2fsprogs",
    "git",
    "iproute2",
    "procps",
    "libgomp1",  # vLLM on CPU
    "libnuma1",  # vLLM on CPU
)

# Google's guest agent is not in Debian's archive. This is what a TPU VM's user sees of it, beside accounts.
STARTUP_SCRIPTS = """\
#!/bin/sh
# Run what the metadata has as startup-script, at each boot. A silent server has not said that there is none.
set -eu
script=$(mktemp --tmpdir startup-script.XXXXXX)
trap 'rm -f "$script"' EXIT
status=$(curl --silent --show-error --retry 60 --retry-delay 1 --retry-all-errors \\
    --header 'Metadata-Flavor: Google' --output "$script" --write-out '%{http_code}' \\
    http://metadata.google.internal/computeMetadata/v1/instance/attributes/startup-script)
case $status in
    200) ;;
    404) exit 0 ;;
    *) echo "startup-script: the metadata server answered $status" >&2; exit 1 ;;
esac
chmod 700 "$script"
"$script"
"""
STARTUP_UNIT = """\
[Unit]
Description=Google Compute Engine Startup Scripts

[Service]
ExecStart=/usr/bin/google_metadata_script_runner
KillMode=process
"""

SERVER_SETTINGS = """\
PermitRootLogin no
PasswordAuthentication no
UseDNS no
MaxStartups 100:30:200
"""

# Files of the image beside its packages: path -> (mode, text); named as in Google's own images.
FILES: Mapping[str, tuple[int, str]] = {
    "etc/ssh/sshd_config.d/10-local-tpu.conf": (0o644, SERVER_SETTINGS),
    "etc/sudoers.d/google_sudoers": (0o440, "%google-sudoers ALL=(ALL:ALL) NOPASSWD:ALL\n"),
    "usr/bin/google_metadata_script_runner": (0o755, STARTUP_SCRIPTS),
    "etc/systemd/system/google-startup-scripts.service": (0o644, STARTUP_UNIT),
    "etc/systemd/system/multi-user.target.d/google.conf": (
        0o644,
        "[Unit]\nWants=google-startup-scripts.service\n",
    ),
    "etc/systemd/system.conf.d/limits.conf": (0o644, "[Manager]\nDefaultLimitNOFILE=65536:524288\n"),
    "etc/default/locale": (0o644, "LANG=C.UTF-8\n"),
    "etc/locale.conf": (0o644, "LANG=C.UTF-8\n"),
    "etc/machine-id": (0o444, ""),
}

# Units without a purpose in a machine that has no console, clock or hardware of its own.
MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "tmp.mount",  # a TPU VM's /tmp lies on its boot disk
)
# sshd answers before the boot has ended; without this it would turn users away for that moment.
MASKED_TMPFILES = ("systemd-nologin.conf",)


def default_suite(os_release: str) -> str:
    """Debian suite of the machines for a host with this /etc/os-release text.

    The host's own where it is Debian 12 or 13, because a Python bound from the host needs a C library as new
    as the one it was built with; bookworm on every other host.
    """
    fields = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', os_release, flags=re.MULTILINE))
    suite = fields.get("VERSION_CODENAME", "")
    return suite if fields.get("ID") == "debian" and suite in SUITES else DEFAULT_SUITE


def chosen_suite() -> str:
    """The suite of LOCALCLOUD_SUITE, else the default for this host."""
    suite = os.environ.get(SUITE_VARIABLE, "")
    if not suite:
        return default_suite(Path("/etc/os-release").read_text())
    if suite not in SUITES:
        raise MachineError(f"{SUITE_VARIABLE}={suite!r} is not a known suite; use one of {', '.join(SUITES)}")
    return suite


def debian_sources(texts: Mapping[str, str], suite: str) -> str:
    """Those entries of apt's sources (file name -> text) that are Debian's own for `suite`, in deb822.

    An entry counts as Debian's own when its suite is `suite`, its updates or its security, and it has a
    component called main: vendors' repositories use names of their own.
    """
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    stanzas = []
    for name in sorted(texts):
        parse = _deb822_entries if name.endswith(".sources") else _one_line_entries
        stanzas += [entry for entry in parse(texts[name]) if _is_debian(entry, wanted)]
    return "\n".join("".join(f"{key}: {value}\n" for key, value in entry.items()) for entry in stanzas)


def _is_debian(entry: Mapping[str, str], suites: set[str]) -> bool:
    fields = {key: set(value.split()) for key, value in entry.items()}
    return (
        "deb" in fields.get("Types", ())
        and bool(fields.get("Suites", set()) & suites)
        and "main" in fields.get("Components", ())
        and entry.get("Enabled", "yes") != "no"
    )


def _deb822_entries(text: str) -> Iterator[dict[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", lines):
        pairs = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, flags=re.MULTILINE)
        yield dict(pairs)


def _one_line_entries(text: str) -> Iterator[dict[str, str]]:
    pattern = (
        r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<URIs>\S+)\s+(?P<Suites>\S+)\s+(?P<Components>[^#\n]+)"
    )
    for match in re.finditer(pattern, text, flags=re.MULTILINE):
        signed = re.search(r"signed-by=(\S+)", match["options"] or "", flags=re.IGNORECASE)
        yield {
            "Types": "deb",
            **{key: match[key].strip() for key in ("URIs", "Suites", "Components")},
            **({"Signed-By": signed[1]} if signed else {}),
        }


def host_sources(suite: str) -> str:
    """The host's own apt sources for `suite`; "" where it has none, and mmdebstrap takes Debian's archive."""
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *apt.glob("sources.list.d/*.list"), *apt.glob("sources.list.d/*.sources")]
    return debian_sources({str(file): file.read_text() for file in files if file.is_file()}, suite)


def image_hash(suite: str, architecture: str) -> str:
    """Identity of the image: everything that goes into it, except for the archive's state on that day."""
    recipe = [suite, architecture, PACKAGES, sorted(FILES.items()), MASKED_UNITS, MASKED_TMPFILES]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]


def bootstrap_command(suite: str, root: Path, has_sources: bool) -> list[str]:
    """mmdebstrap's command line; it reads the sources from its standard input where there are any."""
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--format=directory",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--include={','.join(PACKAGES)}",
        suite,
        str(root),
        *(["-"] if has_sources else []),
    ]


def ensure_image(cache_dir: Path, progress: Callable[[str], None]) -> Path:
    """Root directory of the machine image, built when the cache has none; a second caller waits."""
    suite = chosen_suite()
    images = cache_dir / "image"
    images.mkdir(parents=True, exist_ok=True)
    image = images / image_hash(suite, os.uname().machine)
    with _locked(images / f"{image.name}.lock"):
        if not image.is_dir():
            progress(f"building the machine image (Debian {suite}, once, about a minute)")
            _build(suite, image)
            progress(f"machine image ready: {image}")
    return image


def _build(suite: str, image: Path) -> None:
    for leftover in image.parent.glob(f"{image.name}.new-*"):
        shutil.rmtree(leftover)
    work = Path(tempfile.mkdtemp(prefix=f"{image.name}.new-", dir=image.parent))
    work.chmod(0o755)
    try:
        sources = host_sources(suite)
        run(bootstrap_command(suite, work, bool(sources)), stdin=sources)
        _finish(work)
        work.rename(image)
    except BaseException:
        shutil.rmtree(work)
        raise


def _finish(root: Path) -> None:
    """Settings of the image, and nothing in it by which two machines could be mistaken for each other."""
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    for name, (mode, text) in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text)
        file.chmod(mode)
    _mask(root / "etc/systemd/system", MASKED_UNITS)
    _mask(root / "etc/tmpfiles.d", MASKED_TMPFILES)
    run(["chroot", str(root), "groupadd", "--system", "google-sudoers"])


def _mask(directory: Path, names: tuple[str, ...]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to("/dev/null")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
