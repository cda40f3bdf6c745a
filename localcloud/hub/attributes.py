# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files go through git LFS: those that the repository's .gitattributes names, big ones, binary ones."""

from __future__ import annotations

import pathspec

LFS_MINIMUM = 10 * 1024 * 1024  # bytes from which the Hub takes no file by plain git
# fmt: off
LFS_PATTERNS = (
    "*.7z", "*.arrow", "*.avro", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lz4",
    "*.mds", "*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet", "*.pb",
    "*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar", "*.safetensors", "saved_model/**/*", "*.tar.*",
    "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*",
)
# fmt: on
DEFAULT_ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS
).encode()


class LfsRule:
    def __init__(self, attributes: str) -> None:
        """attributes: text of the repository's .gitattributes."""
        lines = (line.split() for line in attributes.splitlines() if not line.startswith("#"))
        patterns = [words[0] for words in lines if "filter=lfs" in words[1:]]
        self._tracked = pathspec.GitIgnoreSpec.from_lines(patterns)

    def applies(self, path: str, size: int, sample: bytes) -> bool:
        """sample: the first bytes of the file; a NUL among them means binary, as it does to git."""
        return size >= LFS_MINIMUM or b"\0" in sample or self._tracked.match_file(path)
