"""``runcontext capture``: the context that a run started here and now would have; nothing is kept.

``--json`` prints ``{"schema": 1, "tags": {tag: value}, "outcomes": {provider: {"status", "reason", "seconds",
"started_at", "placement", "tags", "failures", "redacted", "at_end"}}, "conflicts": [{"tag", "winner", "losers"}],
"changes": [{"tag", "provider", "start", "end"}], "attachments": [{"name", "provider", "path", "size_bytes", "sha256",
"reason", "redacted"}], "ranks": [{"rank", "host", "differs"}]}``, as ``context.json`` of a run holds it. ``--html
FILE`` writes a page of the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runcontext import fluent
from runcontext.cli import context, output
from runcontext.presentation import view
from runcontext.program import Program, current_program, describe

if TYPE_CHECKING:
    import argparse


def main(options: argparse.Namespace) -> int:
    """Capture and print; the status is 0 whatever is not there, for that is what was asked."""
    describe(_here_and_now())
    captured = fluent.resolve_context()
    if options.json:
        output.print_json(captured.to_json())
    elif options.html is None and not output.is_for_people():
        output.print_tables([*context.lines(captured, captured.tags), context.attachment_lines(captured)])
    else:
        context.show(view.of_context(captured, context.origins(captured)), options)
    return 0


def _here_and_now() -> Program:
    """Describe this process without its main file: a run started here has this folder's code, not runcontext's."""
    fields = current_program().to_json()
    argv = ("runcontext", *fields["argv"][1:])
    return Program.from_json({**fields, "argv": argv, "main_file": None, "main_module": None})
