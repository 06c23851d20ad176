"""A context or a run as HTML: a part of a notebook's output, or a page by itself that asks for nothing from anywhere.

All text is escaped, and the page's Content-Security-Policy (W3C, "Content Security Policy Level 3") forbids scripts and
every request.
"""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from runcontext.presentation import styles, text, view
from runcontext.presentation.view import PROBLEMS, PROVIDERS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runcontext.presentation.remedies import Problem
    from runcontext.presentation.view import Group, ProviderRow, Row, View
    from runcontext.record import Context, RunRecord
    from runcontext.run import Run

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(shown: View) -> str:
    """Give a whole document of its own, UTF-8: nothing in it comes from elsewhere, and nothing runs."""
    drawing = _Drawing(is_page=True)
    every = [(PROBLEMS, shown.problems), *((group.title, group.rows) for group in shown.groups)]
    titles = [title for title, what in (*every, (PROVIDERS, shown.providers)) if what]
    links = "".join(_link(_slug(title), _text(title)) for title in titles)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(shown.title)} - runcontext</title>\n<style>\n{styles.EVERYWHERE}{styles.PAGE}</style>\n"
        '</head>\n<body class="runcontext-page">\n<main class="runcontext">\n'
        f'{drawing.header(shown)}<nav aria-label="Headings">{links}</nav>\n'
        f"{drawing.body(shown)}</main>\n</body>\n</html>\n"
    )


def of_context(context: Context) -> str | None:
    """Give what a notebook shows of a context; None, for its plain representation, where that cannot be made."""
    return _guarded(lambda: _fragment(view.of_context(context)))


def of_run(run: RunRecord) -> str | None:
    """Give what a notebook shows of a run and of its context as far as that is on disk; None as above."""
    return _guarded(lambda: _fragment(_seen(run)))


def of_open_run(run: Run) -> str | None:
    """Give what a notebook shows of a run of this process, as of_run does; its metrics are left out.

    They would have to be read back: of a long run that takes a while.
    """
    return _guarded(lambda: _fragment(_seen(run.known())))


def _seen(run: RunRecord) -> View:
    from runcontext.record import Context
    from runcontext.tracking import reading

    found = None if run.path is None else reading.context_in(run.path)
    captured = found or Context(tags={}, outcomes={}, conflicts=(), attachments=())
    return view.of_run(replace(run, tags={**captured.tags, **run.tags}), captured)


def _guarded(make: Callable[[], str]) -> str | None:
    try:
        return make()
    except Exception:  # noqa: BLE001 - a cell's output must not be a traceback of ours
        return None


def _fragment(shown: View) -> str:
    drawing = _Drawing(is_page=False)
    drawn = drawing.header(shown) + drawing.body(shown)
    return f'<div class="runcontext"><style>{styles.EVERYWHERE}</style>{drawn}</div>'


