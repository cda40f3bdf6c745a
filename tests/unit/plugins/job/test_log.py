# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a log is shown while a job runs, and what of it explains a failure."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.tpuops.maxtext.plugins.module_utils.job import log
from hypothesis import given
from hypothesis import strategies as st

# The end of a run of MaxText 0.2.5 on a full disk, shortened: the cause, then the clean-up hook's noise.
FULL_DISK = [
    *[f"completed step: {step}, seconds: 1.{step}, loss: 2.{step}" for step in range(40)],
    "Traceback (most recent call last):",
    '  File "train_sft.py", line 120, in train',
    "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: No space left on device [os_error_code='28']",
    *[f"Error checking PID {pid}: [Errno 3] No such process" for pid in range(70)],
    "Traceback (most recent call last):",
    "SystemExit: 1",
]
# The end of vLLM's log without libnuma: the cause is far above the last line.
NO_LIBNUMA = [
    "INFO starting engine",
    "OSError: libnuma.so.1: cannot open shared object file: No such file or directory",
    *[f"  File frame{chr(97 + number)}, in call" for number in range(26)],
    "RuntimeError: Engine core initialization failed. See root cause above.",
]


def test_the_cause_stands_above_the_noise() -> None:
    shown = log.explain(FULL_DISK)
    assert shown == [FULL_DISK[39], *FULL_DISK[40:43]]
    cause = log.cause(shown)
    assert cause and "No space left on device" in cause


def test_a_cause_far_above_the_end_is_shown_with_the_end() -> None:
    shown = log.explain(NO_LIBNUMA)
    assert len(shown) <= log.TAIL_LINES
    assert shown[0] == NO_LIBNUMA[1]
    assert shown[-1] == NO_LIBNUMA[-1]
    assert log.cause(shown) == NO_LIBNUMA[1]


def test_a_log_of_noise_alone_is_still_shown() -> None:
    assert log.explain(["Error checking PID 1: x"]) == ["Error checking PID 1: x"]


def test_progress_bars_leave_their_last_state() -> None:
    text = "loading\r 10%|#    | 1/10\r 20%|#    | 2/10\r\x1b[32mdone\x1b[0m\n\n"
    assert log.explain(log.lines_of(text)) == ["loading", " 20%|#    | 2/10", "done"]


def test_no_log_no_lines(tmp_path: Path) -> None:
    assert log.tail(str(tmp_path / "no.log")) == []
    assert log.cause([]) is None


def test_a_long_line_is_cut() -> None:
    assert len(log.lines_of("x" * 10_000)[0]) == log.LINE_LENGTH


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_reading_on_loses_nothing_and_repeats_nothing(writes: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "job.log"
        offset, read = 0, ""
        for data in writes:
            with path.open("ab") as handle:
                handle.write(data)
            text, offset = log.read_chunk(str(path), offset)
            read += text
            whole = path.read_bytes()
            assert offset == max(whole.rfind(b"\n"), whole.rfind(b"\r")) + 1
        content = path.read_bytes() if writes else b""
        assert read == content[:offset].decode("utf-8", "replace")


def test_what_came_in_bulk_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_bytes(b"x\n" * 100_000 + b"last\n")
    text, offset = log.read_chunk(str(path), 0)
    assert (len(text), text[-5:], offset) == (log.CHUNK_BYTES, "last\n", path.stat().st_size)


def test_a_file_that_was_written_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_text("new\n")
    assert log.read_chunk(str(path), 1000) == ("new\n", 4)
    assert log.read_chunk(str(tmp_path / "no.log"), 7) == ("", 7)


LIBTPU = [
    "E1130 05:11:19.118605    6053 tpu_hal.cc:462] vfio: /dev/vfio/3: Device or resource busy",
    "F0000 00:00:1796015479.869430    6091 common_lib.cc:823] Check failed: chip 2 does not answer",
]


def test_errors_of_libtpu_are_among_the_causes() -> None:
    """They stand above what Python says of it."""
    lines = [*LIBTPU, *(f"frame {chr(97 + number)}" for number in range(20)), "RuntimeError: no backend"]
    told = log.explain(lines)
    assert told[:2] == LIBTPU
    assert log.cause(told) == "RuntimeError: no backend"


def test_the_last_error_of_libtpu_is_the_cause_where_nothing_else_is() -> None:
    assert log.cause([*LIBTPU, "done with it"]) == LIBTPU[1]
