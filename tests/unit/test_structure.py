# SPDX-License-Identifier: GPL-3.0-or-later
"""How the modules of a package may depend on each other, and where shared names have their home."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.tpuops.maxtext."
#: The one module of a package that says what a JSON object is for the type checker.
HOMES = {
    "plugins": "plugins/module_utils/json_types.py",
    "localcloud": "localcloud/json_types.py",
    "tests": "tests/json_types.py",
}
OBJECTS = {"dict[str, Any]", "Mapping[str, Any]", "MutableMapping[str, Any]"}


def modules(package: str) -> dict[str, Path]:
    """The modules of a package of this repository, by their dotted names."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def aliases(tree: ast.Module) -> Iterator[str]:
    """The names that a module gives to the type of a JSON object."""
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if ast.unparse(value) in OBJECTS:
                yield name
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if (
                ast.unparse(value) in OBJECTS
            ):
                yield name
            case ast.TypeAlias(name=ast.Name(id=name), value=value) if ast.unparse(value) in OBJECTS:
                yield name


def imported(name: str, tree: ast.Module, package: bool) -> Iterator[str]:
    """The dotted names that a module imports, each with that of its module in front."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                parts = name.split(".")
                base = parts[: len(parts) - level + package] if level else []
                yield from (".".join([*base, *([module] if module else []), each.name]) for each in names)


def graph(package: str) -> dict[str, set[str]]:
    """Which modules of the package each of them imports, also for a type alone or within a function."""
    known = modules(package)
    found = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [each.removeprefix(COLLECTION) for each in imported(name, tree, path.stem == "__init__")]
        sources = {each if each in known else each.rpartition(".")[0] for each in names}
        found[name] = (sources & known.keys()) - {name}
    return found


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in turn, [] where the data flows one way."""
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for each in sorted(edges[name]):
            if found := follow(each, [*path, name]):
                return found
        done.add(name)
        return []

    return next(filter(None, (follow(name, []) for name in sorted(edges))), [])


def test_what_counts_as_a_circle() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_what_counts_as_an_import() -> None:
    source = (
        "import a\nfrom . import b\nfrom .c import d\nif x:\n    import e\ndef f():\n    from g import h\n"
    )
    found = set(imported("p.q.m", ast.parse(source), package=False))
    assert found == {"a", "p.q.b", "p.q.c.d", "e", "g.h"}
    assert list(imported("p", ast.parse("from . import b"), package=True)) == ["p.b"]


@pytest.mark.parametrize("package", ["plugins", "localcloud", "tests"])
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    edges = graph(package)
    assert sum(map(len, edges.values())) > 100
    assert circle(edges) == []


@pytest.mark.parametrize("package", sorted(HOMES))
def test_a_json_object_is_named_in_one_place(package: str) -> None:
    """A module may call its own objects by a word of its own, such as Fields; no two by the same."""
    named: dict[str, list[str]] = {}
    for path in modules(package).values():
        for name in aliases(ast.parse(path.read_text(encoding="utf-8"))):
            named.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert named.pop("Json") == [HOMES[package]]
    assert "Result" not in named
    assert {name: found for name, found in named.items() if len(found) > 1} == {}


HEADER = [
    "# Copyright (c) 2026, The tpuops.maxtext maintainers",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    "# SPDX-License-Identifier: GPL-3.0-or-later",
]


def test_every_plugin_has_the_same_header() -> None:
    other = []
    for path in modules("plugins").values():
        lines = path.read_text(encoding="utf-8").splitlines()
        if lines and lines[lines[0].startswith("#!") :][: len(HEADER)] != HEADER:
            other.append(str(path.relative_to(ROOT)))
    assert other == []


#: A program of the stages too, beside the module that it imports (_common_program_files of the role common).
PROGRAMS = {"plugins/module_utils/checkpoints.py"}


def test_plugins_import_each_other_by_their_full_names() -> None:
    relative = {
        str(path.relative_to(ROOT))
        for path in modules("plugins").values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    }
    assert relative == PROGRAMS
