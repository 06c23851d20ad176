"""The one door of every kind of plugin: what is found, in which order, who serves a scheme, and what loading does."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from tests.places.throwaway import Site, new_site

from runcontext import at_work, entry_points, plugins
from runcontext.artifacts.mlflow_plugin import MLflowPluginRepository
from runcontext.errors import PluginError, StoreError
from runcontext.plugins import ARTIFACT_REPOSITORIES, KINDS, PROVIDERS, REQUEST_HEADERS, TRACKING_STORES

if TYPE_CHECKING:
    from pathlib import Path

    from runcontext.plugins import Kind, Plugin

OURS, MLFLOWS = TRACKING_STORES.groups
CLASS = "class Store:\n    pass\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Give a folder on this process's path, and a cache and settings of this test's own."""
    made = new_site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.setenv("RUNCONTEXT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return made


def of_site(kind: Kind, site: Site) -> list[Plugin]:
    """Give the plugins of a kind that this test has installed."""
    return [each for each in plugins.installed(kind) if site.mark in each.target]


# --- what is found ---------------------------------------------------------------------------------------------------


def test_plugins_are_found_without_being_imported(site: Site) -> None:
    """A listing knows name, package and version of each plugin, in the order of use, and imports none."""
    second = site.install("b-store", CLASS, {OURS: {"zoo": "Store", "ant": "Store"}}, version="2.1")
    first = site.install("A.store", CLASS, {OURS: {"bee": "Store"}})
    mlflows = site.install("a-mlflow", CLASS, {MLFLOWS: {"cow": "Store"}})
    found = of_site(TRACKING_STORES, site)

    assert [(each.name, each.package, each.is_mlflows) for each in found] == [
        ("bee", "A.store 1.0", False),
        ("ant", "b-store 2.1", False),
        ("zoo", "b-store 2.1", False),
        ("cow", "a-mlflow 1.0", True),
    ]
    assert {each.state for each in found} == {"available"}
    assert not {first, second, mlflows} & set(sys.modules)


@pytest.mark.parametrize("kind", [each for each in KINDS if not each.is_by_scheme], ids=lambda kind: kind.name)
def test_one_plugin_found_twice_counts_once(site: Site, kind: Kind) -> None:
    """What one package declares in our group and in MLflow's, or two packages declare, is there once, as ours."""
    ours, mlflows = kind.groups
    module = site.install("both", CLASS, {mlflows: {"unused": "Store"}, ours: {"team": "Store"}})
    site.install("other", CLASS, {mlflows: {"unused": f"{module}:Store"}})
    (found,) = of_site(kind, site)

    assert (found.group, found.name, found.distribution) == (ours, "team", "both")


def test_one_object_may_serve_several_schemes(site: Site) -> None:
    """Of a store that is declared under two names both schemes are served; twice under one name, one is there."""
    site.install("twin", CLASS, {OURS: {"one": "Store", "two": "Store"}, MLFLOWS: {"one": "Store"}})

    assert [(each.name, each.group) for each in of_site(TRACKING_STORES, site)] == [("one", OURS), ("two", OURS)]


def test_a_plugin_is_found_as_soon_as_it_is_installed(site: Site) -> None:
    """The list is read from a cache, which knows when something is installed or gone."""
    site.install("early", CLASS, {OURS: {"early": "Store"}})
    assert [each.name for each in of_site(TRACKING_STORES, site)] == ["early"]
    site.install("late", CLASS, {OURS: {"late": "Store"}})
    assert [each.name for each in of_site(TRACKING_STORES, site)] == ["early", "late"]
    (site.folder / "early-1.0.dist-info" / "entry_points.txt").unlink()
    (site.folder / "early-1.0.dist-info").rename(site.folder / "gone")
    assert [each.name for each in of_site(TRACKING_STORES, site)] == ["late"]


def test_the_start_of_a_run_reads_of_providers_only(site: Site) -> None:
    """What every run reads holds no other kind of plugin, however many are installed, and no version."""
    site.install("store", CLASS, {OURS: {f"scheme-{number}": "Store" for number in range(50)}})
    site.install("provider", CLASS, {PROVIDERS.groups[0]: {"team": "Store"}})
    rows = [each for each in entry_points.scan(sys.path) if site.mark in each.target]

    assert [each.name for each in rows] == ["team"]
    assert "version" not in rows[0].to_json()


def test_runcontexts_own_entry_points_are_no_plugins(site: Site) -> None:
    """Its providers, and the one that it has for MLflow, are listed nowhere as plugins."""
    site.install("provider", CLASS, {PROVIDERS.groups[0]: {"team": "Store"}})

    assert "runcontext" not in {plugins.normalized(each.distribution) for each in plugins.installed(PROVIDERS)}


def test_an_entry_point_with_extras_is_loaded(site: Site) -> None:
    """``module:attribute [extra]`` names what is before the bracket."""
    module = site.install("extras", CLASS, {})
    site.install("more", CLASS, {OURS: {"extras": f"{module}:Store [fast]"}})
    (found,) = of_site(TRACKING_STORES, site)

    assert plugins.load(found).__name__ == "Store"


# --- who serves a scheme ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TRACKING_STORES, ARTIFACT_REPOSITORIES], ids=lambda kind: kind.name)
def test_no_plugin_takes_a_built_ins_scheme_by_being_installed(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """Only the user's word gives it a scheme that runcontext serves, and each list says who shadows whom."""
    site.install("Their_Store", CLASS, {kind.groups[0]: {"https": "Store"}})
    found = plugins.serving(kind, "https")
    assert found is not None
    assert found.is_built_in
    (shadowed,) = of_site(kind, site)
    assert shadowed.state == "shadowed"
    assert shadowed.reason == (
        f"by the built-in {kind.name} of https:; RUNCONTEXT_PLUGIN_HTTPS=Their_Store chooses this one"
    )

    for choice in ("Their_Store", "their-store", "their.store:https"):
        monkeypatch.setenv("RUNCONTEXT_PLUGIN_HTTPS", choice)
        chosen = plugins.serving(kind, "https")
        assert chosen is not None
        assert chosen.distribution == "Their_Store"
        (listed,) = of_site(kind, site)
        assert (listed.state, listed.reason) == ("available", f"shadows the built-in {kind.name} of https:")
    monkeypatch.setenv("RUNCONTEXT_PLUGIN_HTTPS", "runcontext")
    assert plugins.serving(kind, "https") == found


def test_of_two_plugins_one_serves_and_both_say_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours come before MLflow's, then the order is that of the distributions' names, unless the user says otherwise."""
    site.install("c", CLASS, {OURS: {"cloud": "Store"}})
    site.install("b", CLASS, {OURS: {"cloud": "Store"}})
    site.install("a", CLASS, {MLFLOWS: {"cloud": "Store"}})

    def states() -> list[tuple[str, str, str | None]]:
        return [(each.distribution, each.state, each.reason) for each in of_site(TRACKING_STORES, site)]

    assert states() == [
        ("b", "available", "shadows c 1.0, a 1.0"),
        ("c", "shadowed", "by b 1.0; RUNCONTEXT_PLUGIN_CLOUD=c chooses this one"),
        ("a", "shadowed", "by b 1.0; RUNCONTEXT_PLUGIN_CLOUD=a chooses this one"),
    ]
    monkeypatch.setenv("RUNCONTEXT_PLUGIN_CLOUD", "a")
    found = plugins.serving(TRACKING_STORES, "cloud")
    assert found is not None
    assert found.distribution == "a"
    assert [state for _, state, _ in states()] == ["shadowed", "shadowed", "available"]


def test_a_plugin_of_another_name_can_be_chosen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """``distribution:name`` gives a scheme to a plugin that is installed for another one."""
    site.install("fast", CLASS, {OURS: {"fast-http": "Store"}})
    monkeypatch.setenv("RUNCONTEXT_PLUGIN_HTTP", "fast:fast-http")
    found = plugins.serving(TRACKING_STORES, "http")

    assert found is not None
    assert found.name == "fast-http"


def test_a_choice_of_one_kind_leaves_the_other_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that keeps artifacts only, chosen for a scheme, serves its artifacts; its runs stay where they were."""
    site.install("rows", CLASS, {ARTIFACT_REPOSITORIES.groups[1]: {"mssql": "Store"}})
    monkeypatch.setenv("RUNCONTEXT_PLUGIN_MSSQL", "rows")
    artifacts, runs = plugins.serving(ARTIFACT_REPOSITORIES, "mssql"), plugins.serving(TRACKING_STORES, "mssql")

    assert artifacts is not None
    assert artifacts.distribution == "rows"
    assert runs is not None
    assert runs.is_built_in


def test_a_choice_of_nothing_installed_says_what_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error, for the kind that has a built-in too, and lists what could be chosen."""
    site.install("there", CLASS, {OURS: {"http": "Store"}, ARTIFACT_REPOSITORIES.groups[0]: {"moon": "Store"}})
    monkeypatch.setenv("RUNCONTEXT_PLUGIN_HTTP", "missing")

    with pytest.raises(PluginError, match="RUNCONTEXT_PLUGIN_HTTP=missing names no installed plugin") as caught:
        plugins.serving(TRACKING_STORES, "http")
    assert "there:http" in str(caught.value)
    assert "there:moon" in str(caught.value)
    (listed,) = of_site(TRACKING_STORES, site)
    assert (listed.state, listed.reason) == ("shadowed", str(caught.value))


@pytest.mark.parametrize("kind", [TRACKING_STORES, ARTIFACT_REPOSITORIES], ids=lambda kind: kind.name)
def test_files_are_kept_by_nobody_else(site: Site, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    """Every run is in the local store first: no plugin can take the scheme of URIs that are files."""
    site.install("files", CLASS, {kind.groups[0]: {"file": "Store"}})
    monkeypatch.setenv("RUNCONTEXT_PLUGIN_FILE", "files")
    found = plugins.serving(kind, "file")

    assert found is not None
    assert found.is_built_in
    (listed,) = of_site(kind, site)
    assert (listed.state, listed.reason) == (
        "shadowed",
        f"by the built-in {kind.name} of file:, which no plugin can take",
    )


@pytest.mark.parametrize(
    ("name", "variable", "said"),
    [
        (
            "mssql+pyodbc",
            "RUNCONTEXT_PLUGIN_MSSQL",
            "no URI has the scheme mssql+pyodbc:, it is read as mssql:; {}=rows:mssql+pyodbc chooses this one",
        ),
        (
            "Upper",
            "RUNCONTEXT_PLUGIN_UPPER",
            "no URI has the scheme Upper:, it is read as upper:; {}=rows:Upper chooses this one",
        ),
        ("x", "RUNCONTEXT_PLUGIN_X", "no URI has the scheme x:; two letters at least, digits and + - . make one"),
    ],
)
def test_a_plugin_that_no_uri_reaches_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str, variable: str, said: str
) -> None:
    """A driver is no part of a scheme, case does not count, and one letter is a drive: only a choice can help."""
    site.install("rows", CLASS, {OURS: {name: "Store"}})
    (found,) = of_site(TRACKING_STORES, site)

    assert (found.state, found.reason) == ("shadowed", said.format(variable))
    if name != "x":
        monkeypatch.setenv(variable, f"rows:{name}")
        assert [each.state for each in of_site(TRACKING_STORES, site)] == ["available"]


def test_a_package_does_not_choose_against_itself(site: Site) -> None:
    """One that declares two objects for one scheme is told which of its own groups comes first."""
    module = site.install("two", "class Old: pass\nclass New: pass\n", {OURS: {"own": "New"}, MLFLOWS: {"own": "Old"}})
    _, shadowed = of_site(TRACKING_STORES, site)

    assert shadowed.reason == f"by {module}:New of the same package, declared in {OURS}"


# --- loading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ValueError('no licence')", "ValueError: no licence"),
        ("import a_module_that_is_nowhere", "ModuleNotFoundError: No module named 'a_module_that_is_nowhere'"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("class Odd(BaseException):\n    def __str__(self): raise ValueError\nraise Odd", "Odd (bad"),
        ("raise KeyError('https://ada:lovelace-1815@example.org/x')", "https://[redacted]@example.org/x"),
        ("Other = 1", "AttributeError"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_says_why_once_tried(site: Site, source: str, said: str) -> None:
    """Whatever its import does is one error, which names plugin, package and place; it is not imported again."""
    counted = "import builtins\nbuiltins.loads = getattr(builtins, 'loads', 0) + 1\n"
    site.install("bad", f"{counted}{source}\n", {OURS: {"bad": "Store"}})
    (found,) = of_site(TRACKING_STORES, site)
    import builtins

    builtins.loads = 0  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            plugins.load(found)
        assert str(caught.value).startswith(f"tracking store 'bad' of bad 1.0 ({site.module('bad')}:Store) cannot be")
        assert said in str(caught.value)
        assert "lovelace" not in str(caught.value)
    assert builtins.loads == 1  # type: ignore[attr-defined]
    (listed,) = of_site(TRACKING_STORES, site)
    assert (listed.state, listed.reason) == ("failed", str(caught.value))


def test_what_was_loaded_is_listed_as_loaded(site: Site) -> None:
    """A listing in the same process says so."""
    site.install("good", CLASS, {OURS: {"good": "Store"}})
    (found,) = of_site(TRACKING_STORES, site)
    plugins.load(found)
    assert [each.state for each in of_site(TRACKING_STORES, site)] == ["loaded"]


def test_the_users_own_interrupt_is_not_swallowed(site: Site) -> None:
    """Ctrl-C while a plugin is at work ends the program; in a thread it can only be the plugin's doing."""
    site.install("slow", "class Store:\n    def __init__(self): raise KeyboardInterrupt\n", {OURS: {"slow": "Store"}})
    (found,) = of_site(TRACKING_STORES, site)
    with pytest.raises(KeyboardInterrupt):
        plugins.build(found)
    raised: list[BaseException] = []

    def build() -> None:
        try:
            plugins.build(found)
        except BaseException as error:  # noqa: BLE001 - which one is the question
            raised.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert [type(each) for each in raised] == [PluginError]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class Store:\n    def __init__(self): exit(3)", "cannot be built: SystemExit: 3"),
        ("def Store(): return None", "gave a NoneType without in_context(), request_headers()"),
        ("class Store:\n    def in_context(self): ...", "gave a Store without request_headers()"),
        ("Store = 7", "cannot be built: TypeError: 'int' object is not callable"),
        ("class Store:\n    @property\n    def in_context(self): exit(4)", "cannot be looked at: SystemExit: 4"),
    ],
)
def test_a_provider_that_cannot_be_built_costs_itself(
    site: Site, caplog: pytest.LogCaptureFixture, source: str, said: str
) -> None:
    """Of a kind of which every plugin is asked, one that fails is left out, and said once by name."""
    good = "class Store:\n    def in_context(self): return True\n    def request_headers(self): return {}\n"
    site.install("bad", source, {REQUEST_HEADERS.groups[1]: {"unused": "Store"}})
    site.install("good", good, {REQUEST_HEADERS.groups[1]: {"unused": "Store"}})
    caplog.set_level(logging.WARNING, "runcontext")
    for _ in range(2):
        built = [plugin.distribution for plugin, _ in plugins.build_all(REQUEST_HEADERS)]
        assert "good" in built
        assert "bad" not in built
    (line,) = [each for each in caplog.messages if "of bad 1.0" in each]
    assert said in line


