# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind `make fit`: which rows are compiled, and that it goes on where it was stopped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import compiled_rows, memory
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe

from scripts import compile_fit

ROOT = Path(__file__).parents[2]
FIRST, SECOND, THIRD = compile_fit.FIRST[:3]
FITS: dict[str, Any] = {
    "verdict": "fits",
    "total": 2.0,
    "arguments": 1.0,
    "temporary": 1.0,
    "output": 1.0,
    "aliased": 1.0,
    "splash": True,
    "cpu": 60,
    "versions": compile_fit.locked_versions(),
}
REFUSED = {key: FITS[key] for key in ("splash", "cpu", "versions")} | {"verdict": "too large", "total": 17.9}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(compile_fit, "TABLE", tmp_path / "rows.py")
    monkeypatch.setattr(compiled_rows, "ROWS", ())
    monkeypatch.setattr(compiled_rows, "VERSIONS", compile_fit.locked_versions())
    return tmp_path / "rows.py"


def play(monkeypatch: pytest.MonkeyPatch, table: Path, answers: list[dict[str, Any]], *options: str) -> int:
    """Runs the program with a compiler that answers so. Its rows are then those of the next run."""

    def compile_all(_python: Path, wanted: list[Any]) -> Iterator[dict[str, Any]]:
        assert len(wanted) >= len(answers)
        yield from answers

    monkeypatch.setattr(compile_fit, "compile_all", compile_all)
    monkeypatch.setattr("sys.argv", ["compile_fit", "--python", "python", *options])
    status = compile_fit.main()
    if table.exists():
        spec = importlib.util.spec_from_file_location("rows", table)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(compiled_rows, "ROWS", module.ROWS)
        monkeypatch.setattr(compiled_rows, "VERSIONS", module.VERSIONS)
    return status


def known() -> list[tuple[Recipe, str]]:
    return [(row.recipe, row.accelerator_type) for row in compiled_rows.ROWS]


def test_it_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    assert play(monkeypatch, table, [FITS, REFUSED], "--first", "2") == 0
    assert known() == [FIRST, SECOND]
    assert [row.verdict for row in compiled_rows.ROWS] == ["fits", "too large"]
    assert compiled_rows.ROWS[1].arguments is None
    play(monkeypatch, table, [FITS])  # ends here, as a killed one does
    assert known() == [FIRST, SECOND, THIRD]


def test_what_cannot_be_compiled_is_no_row(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    assert play(monkeypatch, table, [{**FITS, "error": "no"}, FITS], "--first", "2") == 1
    assert known() == [SECOND]


def test_rows_of_other_versions_are_dropped(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    play(monkeypatch, table, [FITS, FITS], "--first", "2")
    monkeypatch.setattr(compiled_rows, "VERSIONS", {"maxtext": "0.2.4"})
    play(monkeypatch, table, [REFUSED], "--first", "1")
    assert known() == [FIRST]
    assert compiled_rows.ROWS[0].verdict == "too large"


def test_an_environment_of_other_versions_writes_no_row(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    assert play(monkeypatch, table, [{**FITS, "versions": {"maxtext": "0.2.4"}}]) == 1
    assert not table.exists()


def test_another_attention_writes_no_row(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    with pytest.raises(SystemExit, match="without splash attention"):
        play(monkeypatch, table, [{**FITS, "splash": False}])


def test_what_arithmetic_refuses_is_not_compiled() -> None:
    wanted = list(compile_fit.wanted())
    assert len(wanted) == len(set(wanted))
    assert (Recipe("llama3.1-70b", "float32", 0, 1, 1024), "v5litepod-1") not in wanted
    assert all(
        memory.copies(*one) <= compile_fit.room(one[1]) for one in wanted if one not in compile_fit.FIRST
    )


def test_the_table_is_as_it_was_written() -> None:
    written = compile_fit.written(list(compiled_rows.ROWS), compiled_rows.VERSIONS)
    assert compile_fit.__dict__["TABLE"].read_text(encoding="utf-8") == written


@pytest.fixture
def program() -> Any:
    spec = importlib.util.spec_from_file_location("compile_sft", ROOT / "roles/sft/files/compile_sft.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("message", "total"),
    [
        ("RESOURCE_EXHAUSTED: Used 17.90G of 15.75G hbm. Exceeded hbm capacity by 2.15G.", 17.9),
        ("Used 512.00M of 15.75G hbm.", 0.5),
        (
            "Ran out of memory on HBM, the total memory required for HLO temporaries (17.69G) exceeds "
            "available HBM (15.75G).",
            17.69,
        ),
        ("INTERNAL: something else", None),
    ],
)
def test_the_compiler_s_refusal(program: Any, message: str, total: float | None) -> None:
    expected = None if total is None else {"verdict": "too large", "total": total}
    assert program.refusal(message) == expected


def test_an_error_is_an_answer(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lower(_topology: str, _arguments: list[str]) -> None:
        raise ValueError("no such model")

    monkeypatch.setattr(program, "lower", lower)
    monkeypatch.setattr(program.metadata, "version", lambda _name: "1")
    answer = program.answer_to("v5e-8", [])
    assert answer["error"] == "ValueError: no such model"
    assert set(answer["versions"]) == set(compile_fit.PACKAGES)
