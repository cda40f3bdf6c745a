# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The columns and splits of a data set, from its card or from the first or last bytes of one of its files.

Nothing is downloaded whole and no library for tables is needed. What cannot be told is None, never a guess.
"""

from __future__ import annotations

import csv
import fnmatch
import json
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

# First and last byte -> the bytes between, both included. A negative first byte counts from the end; the
# last is None then.
ReadRange = Callable[[int, Any], bytes]

HEAD_BYTES = 1 << 20
PACKED = (".gz", ".bz2", ".xz", ".zst")
SUFFIXES = tuple(
    suffix + packed
    for suffix in (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
    for packed in ("", *PACKED)
)
# Which reader of the datasets library takes a file, in the order in which it prefers them.
READERS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "json",
}
# What the datasets library never takes for data.
IGNORED = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json")
# As the datasets library tells splits from the names of files.
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def card_config(card: dict[str, Any], name: str | None) -> dict[str, Any] | None:
    """The configuration that the datasets library takes, of the card's ``configs``; {} where it has none.

    The named one; without a name the default or the only one. None: a name is missing, or not among them.
    """
    configs = [config for config in card.get("configs") or [] if isinstance(config, dict)]
    if not configs:
        return {} if name in (None, "default") else None
    if name is not None:
        return next((config for config in configs if config.get("config_name") == name), None)
    defaults = [
        config for config in configs if config.get("default") or config.get("config_name") == "default"
    ]
    return defaults[0] if defaults else configs[0] if len(configs) == 1 else None


def config_names(card: dict[str, Any]) -> list[str]:
    """The names of the card's configurations."""
    configs = [config for config in card.get("configs") or [] if isinstance(config, dict)]
    return [str(config.get("config_name")) for config in configs]


def split_names(expression: str) -> list[str] | None:
    """The splits that ``train+test`` joins; None for a part of one, such as ``train[:9]``."""
    return None if "[" in expression else [name.strip() for name in expression.split("+")]


def card_info(card: dict[str, Any], config_name: str | None) -> dict[str, Any]:
    """The ``dataset_info`` of the card for a configuration; {} where the card has none."""
    infos = card.get("dataset_info") or {}
    if isinstance(infos, dict):
        return infos
    named = [info for info in infos if info.get("config_name") == config_name]
    return dict(next(iter([*named, *infos]), {}))


def card_columns(info: dict[str, Any]) -> list[str] | None:
    """The names of the card's features."""
    features = info.get("features")
    if not isinstance(features, list):
        return None
    names = [feature.get("name") for feature in features if isinstance(feature, dict)]
    return [str(name) for name in names if name] or None


def card_rows(info: dict[str, Any], names: list[str]) -> int | None:
    """The number of rows of these splits that the card tells."""
    told = {split.get("name"): split.get("num_examples") for split in info.get("splits") or []}
    numbers = [told.get(name) for name in names]
    return sum(number for number in numbers if number) if all(isinstance(n, int) for n in numbers) else None


def split_files(config: dict[str, Any], files: Iterable[str]) -> dict[str, list[str]]:
    """The data files of each split: by the configuration's patterns, else by their names.

    The library reads one format of a split, the one that most of its files have. It leaves out the others,
    but not those that a configuration names.
    """
    found = all_split_files(config, files)
    if declared_patterns(config):
        return found
    return {split: of_one_format(paths) for split, paths in found.items()}


def of_one_format(paths: list[str]) -> list[str]:
    counts = Counter(suffix for path in paths for suffix in suffixes(path) if suffix in READERS)
    if not counts:
        return paths
    preferred = list(READERS)
    reader = READERS[max(counts, key=lambda suffix: (counts[suffix], -preferred.index(suffix)))]
    return [path for path in paths if any(READERS.get(suffix) == reader for suffix in suffixes(path))]


def suffixes(path: str) -> list[str]:
    """Of train.jsonl.gz both."""
    return [f".{part}" for part in path.lower().rpartition("/")[2].split(".")[1:]]


def all_split_files(config: dict[str, Any], files: Iterable[str]) -> dict[str, list[str]]:
    """The data files of each split, of every format."""
    below = f"{config['data_dir'].strip('/')}/" if isinstance(config.get("data_dir"), str) else ""
    data = [path for path in files if is_data(path) and path.startswith(below)]
    declared = declared_patterns(config)
    if declared:
        return {
            split: [path for path in data if any(fnmatch.fnmatch(path, pattern) for pattern in patterns)]
            for split, patterns in declared.items()
        }
    found: dict[str, list[str]] = {}
    for path in data:
        split = split_of(path)
        if split:
            found.setdefault(split, []).append(path)
    return found or ({"train": data} if data else {})


