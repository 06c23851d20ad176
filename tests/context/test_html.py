"""HTML of contexts and runs: escaped, self-contained, and never in the program's way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

import runcontext
from runcontext import Context, Outcome, OutcomeStatus, html
from runcontext.presentation import styles, view

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;\"'\x1b[31m\u202e</style></details>"
SHOWN = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A parsed document: its elements, its text, and whether what opens is closed in its turn."""

    def __init__(self, document: str) -> None:
        """Parse."""
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost one, which must be it."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep text, but for styles."""
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def ids(self) -> list[str]:
        """Give the addresses in it."""
        return [attributes["id"] or "" for _, attributes in self.elements if "id" in attributes]


def hostile_context() -> Context:
    """Make a context in which everything that comes from elsewhere is hostile."""
    outcome = Outcome(
        OutcomeStatus.PARTIAL, HOSTILE, 1.0, 1_795_382_372_107, HOSTILE, {"a b": HOSTILE}, {"c/d": HOSTILE}, 0
    )
    return Context(tags={"a b": HOSTILE}, outcomes={HOSTILE: outcome}, conflicts=(), attachments=())


def all_of(document: str) -> list[str]:
    """Give what could make a browser ask for something or run something."""
    page = Page(document)
    asking = {"src", "srcset", "data", "action", "background", "poster", "style"}
    found = [f"<{tag}>" for tag, _ in page.elements if tag in ("script", "link", "iframe", "object", "img", "base")]
    found += [name for _, attributes in page.elements for name in attributes if name in asking or name.startswith("on")]
    links = [attributes["href"] or "" for _, attributes in page.elements if "href" in attributes]
    return found + [link for link in links if not link.startswith("#")]


@pytest.mark.parametrize("is_page", [True, False])
def test_hostile_text_is_text(is_page: bool) -> None:
    """Whatever a value, a reason or a name holds is shown as it is, and makes no element."""
    context = hostile_context()
    document = html.page(view.of_context(context)) if is_page else str(context._repr_html_())
    assert not all_of(document)
    shown = "".join(Page(document).texts)
    # As a provider's name, in its row, its status, its place, its reason; as a fact's value and reason.
    assert shown.count(SHOWN) >= 6
    assert "\x1b" not in document
    assert "\u202e" not in document


def test_a_page_asks_for_nothing() -> None:
    """Its policy forbids every request, its styles name no address, and its encoding and width are declared."""
    document = html.page(view.of_context(hostile_context()))
    metas = [attributes for tag, attributes in Page(document).elements if tag == "meta"]
    policy = next(each["content"] for each in metas if each.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert metas[0] == {"charset": "utf-8"}
    assert any(each.get("name") == "viewport" for each in metas)
    assert "url(" not in styles.EVERYWHERE + styles.PAGE
    assert "@import" not in styles.EVERYWHERE + styles.PAGE


def test_links_on_a_page_lead_somewhere() -> None:
    """Each heading and fact has an address of its own, and every link leads to one."""
    twice = Outcome(OutcomeStatus.CAPTURED, None, 0.1, 0, "inline", {}, {"a b": "absent: given by another"}, 0)
    context = hostile_context()
    context = replace(context, outcomes={**context.outcomes, "caller": twice})
    page = Page(html.page(view.of_context(context)))
    links = [unquote((attributes["href"] or "")[1:]) for _, attributes in page.elements if "href" in attributes]
    assert len(set(page.ids)) == len(page.ids)
    assert not any(" " in each for each in page.ids)
    assert links
    assert set(links) <= set(page.ids)
    assert Page(html.page(view.of_context(Context(tags={}, outcomes={}, conflicts=(), attachments=())))).ids == []


def test_what_goes_around_a_notebooks_output_is_untouched() -> None:
    """Every rule of the styles that a notebook gets begins with our class, and no element has an address."""
    rules = styles.EVERYWHERE.replace("@media (max-width: 40rem) {", "")
    selectors = [line.split("{")[0] for line in rules.splitlines() if "{" in line]
    assert selectors
    for selector in selectors:
        assert all(each.strip().startswith(".runcontext") for each in selector.split(",")), selector
    assert not Page(str(hostile_context()._repr_html_())).ids


def test_the_rest_is_folded_away() -> None:
    """What a person does not ask for first is there too, in details that are closed."""
    outcome = Outcome(OutcomeStatus.CAPTURED, None, 0.1, 0, "inline", {"host.name": "n", "host.arch": "amd64"}, {}, 0)
    context = Context(tags=outcome.tags, outcomes={"host": outcome}, conflicts=(), attachments=())
    document = str(context._repr_html_())
    before, _, inside = document.partition("<details>")
    assert "host.name" in before
    assert "host.arch" in inside
    assert "<details open" not in document


@pytest.mark.slow
def test_a_notebook_takes_it() -> None:
    """IPython shows a context by its HTML, and has the plain representation beside it."""
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(hostile_context())
    assert data["text/html"].startswith('<div class="runcontext">')
    assert data["text/plain"] == "<runcontext.Context(1 tags from 1 providers)>"


def test_a_representation_never_raises() -> None:
    """Where it cannot be made, a notebook is left with the plain one."""
    broken: Any = Context(tags={}, outcomes={}, conflicts=(), attachments=(None,))  # type: ignore[arg-type]
    assert broken._repr_html_() is None


# --- runs -------------------------------------------------------------------------------------------------------------


class Slow:
    """A provider that takes its time."""

    placement = "thread"

    def in_context(self) -> bool:
        """Wait."""
        time.sleep(1.5)
        return True

    def tags(self) -> dict[str, str]:
        """Give one fact."""
        return {"slow.fact": "found"}


def test_an_open_run_is_shown_without_waiting(tmp_path: Path) -> None:
    """While a provider works, its run shows params and tags at once; the facts are there when they are."""
    with runcontext.start_run(run_name="slow & steady", providers=["user", Slow()], tracking_uri=tmp_path) as run:
        run.log_param("lr", 0.1)
        began = time.perf_counter()
        document = str(run._repr_html_())
        assert time.perf_counter() - began < 1
        assert "Not in yet: Slow" in document
        assert "slow &amp; steady" in document
        assert ">0.1</dd>" in document
        assert "mlflow.user" in document
        assert run.tags["slow.fact"] == "found"
        assert "slow.fact" in str(run._repr_html_())
    for each in (run, run.to_record()):
        document = str(each._repr_html_())
        assert "FINISHED" in document
        assert "slow.fact" in document


def test_a_run_whose_folder_is_gone_is_shown(tmp_path: Path) -> None:
    """What is known without its files is shown."""
    with runcontext.start_run(providers=[], tracking_uri=tmp_path / "runs", tags={"team": "vision"}) as run:
        pass
    shutil.rmtree(tmp_path / "runs")
    assert "vision" in str(run._repr_html_())


def test_nothing_of_this_is_imported_before_it_is_asked_for(tmp_path: Path) -> None:
    """A program that starts and ends a run has no use for pages."""
    program = "import runcontext, sys\nwith runcontext.start_run(): pass\nprint(*sys.modules)"
    words = [sys.executable, "-c", program]
    # What measures coverage imports html itself.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    ended = subprocess.run(words, cwd=tmp_path, env=unmeasured, capture_output=True, text=True, check=True)
    imported = ended.stdout.split()
    assert "runcontext.run" in imported
    assert not {"html", "runcontext.html", "runcontext.presentation"} & set(imported)
