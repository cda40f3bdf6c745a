# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of models by their names in MaxText: their shape, and which of them cannot work here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """The shape of a decoder, from MaxText's configs/models. tied: the output layer is the embedding."""

    family: str
    embedding: int
    heads: int
    kv_heads: int
    mlp: int
    layers: int
    vocabulary: int
    head: int = 128
    tied: bool = False

    @property
    def parameters(self) -> int:
        """Their number, the norms of heads (a few thousand) included where the family has them."""
        attention = 2 * self.embedding * self.head * (self.heads + self.kv_heads)
        norms = 2 * self.embedding + (2 * self.head if self.family == "qwen3" else 0)
        layer = attention + 3 * self.embedding * self.mlp + norms
        embeddings = self.vocabulary * self.embedding * (1 if self.tied else 2)
        return embeddings + self.layers * layer + self.embedding

    def within(self, other: Model) -> bool:
        """Whether no array of this model is larger than the same one of the other."""
        sizes = [
            (each.embedding, each.heads, each.kv_heads, each.mlp, each.layers, each.vocabulary, each.head)
            for each in (self, other)
        ]
        return (
            self.family == other.family
            and (self.tied or not other.tied)
            and all(mine <= others for mine, others in zip(*sizes))
        )


_SHAPES = {
    "qwen3-0.6b": Model("qwen3", 1024, 16, 8, 3072, 28, 151936, tied=True),
    "qwen3-1.7b": Model("qwen3", 2048, 16, 8, 6144, 28, 151936, tied=True),
    "qwen3-4b": Model("qwen3", 2560, 32, 8, 9728, 36, 151936, tied=True),
    "qwen3-8b": Model("qwen3", 4096, 32, 8, 12288, 36, 151936),
    "qwen3-14b": Model("qwen3", 5120, 40, 8, 17408, 40, 151936),
    "qwen3-32b": Model("qwen3", 5120, 64, 8, 25600, 64, 151936),
    "llama3.1-8b": Model("llama3.1", 4096, 32, 8, 14336, 32, 128256),
    "llama3.1-70b": Model("llama3.1", 8192, 64, 8, 28672, 80, 128256),
}
# Other names of the same shapes.
MODELS = {
    **_SHAPES,
    **{f"{name}-base": _SHAPES[name] for name in ("qwen3-1.7b", "qwen3-4b", "qwen3-8b", "qwen3-14b")},
    "qwen3-4b-thinking-2507": _SHAPES["qwen3-4b"],
    "llama3.1-8b-Instruct": _SHAPES["llama3.1-8b"],
}

_GEMMA3 = (
    "MaxText's converter loads it with PyTorch, which the locked training environment does not have. "
    "Choose a model of Qwen3 or Llama 3.1"
)
# Models that cannot work with the locked environments -> why, and what to do.
REFUSED = {"gemma3-4b": _GEMMA3, "gemma3-12b": _GEMMA3, "gemma3-27b": _GEMMA3}
