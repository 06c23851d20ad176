"""``runcontext plugins``, called as people call it: what it lists, and what no plugin can do to it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.places.throwaway import Site, new_site

from runcontext import plugins
from runcontext.cli import loading
from runcontext.plugins import Plugin

if TYPE_CHECKING:
    from pathlib import Path

CLI = (sys.executable, "-m", "runcontext", "plugins")
STORES, HEADERS = "mlflow.tracking_store", "runcontext.request_headers"
STORE = "class Store:\n    pass\n"
WIDE, NARROW = 160, 60


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to call the command in, and a site where it finds plugins."""

    folder: Path
    site: Site

    def environment(self, **more: str) -> dict[str, str]:
        """Give the variables that it is called with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNCONTEXT_", "MLFLOW_"))}
        own = {"PYTHONPATH": str(self.site.folder), "RUNCONTEXT_CACHE_DIR": str(self.folder / "cache")}
        return {**kept, **own, "LC_ALL": "C.UTF-8", **more}

    def call(self, *words: str, **environment: str) -> str:
        """Call it and give what a pipe gets."""
        done = subprocess.run(
            [*CLI, *words],
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def rows(self, **environment: str) -> list[dict[str, Any]]:
        """Give the plugins of this test, as ``--json`` has them."""
        found = json.loads(self.call("--json", **environment))
        assert found["schema"] == 1
        return [each for each in found["plugins"] if self.site.mark in each["target"]]

    def states(self, **environment: str) -> dict[str, tuple[str, str | None]]:
        """Give state and reason of each plugin by its distribution."""
        return {each["distribution"]: (each["state"], each["reason"]) for each in self.rows(**environment)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give a place of this test's own."""
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    return Place(tmp_path, new_site(tmp_path / "site"))


def test_every_kind_is_listed(place: Place) -> None:
    """Name, what it serves, package and version, state; a built-in's schemes stand together, each alone in JSON."""
    module = place.site.install("Team_Store", STORE, {STORES: {"team": "Store"}}, version="2.1")
    lines = [line.split("\t") for line in place.call().splitlines()]

    assert ["tracking store", "team", "team:", "Team_Store 2.1", "loaded", ""] in lines
    assert {len(line) for line in lines} == {6}
    (server,) = [line for line in lines if line[0] == "tracking store" and "https:" in line[2]]
    assert (server[1], server[2], server[4]) == ("mlflow", "http:, https:", "built-in")
    assert place.rows() == [
        {
            "kind": "tracking store",
            "name": "team",
            "serves": "team:",
            "distribution": "Team_Store",
            "version": "2.1",
            "state": "loaded",
            "reason": None,
            "group": STORES,
            "target": f"{module}:Store",
        }
    ]
    whole = json.loads(place.call("--json"))["plugins"]
    names = [line[1] for line in lines if line[4] == "built-in"]
    assert names == ["local", "mlflow", "sql", "local", "mlflow", "sql", "fsspec"]
    assert {"http", "https"} <= {each["name"] for each in whole if each["state"] == "built-in"}


