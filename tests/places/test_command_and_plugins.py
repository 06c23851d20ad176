"""Commands that read a place through plugins: what these print, and what is said of one that takes the command down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.places.loopback import Answer, Loopback
from tests.places.throwaway import Site, new_site

from runcontext.cli import onlooker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADERS = """
import os, sys, time
{at_import}

class Headers:
    def in_context(self):
        return True

    def request_headers(self):
        {when_asked}
        return {{}}
"""
NAME = "request header provider 'team' of team-headers 1.0"


@pytest.fixture
def server() -> Iterator[Loopback]:
    """Give a server that has no runs."""
    found = Loopback()
    found.answers = [Answer.json(200, experiments=[])] * 9
    yield found
    found.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give a folder where the command finds plugins."""
    return new_site(tmp_path / "site")


def install(site: Site, *, at_import: str = "", when_asked: str = "pass") -> None:
    """Install a plugin that does something when it is imported, and when it is asked for headers."""
    source = HEADERS.format(at_import=at_import, when_asked=when_asked)
    site.install("team-headers", source, {"runcontext.request_headers": {"team": "Headers"}})


def begun(site: Site, server: Loopback) -> subprocess.Popen[str]:
    """Begin to list the server's runs as JSON."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNCONTEXT_", "MLFLOW_"))}
    own = {"PYTHONPATH": str(site.folder), "RUNCONTEXT_CACHE_DIR": str(site.folder.parent / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "runcontext", "ls", "--json", "--tracking-uri", server.url],
        cwd=site.folder.parent,
        env={**kept, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_plugins_print_is_no_output_of_the_command(site: Site, server: Loopback) -> None:
    """By print(), on the descriptor or from a child of theirs: it is on stderr, and --json prints JSON alone."""
    at_import = "print('imported'); os.write(1, b'written')"
    install(site, at_import=at_import, when_asked="print('asked'); os.system('echo from a child')")
    stdout, stderr = begun(site, server).communicate()

    assert json.loads(stdout) == {"schema": 1, "runs": []}
    assert all(each in stderr for each in ("imported", "written", "asked", "from a child"))
    assert "runcontext:" not in stderr


@pytest.mark.parametrize("at", ["at_import", "when_asked"])
@pytest.mark.parametrize(
    ("source", "status"), [("os._exit(3)", 3), ("os.kill(os.getpid(), 11)", -signal.SIGSEGV)], ids=["exit", "crash"]
)
def test_a_plugin_that_ends_the_command_is_named(
    site: Site, server: Loopback, at: str, source: str, status: int
) -> None:
    """Nothing of the command is left to say so; the user is told nevertheless."""
    install(site, **{at: source})
    command = begun(site, server)
    stdout, stderr = command.communicate()

    assert (command.returncode, stdout) == (status, "")
    assert stderr.startswith(f"runcontext: {NAME} ({site.module('team-headers')}:Headers) has ended the command")


def test_a_plugin_that_hangs_is_named(site: Site, server: Loopback) -> None:
    """The user is told who is waited for, and that Ctrl-C ends the command, which it does without another word."""
    install(site, when_asked="time.sleep(600)")
    command = begun(site, server)
    assert command.stderr is not None
    began = time.monotonic()
    line = command.stderr.readline()
    assert time.monotonic() - began >= onlooker.SLOW_SECONDS
    assert line.startswith(f"runcontext: {NAME}")
    assert line.endswith("has not come back for 10 s; Ctrl-C ends the command\n")

    command.send_signal(signal.SIGINT)
    assert command.communicate() == ("", "")
    assert command.returncode == 130