def test_an_instance_is_a_provider_too(site: Site) -> None:
    """What has the methods of its kind already is not called."""
    source = "class Headers:\n    def in_context(self): ...\n    def request_headers(self): ...\nStore = Headers()\n"
    module = site.install("made", source, {REQUEST_HEADERS.groups[0]: {"made": "Store"}})
    built = {plugin.distribution: each for plugin, each in plugins.build_all(REQUEST_HEADERS)}

    assert built["made"] is sys.modules[module].Store


def test_a_password_is_not_in_what_a_plugin_says(site: Site) -> None:
    """The credentials of the address that it was called with are shown in no form, and nowhere in the traceback."""
    source = "class Store:\n    def __init__(self, uri): raise ValueError(f'denied: {uri[11:21]} is no password')\n"
    site.install("talk", source, {OURS: {"talk": "Store"}})
    (found,) = of_site(TRACKING_STORES, site)
    with pytest.raises(PluginError) as caught:
        plugins.build(found, uri := "talk://ada:l%2Bvelace@example.org", uri=uri)

    assert "denied: [redacted] is no password" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_who_runs_is_said_before_it_does(site: Site) -> None:
    """A listener hears of each call of a plugin's code before it begins, and when it is over, also where it failed."""
    heard: list[str] = []
    source = "def Store(*_, **__): raise ValueError(', '.join(heard))\nheard = []\n"
    module = site.install("loud", source, {MLFLOWS: {"loud": "Store"}})
    (found,) = of_site(TRACKING_STORES, site)
    at_work.tell(heard.append)
    try:
        builder = plugins.load(found)
        sys.modules[module].heard = heard
        with pytest.raises(PluginError, match=r"loud 1\.0"):
            plugins.build(found)
        with pytest.raises(StoreError, match=r"theirs could not be built .*, theirs$"):
            MLflowPluginRepository(builder, "loud://here", plugin="theirs")
    finally:
        at_work.tell(None)

    assert heard == [str(found), "", str(found), "", "theirs", ""]
