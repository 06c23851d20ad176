"""Which providers are found, what they are called, and what switches them: packages, variables, pyproject.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runcontext.record import OutcomeStatus
from runcontext.tracking import reading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.integration.conftest import Finished, InstallPlugin, RunScript

    from runcontext.record import Context

PROGRAM = """
    import json
    import runcontext
    with runcontext.start_run() as run:
        known = sorted(json.loads((run.path / "context.json").read_text())["outcomes"])
        run.tags
    print(json.dumps(known))
"""

PLUGIN = """
    import os

    class Provider:
        def in_context(self):
            with open(os.path.expanduser("~/calls"), "a") as file:
                file.write(__name__ + "\\n")
            return True

        def tags(self):
            return {__name__: "there"}
"""


def newest(found: Finished) -> Context:
    """Give the context of the newest run."""
    context = reading.read_context(found.store, found.runs[0].run_id)
    assert context is not None
    return context


def configure(project: Path, text: str) -> None:
    """Write the project's [tool.runcontext]."""
    (project / "pyproject.toml").write_text(f"[tool.runcontext]\n{text}\n", encoding="utf-8")


def calls(environment: Mapping[str, str]) -> list[str]:
    """Give the plugins that ran, once for each time."""
    with open(f"{environment['HOME']}/calls", encoding="utf-8") as file:
        return sorted(file.read().split())


# --- the cache -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_scan_is_remembered_until_something_is_installed(
    tmp_path: Path, run_script: RunScript, install_plugin: InstallPlugin
) -> None:
    """The first run scans in the companion; the next know the plugins at once, a new one and a removed one too."""
    install_plugin("first", PLUGIN)
    assert "first" not in run_script(PROGRAM).json
    assert "first" in run_script(PROGRAM).json
    install_plugin("second", PLUGIN)
    found = run_script(PROGRAM)
    assert newest(found).tags["second"] == "there"
    assert {"first", "second"} <= set(run_script(PROGRAM).json)
    (tmp_path / "site" / "first-1.0.dist-info" / "entry_points.txt").unlink()
    (tmp_path / "site" / "first-1.0.dist-info" / "METADATA").unlink()
    (tmp_path / "site" / "first-1.0.dist-info").rmdir()
    found = run_script(PROGRAM)
    assert "first" not in newest(found).outcomes
    assert newest(found).tags["second"] == "there"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema": 1}', '{"entry_points": [{"odd": 1}], "path": [], "states": []}']
)
@pytest.mark.usefixtures("quick")
def test_broken_cache_is_scanned_anew(
    tmp_path: Path, run_script: RunScript, install_plugin: InstallPlugin, content: str
) -> None:
    """A cache file that holds anything else costs a scan and nothing more."""
    install_plugin("first", PLUGIN)
    run_script(PROGRAM)
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text(content, encoding="utf-8")
    assert newest(run_script(PROGRAM)).tags["first"] == "there"
    assert "first" in run_script(PROGRAM).json


@pytest.mark.usefixtures("quick")
def test_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, run_script: RunScript, install_plugin: InstallPlugin
) -> None:
    """Where the cache's folder cannot be made, every run scans, and finds the same."""
    install_plugin("first", PLUGIN)
    (tmp_path / "file").write_text("", encoding="utf-8")
    variables = {"RUNCONTEXT_CACHE_DIR": str(tmp_path / "file" / "cache")}
    for _ in range(2):
        assert newest(run_script(PROGRAM, env=variables)).tags["first"] == "there"


def test_broken_distribution_hides_no_other(
    tmp_path: Path, run_script: RunScript, install_plugin: InstallPlugin
) -> None:
    """Distributions without metadata, with binary metadata or senseless entry points cost their own providers only."""
    install_plugin("first", PLUGIN)
    for name, metadata, entry_points in (
        ("empty", None, None),
        ("binary", b"\xff\xfe\x00", b"\xff\xfe\x00"),
        ("senseless", b"Name: senseless\n", b"[runcontext.providers]\nno equals sign\n = nothing\nodd = \n"),
    ):
        info = tmp_path / "site" / f"{name}-1.0.dist-info"
        info.mkdir()
        if metadata is not None and entry_points is not None:
            (info / "METADATA").write_bytes(metadata)
            (info / "entry_points.txt").write_bytes(entry_points)
    found = run_script(PROGRAM)
    assert newest(found).tags["first"] == "there"
    assert newest(found).outcomes["git"].status is OutcomeStatus.CAPTURED


# --- names ---------------------------------------------------------------------------------------------------------


