# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents: their links, settings and quoted messages are there, and their sentences are short."""

from __future__ import annotations

import importlib
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import artifact, readme

from .roles.conftest import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = (*readme.DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "environments" / "README.md")
BLOB = "https://github.com/tpuops/maxtext/blob/main/"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
YAML = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
GIVEN = re.compile(r"-e (\w+)=")

settings: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.plugin_utils.settings")
long_sentences: Any = load("scripts/long_sentences.py")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str, there: set[str] | None = None) -> list[str]:
    """The links of a page to a file or heading of ours that is not there. there: the only files that are."""
    found = []
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if path.startswith(BLOB):
            target = ROOT / path.removeprefix(BLOB)
        elif "://" in path or path.startswith("mailto:"):
            continue
        else:
            target = (page.parent / path).resolve() if path else page
            if there is not None and name(target) not in there:
                found.append(link)
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_the_links_in_the_artifact_lead_into_the_artifact(tmp_path: Path) -> None:
    """Whoever installed the collection has no clone: a link out of it has a full address."""
    with tarfile.open(artifact.build(tmp_path)) as archive:
        there = {member.name for member in archive if member.isfile()}
    pages = [ROOT / each for each in there if each.endswith(".md") and not each.startswith("CHANGELOG")]
    assert ROOT / "README.md" in pages
    wrong = {name(page): broken(page, page.read_text(encoding="utf-8"), there) for page in pages}
    assert {page: links for page, links in wrong.items() if links} == {}


def test_the_settings_of_the_documents_are_settings() -> None:
    wrong = []
    for page in readme.DOCUMENTS:
        text = page.read_text(encoding="utf-8")
        given = set(GIVEN.findall(text))
        if page.parent != ROOT / "roles" and "roles" not in page.parts:
            given |= {key for block in YAML.findall(text) for key in keys(block)} - {"plugin"}
        wrong += [f"{name(page)}: {each}" for each in sorted(given - settings.known().keys())]
    assert wrong == []


def keys(block: str) -> set[str]:
    value = yaml.safe_load(block)
    return set(value) if isinstance(value, dict) else set()


@pytest.mark.parametrize(
    ("page", "other"),
    [("README.ja.md", "README.md"), ("docs/tutorial.ja.md", "docs/tutorial.md")],
)
def test_the_japanese_pages_have_the_commands_of_the_english_ones(page: str, other: str) -> None:
    japanese, english = commands(page), commands(other)
    assert japanese
    if page.startswith("docs/"):
        assert japanese == english
    else:
        assert [each for each in japanese if each not in english] == []


def test_both_readmes_have_one_inventory_for_galaxy() -> None:
    files = readme.FILE.findall((ROOT / "README.ja.md").read_text(encoding="utf-8"))
    assert dict(files) == readme.galaxy_inventory()


def commands(page: str) -> list[str]:
    blocks = readme.BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    lines = (re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


def test_the_messages_of_the_troubleshooting_are_those_of_the_code() -> None:
    """``...`` in a message stands for a field. ssh's own message is not ours."""
    texts = [" ".join(text.split()) for _, text in long_sentences.messages()]
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(quoted) > 30
    wrong = []
    for message in quoted:
        parts = [re.escape(part.strip()) for part in message.split("...") if part.strip()]
        pattern = re.compile(r".*?".join(parts))
        if message != "REMOTE HOST IDENTIFICATION HAS CHANGED" and not any(map(pattern.search, texts)):
            wrong.append(message)
    assert wrong == []


def test_the_changelog_has_no_marks_of_module_documentation() -> None:
    """Its fragments are reStructuredText: C(steps) would be printed as it stands."""
    fragments = sorted((ROOT / "changelogs" / "fragments").glob("*.yml"))
    assert len(fragments) > 20
    marked = re.compile(r"\b(?:RV|[CEIMOPV])\([^)]*\)")
    texts = {name(path): str(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in fragments}
    assert [path for path, text in texts.items() if marked.search(text)] == []


def test_no_sentence_is_too_long_without_a_reason() -> None:
    assert long_sentences.unexpected(long_sentences.long()) == []


def test_a_long_sentence_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_sentences, "ROOT", tmp_path)
    monkeypatch.setattr(long_sentences, "EXCEPTIONS", {})
    words = " ".join(["word"] * 31)
    page, program, playbook = tmp_path / "page.md", tmp_path / "program.py", tmp_path / "playbook.yml"
    page.write_text(
        f"# Title\n\n- {words}.\n- Short. And `a b c` code.\n\n```sh\n{words}\n```\n| {words} | a |\n"
    )
    program.write_text(f'"""{words}"""\nraise ValueError(f"{words} {{1}}")\n')
    playbook.write_text(f"- name: Short\n  fail_msg: \"{{{{ '{words}' ~ other }}}}\"\n  that: {words}\n")
    assert [each.words for each in long_sentences.of_document(page) if each.words > 30] == [31, 31]
    assert list(long_sentences.of_program(program)) == [f"{words} X"]
    assert list(long_sentences.of_playbook(playbook)) == ["Short", words]
    found = [long_sentences.Sentence("page.md", words)]
    assert len(long_sentences.unexpected(found)) == 1
    monkeypatch.setitem(long_sentences.EXCEPTIONS, "word word", "a reason")
    assert long_sentences.unexpected(found) == []
    assert len(long_sentences.unexpected([])) == 1


#: One word for one thing: what a message does not say, and the word that it says instead.
OTHER_WORDS = {
    r"(took|taken?) (\w+ ){0,4}(away|back)": "preempted, or deleted",
    r"(?<![-_])(silent|unwell)": "unreachable, or unhealthy",
    r"makes?|made|making": "create",
    r"without us|affair|come by|alone, delete": "what it means",
}


@pytest.mark.parametrize("words", OTHER_WORDS)
def test_a_message_has_one_word_for_one_thing(words: str) -> None:
    pattern = re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    texts = [(path, text) for path, text in long_sentences.messages() if " " in text]  # no key, no name
    found = [f"{name(path)}: {text}" for path, text in texts if pattern.search(text)]
    assert found == [], OTHER_WORDS[words]