def is_data(path: str) -> bool:
    parts = path.split("/")
    hidden = any(part.startswith((".", "__")) for part in parts)
    return path.lower().endswith(SUFFIXES) and parts[-1] not in IGNORED and not hidden


def declared_patterns(config: dict[str, Any]) -> dict[str, list[str]]:
    """``data_files`` of a configuration in its several spellings, as split -> patterns."""
    declared = config.get("data_files")
    if isinstance(declared, str):
        return {"train": [declared]}
    patterns: dict[str, list[str]] = {}
    for entry in declared or []:
        split, paths = (
            (entry.get("split", "train"), entry.get("path")) if isinstance(entry, dict) else ("train", entry)
        )
        patterns.setdefault(str(split), []).extend([paths] if isinstance(paths, str) else paths or [])
    return patterns


def split_of(path: str) -> str | None:
    """The split that a file's name tells."""
    for split, words in SPLIT_WORDS.items():
        if re.search(rf"(?:^|[/._ -])(?:{'|'.join(words)})(?:[/._ -]|$)", path, re.IGNORECASE):
            return split
    return None


def file_columns(path: str, read: ReadRange) -> list[str] | None:
    """The columns of one data file."""
    name = path.lower()
    if name.endswith(PACKED):
        return None
    if name.endswith(".parquet"):
        return parquet_columns(read)
    if name.endswith((".csv", ".tsv")):
        line = first_line(read(0, HEAD_BYTES - 1))
        return next(csv.reader([line], delimiter="\t" if name.endswith(".tsv") else ","), None)
    return json_columns(read(0, HEAD_BYTES - 1).decode("utf-8", "ignore"))


def first_line(head: bytes) -> str:
    return head.split(b"\n", 1)[0].decode("utf-8-sig", "replace").rstrip("\r")


def json_columns(text: str) -> list[str] | None:
    """The keys of the first object of a JSON lines file or of a JSON array of objects."""
    start = text.find("{")
    if start < 0 or text[:start].strip() not in ("", "["):
        return None
    try:
        row, _end = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return None
    return list(row)


def parquet_footer(read: ReadRange) -> dict[int, Any] | None:
    """The footer of a Parquet file (parquet-format: FileMetaData), None where it has none."""
    tail = read(-8, None)
    if len(tail) != 8 or tail[4:] != b"PAR1":
        return None
    length = struct.unpack("<I", tail[:4])[0]
    return Thrift(read(-8 - length, None)).struct()


def parquet_rows(read: ReadRange) -> int | None:
    """The number of rows that the footer tells."""
    footer = parquet_footer(read)
    return None if footer is None else footer.get(3)


def parquet_columns(read: ReadRange) -> list[str] | None:
    """The top-level columns that the footer tells."""
    footer = parquet_footer(read)
    if footer is None:
        return None
    schema = footer.get(2) or []
    columns: list[str] = []
    index = 1  # the first element is the root; each other is followed by its children
    while index < len(schema):
        columns.append(schema[index][4].decode())
        index = after_subtree(schema, index)
    return columns


def after_subtree(schema: list[dict[int, Any]], index: int) -> int:
    """The index of the element behind this one and its descendants."""
    following = index + 1
    for _child in range(schema[index].get(5, 0)):
        following = after_subtree(schema, following)
    return following


class Thrift:
    """As much of Thrift's compact protocol as the footer of a Parquet file uses: field number -> value."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def byte(self) -> int:
        self.position += 1
        return self.data[self.position - 1]

    def varint(self) -> int:
        result = shift = 0
        while True:
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return result

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def take(self, length: int) -> bytes:
        self.position += length
        return self.data[self.position - length : self.position]

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while header := self.byte():
            number = number + (header >> 4) if header >> 4 else self.zigzag()
            kind = header & 0x0F
            fields[number] = kind == 1 if kind in (1, 2) else self.value(kind)
        return fields

    def value(self, kind: int) -> Any:
        if kind in (1, 2):  # an element of a list of truth values
            return self.byte() == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind == 7:
            return struct.unpack("<d", self.take(8))[0]
        if kind == 8:
            return self.take(self.varint())
        if kind in (9, 10):
            return self.sequence()
        if kind == 12:
            return self.struct()
        raise ValueError(f"the footer has a field of type {kind}, which Parquet does not use")

    def sequence(self) -> list[Any]:
        header = self.byte()
        length = header >> 4
        if length == 15:
            length = self.varint()
        return [self.value(header & 0x0F) for _element in range(length)]
