"""The pages that people read."""

import re
import shlex
from pathlib import Path

import pytest

from cachewarmer.cli.commands import NAMES, build_parser

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "deploy").rglob("*.md"),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
LINK = re.compile(r"\]\(([^)#:\s]+)?(?:#([^)\s]+))?\)")


def prose(page):
    """Lines with their numbers, without blocks of code."""
    code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            yield number, line


def anchors(page):
    """Of its headings, as they are made on the web."""
    titles = (line.lstrip("# ") for _, line in prose(page) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page):
    """To files that are there, and to headings in them."""
    for _, line in prose(page):
        for path, anchor in LINK.findall(line):
            file = page.parent / path if path else page
            assert file.exists(), line
            if anchor and file.suffix == ".md":
                assert anchor in anchors(file), line


def test_benchmarks_that_a_page_names_exist():
    named = {name for page in PAGES for name in re.findall(r"benchmarks\.(\w+)", page.read_text())}
    assert named
    assert {name for name in named - {"md"} if not (ROOT / "benchmarks" / f"{name}.py").exists()} == set()


def test_what_a_benchmark_writes_has_its_place():
    page = (ROOT / "docs/benchmarks.md").read_text()
    begun = re.findall(r"<!-- benchmarks\.(\w+): begin -->", page)
    assert begun
    assert begun == re.findall(r"<!-- benchmarks\.(\w+): end -->", page)


def blocks(page):
    """The blocks of code, each with its lines joined where a backslash ends them."""
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
        yield re.sub(r"\\\n\s*", " ", block)


def commands(page):
    """The commands of this program that a page shows, as a shell would split them: without what they are piped to."""
    for block in blocks(page):
        if len(re.findall(r"^cachewarmer .*\S {2,}[^ #]", block, re.MULTILINE)) > 3:
            continue  # a table of all commands, in the words of their help
        for line in block.splitlines():
            if not re.search(r"(^|[|;&] *|sudo |\$ )cachewarmer ", line) or re.search(r"\S {2,}[^ #]", line):
                continue
            words = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars="|;&<>()")
            words.whitespace_split = True
            command = []
            for word in [*words, ";"]:
                if set(word) <= set("|;&<>()"):
                    if command[:1] == ["cachewarmer"]:
                        yield command[1:]
                    command = []
                elif command or word != "sudo":
                    command.append(word)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_are_taken_as_they_stand(page, tmp_path, monkeypatch):
    """Pasted into a shell, each is understood: no option is unknown, and none contradicts another."""
    monkeypatch.chdir(tmp_path)
    for command in commands(page):
        if command[0] not in NAMES:
            continue  # a line of output, or of help
        chosen, unknown = build_parser([command[0]]).parse_known_args(command)
        assert unknown == [], command
        chosen.command.parse(chosen)


def test_the_pages_have_commands():
    found = {command[0] for page in PAGES for command in commands(page)}
    assert found >= {"warm", "scan", "verify", "submit", "manager", "worker", "doctor", "watch", "export", "plan"}
