# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules job and job_info on a machine whose systemd only remembers."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils import accounts
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import (
    launch,
    records,
    runner,
    space,
    systemd,
)

from .conftest import BOOT, RunModule, Systemd

UNIT = "tpuops-sft.service"
SECRET = "hf_averysecrettoken"
JOB: dict[str, Any] = {
    "name": "sft",
    "argv": ["/usr/bin/train", "steps=100"],
    "environment": {"A": 1},
    "secrets": {"HF_TOKEN": SECRET},
    "inputs": {"steps": 100},
    "user": "root",
}


@pytest.fixture
def job(records_dir: str) -> dict[str, Any]:
    Path(records_dir).parent.mkdir()
    return {**JOB, "records_dir": records_dir}


def end(records_dir: str, fake_systemd: Systemd, name: str = "sft", **changes: Any) -> None:
    """The unit ends, as runner.finish() does it."""
    path = Path(records_dir) / f"{name}.json"
    record = {**json.loads(path.read_text()), "status": "finished", "exit_code": 0, **changes}
    runner.write_json(str(path), record)
    fake_systemd.active.discard(record["unit"])


def everything_below(path: Path) -> str:
    files = [entry for entry in path.rglob("*") if entry.is_file()]
    return "\n".join(entry.read_bytes().decode("utf-8", "replace") for entry in files)


def test_a_job_runs_once(run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]) -> None:
    first = run_module("job", **job)
    attached = run_module("job", **job)
    end(job["records_dir"], fake_systemd)
    finished = run_module("job", **job)
    told = [(each["failed"], each["changed"], each["action"]) for each in (first, attached, finished)]
    assert told == [(False, True, "run"), (False, True, "attach"), (False, False, "skip")]
    assert len(fake_systemd.started) == 1
    assert finished["job"]["boot_id"] == BOOT


