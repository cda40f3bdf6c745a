# SPDX-License-Identifier: GPL-3.0-or-later
"""What conversion and export agree on about the tensors of a model in safetensors files."""

from __future__ import annotations

from collections.abc import Mapping

#: Ends of the names of buffers that loaders compute themselves, and that only old repositories hold.
BUFFERS = (".rotary_emb.inv_freq", ".masked_bias", ".attn.bias")
#: Data types, as safetensors calls them, of which bfloat16 rounds.
FINER = ("F16", "F32", "F64")


def is_buffer(name: str) -> bool:
    return f".{name}".endswith(BUFFERS)


def finer(types: Mapping[str, str]) -> list[str]:
    """The tensors, by name and data type, that bfloat16 would round."""
    return [name for name, dtype in types.items() if dtype in FINER and not is_buffer(name)]


def with_dtype(settings: list[str], name: str, dtype: str) -> list[str]:
    """The settings of MaxText with a data type in place of NAME=auto."""
    return [f"{name}={dtype}" if each == f"{name}=auto" else each for each in settings]
