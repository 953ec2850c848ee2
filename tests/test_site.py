"""Every page of the site in a real browser; the check itself finds what it is there to find."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromedriver") is None, reason="needs chromium and chromium-driver"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_no_page_asks_outside_logs_an_error_breaks_an_image_or_is_too_wide(checker, site):
    found = checker.check(site)
    assert len(found) == 2 * len(list(site.rglob("*.html")))
    assert {page: problems for page, problems in found.items() if problems} == {}


SEARCH = """
const field = document.querySelector('[data-md-component=search-query]');
field.focus(); field.value = 'straight-through';
field.dispatchEvent(new Event('keyup', {bubbles: true}));
return [...document.querySelectorAll('.md-search-result__item h1')].map(x => x.textContent);
"""
COPIED = """
const fences = [...document.querySelectorAll('.highlight code')].filter(lines => lines.querySelector('.gp'));
for (const lines of fences) lines.setAttribute('data-md-copying', '');
return fences.map(lines => lines.innerText.trim());
"""


def test_the_search_finds_and_a_prompt_is_not_copied(checker, site):
    with checker.served(site) as home, checker.browser("desktop") as opened:
        opened.show(f"{home}/")
        copied = opened.run(COPIED)
        assert "./exgra train --solver hungarian --estimator imle" in copied
        assert not any("$" in lines for lines in copied)
        found, end = [], time.monotonic() + 120
        while not found and time.monotonic() < end:
            found = opened.run(SEARCH)
            time.sleep(0.2)
    assert "Gradients through a discrete solver, seen" in found


BAD = """<!doctype html><meta name="viewport" content="width=device-width"><title>bad</title>
<script src="http://127.0.0.1:9/outside.js"></script><script>console.error("a word of error")</script>
<img src="missing.png"><span class="arithmatex">\\(x\\)</span><div style="width:3000px">wide</div>
<div class="md-typeset__scrollwrap" style="overflow:auto;width:9em">
<table><tr><td>there</td><td>here_and_out_of_sight</td></tr></table></div>
<div class="highlight">
<pre><code style="display:block;overflow:auto;width:9em">a_line_that_is_longer_than_its_box()</code></pre></div>"""

WRONG = ("request to http://127.0.0.1:9/", "a word of error", "404", "image ", "formula ", "wider")


def test_a_bad_page_is_found_out(checker, tmp_path):
    (tmp_path / "index.html").write_text(BAD)
    found = checker.check(tmp_path)
    assert set(found) == {"desktop ", "phone "}
    for problems in found.values():
        words = "\n".join(problems)
        for problem in (*WRONG, "columns out of sight", "lines out of sight"):
            assert problem in words
