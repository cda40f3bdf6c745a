# SPDX-License-Identifier: GPL-3.0-or-later
"""TPU VM workers as systemd-nspawn machines: an overlay, a network namespace and loop devices each."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from localcloud.config import CloudConfig

from . import faults, guest
from .commands import MachineError, missing_packages, run, succeeds, tool_environment
from .disk import DiskAttachment, Disks
from .image import ensure_image
from .network import Network, free_number
from .process import ControlGroup, ProcessIdentity, find_by_argument, spawn, wait_until
from .runtimes import (
    SYSTEM_PYTHON,
    WHEELS,
    Runtime,
    bind_options,
    check_runtime,
    find_runtime,
    host_name_servers,
    host_wheel_directories,
    overlay_options,
)

# Of the rights that systemd-nspawn leaves a machine by default; it drops by itself those over modules, the
# clock, raw devices, the kernel's log and the like.
UNNEEDED = (
    "CAP_AUDIT_CONTROL",
    "CAP_DAC_READ_SEARCH",  # opens any file of a file system by its number, outside of the machine's root too
    "CAP_IPC_OWNER",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BROADCAST",
    "CAP_SYS_TTY_CONFIG",
)
GUEST_UV_CACHE = "/var/cache/uv"
JOBS_USER = 60801  # uid of whom the collection's jobs run as in a machine
BOOT_SECONDS = 90.0
STOP_SECONDS = 30.0  # an orderly shutdown's time before it is cut short
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MOUNTS = Path("/proc/self/mountinfo")
_NSPAWN_STATE = Path("/run/systemd/nspawn")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MachineSpec:
    """A machine to be booted. name: unique in the cloud; hostname: what it calls itself."""

    name: str
    hostname: str
    disks: tuple[DiskAttachment, ...] = ()


@dataclass(frozen=True)
class Machine:
    """A machine as it is. address: its for life; host_keys: key type (`ssh-ed25519`) -> base64."""

    name: str
    hostname: str
    address: str
    running: bool
    host_keys: dict[str, str]
    disks: tuple[DiskAttachment, ...] = ()


@dataclass(frozen=True)
class Record:
    """What a machine's directory remembers. number: its host number in the subnet; wanted: it is to run."""

    name: str
    hostname: str
    number: int
    wanted: bool
    disks: tuple[DiskAttachment, ...]

    @classmethod
    def load(cls, file: Path) -> Record:
        fields = json.loads(file.read_text())
        return cls(**{**fields, "disks": tuple(DiskAttachment(**disk) for disk in fields["disks"])})

    def save(self, file: Path) -> None:
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.replace(file)


