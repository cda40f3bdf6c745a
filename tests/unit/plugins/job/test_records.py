# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes two jobs the same job, and what to do about one."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import records, systemd
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.records import JobError, Paths
from hypothesis import assume, example, given
from hypothesis import strategies as st

from .conftest import BOOT, Systemd

COMMON = Path(__file__).resolve().parents[4] / "roles" / "common" / "vars" / "main.yml"
PATHS = Paths("sft", "/disk/jobs")
names = st.text(max_size=4)
scalars = st.none() | st.booleans() | st.integers() | names
json_values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(names, scalars, max_size=2)


def record(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "sft",
        "unit": PATHS.unit,
        "status": "finished",
        "reason": None,
        "argv": ["train"],
        "environment": {"A": "1"},
        "inputs": {"steps": 100},
        "outputs": [],
        "manifests": {},
        "boot_id": BOOT,
    }
    return {**base, **changes}


@pytest.mark.parametrize("name", ["sft", "sft-qwen3-4b", "upload-me.model_1", "0", "a" * 100])
def test_names_that_are_safe_everywhere_are_kept(name: str) -> None:
    assert Paths(name, "/disk/jobs").unit == f"tpuops-{name}.service"


@pytest.mark.parametrize(
    ("name", "part"),
    [("../x", "x"), ("a/b", "a-b"), ("-a", "a"), ("a%n", "a-n"), ("ä", "job"), ("a" * 101, "a" * 60)],
)
def test_other_names_keep_a_readable_part(name: str, part: str) -> None:
    key = Paths(name, "/disk/jobs").key
    assert re.fullmatch(re.escape(part) + ":[0-9a-f]{16}", key)


def everything(name: str) -> list[str]:
    """All that belongs to a job alone."""
    paths = Paths(name, "/disk/jobs")
    after_crashes = [f"{paths.record}.next", f"{paths.log}.1"]
    return [paths.record, paths.log, paths.directory, paths.lock, paths.unit, *after_crashes]


endings = st.sampled_from(["", ".lock", ".json", ".log", ".log.1", ".json.next", ".service", "."])
any_name = st.text(min_size=1, max_size=300) | st.builds(
    str.__add__, st.text("ab.-_:/%\\ ", min_size=1), endings
)


@given(any_name)
def test_any_name_is_safe_in_units_files_and_command_lines(name: str) -> None:
    paths = Paths(name, "/disk/jobs")
    assert re.fullmatch(r"tpuops-[A-Za-z0-9][A-Za-z0-9_.:-]*\.service", paths.unit) or paths.key.startswith(
        "_"
    )
    assert re.fullmatch(r"[A-Za-z0-9_.:-]+", paths.key)
    assert len(f"{paths.unit}.json.next") < 255
    for path in everything(name):
        assert "/" not in path.removeprefix("/disk/jobs/").removeprefix(f"{records.RUN_DIR}/")


@given(any_name)
@example("日本")
@example("/")
def test_training_holds_the_chips_whatever_its_run_is_called(run: str) -> None:
    """By the shell patterns that keep the server and other training away."""
    patterns = yaml.safe_load(COMMON.read_text())["_common_training_units"]
    unit = Paths(f"sft-{run}", "/disk/jobs").unit
    assert any(fnmatchcase(unit, pattern) for pattern in patterns)


@pytest.mark.parametrize("name", ["sft", "export-sft-run", "serve-start", "question-sft-1", "sftp-x"])
def test_other_jobs_do_not_hold_the_chips(name: str) -> None:
    patterns = yaml.safe_load(COMMON.read_text())["_common_training_units"]
    assert not any(fnmatchcase(Paths(name, "/disk/jobs").unit, pattern) for pattern in patterns)


@given(any_name, any_name)
def test_two_jobs_share_nothing(first: str, second: str) -> None:
    assume(first != second)
    assert not set(everything(first)) & set(everything(second))


@pytest.mark.parametrize("name", ["", " ", "a\n", "\x1b[31m", "a\0"])
def test_names_that_cannot_be_shown_are_refused(name: str) -> None:
    with pytest.raises(JobError, match=r"^name: .* cannot name a job: use characters that can be printed"):
        records.check_paths(Paths(name, "/disk/jobs"))


@pytest.mark.parametrize("directory", ["jobs", "/a b", "/a%n", "/a:b", "/a\n", '/a"', "/a\\b", "/$x"])
def test_a_directory_that_a_unit_cannot_hold_is_refused(directory: str) -> None:
    with pytest.raises(JobError, match=r"^records_dir: .* name another directory"):
        records.check_paths(Paths("sft", directory))


@given(st.dictionaries(names, json_values, max_size=4))
def test_the_order_of_inputs_does_not_matter(inputs: dict[str, Any]) -> None:
    backwards = dict(reversed(inputs.items()))
    assert records.fingerprint(["a"], {}, inputs) == records.fingerprint(["a"], {}, backwards)


