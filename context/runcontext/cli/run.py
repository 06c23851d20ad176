"""``runcontext run -- COMMAND...``: any command under a run of its own.

``--json`` prints, after the command has ended and behind all that it printed, what ``runcontext ls --json`` prints of a
run, and beside that ``"end_reason"``, ``"exit_status"`` (null where a signal ended the command) and ``"signal"`` (its
name, else null).
"""

from __future__ import annotations

from runcontext import cli, fluent, starting
from runcontext.cli import command
from runcontext.errors import ProviderError, StoreError
from runcontext.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from runcontext.cli.command import Command
    from runcontext.run import Run

_OWN_FAILURE = 125
"""Exit status where the run cannot be kept, as of env(1), nohup(1) and timeout(1) when they fail themselves."""

_KILLING = ("SIGTERM", "SIGHUP", "SIGINT")


def main(options: argparse.Namespace) -> int:
    """Run the command; the exit status is its own."""
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        cli.complain("run: COMMAND is missing; `runcontext run -- COMMAND...` runs it")
        return 2
    try:
        store, elsewhere = fluent.current_destination(options.tracking_uri)
        child = command.Command(words)
        run = _started(options, child, words)
    except StoreError as error:
        cli.complain(str(error))
        return _OWN_FAILURE
    places = {"RUNCONTEXT_TRACKING_URI": elsewhere or store.uri, "RUNCONTEXT_LOCAL_STORE": store.uri}
    failure = child.start({"RUNCONTEXT_RUN_ID": run.run_id, **places})
    result = child.wait()
    if failure is not None:
        cli.complain(failure)
        result = command.NOT_EXECUTABLE if child.executable else command.NOT_FOUND
    result = _ended(run, result, failure)
    child.bury()
    if options.json:
        _print(run, result)
    if result < 0:
        command.die_by(-result)
    return result


def _started(options: argparse.Namespace, child: Command, words: list[str]) -> Run:
    """Put the run on disk; where that cannot be, the command does not run."""
    try:
        return starting.start(
            run_name=options.name,
            run_id=None,
            experiment_name=options.experiment,
            nested=False,
            parent_run_id=None,
            tags=None,
            description=None,
            tracking_uri=options.tracking_uri,
            providers=None,
            program=Program.of_command(words, pid=child.pid, executable=child.executable),
        )
    except BaseException:
        child.abandon()
        raise


def _ended(run: Run, result: int, failure: str | None) -> int:
    """End the run and give the exit status: with RUNCONTEXT_STRICT=1 a failed provider turns success into failure."""
    try:
        run.end(*_ending(result, failure))
    except ProviderError as error:
        cli.complain(str(error))
        return result or _OWN_FAILURE
    return result


def _ending(result: int, failure: str | None) -> tuple[str, str]:
    """Give the run's status and reason."""
    if failure is not None:
        return "FAILED", failure
    if result >= 0:
        return "FAILED" if result else "FINISHED", f"exit code {result}"
    name = command.signal_name(-result)
    return ("KILLED", name) if name in _KILLING else ("FAILED", f"signal {name}")


def _print(run: Run, result: int) -> None:
    from runcontext.cli import output
    from runcontext.tracking.local import END_REASON_TAG

    record = run.to_record()
    output.print_json(
        {
            **record.to_json(),
            "end_reason": record.tags.get(END_REASON_TAG),
            "exit_status": result if result >= 0 else None,
            "signal": command.signal_name(-result) if result < 0 else None,
        }
    )
