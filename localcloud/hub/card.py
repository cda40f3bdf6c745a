# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata at the head of a README.md."""

from __future__ import annotations

import re
from typing import Any

import yaml

_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)


def card_metadata(text: str) -> dict[str, Any]:
    """The YAML between the `---` lines; empty without any. ValueError says what is wrong with it."""
    block = _FRONT_MATTER.match(text)
    if not block:
        return {}
    try:
        metadata = yaml.load(block[1], Loader=_PlainLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"YAML: {error}") from error
    match metadata:
        case None:
            return {}
        case dict():
            return metadata
    raise ValueError("YAML: the metadata must be a mapping")


class _PlainLoader(yaml.SafeLoader):
    """Dates stay strings: the metadata is passed on as JSON."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
