# SPDX-License-Identifier: GPL-3.0-or-later
"""Coding questions and answers, in Japanese and in English, of which the small data set consists.

Every answer has the same frame (a sentence, a Python fence, a sentence), so that a model of some million
parameters picks it up in dozens of steps; function, parameter and wording vary: something is left to learn.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

SEED = 0


class Message(TypedDict):
    role: str
    content: str


class Row(TypedDict):
    messages: list[Message]


@dataclass(frozen=True)
class Task:
    """One thing that a function can do. `body` holds `{x}` where the parameter stands."""

    function: str
    parameters: tuple[str, ...]
    body: str
    japanese: str
    english: str


NUMBERS = ("numbers", "values", "data")
TEXTS = ("text", "line", "word")
NUMBER = ("n", "x", "value")

TASKS = (
    Task("total", NUMBERS, "sum({x})", "リストの合計", "the sum of a list"),
    Task("largest", NUMBERS, "max({x})", "リストの最大値", "the largest item of a list"),
    Task("smallest", NUMBERS, "min({x})", "リストの最小値", "the smallest item of a list"),
    Task("count", NUMBERS, "len({x})", "リストの要素数", "the length of a list"),
    Task("mean", NUMBERS, "sum({x}) / len({x})", "リストの平均値", "the mean of a list"),
    Task("ordered", NUMBERS, "sorted({x})", "昇順に並べたリスト", "a list in ascending order"),
    Task("unique", NUMBERS, "list(set({x}))", "重複のないリスト", "a list without duplicates"),
    Task("first", NUMBERS, "{x}[0]", "リストの先頭の要素", "the first item of a list"),
    Task("last", NUMBERS, "{x}[-1]", "リストの末尾の要素", "the last item of a list"),
    Task("backwards", TEXTS, "{x}[::-1]", "逆順の文字列", "a string in reverse order"),
    Task("shout", TEXTS, "{x}.upper()", "大文字の文字列", "a string in upper case"),
    Task("whisper", TEXTS, "{x}.lower()", "小文字の文字列", "a string in lower case"),
    Task("trim", TEXTS, "{x}.strip()", "前後の空白を除いた文字列", "a string without outer spaces"),
    Task("words", TEXTS, "{x}.split()", "文字列の単語のリスト", "the words of a string"),
    Task("square", NUMBER, "{x} ** 2", "数の二乗", "the square of a number"),
    Task("double", NUMBER, "{x} * 2", "数の二倍", "twice a number"),
    Task("negate", NUMBER, "-{x}", "符号を反転した数", "the negative of a number"),
    Task("absolute", NUMBER, "abs({x})", "数の絶対値", "the absolute value of a number"),
    Task("is_even", NUMBER, "{x} % 2 == 0", "偶数かどうか", "whether a number is even"),
    Task("is_positive", NUMBER, "{x} > 0", "正の数かどうか", "whether a number is positive"),
)

JAPANESE_QUESTIONS = (
    "{x} を受け取り、{what}を返す Python 関数 {function} を書いてください。",
    "{what}を返す {function}({x}) を Python で実装してください。",
    "Python で {what}を求める関数 {function} を作ってください。引数は {x} です。",
)
ENGLISH_QUESTIONS = (
    "Write a Python function {function} that takes {x} and returns {what}.",
    "Implement {function}({x}) in Python so that it returns {what}.",
    "How do I get {what} in Python? The function is {function} and its argument is {x}.",
)
JAPANESE_ANSWER = "次の Python 関数で実現できます。\n\n{fence}\n\nこの関数は{what}を返します。"
ENGLISH_ANSWER = "The following Python function does this.\n\n{fence}\n\nThis function returns {what}."


def rows(seed: int = SEED) -> list[Row]:
    """All questions with their answers, in an order that `seed` fixes; the first is always that of a run."""
    first, *others = _rows()
    random.Random(seed).shuffle(others)
    return [first, *others]


def sample_question() -> str:
    """The question that a run puts to the trained model: the user's turn of the first row."""
    return next(_rows())["messages"][0]["content"]


def sample_answer() -> str:
    """What the data set answers to `sample_question`."""
    return next(_rows())["messages"][1]["content"]


def _rows() -> Iterator[Row]:
    japanese = (JAPANESE_QUESTIONS, JAPANESE_ANSWER)
    english = (ENGLISH_QUESTIONS, ENGLISH_ANSWER)
    for task, (questions, answer) in itertools.product(TASKS, (japanese, english)):
        what = task.japanese if answer is JAPANESE_ANSWER else task.english
        for parameter, question in itertools.product(task.parameters, questions):
            asked = question.format(x=parameter, what=what, function=task.function)
            answered = answer.format(fence=_fence(task, parameter), what=what)
            yield {
                "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
            }


def _fence(task: Task, parameter: str) -> str:
    return f"```python\ndef {task.function}({parameter}):\n    return {task.body.format(x=parameter)}\n```"
