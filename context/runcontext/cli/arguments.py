"""What can be typed: subcommands, options, and the help that explains them."""

from __future__ import annotations

import argparse
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_DESCRIPTION = """\
runcontext captures the context of a run: who started it, from what code, on which machine, with which accelerators
and packages. Runs are kept in a folder .runcontext; RUNCONTEXT_TRACKING_URI or --tracking-uri names another folder, or
a place that they are sent to besides.
"""
_EPILOG = """\
On a terminal each subcommand prints tables. In a pipe it prints a line for each row, fields separated by tabs, nothing
cut and no colour. With --json it prints one JSON object, whose shape is stable.
"""
_CAPTURE = """\
Show the context that a run started here and now would have: the facts that people ask for first, under headings, and
what went wrong, with what to do about it. --all adds every other tag, who gave it, the reason for each one that is not
there, and what each provider did. Nothing is kept.
"""
_PIPED_CAPTURE = """\
A pipe gets everything. The first field of each line says what it is: tag (name, value, provider), change (tag,
provider, value at the start and at the end of the run), rank (number, host, tag, its value there and here), provider
(name, status, seconds, where it ran, reason), fact (provider, tag, why it is not there), conflict (tag, winner,
losers), attachment (name, provider, bytes, reason).
"""
_PROVIDERS = """\
List the providers in their order: where two give the same tag, the later one wins. RUNCONTEXT_PROVIDER_<NAME>=0 or 1
switches one, RUNCONTEXT_PROVIDERS selects several; the same can stand in [tool.runcontext] of pyproject.toml.
"""
_PIPED_PROVIDERS = """\
In a pipe the fields are: name, where it comes from, where it runs, on or off, and what switched it.
"""
_PLUGINS = """\
List every installed plugin, kind by kind: what it serves, from which package it is, and whether it can be loaded, which
is tried in a process of its own. Of two that serve one scheme only one is used: RUNCONTEXT_PLUGIN_<SCHEME>=PACKAGE
chooses another, also in the place of a built-in.
"""
_PIPED_PLUGINS = """\
In a pipe the fields are: kind, name, what it serves, package and version, built-in, loaded, shadowed or failed, why.
"""
_RUN = """\
Run any command, in any language, under a run of its own. Its input and output, signals and exit status pass through
unchanged. Exit status 0 makes the run FINISHED, any other FAILED; SIGTERM, SIGHUP and SIGINT make it KILLED. The first
start_run() inside the command joins the run and adds what it logs and knows; later ones are its children.
"""
_PIPED_RUN = """\
Exit status: the command's own; 127 where it is not found, 126 where it cannot be executed, 125 where the run cannot be
kept. A command that a signal ends makes runcontext end by the same signal.
"""
_LS = """\
List the runs, newest first: the last 8 digits of the id, which `runcontext show` takes, name, experiment, status, when
the run started, how long it took, and what was run.
"""
_PIPED_LS = """\
In a pipe the fields are: the last 8 digits of the id, name, experiment, status, start (local time), duration in seconds
(so far, of a run that goes on), source, and yes or no where the run is sent elsewhere.
"""
_SHOW = """\
Show one run: params, the last value of each metric, the facts that people ask for first, how it ended, its files, and
what went wrong, with what to do about it. --all adds all other facts, as `runcontext capture --all` does.
"""
_PIPED_SHOW = """\
A pipe gets everything. The first field of each line says what it is: run, param and metric (name, value), artifact
(path, bytes, provider, reason), and what `runcontext capture` prints.
"""
_SYNC = """\
Send what is not yet where runs go: runs that were made offline, that a server was away for, or whose process was
killed. What is there already is not sent again. Credentials are not kept with a run: they are those of
RUNCONTEXT_TRACKING_URI or --tracking-uri, of MLflow's variables, or of the place's own client.
"""
_PIPED_SYNC = """\
In a pipe the fields are: the last 8 digits of the id, name, status (sent, running, busy, failed), and where the run is.
Exit status 1 where something is still to be sent.
"""
_DOWNLOAD = """\
Fetch the artifacts of a run, or one file or folder of them, into a folder of this machine, and print where it is. What
is there already is not fetched again where the place has a checksum of it; a large file goes on where it stopped.
"""
_PIPED_DOWNLOAD = """\
A pipe gets the absolute path. Exit status 1 where something did not arrive; the rest did.
"""


