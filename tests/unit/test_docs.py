"""The pages that people read."""

import re
from pathlib import Path

import pytest

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