class _Drawing:
    """Draws a view; a page has headings of the highest levels, and an address for each heading and fact."""

    def __init__(self, *, is_page: bool) -> None:
        self._is_page = is_page
        self._levels = ("h1", "h2") if is_page else ("div", "div")

    def header(self, shown: View) -> str:
        level, _ = self._levels
        status = f' <span class="rc-status {_tone(shown.status)}">{_text(shown.status)}</span>' if shown.status else ""
        below = f'<p class="rc-subtitle">{_text(shown.subtitle)}</p>' if shown.subtitle else ""
        return f'<header><{level} class="rc-title">{_text(shown.title)}{status}</{level}>{below}</header>\n'

    def body(self, shown: View) -> str:
        parts = [self._problems(shown.problems), self._pending(shown.pending)]
        parts += [self._group(group) for group in shown.groups]
        return "".join([*parts, self._providers(shown.providers)])

    def _problems(self, problems: Sequence[Problem]) -> str:
        if not problems:
            return ""
        return f'<section class="rc-problems">{self._heading(PROBLEMS)}{"".join(map(_problem, problems))}</section>\n'

    def _pending(self, names: Sequence[str]) -> str:
        return f'<p class="rc-subtitle">Not in yet: {_text(", ".join(names))}</p>\n' if names else ""

    def _group(self, group: Group) -> str:
        first = [row for row in group.rows if row.is_first]
        rest = [row for row in group.rows if not row.is_first]
        more = self._rows(group, rest)
        if rest:
            more = f"<details><summary>{_text(_more(rest))}</summary>{more}</details>"
        return f"<section>{self._heading(group.title)}{self._rows(group, first)}{more}</section>\n"

    def _heading(self, title: str) -> str:
        _, level = self._levels
        address, words = "", _text(title)
        if self._is_page:
            address, words = f' id="{_slug(title)}"', _link(_slug(title), words)
        return f'<{level} class="rc-heading"{address}>{words}</{level}>'

    def _rows(self, group: Group, rows: Iterable[Row]) -> str:
        drawn = "".join(self._row(group, row) for row in rows)
        return f'<dl class="rc-rows">{drawn}</dl>' if drawn else ""

    def _row(self, group: Group, row: Row) -> str:
        address, name = "", _text(row.name)
        if self._is_page and row.kind is not Kind.ABSENT:
            place = f"{_slug(group.title)}/{quote(row.name, safe='/:')}"
            address, name = f' id="{place}"', _link(place, name)
        giver = f'<dd class="rc-giver">{_text(row.giver)}</dd>'
        return f'<div class="rc-row"{address}><dt>{name}</dt>{_value(row)}{giver}</div>'

    def _providers(self, providers: Sequence[ProviderRow]) -> str:
        if not providers:
            return ""
        heads = "".join(f'<th scope="col">{each}</th>' for each in ("Provider", "Status", "Time", "Ran", ""))
        rows = "".join(map(_provider, providers))
        summary = f"What {text.counted(len(providers), 'provider')} did"
        return (
            f"<section>{self._heading(PROVIDERS)}<details><summary>{summary}</summary>"
            f'<div class="rc-scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
            "</details></section>\n"
        )


def _value(row: Row) -> str:
    rounded = text.rounded(row.name, row.value)
    exact = f' <span class="rc-exact">{_text(rounded.exact)}</span>' if rounded.exact else ""
    kind = "" if row.kind is Kind.FACT else f" rc-{row.kind.value}"
    return f'<dd class="rc-value{kind}">{_text(rounded.short)}{exact}</dd>'


def _problem(problem: Problem) -> str:
    reasons = "".join(
        f'<p class="rc-reason">{_text(f"{fact}: {reason}" if fact else reason)}</p>' for fact, reason in problem.facts
    )
    return (
        f'<div class="rc-problem"><p><span class="rc-name">{_text(problem.provider)}</span>'
        f'<span class="rc-status {_tone(problem.status)}">{_text(problem.status)}</span></p>'
        f'{reasons}<p class="rc-remedy">→ {_text(problem.remedy)}</p></div>'
    )


def _provider(row: ProviderRow) -> str:
    return (
        f'<tr><td>{_text(row.name)}</td><td class="{_tone(row.status)}">{_text(row.status)}</td>'
        f'<td class="rc-number">{_text(row.took)}</td><td>{_text(row.placement)}</td>'
        f"<td>{_text('; '.join(row.notes))}</td></tr>"
    )


def _more(rows: Sequence[Row]) -> str:
    absent = sum(row.kind is Kind.ABSENT for row in rows)
    said = [f"{len(rows) - absent:,} more" if len(rows) > absent else "", f"{absent:,} not there" if absent else ""]
    return ", ".join(each for each in said if each)


_TONES = {
    "bad": ("failed", "timed out", "FAILED", "LOST"),
    "mild": ("partial", "pending", "KILLED", "RUNNING"),
    "good": ("captured", "FINISHED"),
    "off": ("absent", "disabled"),
}


def _tone(status: str) -> str:
    return "rc-is-" + next((tone for tone, statuses in _TONES.items() if status in statuses), "off")


def _link(address: str, words: str) -> str:
    # A browser decodes what follows the # before it looks for it.
    return f'<a href="#{quote(address)}">{words}</a>'


def _slug(title: str) -> str:
    return quote(re.sub(r"\s+", "-", title), safe="")


def _text(value: str) -> str:
    return escape(text.lines(value))