def test_the_unit_has_what_the_job_needs(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    run_module("job", **job, timeout=7200, stop_timeout=30, chdir="/")
    unit, properties, argv = fake_systemd.started[0]
    directory = f"{records.RUN_DIR}/sft"
    assert unit == UNIT
    assert argv[1:] == ["-I", f"{directory}/runner.py", "run"]
    expected = {
        "User=root",
        "RuntimeMaxSec=7200",
        "TimeoutStopSec=30",
        "KillMode=mixed",
        "LimitNOFILE=65536",
        f"StandardOutput=append:{job['records_dir']}/sft.log",
        f"RequiresMountsFor={job['records_dir']}",
        f"LoadCredential=HF_TOKEN:{directory}/secrets/HF_TOKEN",
        "PermissionsStartOnly=yes",
        f"ExecStopPost={argv[0]} -I {directory}/runner.py finish {directory}",
    }
    assert expected <= set(properties)
    assert Path(directory, "runner.py").read_text() == Path(runner.__file__).read_text()


def test_a_user_is_kept_in_a_sandbox_with_the_chips_in_it(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    run_module("job", **{**job, "user": "nobody"})
    properties = set(fake_systemd.started[0][1])
    assert {"User=nobody", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "PrivateTmp=yes"} <= properties
    assert {"ProtectHome=yes", "ProtectProc=invisible"} <= properties
    names = {item.partition("=")[0] for item in properties}
    assert not names & {"PrivateDevices", "ProtectClock", "DevicePolicy", "DeviceAllow"}


def test_root_is_not(run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]) -> None:
    run_module("job", **job)
    assert not set(fake_systemd.started[0][1]) & set(systemd.SANDBOX)


def test_a_record_is_for_root_alone(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    run_module("job", **job)
    assert (Path(job["records_dir"]) / "sft.json").stat().st_mode & 0o777 == 0o600


def test_a_job_that_would_fill_the_disk_does_not_start(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    result = run_module("job", **job, disk_space={"bytes": 1e18})
    assert "job sft is about to write 1000000000.0 GB, but the disk of" in result["msg"]
    assert "tpu_vm_disk_size_gb" in result["msg"]
    assert fake_systemd.started == []


def test_what_another_job_has_still_to_write_is_not_free(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of the server is installed while the training begins, which fills the disk else."""
    free, taken = 10 * 2**30, 2**30

    def disk(_path: str) -> SimpleNamespace:
        blocks = (free + taken) // 4096
        return SimpleNamespace(f_bavail=free // 4096, f_bfree=free // 4096, f_frsize=4096, f_blocks=blocks)

    monkeypatch.setattr(os, "statvfs", disk)
    ahead = {**job, "name": "env-serve", "background": True}
    assert run_module("job", **ahead, disk_space={"bytes": 6e9})["action"] == "run"
    free, taken = free - 2 * 10**9, taken + 2 * 10**9  # of which it has written these
    result = run_module("job", **job, disk_space={"bytes": 6e9})
    assert (
        "job sft is about to write 6.0 GB, and job env-serve, which runs, 4.0 GB more, but" in result["msg"]
    )
    (Path(job["records_dir"]) / "broken.json").write_text("[")
    end(job["records_dir"], fake_systemd, name="env-serve")
    assert run_module("job", **job, disk_space={"bytes": 6e9})["action"] == "run"


def test_what_nobody_knows_is_not_compared_with_the_disk_and_says_so_once(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, warning: said.append(warning))
    unknown = {**job, "disk_space": {"bytes": None}}
    assert run_module("job", **unknown)["action"] == "run"
    assert run_module("job", **unknown)["action"] == "attach"
    assert ["How much job sft will write" in warning for warning in said] == [True]


def test_a_lack_of_memory_that_names_no_file_may_be_the_disk(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: str, _record: dict[str, Any]) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(runner, "write_json", refuse)
    told = run_module("job", **job)["msg"]
    assert told.startswith("Cannot allocate memory. The disk failed, or the machine is out of memory")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "Read-only file system. The disk failed"),
        (errno.EIO, "Input/output error. The disk failed"),
        (errno.ENOMEM, "Cannot allocate memory. The disk failed"),
        (errno.ENOSPC, "No space left on device. Delete what is not needed"),
    ],
)
def test_a_disk_that_takes_no_more_writes_is_named_with_the_remedy(
    run_module: RunModule,
    fake_systemd: Systemd,
    job: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    said: str,
) -> None:
    def refuse(path: str, record: dict[str, Any]) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(runner, "write_json", refuse)
    result = run_module("job", **job)
    assert f"{job['records_dir']}/sft.json: {said}" in result["msg"]
    assert "run the" in result["msg"]


@pytest.mark.parametrize("step", ["write_json", "reserve"])
def test_a_job_that_a_full_disk_keeps_from_starting_leaves_no_secret(
    run_module: RunModule,
    fake_systemd: Systemd,
    job: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def refuse(path: str, *_rest: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(runner, step, refuse)
    assert run_module("job", **job)["failed"]
    assert SECRET not in everything_below(tmp_path)
    assert not Path(records.RUN_DIR, "sft").exists()


def test_what_is_there_already_need_not_be_written(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "items").write_bytes(bytes(1_000_000))
    size = space.size_of(str(model))
    wanted = {"bytes": 1000, "like": str(model), "times": 3}
    result = run_module("job", **job, disk_space={**wanted, "present": [str(model), "/no/such"]})
    assert size >= 1_000_000
    assert result["job"]["disk"]["needed"] == 1000 + 2 * size


def test_nothing_is_expected_where_a_size_counts_no_times(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "model").write_bytes(bytes(1_000_000))
    wanted = {"like": str(tmp_path / "model"), "times": 0}
    assert run_module("job", **job, disk_space=wanted)["job"]["disk"]["needed"] is None


def test_units_that_exclude_the_job_are_named(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    fake_systemd.active.add("vllm.service")
    job = {**job, "conflicts": ["vllm.service", "tpuops-*"]}
    refused = run_module("job", **job)
    fake_systemd.active.clear()
    assert refused["msg"].startswith(
        "job sft cannot run beside vllm.service. Wait until that has ended, or stop"
    )
    assert run_module("job", **job)["action"] == "run"


def test_a_unit_that_is_stopping_is_waited_for(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    """It holds its chips until its last process is gone."""
    fake_systemd.stopping["vllm.service"] = 3
    assert run_module("job", **job, conflicts=["vllm.service"])["action"] == "run"
    assert fake_systemd.stopping["vllm.service"] == 0


def test_a_unit_that_does_not_stop_is_not_waited_for_without_end(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "LET_GO_WITHIN", 0.0)
    fake_systemd.stopping["vllm.service"] = 1000
    refused = run_module("job", **job, conflicts=["vllm.service"])
    assert "job sft cannot run beside vllm.service" in refused["msg"]
    assert fake_systemd.started == []


def test_a_unit_that_is_stopping_does_not_hide_one_that_runs(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    fake_systemd.active.add("tpuops-sft-other.service")
    fake_systemd.stopping["vllm.service"] = 1000
    refused = run_module("job", **job, conflicts=["vllm.service", "tpuops-sft-*"])
    assert "cannot run beside tpuops-sft-other.service, vllm.service" in refused["msg"]
    assert fake_systemd.stopping["vllm.service"] == 999, "one look is enough"


@pytest.mark.parametrize("own", [True, False])
def test_the_runs_own_server_makes_way(
    run_module: RunModule,
    fake_systemd: Systemd,
    job: dict[str, Any],
    own: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_systemd.active.add("vllm.service")
    fake_systemd.files["vllm.service"] = ["[Unit]", "X-Run=mine" if own else "X-Run=mine-too"]
    options = {"conflicts": ["vllm.service"], "stops": {"vllm.service": "X-Run=mine", "other.service": "X"}}
    result = run_module("job", **job, **options)
    if own:
        assert result["job"]["stopped"] == ["vllm.service"]
        assert "vllm.service was stopped for job sft" in capsys.readouterr().err
        assert fake_systemd.stopped == ["vllm.service"]
    else:
        assert "cannot run beside vllm.service" in result["msg"]
        assert fake_systemd.stopped == []


def test_a_running_job_is_attached_to_without_its_command(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    options = {"name": "sft", "records_dir": job["records_dir"], "state": "attached"}
    never = run_module("job", **options)
    run_module("job", **job, progress={"format": "maxtext", "total": 100})
    attached = run_module("job", **options)
    end(job["records_dir"], fake_systemd, status="failed")
    ended = run_module("job", **options)
    told = [(each["changed"], each["action"], each["reason"]) for each in (never, attached, ended)]
    assert told == [
        (False, "none", "it never ran"),
        (False, "attach", "it is running"),
        (False, "none", "its last run is failed"),
    ]
    assert attached["job"]["progress"]["format"] == "maxtext"
    assert attached["job"]["progress"]["total"] == 100


def test_nothing_is_decided_before_the_disk_is_mounted(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As right after a restart: the directory is empty until then, and the job seems never to have run."""
    run_module("job", **job)
    end(job["records_dir"], fake_systemd)
    disk, away = Path(job["records_dir"]).parent, Path(job["records_dir"]).parent.with_name("away")
    disk.rename(away)
    disk.mkdir()

    def mount(path: str) -> None:
        assert path == job["records_dir"]
        disk.rmdir()
        away.rename(disk)

    monkeypatch.setattr(systemd, "mount", mount)
    assert run_module("job", **job)["action"] == "skip"


@pytest.fixture
def shared(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A job of the user that all stages share."""
    monkeypatch.setattr(accounts, "JOBS_USER", "nobody")
    return {**job, "user": None}


def test_the_default_user_is_the_one_of_the_jobs_for_every_user_who_became_root(
    run_module: RunModule, fake_systemd: Systemd, shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "me")
    assert run_module("job", **shared)["job"]["user"] == "nobody"


def groups(fake_systemd: Systemd) -> list[list[str]]:
    return [
        [item for item in properties if re.match("(Supplementary)?Groups?=", item)]
        for _, properties, _ in fake_systemd.started
    ]


def test_jobs_that_run_together_have_no_group_in_common(
    run_module: RunModule, fake_systemd: Systemd, shared: dict[str, Any]
) -> None:
    """With the same user and group, one could read the memory and the environment of the other."""
    run_module("job", **shared)
    run_module("job", **{**shared, "name": "other"})
    shutil.rmtree(Path(records.RUN_DIR, "sft"))  # the first one ends
    run_module("job", **{**shared, "name": "third"})
    own = f"SupplementaryGroups={pwd.getpwnam('nobody').pw_gid}"
    assert groups(fake_systemd) == [[f"Group=group-{number}", own] for number in (1, 2, 1)]


def test_a_job_of_another_user_has_that_users_group(
    run_module: RunModule, fake_systemd: Systemd, shared: dict[str, Any]
) -> None:
    run_module("job", **{**shared, "user": "root"})
    assert groups(fake_systemd) == [[]]


def test_too_many_jobs_at_once_are_refused_and_leave_no_secret(
    run_module: RunModule, fake_systemd: Systemd, shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_taken: object) -> str:
        raise accounts.AccountError("64 jobs run on this machine. Wait until one has ended")

    monkeypatch.setattr(accounts, "job_group", refuse)
    assert run_module("job", **shared)["msg"].startswith("job sft: 64 jobs run on this machine. Wait until")
    assert not Path(records.RUN_DIR, "sft").exists()


def test_the_user_of_the_jobs_is_missing_on_a_machine_that_was_not_prepared(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "JOBS_USER", "tpuops-is-not-here")
    told = run_module("job", **{**job, "user": None})["msg"]
    assert told == (
        "user: there is no user tpuops-is-not-here on this machine. The role data_disk creates it: "
        "ansible-playbook site.yml --tags data_disk"
    )


@pytest.mark.parametrize("user", ["nobody", "root"])
def test_a_directory_that_the_sandbox_does_not_have_is_refused(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], user: str
) -> None:
    result = run_module("job", **{**job, "user": user, "chdir": "/root"})
    if user == "root":
        assert result["action"] == "run"
    else:
        assert result["msg"].startswith("chdir: /root is out of reach of jobs, as are all home directories")


def test_a_secret_reaches_systemd_and_nothing_else(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], tmp_path: Path
) -> None:
    result = run_module("job", diff=True, **job)
    assert fake_systemd.seen_secrets["HF_TOKEN"] == SECRET
    assert SECRET not in json.dumps(fake_systemd.started)
    assert SECRET not in json.dumps(result)
    assert SECRET not in everything_below(tmp_path)


def test_a_changed_secret_is_no_changed_job(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    run_module("job", **job)
    end(job["records_dir"], fake_systemd)
    assert run_module("job", **{**job, "secrets": {"HF_TOKEN": "another"}})["action"] == "skip"


def test_other_inputs_while_it_runs_are_refused(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    run_module("job", **job)
    result = run_module("job", **{**job, "inputs": {"steps": 120}})
    assert result["failed"]
    assert "job sft is running and inputs.steps changed" in result["msg"]
    assert "Wait until it has ended" in result["msg"]
    assert f"systemctl stop {UNIT}" in result["msg"]


def test_check_mode_says_and_does_nothing(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = run_module("job", check=True, diff=True, **job)
    assert (result["changed"], result["action"], result["reason"]) == (True, "run", "it never ran")
    assert result["diff"]["after"]["inputs"] == {"steps": 100}
    assert result["diff"]["before"] == {}
    assert (sorted(tmp_path.rglob("*")), fake_systemd.started) == (before, [])


def test_a_run_after_a_failure_counts_and_keeps_the_log_of_the_one_before(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    run_module("job", **job)
    log = Path(job["records_dir"]) / "sft.log"
    log.write_text("first\n")
    end(job["records_dir"], fake_systemd, status="failed")
    again = run_module("job", **job)
    end(job["records_dir"], fake_systemd)
    other = run_module("job", **{**job, "inputs": {"steps": 120}})
    assert (again["reason"], again["job"]["runs"], other["job"]["runs"]) == ("its last run is failed", 2, 1)
    assert (log.read_text(), log.with_name("sft.log.1").read_text()) == ("", "")  # one run back, no further


def test_systemd_refuses(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], tmp_path: Path
) -> None:
    fake_systemd.refuses = systemd.SystemdError("Unknown assignment: LoadCredential")
    result = run_module("job", **job)
    assert result["msg"] == "job sft: systemd did not start it: Unknown assignment: LoadCredential"
    assert result["silent"] is False
    assert sorted((tmp_path / "run").iterdir()) == [
        tmp_path / "run" / name for name in (".sft.lock", ".start.lock")
    ]
    assert run_module("job_info", records_dir=job["records_dir"])["jobs"][0]["status"] == "failed"


def test_a_machine_that_shuts_down_starts_nothing(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    fake_systemd.refuses = systemd.SystemdSilent(systemd.SystemdError("Transaction is destructive"))
    result = run_module("job", **job)
    assert (result["failed"], result["silent"]) == (True, True)
    assert result["msg"].startswith("the machine shuts down or has just started: Transaction is destructive")
    fake_systemd.refuses = None
    assert run_module("job", **job)["action"] == "run"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user": "no-such-user"}, "user: there is no user no-such-user on this machine"),
        ({"chdir": "/no/such/dir"}, "chdir: /no/such/dir is not a directory"),
        ({"name": "a\n"}, "name: 'a\\n' cannot name a job"),
        ({"records_dir": "/no such"}, "records_dir: '/no such' is not an absolute path"),
        ({"argv": None}, "argv"),
        ({"progress": {"format": "pattern"}}, "pattern"),
        ({"records_dir": "/no/such/disk/.tpuops/jobs"}, "there is no /no/such/disk. Mount the data disk"),
    ],
)
def test_bad_options(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    result = run_module("job", **{**job, **options})
    assert result["failed"]
    assert message in result["msg"]
    assert fake_systemd.started == []


def test_root_is_needed(run_module: RunModule, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "become: true" in run_module("job", **job)["msg"]


def test_a_unit_of_that_name_from_elsewhere(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    fake_systemd.active.add(UNIT)
    assert f"{UNIT} runs, but its record is not" in run_module("job", **job)["msg"]


def test_stop(run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]) -> None:
    options = {"name": "sft", "records_dir": job["records_dir"], "state": "stopped"}
    nothing = run_module("job", **options)
    run_module("job", **job)
    would = run_module("job", check=True, **options)
    stopped = run_module("job", **options)
    assert [nothing["changed"], would["changed"], stopped["changed"]] == [False, True, True]
    assert (fake_systemd.stopped, stopped["action"]) == ([UNIT], "stop")
    assert Path(records.RUN_DIR, "sft", runner.STOP_REQUEST).exists()


def test_progress_of_an_older_run_is_left_out(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 1}\n')
    run_module("job", **job, progress={"file": str(metrics)})
    with metrics.open("a") as handle:
        handle.write('{"step": 2}\n{"step"')
    options = {"name": "sft", "records_dir": job["records_dir"]}
    first = run_module("job_info", offset=-1, **options)
    more = run_module("job_info", offset=first["offset"], **options)
    assert (first["text"], more["text"]) == ('{"step": 2}\n', "")


def test_job_info_tells_what_the_disk_got_since_the_job_started(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([1000, 4000, 900])
    monkeypatch.setattr(space, "used", lambda _: next(sizes))
    run_module("job", **job)
    looks = [run_module("job_info", name="sft", records_dir=job["records_dir"], offset=-1) for _ in range(2)]
    assert [look["written"] for look in looks] == [3000, 0]  # and never less than nothing


@pytest.mark.parametrize("there", [False, True])
def test_job_info_does_not_miss_a_job_whose_records_are_elsewhere(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any], tmp_path: Path, there: bool
) -> None:
    """As with a misspelt data_disk_mount_point: teardown would delete the node under the job."""
    run_module("job", **job)
    fake_systemd.active.add("tpuops-guard.service")
    other = tmp_path / "other"
    if there:
        other.mkdir()
    told = run_module("job_info", records_dir=str(other))
    assert told["failed"]
    assert told["msg"].startswith(f"records_dir: {other} has no record of {UNIT}, which runs.")
    known = run_module("job_info", records_dir=job["records_dir"])["jobs"]
    assert [each["name"] for each in known] == ["sft"]


def test_job_info_lists_by_start_and_explains_a_failure(
    run_module: RunModule, fake_systemd: Systemd, job: dict[str, Any]
) -> None:
    assert run_module("job_info", records_dir=job["records_dir"])["jobs"] == []
    run_module("job", **job)
    (Path(job["records_dir"]) / "sft.log").write_text("ValueError: no\n")
    end(job["records_dir"], fake_systemd, status="failed")
    run_module("job", **{**job, "name": "a-later-one"})
    names = [record["name"] for record in run_module("job_info", records_dir=job["records_dir"])["jobs"]]
    told = run_module("job_info", name="sft", records_dir=job["records_dir"])
    assert names == ["sft", "a-later-one"]
    assert told["log_tail"] == ["ValueError: no"]
    assert run_module("job_info", name="never", records_dir=job["records_dir"])["jobs"] == []
