# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a job's log: what came since the last look, and what of it explains a failure."""

from __future__ import annotations

import os
import re

TAIL_BYTES = 256 * 1024
TAIL_LINES = 20
CAUSE_LINES = 5
LINE_LENGTH = 500
CHUNK_BYTES = 64 * 1024

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

# MaxText's clean-up hook writes some seventy such lines below the error that ended the run.
NOISE = re.compile(r"Error checking PID")

FULL = "No space left on device"  # explains whatever else is said about the end

# Lines that tell a cause, wherever they stand: the last line of a traceback, the loader's and the kernel's
# own words.
CAUSE = re.compile(
    r"(?:^|[\s\]:)])(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Timeout)\b\s*(?::|$)"
    r"|No space left on device|RESOURCE_EXHAUSTED|cannot open shared object file"
    r"|Out of memory|Segmentation fault"
)
# An error or a fatal error in the log of libtpu, which comes before the message of Python.
LIBTPU = re.compile(r"^[EF]\d{4} \d\d:\d\d:[\d.]+\s+\d+ \S+:\d+\] ")
# huggingface_hub's error of a request that the Hub limits says why in the line below.
SAYS_BELOW = re.compile(r"Error: \(Request ID: [^)]*\)$")
POINTS_ELSEWHERE = re.compile(r"see (?:root )?cause above|See stack trace", re.IGNORECASE)


def read_chunk(path: str, offset: int) -> tuple[str, int]:
    """The text from a byte offset on, and the offset to go on from.

    Only whole lines (a carriage return ends one, as progress bars use it), and the last 64 KiB of them.
    A file that is not there yet is empty; one that became shorter is read from its beginning.
    """
    try:
        handle = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return "", offset
    with handle:
        size = os.fstat(handle.fileno()).st_size
        start = 0 if offset > size else max(offset, size - CHUNK_BYTES)
        handle.seek(start)
        data = handle.read(CHUNK_BYTES)
    end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    return data[:end].decode("utf-8", "replace"), start + end


def lines_of(text: str) -> list[str]:
    """Lines without escape sequences and blanks at their end; empty ones dropped; long ones cut."""
    cleaned = (ESCAPES.sub("", line).rstrip()[:LINE_LENGTH] for line in re.split(r"[\r\n]+", text))
    return [line for line in cleaned if line]


def tail(path: str) -> list[str]:
    """At most 20 lines that explain how the job ended; none when there is no log."""
    try:
        with open(path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            handle.seek(max(0, size - TAIL_BYTES))
            text = handle.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return explain(lines_of(text))


def explain(lines: list[str]) -> list[str]:
    """The last lines before any noise, and above them up to five earlier lines that name a cause."""
    quiet = next((index for index, line in enumerate(lines) if NOISE.search(line)), len(lines))
    lines = without_repetition(lines[:quiet] or lines)
    if len(lines) <= TAIL_LINES:
        return lines
    last = lines[-(TAIL_LINES - CAUSE_LINES - 1) :]
    causes: list[str] = []
    for line in lines[: -len(last)]:
        telling = LIBTPU.search(line) or (CAUSE.search(line) and not POINTS_ELSEWHERE.search(line))
        if telling and line not in causes + last:
            causes.append(line)
    return [*causes[-CAUSE_LINES:], "...", *last] if causes else lines[-TAIL_LINES:]


def without_repetition(lines: list[str]) -> list[str]:
    """The lines; of a row that differ in their numbers alone (steps, progress bars), the last one."""
    shapes = [re.sub(r"[\d.]+", "0", line) for line in lines]
    return [line for line, shape, following in zip(lines, shapes, [*shapes[1:], None]) if shape != following]


def cause(lines: list[str]) -> str | None:
    """The one line that best names the cause: the last that does and that does not point to another.

    A full disk comes before all others, and an error of libtpu after them.
    """
    found = [
        index for index, line in enumerate(lines) if CAUSE.search(line) and not POINTS_ELSEWHERE.search(line)
    ]
    found = [index for index in found if FULL in lines[index]] or found
    found = found or [index for index, line in enumerate(lines) if LIBTPU.search(line)]
    if not found:
        return None
    telling, below = lines[found[-1]], lines[found[-1] + 1 : found[-1] + 2]
    return " ".join([telling, *below] if SAYS_BELOW.search(telling) else [telling]).strip()
