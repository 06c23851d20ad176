"""The page that ``--html`` writes, opened in a real browser: what a person sees of it, and what it asks for."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests import browser

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60
HOSTILE = "<script>document.title = 'taken'</script><b>\x1b[31m\u202e"
SHOWN = r"<script>document.title = 'taken'</script><b>\x1b[31m\u202e"

pytestmark = pytest.mark.skipif(browser.BROWSER is None, reason=browser.MISSING)

PLUGIN = """
def broken():
    raise ValueError("no such luck")


class Team:
    def in_context(self):
        return True

    def tags(self):
        return {"team": "vision", "luck": broken}
"""

WIDTHS = (320, 390, 800, 1_000, 1_600)
"""From a small phone to a wide screen, in pixels."""

PROBE = """<!DOCTYPE html>
FRAMES
<script>
const all = {};
const frames = [...document.querySelectorAll("iframe")];
const look = (frame) => {
  const page = frame.contentDocument;
  const seen = {
    title: page.title,
    text: page.body.innerText,
    width: page.documentElement.scrollWidth,
    colour: getComputedStyle(page.body).color,
    background: getComputedStyle(page.body).backgroundColor,
    scripts: page.scripts.length,
    sections: [...page.querySelectorAll("section")].map((section) => section.innerText),
  };
  page.querySelectorAll("details").forEach((details) => { details.open = true; });
  seen.opened = page.body.innerText;
  seen.openedWidth = page.documentElement.scrollWidth;
  all[frame.className] = seen;
};
window.onload = () => {
  frames.forEach(look);
  document.body.textContent = JSON.stringify(all);
};
</script>
"""
FRAME = '<iframe class="{0}" src="/page.html" style="width: {0}px; height: 700px; border: 0"></iframe>'
"""Looks at a page from outside: it allows no script within."""


class Site:
    """A folder served on loopback, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        """Serve ``folder``."""
        self.folder = folder
        self.asked: list[str] = []
        self._seen: dict[tuple[str, ...], dict[str, Any]] = {}
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _handler(self) -> type[http.server.SimpleHTTPRequestHandler]:
        asked, folder = self.asked, self.folder

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(folder))

            def log_message(self, *_: object) -> None:
                asked.append(self.path)

        return Handler

    def open(self, name: str, *options: str) -> str:
        """Open a file in the browser and give the document as it is then."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}/{name}"
        return browser.opened(address, self.folder, *options)

    def seen(self, width: int = 1_000, *options: str) -> dict[str, Any]:
        """Give what a person sees of the page in a window of this width; the browser opens it in all widths at once."""
        if options not in self._seen:
            frames = "\n".join(FRAME.format(each) for each in WIDTHS)
            (self.folder / "probe.html").write_text(PROBE.replace("FRAMES", frames))
            body = re.search(r"<body>(.*)</body>", self.open("probe.html", *options), re.DOTALL)
            assert body is not None
            text = body[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
            self._seen[options] = json.loads(text)
        return dict(self._seen[options][str(width)])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give a site with the page of a capture that has a failed fact and a hostile tag."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "pyproject.toml").write_text("")
    (folder / "plugin.py").write_text(PLUGIN)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNCONTEXT_", "MLFLOW_"))}
    environment = {
        **kept,
        "PYTHONPATH": str(folder),
        "RUNCONTEXT_CACHE_DIR": str(folder / "cache"),
        "RUNCONTEXT_EXTRA_PROVIDERS": "plugin:Team",
        "RUNCONTEXT_TAGS": json.dumps({"hostile": HOSTILE, "long": "0123456789" * 60}),
        "RUNCONTEXT_TIMEOUT": "30",
    }
    words = [sys.executable, "-m", "runcontext", "capture", "--html", "page.html"]
    subprocess.run(words, cwd=folder, env=environment, timeout=SECONDS, check=True)
    found = Site(folder)
    yield found
    found.close()


def section(seen: dict[str, Any], title: str) -> str:
    """Give what is seen of the section under a heading."""
    return next(str(text) for text in seen["sections"] if text.startswith(title))


def test_facts_are_seen_under_their_headings(site: Site) -> None:
    """A fact's name and value stand where they belong; what is not asked for first is folded away, and there."""
    seen = site.seen()
    assert re.search(r"mlflow\.user\s+\S+", section(seen, "Who"))
    assert re.search(r"mlflow\.source\.name\s+runcontext", section(seen, "Code"))
    assert re.search(r"process\.runtime\.name\s+\w+", section(seen, "Software"))
    assert re.search(r"memory\.total\s+[\d.]+ [GT]iB", section(seen, "Machine"))
    assert "process.pid" not in seen["text"]
    assert re.search(r"process\.pid\s+\d+", seen["opened"])
    assert re.search(r"source\s+captured", seen["opened"])


def test_a_failed_fact_is_seen_with_its_remedy(site: Site) -> None:
    """What went wrong is the first thing that is seen, with what to do about it."""
    seen = site.seen()
    wrong = section(seen, "Went wrong")
    assert re.search(r"Team\s*partial\s+luck: ValueError: no such luck\s+→ report it to ", wrong)
    assert "RUNCONTEXT_PROVIDER_TEAM=0 switches it off" in wrong
    assert seen["sections"][0] == wrong


def test_hostile_values_are_seen_as_text(site: Site) -> None:
    """Markup and control characters in a value are shown, not obeyed."""
    seen = site.seen()
    assert SHOWN in section(seen, "Tags")
    assert seen["scripts"] == 0
    assert seen["title"].startswith("Context")


def test_nothing_else_is_asked_for(site: Site) -> None:
    """Opening the page makes one request: for itself."""
    site.asked.clear()
    document = site.open("page.html")
    assert "hostile" in document
    assert site.asked == ["/page.html"]


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_the_window(site: Site, width: int) -> None:
    """From a small phone to a wide screen nothing is beyond the window's edge, folded or not."""
    seen = site.seen(width)
    assert seen["width"] <= width
    assert seen["openedWidth"] <= width


def test_it_is_dark_where_that_is_preferred(site: Site) -> None:
    """Text and background change places with the reader's preference."""
    light = site.seen()
    dark = site.seen(1_000, "--blink-settings=preferredColorScheme=0")
    assert _brightness(light["background"]) - _brightness(light["colour"]) > 200
    assert _brightness(dark["colour"]) - _brightness(dark["background"]) > 200


def _brightness(colour: str) -> float:
    red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
    return (red + green + blue) / 3