def test_names_are_made_unique(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """One called unused, default, or like one that is there already is ``<distribution>:<name>``."""
    install_plugin("unused", PLUGIN, distribution="acme-one")
    install_plugin("default", PLUGIN, distribution="acme-two")
    install_plugin("git", PLUGIN, distribution="acme-three")
    install_plugin("same", PLUGIN, distribution="acme-four")
    install_plugin("same", PLUGIN, distribution="acme-five")
    outcomes = newest(run_script(PROGRAM)).outcomes
    named = {"acme-one:unused", "acme-two:default", "acme-three:git", "same", "acme-four:same"}
    assert named <= outcomes.keys()
    assert outcomes["same"].tags == {"acme_five": "there"}
    assert {outcomes[name].status for name in named} == {OutcomeStatus.CAPTURED}
    assert "mlflow.source.git.commit" in outcomes["git"].tags


@pytest.mark.usefixtures("quick")
def test_two_names_with_one_variable_are_reported(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """Names that give the same toggle are named in a warning, and the toggle switches both."""
    install_plugin("my-plugin", PLUGIN, distribution="one")
    install_plugin("my.plugin", PLUGIN, distribution="two")
    run_script(PROGRAM)
    found = run_script(PROGRAM, env={"RUNCONTEXT_PROVIDER_MY_PLUGIN": "0"})
    assert "'my-plugin' and 'my.plugin' share the toggle RUNCONTEXT_PROVIDER_MY_PLUGIN" in found.stderr
    assert newest(found).outcomes["my-plugin"].status is OutcomeStatus.DISABLED
    assert newest(found).outcomes["my.plugin"].status is OutcomeStatus.DISABLED


@pytest.mark.usefixtures("quick")
def test_same_object_runs_once(
    run_script: RunScript, install_plugin: InstallPlugin, environment: dict[str, str]
) -> None:
    """What two distributions or both groups declare, as mlflow and mlflow-skinny do, runs once a capture."""
    install_plugin("shared", PLUGIN, distribution="mlflow", group="mlflow.run_context_provider")
    install_plugin(
        "shared", "", distribution="mlflow-skinny", group="mlflow.run_context_provider", target="mlflow:Provider"
    )
    install_plugin("shared", "", distribution="other", target="mlflow:Provider")
    install_plugin("alias", "", distribution="third", target="mlflow:Provider")
    found = run_script(PROGRAM)
    assert calls(environment) == ["mlflow"]
    assert newest(found).tags["mlflow"] == "there"
    run_script(PROGRAM)
    assert calls(environment) == ["mlflow", "mlflow"]


@pytest.mark.usefixtures("quick")
def test_mlflow_plugin_runs_and_our_own_bridge_does_not(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """An entry point of MLflow's group is a provider here; runcontext's own in that group is not run by runcontext."""
    install_plugin("theirs", PLUGIN, group="mlflow.run_context_provider")
    outcomes = newest(run_script(PROGRAM)).outcomes
    assert outcomes["theirs"].status is OutcomeStatus.CAPTURED
    assert not [name for name in outcomes if "runcontext" in name]


# --- switches ------------------------------------------------------------------------------------------------------

SWITCHES: dict[str, tuple[dict[str, str], str, set[str], str]] = {
    "one off": ({"RUNCONTEXT_PROVIDER_GIT": "0"}, "", {"git"}, "RUNCONTEXT_PROVIDER_GIT"),
    "a plugin off": ({"RUNCONTEXT_PROVIDER_MY_PLUGIN": "off"}, "", {"my-plugin"}, "RUNCONTEXT_PROVIDER_MY_PLUGIN"),
    "an inline one off": ({"RUNCONTEXT_PROVIDER_USER": "false"}, "", {"user"}, "RUNCONTEXT_PROVIDER_USER"),
    "all off": (
        {"RUNCONTEXT_DISABLED": "1"},
        "",
        {"user", "source", "git", "host", "gpu", "python", "my-plugin"},
        "RUNCONTEXT_DISABLED",
    ),
    "all but one off": (
        {"RUNCONTEXT_DISABLED": "1", "RUNCONTEXT_PROVIDER_HOST": "1"},
        "",
        {"user", "source", "git", "gpu", "python", "my-plugin"},
        "RUNCONTEXT_DISABLED",
    ),
    "only these": (
        {"RUNCONTEXT_PROVIDERS": "git, host"},
        "",
        {"user", "source", "gpu", "python", "my-plugin"},
        "RUNCONTEXT_PROVIDERS",
    ),
    "all but these": ({"RUNCONTEXT_PROVIDERS": "-gpu,-my-plugin"}, "", {"gpu", "my-plugin"}, "RUNCONTEXT_PROVIDERS"),
    "the single toggle wins": ({"RUNCONTEXT_PROVIDERS": "-gpu", "RUNCONTEXT_PROVIDER_GPU": "1"}, "", set(), ""),
    "empty is unset": (
        {"RUNCONTEXT_PROVIDERS": "", "RUNCONTEXT_PROVIDER_GPU": "", "RUNCONTEXT_DISABLED": ""},
        "",
        set(),
        "",
    ),
    "one off in the file": ({}, "providers.git.enabled = false", {"git"}, "[tool.runcontext.providers.git]"),
    "a list in the file": ({}, 'select = ["-gpu", "-git"]', {"gpu", "git"}, "[tool.runcontext] select"),
    "all off in the file": (
        {},
        "disabled = true\nproviders.my-plugin.enabled = true",
        {"user", "source", "git", "host", "gpu", "python"},
        "[tool.runcontext] disabled",
    ),
    "the environment wins": (
        {"RUNCONTEXT_PROVIDER_GIT": "1", "RUNCONTEXT_PROVIDERS": "-host"},
        "providers.git.enabled = false\nproviders.host.enabled = true",
        {"host"},
        "RUNCONTEXT_PROVIDERS",
    ),
}


# Where there is no companion the same code decides, in the program; what may differ there is who looks for plugins.
IN_THREADS = ("a plugin off", "all off", "all but one off", "empty is unset", "all off in the file")


@pytest.mark.parametrize(
    ("case", "companion"),
    [
        *((case, "1") for case in SWITCHES),
        *(pytest.param(case, "0", marks=[] if case in IN_THREADS else pytest.mark.slow) for case in SWITCHES),
    ],
)
def test_switches(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin, case: str, companion: str
) -> None:
    """Each switch turns off what it names, says so as the reason, and leaves the rest on."""
    variables, table, off, setting = SWITCHES[case]
    install_plugin("my-plugin", PLUGIN)
    configure(project, table)
    found = run_script(PROGRAM, env={**variables, "RUNCONTEXT_COMPANION": companion})
    outcomes = newest(found).outcomes
    known = {"user", "source", "git", "host", "gpu", "python", "my-plugin"}
    # Where nothing can switch a plugin on, nobody looks for one.
    switched = {name for name in known if name not in outcomes or outcomes[name].status is OutcomeStatus.DISABLED}
    assert switched == off
    reasons = {outcomes[name].reason or "" for name in switched & outcomes.keys()}
    assert all(reason.startswith(f"switched off by {setting}") for reason in reasons), reasons
    assert not [name for name, outcome in outcomes.items() if outcome.status is OutcomeStatus.FAILED]


UNUSABLE = {
    "RUNCONTEXT_TIMEOUT": ("soon", "a number of seconds, 0 or more"),
    "RUNCONTEXT_STRICT": ("perhaps", "0 or 1"),
    "RUNCONTEXT_COMPANION": ("perhaps", "0 or 1"),
    "RUNCONTEXT_DISABLED": ("perhaps", "0 or 1"),
    "RUNCONTEXT_PROVIDER_GIT": ("perhaps", "0 or 1"),
    "RUNCONTEXT_EXTRA_PROVIDERS": ("nonsense", "pkg.module:Class"),
}


def test_unusable_variables_warn(run_script: RunScript) -> None:
    """Each warning names the variable, the value and what is accepted; the default stands, and nothing is lost."""
    found = run_script(PROGRAM, env={name: value for name, (value, _) in UNUSABLE.items()})
    for name, (value, accepted) in UNUSABLE.items():
        (line,) = [line for line in found.stderr.splitlines() if line.startswith(f"{name}=")]
        assert repr(value) in line
        assert accepted in line
        assert "default stands" in line
    assert newest(found).outcomes["git"].status is OutcomeStatus.CAPTURED


@pytest.mark.usefixtures("quick")
def test_unusable_keys_warn(project: Path, run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """The same for [tool.runcontext]: the key, the value, what is accepted; an unknown key is named too."""
    install_plugin("mine", PLUGIN)
    configure(
        project,
        'timeout = "soon"\nstrict = "perhaps"\nextra-providers = ["nonsense"]\ntime-out = 3\n'
        'providers.mine = {enabled = "perhaps", placement = "cloud", timeout = -1}',
    )
    run_script(PROGRAM)
    found = run_script(PROGRAM, env={"RUNCONTEXT_TIMEOUT": ""})
    for words in (
        "[tool.runcontext] timeout='soon' is not usable: expected a number of seconds",
        "[tool.runcontext] strict='perhaps' is not usable: expected 0 or 1",
        "[tool.runcontext] extra-providers=['nonsense'] is not usable: expected pkg.module:Class",
        "[tool.runcontext.providers.mine] enabled='perhaps' is not usable: expected true or false",
        "[tool.runcontext.providers.mine] placement='cloud' is not usable: expected inline, thread or companion",
        "[tool.runcontext.providers.mine] timeout=-1 is not usable: expected a number of seconds",
        "[tool.runcontext] time-out",
    ):
        assert words in found.stderr, (words, found.stderr)
    assert newest(found).tags["mine"] == "there"


def test_unknown_name_in_the_list_warns(run_script: RunScript) -> None:
    """RUNCONTEXT_PROVIDERS with a name that no provider has says which, and which there are."""
    run_script(PROGRAM)
    found = run_script(PROGRAM, env={"RUNCONTEXT_PROVIDERS": "git,hosst"})
    assert "RUNCONTEXT_PROVIDERS names 'hosst', which is no provider here; known are user, source, git" in found.stderr


# --- without packaging ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("companion", ["0", "1"])
@pytest.mark.parametrize("place", ["variable", "file"])
@pytest.mark.usefixtures("quick")
def test_extra_providers(project: Path, run_script: RunScript, place: str, companion: str) -> None:
    """A module beside the script is a provider by one variable or one key, called like its class or as one says."""
    source = "class {0}:\n    def in_context(self): return True\n    def tags(self): return {{'{0}': 'there'}}\n"
    (project / "extras.py").write_text(source.format("One") + source.format("Two"), encoding="utf-8")
    variables = {"RUNCONTEXT_COMPANION": companion}
    if place == "variable":
        variables["RUNCONTEXT_EXTRA_PROVIDERS"] = "extras:One, second=extras:Two, lost=extras:Three"
    else:
        configure(project, 'extra-providers = ["extras:One", "second=extras:Two", "lost=extras:Three"]')
    context = newest(run_script(PROGRAM, env=variables))
    assert context.tags["One"] == context.tags["Two"] == "there"
    assert context.outcomes["One"].status is context.outcomes["second"].status is OutcomeStatus.CAPTURED
    assert context.outcomes["lost"].status is OutcomeStatus.FAILED
    assert "Three" in (context.outcomes["lost"].reason or "")


def test_providers_named_in_the_call(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """providers=[...] runs only these: names, plugins' names, classes, instances; [] runs none."""
    install_plugin("mine", PLUGIN)
    found = run_script("""
        import json
        import runcontext

        class Given:
            def in_context(self): return True
            def tags(self): return {"given": "there"}

        asked = [["host"], ["mine", "user"], [Given], [Given(), "git"], []]
        print(json.dumps([sorted(runcontext.resolve_context(providers=each).outcomes) for each in asked]))
    """)
    assert found.json == [["host"], ["mine", "user"], ["Given"], ["Given", "git"], []]


def test_misshapen_provider_named_in_the_call_raises(run_script: RunScript) -> None:
    """Silence is for what was discovered: what the caller names and is no provider raises, and says why."""
    found = run_script("""
        import json
        import runcontext

        class Broken:
            def in_contxt(self): return True
            def tags(self): return {}

        said = []
        def attempt(providers):
            try:
                with runcontext.start_run(providers=providers) as run:
                    run.tags
            except (TypeError, ValueError, runcontext.ProviderError) as error:
                said.append([type(error).__name__, str(error)])

        attempt([Broken])
        attempt([Broken()])
        attempt([lambda: Broken()])
        attempt(["nobody"])
        attempt(["git", 7])
        print(json.dumps(said))
    """)
    of_class, of_instance, of_builder, of_name, of_number = found.json
    assert of_class[0] == of_instance[0] == of_number[0] == "MisshapenProviderError"
    assert "in_contxt(): a misspelling?" in of_class[1]
    assert of_builder[0] == "ProviderError"
    assert "in_contxt(): a misspelling?" in of_builder[1]
    assert of_name[0] == "ValueError"
    assert "names no provider; known are user, source, git" in of_name[1]


def test_later_wins_and_conflicts_are_on_record(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """Built-ins, then RUNCONTEXT_TAGS, then plugins by name, then the caller: each override is a conflict on record."""
    source = PLUGIN.replace(
        '{__name__: "there"}', '{"a": __name__, "b": __name__, "c": __name__, "host.name": __name__}'
    )
    install_plugin("beta", source)
    install_plugin("alpha", source)
    found = run_script(
        """
        import runcontext
        with runcontext.start_run(tags={"c": "caller"}) as run:
            assert run.tags["c"] == "caller"
    """,
        env={"RUNCONTEXT_TAGS": '{"a": "variable", "only": "variable"}'},
    )
    context = newest(found)
    assert [context.tags[name] for name in ("a", "b", "c", "host.name", "only")] == [
        "beta",
        "beta",
        "caller",
        "beta",
        "variable",
    ]
    conflicts = {each.tag: (each.winner, each.losers) for each in context.conflicts}
    assert conflicts["a"] == ("beta", ("RUNCONTEXT_TAGS", "alpha"))
    assert conflicts["b"] == ("beta", ("alpha",))
    assert conflicts["c"] == ("caller", ("alpha", "beta"))
    assert conflicts["host.name"] == ("beta", ("host", "alpha"))
