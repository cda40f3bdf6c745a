# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cloud remembers, on disk before anyone is told about it.

Records are JSON objects under (kind, name). They live in memory for speed and in SQLite for durability: a
server that is killed hard finds everything again.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from bisect import bisect_left, insort
from collections import defaultdict
from pathlib import Path
from typing import Any

from localcloud.json_types import Json


class Store:
    """A durable mapping (kind, name) -> JSON object.

    Records are values: never change one that `get` or `items` returned, put a new one. `lock` is reentrant;
    hold it around a read that decides a write.
    """

    def __init__(self, path: Path | None = None) -> None:
        """path: the database file, made when absent; None keeps everything in memory."""
        self.lock = threading.RLock()
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        if path:
            path.chmod(0o600)
            # A killed process loses nothing in this mode; only a power cut could lose the last records.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS record (kind TEXT, name TEXT, value TEXT, PRIMARY KEY (kind, name))"
        )
        self._records: defaultdict[str, dict[str, Json]] = defaultdict(dict)
        self._names: defaultdict[str, list[str]] = defaultdict(list)
        for kind, name, value in self._database.execute("SELECT kind, name, value FROM record"):
            self._records[kind][name] = json.loads(value)
        for kind, records in self._records.items():
            self._names[kind] = sorted(records)

    def get(self, kind: str, name: str) -> Json | None:
        return self._records[kind].get(name)

    def put(self, kind: str, name: str, value: Json) -> None:
        with self.lock:
            self._database.execute(
                "INSERT OR REPLACE INTO record VALUES (?, ?, ?)", (kind, name, json.dumps(value))
            )
            if name not in self._records[kind]:
                insort(self._names[kind], name)
            self._records[kind][name] = value

    def update(self, kind: str, name: str, **changes: Any) -> Json:
        """Put the record with some keys changed; None removes a key. KeyError when there is no record."""
        with self.lock:
            record = {**self._records[kind][name], **changes}
            self.put(kind, name, {key: value for key, value in record.items() if value is not None})
            return self._records[kind][name]

    def delete(self, kind: str, name: str) -> None:
        """Forget a record; one that is not there is fine."""
        with self.lock:
            self._database.execute("DELETE FROM record WHERE kind = ? AND name = ?", (kind, name))
            if self._records[kind].pop(name, None) is not None:
                del self._names[kind][bisect_left(self._names[kind], name)]

    def items(self, kind: str, prefix: str = "") -> list[tuple[str, Json]]:
        """The records of a kind whose names start with `prefix`, by name."""
        with self.lock:
            names, records = self._names[kind], self._records[kind]
            first = bisect_left(names, prefix)
            last = bisect_left(names, prefix + "\U0010ffff", lo=first)
            return [(name, records[name]) for name in names[first:last]]

    def close(self) -> None:
        with self.lock:
            self._database.close()
