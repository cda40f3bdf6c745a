# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of gcloud's filter language (`gcloud topic filters`) that finding a project takes.

    expression = term { AND term } | term { OR term }
    term       = [NOT] ( key operator value | "(" expression ")" )
    operator   = "=" | "!=" | "~" | "!~" | ":"

AND and OR need brackets between them, as with gcloud. Keys are dotted paths into the resource. `~` searches a
regular expression; `:` is a match without case of a whole value, of a prefix ending in `*`, or with `*` alone
of a value's presence; `=` compares whole values, without case as gcloud does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import InvalidArgument

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"\s*(?:(?P<bracket>[()])|(?P<operator>!=|!~|=|~|:)|'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\""
    r"|(?P<word>[^\s()=~:!'\"]+)|(?P<rest>\S))"
)
_REMEDY = "Write it as gcloud does, such as: projectId ~ '^demo-' AND projectId != 'demo-old'."


def compile_filter(text: str) -> Predicate:
    """A predicate on resources (mappings). Raises InvalidArgument for what is no filter."""
    return _Parser(text).parse()


def lookup(resource: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None. A number is an item of a list, or a key."""
    value: Any = resource
    for part in path.split("."):
        if isinstance(value, list):
            value = value[int(part)] if part.isdecimal() and int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        for match in _TOKEN.finditer(text.rstrip()):
            kind = str(match.lastgroup)
            if kind == "rest":
                raise self._error(f"unexpected {match['rest']}")
            self._tokens.append(("value" if kind in ("single", "double") else kind, match[kind]))

    def parse(self) -> Predicate:
        predicate = self._expression()
        if self._tokens:
            raise self._error(f"unexpected {self._tokens[0][1]}")
        return predicate

    def _expression(self) -> Predicate:
        terms = [self._term()]
        word, combine = ("OR", any) if ("word", "OR") in self._tokens[:1] else ("AND", all)
        while self._accept(word):
            terms.append(self._term())
        return lambda resource: combine(term(resource) for term in terms)

    def _term(self) -> Predicate:
        if self._accept("NOT"):
            negated = self._term()
            return lambda resource: not negated(resource)
        if self._accept("("):
            inner = self._expression()
            if not self._accept(")"):
                raise self._error("a closing bracket is missing")
            return inner
        key, operator, value = self._take("word"), self._take("operator"), self._take("word", "value")
        return self._comparison(key, operator, value)

    def _comparison(self, key: str, operator: str, value: str) -> Predicate:
        if operator.startswith("!"):
            positive = self._comparison(key, operator[1:], value)
            return lambda resource: not positive(resource)
        if operator == "~":
            try:
                pattern = re.compile(value)
            except re.error as error:
                raise self._error(f"{value!r} is no regular expression ({error})") from error
            return lambda resource: bool(pattern.search(_text(lookup(resource, key))))
        wanted = value.lower()
        if operator == ":" and wanted.endswith("*"):
            prefix = wanted[:-1]
            return lambda resource: (
                _present(resource, key) and _text(lookup(resource, key)).lower().startswith(prefix)
            )
        return lambda resource: _text(lookup(resource, key)).lower() == wanted

    def _accept(self, word: str) -> bool:
        if self._tokens and self._tokens[0] in (("word", word), ("bracket", word)):
            self._tokens.pop(0)
            return True
        return False

    def _take(self, *kinds: str) -> str:
        if not self._tokens or self._tokens[0][0] not in kinds:
            found = self._tokens[0][1] if self._tokens else "the end"
            raise self._error(f"expected {' or '.join(kinds)}, found {found}")
        return self._tokens.pop(0)[1]

    def _error(self, problem: str) -> InvalidArgument:
        return InvalidArgument(f"The filter {self._text!r} is not understood: {problem}", remedy=_REMEDY)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _present(resource: Mapping[str, Any], key: str) -> bool:
    return lookup(resource, key) is not None