def parser() -> argparse.ArgumentParser:
    """Give the parser of the whole command line; ``subcommand`` of what it parses names the module that runs it."""
    whole = _Parser(prog="runcontext", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=_Formatter)
    whole.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = whole.add_subparsers(
        # Without a prog of ours argparse formats one, and imports shutil for it.
        prog=whole.prog,
        dest="subcommand",
        metavar="SUBCOMMAND",
        required=True,
        title="subcommands",
    )
    capture = _add(commands, "capture", "what would be captured here and now", _CAPTURE, _PIPED_CAPTURE)
    _add_views(capture)
    _add(commands, "providers", "the providers in their order, and which are on", _PROVIDERS, _PIPED_PROVIDERS)
    _add(commands, "plugins", "the plugins of every kind, and which can be used", _PLUGINS, _PIPED_PLUGINS)
    run = _add(commands, "run", "run a command under a run", _RUN, _PIPED_RUN, json="afterwards print the run as JSON")
    run.usage = f"runcontext run [--name N] [--experiment NAME] [--tracking-uri URI]\n{' ' * 22}[--json] -- COMMAND..."
    run.add_argument("--name", help="the run's name; one is made up unless given")
    run.add_argument("--experiment", metavar="NAME", help="the experiment that it belongs to")
    _add_store(run)
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")
    runs = _add(commands, "ls", "list the runs, newest first", _LS, _PIPED_LS)
    runs.add_argument("--max", type=_positive, default=20, metavar="N", help="at most N runs (default: 20)")
    runs.add_argument("--experiment", metavar="NAME", help="only runs of this experiment")
    runs.add_argument("--filter", metavar="FILTER", help='only runs that fit, as of MLflow: "metrics.loss < 0.3"')
    runs.add_argument("--order-by", metavar="KEY", action="append", help='the order, as of MLflow: "params.lr DESC"')
    _add_store(runs)
    show = _add(commands, "show", "show one run", _SHOW, _PIPED_SHOW)
    show.add_argument("run", metavar="RUN", help="any unique beginning or ending of a run's id, its name, or: latest")
    _add_views(show)
    _add_store(show)
    sync = _add(commands, "sync", "send what is not yet where runs go", _SYNC, _PIPED_SYNC)
    sync.add_argument("run", nargs="?", metavar="RUN", help="only this run; as `show` takes it")
    sync.add_argument("--tracking-uri", metavar="URI", help="where to, with credentials; also of a run kept only here")
    download = _add(commands, "download", "fetch a run's artifacts", _DOWNLOAD, _PIPED_DOWNLOAD)
    download.add_argument("run", metavar="RUN", help="the run, as `show` takes it")
    download.add_argument("path", nargs="?", metavar="PATH", help="a file or folder of its artifacts; all unless given")
    download.add_argument("--to", metavar="DIR", help="where to; artifacts-RUN in the current folder unless given")
    _add_store(download)
    return whole


def parsed(argv: list[str] | None) -> argparse.Namespace:
    """Read a command line; ends the program with a message where it is none."""
    whole = parser()
    options = whole.parse_args(argv)
    if options.json and getattr(options, "html", None) is not None:
        whole.error("--json and --html are two answers: choose one")
    return options


def _add(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    summary: str,
    description: str,
    epilog: str,
    *,
    json: str = "print JSON",
) -> _Parser:
    added = commands.add_parser(
        name, help=summary, description=description, epilog=epilog, formatter_class=_Formatter, allow_abbrev=False
    )
    added.add_argument("--json", action="store_true", help=json)
    return added


def _add_views(command: argparse.ArgumentParser) -> None:
    command.add_argument("--all", action="store_true", help="show everything, and values whole")
    command.add_argument("--html", metavar="FILE", help="write one self-contained page instead; - for standard output")


def _add_store(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tracking-uri", metavar="URI", help="where runs go: a folder, or the URI of a place")


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        message = f"{text!r} is not a whole number of 1 or more"
        raise argparse.ArgumentTypeError(message)
    return number


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint ends with where help is."""

    def error(self, message: str) -> NoReturn:
        """Say in one line what was wrong, and exit with status 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


class _Formatter(argparse.HelpFormatter):
    """Help of at most 80 columns, whatever the terminal's width: text of that width reads well."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24)
        self._width = min(self._width, 78)
        # Names of subcommands are indented further than argparse reckons with.
        self._action_max_length = 14


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from runcontext import __version__

        parser._print_message(f"runcontext {__version__}\n", sys.stdout)
        parser.exit()