class Machines:
    """The machines and data disks of one local cloud. Threads may share it; one process at a time."""

    uv_cache_dir = GUEST_UV_CACHE
    serve_python = SYSTEM_PYTHON

    def __init__(self, config: CloudConfig) -> None:
        self._config = config
        self._state = config.state_dir.resolve()
        self._directory = self._state / "machines"
        self._disks = Disks(self._state / "disks")
        self._network = Network(config.instance_id, config.subnet, config.metadata_port)
        self._registry = threading.Lock()
        self._locks: dict[str, threading.RLock] = {}
        self._prepared: tuple[Path, Runtime, Sequence[Path]] | None = None

    # What the cloud tells its users

    @property
    def guest_python(self) -> str:
        """Path inside the machines of a Python of at least 3.12; known after prepare()."""
        return self._base[1].path

    @property
    def wheels_dir(self) -> str:
        """Path inside the machines of the host's local wheels, "" for none; known after prepare()."""
        return WHEELS if self._base[2] else ""

    # The cloud as a whole

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Make image and network ready, and clear away what a hard kill left half-done. Idempotent.

        Machines that still run go on. Raises MachineError naming what the host lacks.
        """
        _check_host()
        image = ensure_image(self._config.cache_dir, progress)
        runtime = find_runtime(image)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="probe-", dir=self._state) as scratch:
            for name in ("upper", "work", "root"):
                guest.make_directory(Path(scratch) / name, Path(scratch) / name)
            guest.seed_runtime(Path(scratch) / "upper", image, runtime)
            check_runtime(image, Path(scratch), runtime)
        self._uv_cache.mkdir(parents=True, exist_ok=True)
        os.chown(self._uv_cache, JOBS_USER, JOBS_USER)
        self._prepared = (image, runtime, host_wheel_directories())
        self._network.prepare()
        for record in self._records():
            if not self._runs(record.name):
                self._clear(record)

    def suspend(self) -> None:
        """Stop every machine, but keep machines and disks; boot() takes each up again."""
        self._each(self.stop, [record.name for record in self._records()])

    def teardown(self) -> None:
        """Take away everything of this cloud, machines and disks too. Idempotent.

        Finds it by the cloud's id, so that it also works with a state directory that is half gone.
        """
        self._each(lambda name: self._halt(name, 5.0), [record.name for record in self._records()])
        names = self._network.names
        for process in find_by_argument(f"--machine={names.namespace_prefix}"):
            process.send(signal.SIGKILL)
        ControlGroup(names.namespace_prefix.rstrip("-")).kill()
        self._unmount_below(self._state)
        self._disks.teardown()
        self._network.teardown()
        for leftover in _NSPAWN_STATE.glob(f"*/{names.namespace_prefix}*"):
            shutil.rmtree(leftover)
        for directory in (self._directory, self._state / "disks"):
            if directory.exists():
                shutil.rmtree(directory)

    def watch_once(self) -> Sequence[str]:
        """Boot again the machines that ended on their own (a guest's reboot, a crash); returns their names.

        For the server to call every second or so. Machines that another thread works on are left to the next
        call, those that were stopped stay so. A boot that fails is logged and tried again by the next call.
        """
        return [record.name for record in self._records() if self._revive(record.name)]

    def _revive(self, name: str) -> bool:
        """Whether a machine had ended and was booted again."""
        lock = self._lock(name)
        if self._runs(name) or not lock.acquire(blocking=False):
            return False
        try:
            # Looked at again: the one that had the lock may have started, stopped or deleted it.
            if not self._file(name).exists() or self._runs(name) or not self._record(name).wanted:
                return False
            self._launch(self._record(name))
        except MachineError:
            _log.exception("machine %s did not come back", name)
            return False
        finally:
            lock.release()
        return True

    # Machines

    def boot(self, spec: MachineSpec) -> Machine:
        """Bring a machine up, made when there is none, with the disks of `spec`; sshd then answers.

        A machine that runs already is taken as it is, apart from its disks. Raises MachineError; the machine
        is then stopped, and may be booted again or deleted.
        """
        _check_name("machine", spec.name)
        _check_name("host", spec.hostname)
        with self._lock(spec.name):
            record = self._register(spec)
            process = self._identity(spec.name)
            if process and process.alive:
                self._change_disks(record, spec.disks)
                self._wait_for_login(record, process)
            else:
                self._bring_up(replace(record, hostname=spec.hostname, disks=spec.disks))
            return self._required(spec.name)

    def start(self, name: str) -> Machine:
        """Start a stopped machine again, as it was."""
        with self._lock(name):
            record = self._record(name)
            if not self._runs(name):
                self._bring_up(record)
            return self._required(name)

    def stop(self, name: str) -> None:
        """Shut a machine down, by force after STOP_SECONDS; its files, address and disks stay. Idempotent."""
        with self._lock(name):
            if self._file(name).exists():
                self._halt(name, STOP_SECONDS)

    def delete(self, name: str) -> None:
        """Take a machine and its boot disk away; its data disks stay. Idempotent."""
        with self._lock(name):
            if self._file(name).exists():
                self._halt(name, STOP_SECONDS)
            if self._home(name).exists():
                shutil.rmtree(self._home(name))

    def get(self, name: str) -> Machine | None:
        """The machine, None if there is none of this name."""
        if not self._file(name).exists():
            return None
        record = self._record(name)
        return Machine(
            name=name,
            hostname=record.hostname,
            address=str(self._config.subnet[record.number]),
            running=self._runs(name),
            host_keys=guest.host_keys(self._home(name) / "upper"),
            disks=record.disks,
        )

    def list(self) -> Sequence[Machine]:
        """All machines, stopped ones too, by name."""
        return [machine for record in self._records() if (machine := self.get(record.name))]

    def set_authorized_keys(self, name: str, keys: Mapping[str, Sequence[str]]) -> None:
        """Let exactly these users (user -> public key lines) in; a new one gets an account with sudo."""
        with self._lock(name):
            self._record(name)
            if self._runs(name):
                guest.set_accounts(self._home(name) / "root", self._leader(name), keys)
            else:
                with self._mounted(name) as root:
                    guest.set_accounts(root, None, keys)

    # Faults

    def reboot(self, name: str) -> None:
        """Cut a running machine's power and boot it again."""
        with self._lock(name):
            self._leader(name)
            self._launch(self._record(name))

    def kill(self, name: str, *, unit: str = "", pattern: str = "") -> Sequence[str]:
        """End processes of a machine by SIGKILL: those of a unit, or whose command line matches."""
        self._leader(name)
        return faults.kill(self._group(self._record(name)).processes(), unit=unit, pattern=pattern)

    def cut(self, name: str) -> None:
        """Pull the machine's network cable, until heal()."""
        self._strike(name, faults.cut)

    def slow(self, name: str, rate: int) -> None:
        """Let the machine's network carry `rate` kbit/s each way, until heal()."""
        self._strike(name, faults.slow(rate))

    def fail_disk(self, name: str, disk: str | None = None) -> None:
        """Let every access to a disk, by default to all of the machine's, fail until heal()."""
        self._strike(name, faults.fail(faults.chosen_disks(self._record(name).disks, disk)))

    def fill_disk(self, name: str, disk: str | None = None) -> int:
        """Take all the room of a disk, by default of all of the machine's, until heal(); bytes taken."""
        names = faults.chosen_disks(self._record(name).disks, disk)
        if missing := sorted(set(names) - set(self._mount_points(name))):
            raise MachineError(f"{', '.join(missing)} is not mounted in {name}: it cannot be filled")
        return sum(faults.fill(point) for disk, point in self._mount_points(name).items() if disk in names)

    def heal(self, name: str) -> None:
        """Undo cut(), slow(), fail_disk() and fill_disk(). A file system that failed must be mounted anew."""
        self._strike(name, faults.heal)
        for point in self._mount_points(name).values():
            faults.free(point)

    def _strike(self, name: str, change: Callable[[faults.Lasting], faults.Lasting]) -> None:
        with self._lock(name):
            self._leader(name)
            self._faults(self._record(name)).set(change)

    def _faults(self, record: Record) -> faults.MachineFaults:
        return faults.MachineFaults(self._home(record.name), record.number, self._network, self._disks)

    def _mount_points(self, name: str) -> dict[str, Path]:
        """Where a running machine has its disks mounted, by the disk's name."""
        leader = self._leader(name)
        found = {
            disk.disk: faults.mount_point(leader, loop.number)
            for disk in self._record(name).disks
            for loop in self._disks.loops(disk.disk)
        }
        return {disk: point for disk, point in found.items() if point}

    # Disks

    def create_disk(self, name: str, size_gb: int) -> None:
        """Make a blank disk of `size_gb` GiB; one of that size that exists is left as it is."""
        _check_name("disk", name)
        self._disks.create(name, size_gb)

    def resize_disk(self, name: str, size_gb: int) -> None:
        """Grow a disk, in the machines that have it too. MachineError when it would shrink."""
        _check_name("disk", name)
        self._disks.resize(name, size_gb)

    def delete_disk(self, name: str) -> None:
        """Remove a disk and what it holds. Idempotent; MachineError while a machine has it."""
        _check_name("disk", name)
        users = [record.name for record in self._records() if any(disk.disk == name for disk in record.disks)]
        if users:
            raise MachineError(f"disk {name!r} is attached to {', '.join(users)}: detach it first")
        self._disks.delete(name)

    def attach_disk(self, machine: str, disk: DiskAttachment) -> None:
        """Give a machine a disk, at once where it runs. MachineError where its place is taken."""
        with self._lock(machine):
            record = self._record(machine)
            others = tuple(present for present in record.disks if present.disk != disk.disk)
            if any(present.index == disk.index for present in others):
                raise MachineError(f"machine {machine!r} has another disk in place {disk.index}")
            self._change_disks(record, (*others, disk))

    def detach_disk(self, machine: str, disk: str) -> None:
        """Take a disk from a machine. Idempotent; what the guest has mounted stays usable until unmounted."""
        with self._lock(machine):
            record = self._record(machine)
            self._change_disks(record, tuple(present for present in record.disks if present.disk != disk))

    # Workings

    def _lock(self, name: str) -> threading.RLock:
        """One thread at a time works on a machine."""
        return self._locks.setdefault(name, threading.RLock())

    @property
    def _base(self) -> tuple[Path, Runtime, Sequence[Path]]:
        if self._prepared is None:
            raise MachineError("the machines were not prepared: call prepare() first")
        return self._prepared

    @property
    def _uv_cache(self) -> Path:
        return self._config.cache_dir / "uv-jobs"  # "uv" was the first account's

    def _home(self, name: str) -> Path:
        return self._directory / name

    def _file(self, name: str) -> Path:
        return self._home(name) / "machine.json"

    def _record(self, name: str) -> Record:
        if not self._file(name).exists():
            raise MachineError(f"there is no machine {name!r}")
        return Record.load(self._file(name))

    def _records(self) -> Sequence[Record]:
        records = []
        for file in sorted(self._directory.glob("*/machine.json")):
            with suppress(FileNotFoundError):  # deleted in the meantime
                records.append(Record.load(file))
        return records

    def _required(self, name: str) -> Machine:
        machine = self.get(name)
        if machine is None:
            raise MachineError(f"there is no machine {name!r}")
        return machine

    def _register(self, spec: MachineSpec) -> Record:
        """The machine's record, made with an address of its own when there is none."""
        with self._registry:
            if self._file(spec.name).exists():
                return self._record(spec.name)
            number = free_number(self._config.subnet, (record.number for record in self._records()))
            record = Record(spec.name, spec.hostname, number, wanted=False, disks=spec.disks)
            self._home(spec.name).mkdir(mode=0o700, parents=True, exist_ok=True)
            record.save(self._file(spec.name))
            return record

    def _identity(self, name: str) -> ProcessIdentity | None:
        return ProcessIdentity.load(self._home(name) / "nspawn.pid")

    def _runs(self, name: str) -> bool:
        identity = self._identity(name)
        return identity is not None and identity.alive

    def _leader(self, name: str) -> int:
        identity = self._identity(name)
        leader = guest.leader_of(identity.pid) if identity else None
        if leader is None:
            raise MachineError(f"machine {name!r} is not running")
        return leader

    def _group(self, record: Record) -> ControlGroup:
        names = self._network.names
        return ControlGroup(f"{names.namespace_prefix.rstrip('-')}/{record.number}")

    def _bring_up(self, record: Record) -> None:
        """Start a machine that is to run from now on, unless that fails."""
        file = self._file(record.name)
        replace(record, wanted=True).save(file)
        try:
            self._launch(record)
        except BaseException:
            replace(record, wanted=False).save(file)
            raise

    def _launch(self, record: Record) -> None:
        """Start a machine that does not run, over whatever its last life left; wait until sshd answers."""
        image, runtime, _ = self._base
        self._clear(record)
        home, upper = self._home(record.name), self._home(record.name) / "upper"
        guest.make_directory(upper, upper)
        guest.seed_runtime(upper, image, runtime)
        address = str(self._config.subnet[record.number])
        guest.write_identity(upper, record.hostname, address, host_name_servers())
        try:
            numbers = {disk: self._disks.open(disk.disk, disk.read_only).number for disk in record.disks}
            guest.write_disk_nodes(upper, numbers)
            self._mount(record.name)
            namespace = self._network.connect(record.number)
            process = spawn(
                self._command(record, namespace),
                _nspawn_environment(),
                home / "console.log",
                self._group(record).create(),
            )
            process.save(home / "nspawn.pid")
            self._wait_for_login(record, process)
            self._faults(record).apply()
        except BaseException:
            self._clear(record)
            raise

    def _command(self, record: Record, namespace: Path) -> Sequence[str]:
        _, runtime, wheels = self._base
        return [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={self._home(record.name) / 'root'}",
            f"--machine={namespace.name}",
            f"--hostname={record.hostname}",
            "--register=no",
            "--keep-unit",
            "--private-users=no",
            f"--network-namespace-path={namespace}",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--capability=CAP_IPC_LOCK",  # with it comes mlock, which a TPU VM has
            f"--drop-capability={','.join(UNNEEDED)}",
            "--system-call-filter=@mount",
            *bind_options(runtime, wheels, self._uv_cache, GUEST_UV_CACHE),
        ]

    def _wait_for_login(self, record: Record, process: ProcessIdentity) -> None:
        address = str(self._config.subnet[record.number])
        if wait_until(lambda: not process.alive or _ssh_answers(address), BOOT_SECONDS) and process.alive:
            return
        log = (self._home(record.name) / "console.log").read_text(errors="replace").splitlines()[-10:]
        what = "does not answer on port 22" if process.alive else "ended while booting"
        lines = " | ".join(log) or "none"
        raise MachineError(f"machine {record.name!r} {what}; its console's last lines: {lines}")

    def _halt(self, name: str, seconds: float) -> None:
        """Stop a machine and remember that it is to stay stopped."""
        record = replace(self._record(name), wanted=False)
        record.save(self._file(name))
        process = self._identity(name)
        if process:
            process.send(signal.SIGTERM)  # systemd-nspawn then asks the guest's systemd to power off
            process.wait(seconds)
        self._clear(record)

    def _clear(self, record: Record) -> None:
        """Take away what a machine has on the host while it runs, whatever state it is in."""
        process = self._identity(record.name)
        if process:
            process.send(signal.SIGKILL)
            process.wait(STOP_SECONDS)
        self._group(record).kill()
        (self._home(record.name) / "nspawn.pid").unlink(missing_ok=True)
        self._unmount_below(self._home(record.name))
        self._network.disconnect(record.number)
        for disk in record.disks:
            self._close_if_unused(disk.disk, record.name)

    def _change_disks(self, record: Record, disks: tuple[DiskAttachment, ...]) -> None:
        """Make the disks of a machine `disks`; in the machine too when it runs."""
        gone, new = set(record.disks) - set(disks), set(disks) - set(record.disks)
        running = self._runs(record.name)
        numbers = {disk: self._disks.open(disk.disk, disk.read_only).number for disk in new if running}
        replace(record, disks=disks).save(self._file(record.name))
        for disk in gone if running else ():
            guest.remove_disk_node(self._leader(record.name), disk)
        for disk, number in numbers.items():
            guest.add_disk_node(self._leader(record.name), disk, number)
        for name in {disk.disk for disk in gone} - {disk.disk for disk in disks}:
            self._close_if_unused(name, record.name)

    def _close_if_unused(self, disk: str, machine: str) -> None:
        """Release a disk's loop device unless a machine other than this one runs with it."""
        others = [record for record in self._records() if record.name != machine]
        if not any(
            used.disk == disk for record in others if self._runs(record.name) for used in record.disks
        ):
            self._disks.close(disk)

    def _mount(self, name: str) -> Path:
        image, home = self._base[0], self._home(name)
        for directory in ("work", "root"):
            (home / directory).mkdir(exist_ok=True)
        run(["mount", "-t", "overlay", "overlay", "-o", overlay_options(image, home), str(home / "root")])
        return home / "root"

    @contextmanager
    def _mounted(self, name: str) -> Iterator[Path]:
        try:
            yield self._mount(name)
        finally:
            self._unmount_below(self._home(name))

    def _unmount_below(self, directory: Path) -> None:
        for mount in mounts_below(_MOUNTS.read_text(), directory):
            # A killed process holds its mounts for a moment; what is held longer goes with its holder.
            if not wait_until(lambda mount=mount: succeeds(["umount", str(mount)]), 2.0):  # type: ignore[misc]
                run(["umount", "--lazy", str(mount)])

    def _each(self, action: Callable[[str], None], names: Sequence[str]) -> None:
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(action, names))


def mounts_below(mountinfo: str, directory: Path) -> list[Path]:
    """Mount points in `directory`, those mounted last first, from /proc/self/mountinfo's text."""
    fields = [line.split()[4] for line in mountinfo.splitlines()]
    points = [Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), field)) for field in fields]
    return [point for point in reversed(points) if directory in point.parents]


def _ssh_answers(address: str) -> bool:
    with suppress(OSError), socket.create_connection((address, 22), timeout=1.0) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise MachineError(
            f"{kind} name {name!r} is not made of 1 to 63 lower-case letters, digits and inner hyphens"
        )


def _check_host() -> None:
    if os.geteuid() != 0:
        raise MachineError("the machines of the local cloud need root: run with sudo")
    missing = missing_packages()
    if missing:
        raise MachineError(
            f"the host lacks packages that the machines need: apt-get install {' '.join(missing)}"
        )


def _nspawn_environment() -> dict[str, str]:
    """Leaves /tmp to the guest; nothing of the server's environment reaches a machine."""
    return {"PATH": tool_environment()["PATH"], "LC_ALL": "C", "SYSTEMD_NSPAWN_TMPFS_TMP": "0"}
