# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a TPU VM, in words; how it is looked at; and the program inside the sandbox."""

from __future__ import annotations

import email.utils
import errno
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.host import look, probe
from ansible_collections.tpuops.maxtext.plugins.module_utils.host.problems import (
    CLOCK,
    DISK,
    GIB,
    Owner,
    Seen,
    Wanted,
    of_hub,
    problems,
)

WANTED = Wanted("tpu", "v5litepod-8", "tpuops", "https://huggingface.co")
CHIPS = tuple(f"/dev/vfio/{number}" for number in range(8))
FINE: dict[str, Any] = {
    "devices": dict.fromkeys((*CHIPS, look.CONTAINER)),
    "hub": {"error": None, "clock": 0.2},
}
SEEN = Seen(CHIPS, (), 100 * GIB, {"/": 10 * GIB, "/mnt/disks/checkpoints": 10 * GIB}, FINE)
THIEF = Owner(42, "python3", "", "/dev/vfio/3")


def closed(number: int) -> dict[str, Any]:
    return {**FINE, "devices": {**FINE["devices"], "/dev/vfio/3": number}}


def hub(**found: Any) -> dict[str, Any]:
    return {**FINE, "hub": {**FINE["hub"], **found}}


def test_a_machine_as_it_should_be_has_no_problem() -> None:
    assert problems(WANTED, SEEN) == []
    assert problems(WANTED, replace(SEEN, probed=None)) == []
    assert problems(Wanted("cpu", "v5litepod-8", "tpuops", ""), replace(SEEN, devices=())) == []


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"devices": ()}, r"chips: there is no /dev/vfio/\* .* v5litepod-8.*teardown"),
        ({"devices": CHIPS[:7]}, r"chips: the machine has 7 \(.*\), and v5litepod-8 has 8"),
        ({"owners": [THIEF]}, r"chips: python3 \(process 42\) has /dev/vfio/3 open.*sudo kill 42$"),
        ({"owners": [replace(THIEF, unit="x.service")]}, r"of x.service\).*sudo systemctl stop x.service$"),
        (
            {"probed": closed(errno.EACCES)},
            r"chips: the user tpuops .*/dev/vfio/3: Permission denied\. .*chmod",
        ),
        ({"probed": closed(errno.EPERM)}, "Operation not permitted"),
        ({"probed": closed(errno.EBUSY)}, "/dev/vfio/3 is in use.*sudo reboot"),
        ({"probed": closed(errno.ENXIO)}, "/dev/vfio/3 cannot be opened: No such device.*teardown"),
        ({"memory": 7 * GIB}, r"memory: 7\.0 GiB are free, and 8 GiB"),
        ({"disks": {"/": DISK - 1}}, "disk: 255 MiB of / are free"),
        ({"disks": {"/mnt": None}}, "disk: the file system of /mnt is read-only"),
        ({"probed": hub(clock=CLOCK + 1)}, "clock: that of the machine is 61 s fast"),
        ({"probed": hub(clock=-7200.0, error="certificate")}, "clock: that of the machine is 7200 s slow"),
    ],
)
def test_each_problem_is_one_and_has_its_remedy(seen: dict[str, Any], words: str) -> None:
    found = problems(WANTED, replace(SEEN, **seen))
    assert len(found) == 1
    assert re.search(words, found[0]), found[0]
    assert found[0].count(". ") >= 1, "the remedy is a sentence of its own"


@pytest.mark.parametrize("unit", ["tpuops-sft-x.service", "vllm.service"])
def test_our_own_job_may_have_the_chips(unit: str) -> None:
    seen = replace(SEEN, owners=[replace(THIEF, unit=unit)], probed=closed(errno.EBUSY))
    assert problems(WANTED, seen) == []


@pytest.mark.parametrize(
    ("kind", "chips", "huge_pages", "device"),
    [
        ("v5litepod-8", 8, True, "vfio"),
        ("v5litepod-16", 4, True, "vfio"),
        ("v6e-1", 1, True, "vfio"),
        ("v5p-8", 4, True, "vfio"),
        ("v4-8", 4, False, "accel"),
        ("v2-8", 4, False, "accel"),
        ("v9-8", None, True, "accel"),
        ("", None, True, "accel"),
    ],
)
def test_what_a_type_of_node_has(kind: str, chips: int | None, huge_pages: bool, device: str) -> None:
    wanted = replace(WANTED, accelerator_type=kind)
    assert (wanted.chips, wanted.huge_pages) == (chips, huge_pages)
    assert f"/dev/{device}" in problems(wanted, replace(SEEN, devices=()))[0]


