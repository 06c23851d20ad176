"""How pages and notebooks draw what ``html`` writes.

Every rule begins with a class of ours, so that nothing around the output changes. Colours are mixed from the text's own
colour: they suit a light surrounding and a dark one, whichever way that was chosen.
"""

from __future__ import annotations

EVERYWHERE = """\
.runcontext {
  --rc-muted: color-mix(in srgb, currentColor 66%, transparent);
  --rc-line: color-mix(in srgb, currentColor 14%, transparent);
  --rc-bad: color-mix(in srgb, #d92d20 76%, currentColor);
  --rc-mild: color-mix(in srgb, #c77700 72%, currentColor);
  --rc-good: color-mix(in srgb, #149a54 76%, currentColor);
  --rc-mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  box-sizing: border-box; max-width: 62rem; padding: 0;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  text-align: left; overflow-wrap: anywhere;
}
.runcontext .rc-title { margin: 0; font-size: 1.3em; line-height: 1.3; font-weight: 650; letter-spacing: -0.01em; }
.runcontext .rc-subtitle { margin: 0.15em 0 0; color: var(--rc-muted); }
.runcontext .rc-heading {
  margin: 1.5em 0 0.35em; padding: 0; border: 0; font-size: 1em; line-height: 1.4; font-weight: 650;
}
.runcontext a { color: inherit; text-decoration: none; }
.runcontext a:hover, .runcontext a:focus-visible { text-decoration: underline; }
.runcontext .rc-rows { margin: 0; padding: 0; border-top: 1px solid var(--rc-line); }
.runcontext .rc-row {
  display: grid; grid-template-columns: minmax(0, 15.5em) minmax(0, 1fr) minmax(0, max-content);
  column-gap: 1.25em; padding: 0.28em 0; border-bottom: 1px solid var(--rc-line); align-items: baseline;
}
.runcontext .rc-row > * { float: none; width: auto; margin: 0; padding: 0; font-weight: 400; }
.runcontext .rc-row dt, .runcontext .rc-value { font-family: var(--rc-mono); font-size: 0.9em; }
.runcontext .rc-row dt { color: var(--rc-muted); }
.runcontext .rc-value { white-space: pre-wrap; max-height: 15em; overflow: auto; }
.runcontext .rc-exact, .runcontext .rc-giver { color: var(--rc-muted); font-size: 0.82em; }
.runcontext .rc-exact { margin-left: 0.5em; }
.runcontext .rc-absent { color: var(--rc-muted); font-family: inherit; font-size: 0.93em; }
.runcontext .rc-changed { color: var(--rc-mild); }
.runcontext details { margin: 0; }
.runcontext summary {
  display: list-item; width: fit-content; padding: 0.35em 0; color: var(--rc-muted); font-size: 0.9em; cursor: pointer;
}
.runcontext summary:hover { color: inherit; }
.runcontext .rc-status { margin-left: 0.5em; font-size: 0.65em; font-weight: 600; letter-spacing: 0.03em; }
.runcontext .rc-is-bad { color: var(--rc-bad); }
.runcontext .rc-is-mild { color: var(--rc-mild); }
.runcontext .rc-is-good { color: var(--rc-good); }
.runcontext .rc-is-off { color: var(--rc-muted); }
.runcontext .rc-problems { margin: 1.25em 0 0; padding: 0.1em 0 0.1em 1em; border-left: 3px solid var(--rc-bad); }
.runcontext .rc-problems .rc-heading { margin: 0 0 0.1em; color: var(--rc-bad); }
.runcontext .rc-problem { margin: 0; padding: 0.35em 0; }
.runcontext .rc-problem p { margin: 0; padding: 0; }
.runcontext .rc-problem .rc-name { font-weight: 600; }
.runcontext .rc-problem .rc-status { margin-left: 0.5em; font-size: 0.9em; font-weight: 400; letter-spacing: 0; }
.runcontext .rc-reason { white-space: pre-wrap; }
.runcontext .rc-remedy { color: var(--rc-muted); }
.runcontext .rc-scroll { overflow-x: auto; }
.runcontext table { border-collapse: collapse; width: 100%; margin: 0; font-size: 0.93em; }
.runcontext th, .runcontext td {
  padding: 0.28em 1.25em 0.28em 0; border: 0; border-bottom: 1px solid var(--rc-line);
  text-align: left; vertical-align: baseline; font-weight: 400; background: none;
}
.runcontext th { color: var(--rc-muted); }
.runcontext td.rc-number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
@media (max-width: 40rem) {
  .runcontext .rc-row { grid-template-columns: minmax(0, 1fr) minmax(0, max-content); }
  .runcontext .rc-row .rc-value { grid-column: 1 / -1; grid-row: 2; }
}
"""

PAGE = """\
:root { color-scheme: light dark; }
.runcontext-page { margin: 0; padding: 2.5rem 1.25rem 4rem; background: #fff; color: #1b1e23; }
.runcontext-page .runcontext { margin: 0 auto; }
.runcontext-page .rc-title { font-size: 1.7em; }
.runcontext-page .rc-row:target { background: color-mix(in srgb, #f5b400 18%, transparent); }
.runcontext-page nav { display: flex; flex-wrap: wrap; gap: 0.2em 1.1em; margin: 1em 0 0; color: #4a6fd0; }
@media (prefers-color-scheme: dark) {
  .runcontext-page { background: #14161a; color: #e4e7eb; }
  .runcontext-page nav { color: #8fb0ff; }
}
@media print {
  .runcontext-page { padding: 0; background: none; color: #000; }
  .runcontext-page nav, .runcontext-page summary { display: none; }
  .runcontext-page details::details-content { display: block; content-visibility: visible; }
  .runcontext-page .rc-value { max-height: none; overflow: visible; }
  .runcontext-page .rc-row, .runcontext-page .rc-problem { break-inside: avoid; }
  .runcontext-page .rc-heading { break-after: avoid; }
}
"""
