# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter expressions of Google's list methods: `lifecycleState:ACTIVE AND (id=a* OR NOT name=b)`.

The part that services document and clients send: terms `key:value`, `key=value`, `key!=value`, with `*` in a
value for anything, quotes, AND, OR, NOT, `-`, parentheses; terms side by side are joined by AND.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import Any

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r'\s*(?:(?P<sign>[()])|(?P<term>-?[\w.]+\s*(?:!=|=|:)\s*(?:"[^"]*"|[^\s()="]+))|(?P<word>\w+))'
)


class FilterError(ValueError):
    """An expression that does not parse; the message says where."""


def compile_filter(expression: str) -> Predicate:
    """A predicate over resources. Keys are looked up by their dotted names; case does not count in values."""
    tokens = _tokens(expression)
    if not tokens:
        return lambda resource: True
    predicate = _disjunction(tokens)
    if tokens:
        raise FilterError(f"Invalid filter {expression!r}: unexpected {tokens[0]!r}")
    return predicate


def _tokens(expression: str) -> list[str]:
    tokens = []
    position = 0
    text = expression.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise FilterError(f"Invalid filter {expression!r}: cannot read {text[position:]!r}")
        tokens.append(match.group().strip())
        position = match.end()
    return tokens


def _disjunction(tokens: list[str]) -> Predicate:
    parts = [_conjunction(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        parts.append(_conjunction(tokens))
    return lambda resource: any(part(resource) for part in parts)


def _conjunction(tokens: list[str]) -> Predicate:
    parts = [_factor(tokens)]
    while tokens and tokens[0] not in ("OR", ")"):
        if tokens[0] == "AND":
            tokens.pop(0)
        parts.append(_factor(tokens))
    return lambda resource: all(part(resource) for part in parts)


def _factor(tokens: list[str]) -> Predicate:
    if not tokens:
        raise FilterError("Invalid filter: it ends where a term was expected")
    token = tokens.pop(0)
    if token == "NOT":
        inner = _factor(tokens)
        return lambda resource: not inner(resource)
    if token == "(":
        inner = _disjunction(tokens)
        if not tokens or tokens.pop(0) != ")":
            raise FilterError("Invalid filter: a parenthesis is not closed")
        return inner
    return _term(token)


def _term(token: str) -> Predicate:
    match = re.fullmatch(r'(-?)([\w.]+)\s*(!=|=|:)\s*(?:"([^"]*)"|([^="]+))', token)
    if match is None:
        raise FilterError(f"Invalid filter: {token!r} is not a term like key:value")
    minus, key, operator, quoted, plain = match.groups()
    pattern = (quoted if quoted is not None else plain).lower()
    negated = bool(minus) != (operator == "!=")

    def matches(resource: Mapping[str, Any]) -> bool:
        value = _look_up(resource, key)
        # `key:*` asks whether the key is there at all.
        return (value is not None and fnmatch.fnmatchcase(str(value).lower(), pattern)) != negated

    return matches


def _look_up(resource: Mapping[str, Any], key: str) -> Any:
    value: Any = resource
    for part in key.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value