def test_a_hub_that_does_not_answer_is_told_unless_the_clock_is_why() -> None:
    assert of_hub(WANTED, SEEN) is None
    assert of_hub(WANTED, replace(SEEN, probed=None)) is None
    told = of_hub(WANTED, replace(SEEN, probed=hub(error="Name or service not known")))
    assert told
    assert told.startswith(
        "hf_endpoint: the Hub at https://huggingface.co does not answer the machine: Name or"
    )
    assert of_hub(WANTED, replace(SEEN, probed=hub(error="x", clock=-7200.0))) is None


def test_who_has_a_device_open_is_found(tmp_path: Path) -> None:
    for pid, target, group in [("7", "/dev/vfio/1", "0::/system.slice/x.service\n"), ("8", "/dev/null", "")]:
        process = tmp_path / pid
        (process / "fd").mkdir(parents=True)
        (process / "fd" / "3").symlink_to(target)
        (process / "comm").write_text("python3\n")
        (process / "cgroup").write_text(group)
    found = look.owners(["/dev/vfio/1"], str(tmp_path))
    assert found == [Owner(7, "python3", "x.service", "/dev/vfio/1")]


def test_devices_are_found_by_number_and_files_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("accel10", "accel2", "accel_x"):
        (tmp_path / name).touch()
    patterns = [f"{tmp_path}/accel[0-9]*", "/dev/nul[l]"]
    assert look.devices(patterns) == [], "they are files, and the other has no number"
    monkeypatch.setattr("stat.S_ISCHR", lambda mode: True)
    assert [Path(path).name for path in look.devices(patterns)] == ["accel2", "accel10"]


def test_of_two_paths_on_one_disk_one_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    found = look.disks([str(tmp_path), str(tmp_path / "below"), str(tmp_path / "not there")])
    assert list(found) == [str(tmp_path)]
    assert found[str(tmp_path)]
    assert look.memory() > 0


def test_what_was_found_is_kept_for_the_same_inputs(tmp_path: Path) -> None:
    file = str(tmp_path / "record")
    assert not look.is_recorded({"user": "a"}, file)
    look.record({"user": "a"}, file)
    assert look.is_recorded({"user": "a"}, file)
    assert not look.is_recorded({"user": "b"}, file)
    assert Path(file).stat().st_mode & 0o777 == 0o600


def test_huge_pages_are_set_once_now_and_at_boot(tmp_path: Path) -> None:
    kernel, boot = tmp_path / "enabled", tmp_path / "boot.conf"
    kernel.write_text("always [madvise] never")
    assert look.set_huge_pages(True, str(kernel), str(boot))
    assert (kernel.read_text(), boot.exists()) == ("always [madvise] never", False)
    assert look.set_huge_pages(False, str(kernel), str(boot))
    assert kernel.read_text() == "always"
    assert boot.read_text() == f"w! {kernel} - - - - always\n"
    kernel.write_text("[always] madvise never")
    assert not look.set_huge_pages(False, str(kernel), str(boot))


@pytest.fixture
def answers() -> Iterator[dict[str, Any]]:
    """A Hub on this machine: status and headers that it answers with, and its address."""
    told: dict[str, Any] = {"status": 200, "date": time.time(), "asked": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            told["asked"] += 1
            self.send_response_only(told["status"])
            self.send_header("Date", email.utils.formatdate(told["date"], usegmt=True))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    told["endpoint"] = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, None), (404, None), (401, None), (407, "it answers 407"), (503, "it answers 503")],
)
def test_the_hub_answers(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, status: int, error: str | None
) -> None:
    monkeypatch.setattr(probe, "PAUSE", 0)
    answers["status"] = status
    found = probe.look_at_hub(answers["endpoint"], {})
    assert (found["error"] or "").startswith(error or "\0") is bool(error)
    assert abs(found["clock"]) < CLOCK
    assert answers["asked"] == (probe.ATTEMPTS if error else 1)


def test_the_clock_is_compared_with_the_hubs(answers: dict[str, Any]) -> None:
    answers["date"] = time.time() + 7200
    assert probe.look_at_hub(answers["endpoint"], {})["clock"] < -7000
    assert probe.ahead(None) is None
    assert probe.ahead("yesterday") is None


def test_no_hub_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PAUSE", 0)
    assert "Connection refused" in probe.look_at_hub("http://127.0.0.1:1", {})["error"]
    assert "unknown url type" in probe.look_at_hub("hub", {})["error"]


def test_the_program_tells_which_devices_it_can_open(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    asked = {"devices": ["/dev/null", missing], "endpoint": "", "environment": {"A": "b"}}
    program = [sys.executable, "-I", str(Path(probe.__file__))]
    answer = subprocess.run(program, input=json.dumps(asked), capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    assert found["devices"] == {"/dev/null": None, missing: errno.ENOENT}
    assert found["hub"] == {"error": None, "clock": None}