def test_every_part_of_a_job_is_in_its_fingerprint() -> None:
    prints = {
        records.fingerprint(["a"], {}, {}),
        records.fingerprint(["a", ""], {}, {}),
        records.fingerprint(["a"], {"A": "1"}, {}),
        records.fingerprint(["a"], {}, {"A": "1"}),
        records.fingerprint(["a"], {}, {"A": 1}),
    }
    assert len(prints) == 5


def test_differences_are_named() -> None:
    after = record(argv=["train", "x"], environment={}, inputs={"steps": 120, "seed": 1})
    changed = ["argv", "environment.A", "inputs.seed", "inputs.steps"]
    assert records.differences(record(), after) == changed


@pytest.mark.parametrize(
    ("previous", "wanted", "action", "reason"),
    [
        (None, {}, "run", "it never ran"),
        ({}, {}, "skip", "it finished with the same inputs"),
        ({}, {"outputs": ["/no/such/file"]}, "run", "/no/such/file is missing"),
        (
            {},
            {"manifests": {"/no/manifest.json": "/no"}},
            "run",
            "its output is damaged (/no/manifest.json is missing or is no manifest)",
        ),
        ({}, {"inputs": {"steps": 120}}, "run", "inputs.steps changed"),
        ({"status": "failed"}, {}, "run", "its last run is failed"),
        ({"status": "interrupted"}, {}, "run", "its last run is interrupted"),
        ({"status": "running"}, {}, "attach", "it is running"),
        ({"status": "running"}, {"outputs": ["/no/such/file"]}, "attach", "it is running"),
        ({"status": "running"}, {"argv": ["other"]}, "refuse", "argv changed"),
    ],
)
def test_decision(previous: dict[str, Any] | None, wanted: dict[str, Any], action: str, reason: str) -> None:
    known = None if previous is None else record(**previous)
    decision = records.decide(known, record(**wanted))
    assert (decision.action, decision.reason) == (action, reason)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"argv": []}, "argv: is empty"),
        ({"environment": {"A B": "1"}}, "environment: 'A B' cannot name"),
        ({"environment": {"A": True}}, 'environment: A is not a string: quote the value, as in A: "1"'),
        ({"environment": {"A": None}}, "environment: A is not a string"),
        ({"secrets": {"tpuops.spec": "x"}}, "secrets: 'tpuops.spec' cannot name"),
        ({"secrets": {"TOKEN": ""}}, "secrets: TOKEN is empty"),
        ({"environment": {"T": "a"}, "secrets": {"T": "b"}}, "environment, secrets: T is in both"),
        ({"environment": {"A": "x\0"}}, "environment: A holds a NUL"),
    ],
)
def test_a_command_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    arguments = {"argv": ["true"], "environment": {}, "secrets": {}, "inputs": {}, **options}
    with pytest.raises(JobError, match=message):
        records.check_command(**arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"argv": ["train", 'hf_access_token=hf_sec"ret']},
        {"environment": {"COPY": 'hf_sec"ret'}},
        {"inputs": {"list": [{"deep": 'x hf_sec"ret'}]}},
    ],
)
def test_a_secret_in_a_place_that_others_read_is_refused(options: dict[str, Any]) -> None:
    arguments = {"argv": ["true"], "environment": {}, "inputs": {}, **options}
    with pytest.raises(JobError) as refused:
        records.check_command(**arguments, secrets={"HF_TOKEN": 'hf_sec"ret'})
    assert "HF_TOKEN" in str(refused.value)
    assert "hf_sec" not in str(refused.value)


def test_a_record_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "sft.json"
    path.write_text(json.dumps(record()))
    assert records.read(str(path)) == record()
    assert records.read(str(tmp_path / "other.json")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_something_else_in_place_of_a_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sft.json"
    path.write_text(text)
    with pytest.raises(JobError, match=r"sft\.json: is not the record of a job.*move it away"):
        records.read(str(path))


def test_running_is_believed_only_of_this_boot_and_a_live_unit(tmp_path: Path, fake_systemd: Systemd) -> None:
    path = tmp_path / "sft.json"
    path.write_text(json.dumps(record(status="running")))
    fake_systemd.active.add(PATHS.unit)
    running = records.current(str(path))
    fake_systemd.active.clear()
    dead = records.current(str(path))
    path.write_text(json.dumps(record(status="running", boot_id="another")))
    fake_systemd.active.add(PATHS.unit)
    other = records.current(str(path))
    assert running and dead and other
    assert [running["status"], dead["status"], other["status"]] == ["running", "interrupted", "interrupted"]
    assert dead["reason"] == "its unit ended without leaving a result"
    assert other["reason"] == "the machine restarted or was replaced while it ran"


def test_a_job_that_ends_between_two_looks_has_ended(
    tmp_path: Path, fake_systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sft.json"
    path.write_text(json.dumps(record(status="running")))

    def ends(_unit: str) -> bool:
        path.write_text(json.dumps(record(status="finished")))
        return False

    monkeypatch.setattr(systemd, "is_active", ends)
    assert records.current(str(path)) == record(status="finished")