def test_a_new_plugin_is_listed_at_once(place: Place) -> None:
    """The list is made anew with each call, whatever the cache holds."""
    assert place.rows() == []
    place.site.install("late", STORE, {STORES: {"late": "Store"}})
    assert place.states() == {"late": ("loaded", None)}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ImportError('libmoon.so is missing')", "cannot be loaded: ImportError: libmoon.so is missing"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("import os; os._exit(0)", "it ended the process that loaded it, with status 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it ended the process that loaded it, by SIGSEGV"),
        ("import os; os.write(1, b'[]'); print('junk', flush=True)", None),
        ("import sys; sys.stdin.read(); sys.stdout.close(); sys.stderr.close()", None),
        ("import threading, time; threading.Thread(target=time.sleep, args=(99,)).start()", None),
        ("import os, time; os.fork() or time.sleep(99)", None),
    ],
)
def test_no_plugin_takes_the_listing_down(place: Place, source: str, said: str | None) -> None:
    """One that raises, exits, crashes or prints costs at most itself; those after it are still tried."""
    place.site.install("bad", f"{source}\n{STORE}", {STORES: {"bad": "Store"}})
    place.site.install("good", STORE, {STORES: {"good": "Store"}})
    states = place.states()

    assert states["good"] == ("loaded", None)
    state, reason = states["bad"]
    assert state == ("loaded" if said is None else "failed")
    assert (reason is None) if said is None else said in str(reason)


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one plugin may take is limited; a child that it leaves ends with it, and the next one is tried."""
    site = new_site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(site.folder))
    site.install("bad", f"import time\nwhile True: time.sleep(9)\n{STORE}", {STORES: {"bad": "Store"}})
    site.install("good", STORE, {STORES: {"good": "Store"}})
    tried = [
        Plugin(plugins.TRACKING_STORES, name, STORES, f"{site.module(name)}:Store", name, "1.0")
        for name in ("bad", "good", "bad")
    ]

    late = "it was not loaded within 1.5 s"
    assert loading.failures_of(tried, limit_seconds=1.5) == [late, None, late]
    assert loading.failures_of([]) == []


def test_a_provider_is_built_too(place: Place) -> None:
    """Of the kinds that take no address more can be told: what is built must have the kind's methods."""
    place.site.install("half", "class Half:\n    def in_context(self): ...\n", {HEADERS: {"half": "Half"}})
    ((state, reason),) = place.states().values()

    assert state == "failed"
    assert str(reason).endswith("gave a Half without request_headers()")


def test_who_shadows_whom_and_who_was_chosen(place: Place) -> None:
    """A shadowed plugin says by what, and is not loaded; the user's choice turns it round."""
    place.site.install("a", STORE, {STORES: {"cloud": "Store"}})
    place.site.install("b", "raise SystemExit\n", {STORES: {"cloud": "Store", "https": "Store"}})

    assert [(each["name"], each["distribution"], each["state"], each["reason"]) for each in place.rows()] == [
        ("cloud", "a", "loaded", "shadows b 1.0"),
        ("cloud", "b", "shadowed", "by a 1.0; RUNCONTEXT_PLUGIN_CLOUD=b chooses this one"),
        (
            "https",
            "b",
            "shadowed",
            "by the built-in tracking store of https:; RUNCONTEXT_PLUGIN_HTTPS=b chooses this one",
        ),
    ]
    assert {each["name"]: each["state"] for each in place.rows(RUNCONTEXT_PLUGIN_HTTPS="b")}["https"] == "failed"
    chosen = {each["distribution"]: each["state"] for each in place.rows(RUNCONTEXT_PLUGIN_CLOUD="b")}
    assert chosen["a"] == "shadowed"


@pytest.mark.parametrize("columns", [WIDE, NARROW])
def test_a_terminal_gets_tables(place: Place, columns: int) -> None:
    """Kind by kind under headings, no line wider than the terminal, what failed with its reason."""
    place.site.install("bad", "raise ImportError('libmoon.so is missing')\n", {STORES: {"moon": "Store"}})
    shown = on_terminal(place, columns)
    lines = shown.splitlines()

    assert "Tracking stores" in lines
    assert "Artifact repositories" in lines
    assert max(map(len, lines)) <= columns
    words = "".join(shown.split())
    assert "moon:" in words
    assert "failed" in words
    if columns == WIDE:
        assert "libmoon.so is missing" in " ".join(shown.split())


def on_terminal(place: Place, columns: int) -> str:
    """Call it on a terminal and give what it showed, without colours."""
    ours, theirs = pty.openpty()
    variables = place.environment(COLUMNS=str(columns), TERM="xterm-256color")
    process = subprocess.Popen(CLI, cwd=place.folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while more := _read(ours):
        shown += more
    os.close(ours)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:
        # Linux says so once nobody has the other end.
        return b""
