# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn what a job writes into one line of progress.

A line of the followed file gives fields: step, total, loss, seconds (for this step) and tokens_per_second
(each device), all numbers and all optional but step; and message, shown as it is.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Optional

Fields = dict[str, Any]
Parser = Callable[[str], Optional[Fields]]

NUMBERS = ("step", "total", "loss", "seconds", "tokens_per_second")

# completed step: 1, seconds: 31.946, TFLOP/s/device: 0.000, Tokens/s/device: 8.013, total_weights: 109, loss:
# 6.936, ...
MAXTEXT = (
    r"completed step: (?P<step>\d+), seconds: (?P<seconds>[\d.]+)"
    r"(?:.*?Tokens/s/device: (?P<tokens_per_second>[\d.]+))?"
    r"(?:.*?, loss: (?P<loss>[\d.]+|nan|inf))?"
)
# So many last steps make the estimate of the time left.
ESTIMATED_FROM = 20
# The rate of what has hardly begun tells nothing of the rest.
SURE_FROM = 0.05
SHOWN_FROM = 1e6  # bytes; less may be anybody's


#: What is known of programs that tell no steps: uv, the Hub's client, vLLM, and those of our stages. The text
#: that is shown has nothing of the line but numbers.
PHASES = tuple(
    (re.compile(expression), text)
    for expression, text in (
        (r"^Resolved (\d+) packages", "resolved {} packages"),
        (r"^Prepared (\d+) packages", "downloaded {} packages"),
        (r"^Installed (\d+) packages", "installed {} packages"),
        (r"^checking ", "checks the modules"),
        (r"^installed \S+ in (\d+) s$", "installed in {} s"),
        (r"\bFetching (\d+) files: +(\d+)%", "downloaded {1}% of {0} files"),
        (r"^(\d+) files, ([\d.]+) MB, are on this disk already", "{} files, {} MB, are on the disk already"),
        (r"^the base model lies in ", "converts the base model"),
        (r"^compared (\d+) tensors with the base model", "compared {} tensors with the base model"),
        (r" has the weights, and what ", "exported the model"),
        (r"^(\d+) files, ([\d.]+) MB, to ", "uploads {} files, {} MB"),
        (r" has all (\d+) files, at commit ", "the Hub has all {} files"),
        (r"^waiting for \S+ to answer", "waits for the server"),
        (r"\bcheckpoint shards: +(\d+)%", "loaded {}% of the model"),
        (r" is healthy, (\d+) s after its start", "the server answers, {} s after its start"),
    )
)


def phase(line: str) -> str | None:
    """The progress that a line shows, of a program that counts no steps. None where the line is not known."""
    for expression, text in PHASES:
        if match := expression.search(line):
            return text.format(*match.groups())
    return None


def parser(format_name: str, pattern: str | None) -> Parser:
    """A parser for ``maxtext``, ``json`` or, with a regular expression, ``pattern``."""
    if format_name == "json":
        return parse_json
    expression = re.compile(pattern or "" if format_name == "pattern" else MAXTEXT)

    def parse(line: str) -> Fields | None:
        match = expression.search(line)
        return numbers(match.groupdict()) if match else None

    return parse


def parse_json(line: str) -> Fields | None:
    """A line of JSON with a step in it."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return numbers(value) if isinstance(value, dict) and "step" in value else None


def numbers(fields: Fields) -> Fields:
    """The known fields, as numbers; whatever is not there or is no number is left out."""
    found: Fields = {}
    for name in NUMBERS:
        try:
            found[name] = float(fields[name])
        except (KeyError, TypeError, ValueError):
            continue
    if fields.get("message"):
        found["message"] = str(fields["message"])
    return found


class Progress:
    """What is known of a job's progress, line by line."""

    def __init__(self, name: str, parse: Parser, total: int | None) -> None:
        self.name = name
        self.parse = parse
        self.total = total
        self.latest: Fields = {}
        self.durations: deque[float] = deque(maxlen=ESTIMATED_FROM)

    def feed(self, line: str) -> bool:
        """Take a line in; whether it told anything."""
        fields = self.parse(line)
        if not fields:
            return False
        self.latest = fields
        if "seconds" in fields and fields.get("step") != 1:  # the first one compiles
            self.durations.append(fields["seconds"])
        return True

    def describe(self) -> str:
        """``sft-demo  step 40/100  loss 1.23  2.1 s/step  ETA 2 min``, with what is known of it."""
        fields = self.latest
        total = self.total or fields.get("total")
        parts = [self.name]
        if "step" in fields:
            parts.append(f"step {fields['step']:.0f}" + (f"/{total:.0f}" if total else ""))
        if "loss" in fields:
            parts.append(
                f"loss {fields['loss']:.3g}" if fields["loss"] >= 100 else f"loss {fields['loss']:.2f}"
            )
        if "seconds" in fields:
            parts.append(f"{fields['seconds']:.1f} s/step")
        if fields.get("tokens_per_second"):
            parts.append(f"{fields['tokens_per_second']:.0f} tokens/s/device")
        if "message" in fields:
            parts.append(fields["message"])
        if total and "step" in fields and fields["step"] < total and self.durations:
            parts.append(f"ETA {duration((total - fields['step']) * self.typical_duration())}")
        return "  ".join(parts)

    def typical_duration(self) -> float:
        """Seconds a step: the median of the last twenty, unmoved by a step that compiles or saves."""
        ordered = sorted(self.durations)
        return ordered[len(ordered) // 2]


class Transfer:
    """What is known of the bytes that a job writes."""

    def __init__(self, expected: int | None = None) -> None:
        self.expected = expected
        self.written = 0
        self.seen: deque[tuple[float, int]] = deque(maxlen=ESTIMATED_FROM)

    def feed(self, written: int | None, now: float) -> bool:
        """Take in the bytes so far at a time in seconds; whether there are more worth showing."""
        if written is None:
            return False
        more = written - self.written >= SHOWN_FROM
        self.written = written
        self.seen.append((now, written))
        return more

    def describe(self) -> str:
        """``1.2 of about 8.0 GB written  45 MB/s  ETA 2 min``; empty when there is next to nothing."""
        if self.written < SHOWN_FROM:
            return ""
        known = self.expected and self.expected > self.written
        unit, name = (1e9, "GB") if max(self.written, self.expected or 0) >= 1e9 else (1e6, "MB")
        amount = f"{self.written / unit:.1f}"
        parts = [
            f"{amount} of about {self.expected / unit:.1f} {name} written"
            if self.expected and known
            else f"{amount} {name} written"
        ]
        rate = self.rate()
        if rate >= SHOWN_FROM / 10:
            parts.append(f"{rate / 1e6:.1f} MB/s")
            if self.expected and known and self.written >= self.expected * SURE_FROM:
                parts.append(f"ETA {duration((self.expected - self.written) / rate)}")
        return "  ".join(parts)

    def rate(self) -> float:
        """Bytes a second over the last twenty looks."""
        (first, before), (last, after) = self.seen[0], self.seen[-1]
        return (after - before) / (last - first) if last > first else 0.0


def duration(seconds: float) -> str:
    """A length of time for reading: ``45 s``, ``2 min``, ``3 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
