"""Settings: which variable or key is in force, and what is said of a value that is not usable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcontext import log, registry
from runcontext.settings import VARIABLES, Settings, variable_part

if TYPE_CHECKING:
    from pathlib import Path


def with_variables(**variables: str) -> Settings:
    """Give settings of variables alone."""
    return Settings(variables, {})


def with_table(**table: Any) -> Settings:
    """Give settings of [tool.runcontext] alone."""
    return Settings({}, table)


def warnings(caplog: pytest.LogCaptureFixture) -> str:
    """Give what was said."""
    return "\n".join(record.getMessage() for record in caplog.records)


@pytest.fixture(autouse=True)
def heard() -> None:
    """Let what other tests have made heard be heard again: each process says a thing once."""
    log._said.clear()


def test_defaults() -> None:
    """With nothing set, every setting has its default."""
    current = Settings({}, {})
    assert (current.tracking_uri, current.experiment_name, current.run_id, current.tags) == (
        None,
        "Default",
        None,
        None,
    )
    assert (current.timeout_seconds, current.strict, current.companion) == (5.0, False, True)
    assert current.extra_providers == []
    assert current.switch("git") == (True, "default")


def test_ours_then_mlflows_then_the_table() -> None:
    """Our variable wins over MLflow's, and that over pyproject.toml; an empty one counts as unset."""
    table = {"tracking-uri": "table", "experiment-name": "table"}
    both = {"RUNCONTEXT_TRACKING_URI": "ours", "MLFLOW_TRACKING_URI": "theirs"}
    assert Settings(both, table).tracking_uri == "ours"
    assert Settings({**both, "RUNCONTEXT_TRACKING_URI": ""}, table).tracking_uri == "theirs"
    assert Settings({}, table).tracking_uri == "table"
    assert Settings({"MLFLOW_EXPERIMENT_NAME": "theirs"}, table).experiment_name == "theirs"
    assert Settings({"MLFLOW_EXPERIMENT_NAME": ""}, table).experiment_name == "table"


@pytest.mark.parametrize("value", ["1", "true", "TRUE", " yes ", "On"])
def test_yes(value: str) -> None:
    """A switch may be put on in several words."""
    assert with_variables(RUNCONTEXT_STRICT=value).strict


@pytest.mark.parametrize("value", ["0", "false", "no", "OFF"])
def test_no(value: str) -> None:
    """And off in several."""
    assert not with_variables(RUNCONTEXT_COMPANION=value).companion


@pytest.mark.parametrize(
    ("variable", "value", "read", "default", "accepted"),
    [
        ("RUNCONTEXT_TIMEOUT", "soon", "timeout_seconds", 5.0, "a number of seconds, 0 or more"),
        ("RUNCONTEXT_TIMEOUT", "-1", "timeout_seconds", 5.0, "a number of seconds, 0 or more"),
        ("RUNCONTEXT_TIMEOUT", "nan", "timeout_seconds", 5.0, "a number of seconds, 0 or more"),
        ("RUNCONTEXT_TIMEOUT", "inf", "timeout_seconds", 5.0, "a number of seconds, 0 or more"),
        ("RUNCONTEXT_STRICT", "maybe", "strict", False, "0 or 1"),
        ("RUNCONTEXT_COMPANION", "2", "companion", True, "0 or 1"),
        ("RUNCONTEXT_EXTRA_PROVIDERS", "no target", "extra_providers", [], "pkg.module:Class"),
    ],
)
def test_unusable_variables(
    variable: str, value: str, read: str, default: object, accepted: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An unusable value warns, naming variable, value and what is accepted, and the default stands."""
    assert getattr(with_variables(**{variable: value}), read) == default
    said = warnings(caplog)
    assert variable in said
    assert value in said
    assert accepted in said


@pytest.mark.parametrize(
    ("key", "value", "read", "default"),
    [
        ("timeout", "soon", "timeout_seconds", 5.0),
        ("timeout", True, "timeout_seconds", 5.0),
        ("timeout", [1], "timeout_seconds", 5.0),
        ("strict", 1.5, "strict", False),
        ("tracking-uri", 5, "tracking_uri", None),
        ("experiment-name", ["a"], "experiment_name", "Default"),
        ("extra-providers", 7, "extra_providers", []),
    ],
)
def test_unusable_keys(key: str, value: object, read: str, default: object, caplog: pytest.LogCaptureFixture) -> None:
    """The same for a key of pyproject.toml, of whatever type its value is."""
    assert getattr(with_table(**{key: value}), read) == default
    assert f"[tool.runcontext] {key}" in warnings(caplog)


@pytest.mark.parametrize(
    ("variables", "table", "expected"),
    [
        ({"RUNCONTEXT_DISABLED": "1"}, {}, (False, "RUNCONTEXT_DISABLED")),
        ({"RUNCONTEXT_DISABLED": "0"}, {}, (True, "default")),
        ({"RUNCONTEXT_DISABLED": "1", "RUNCONTEXT_PROVIDERS": "git"}, {}, (True, "RUNCONTEXT_PROVIDERS")),
        ({"RUNCONTEXT_PROVIDERS": "host"}, {}, (False, "RUNCONTEXT_PROVIDERS")),
        ({"RUNCONTEXT_PROVIDERS": "-git"}, {}, (False, "RUNCONTEXT_PROVIDERS")),
        ({"RUNCONTEXT_PROVIDERS": "-host"}, {}, (True, "default")),
        ({"RUNCONTEXT_PROVIDERS": "git,-git"}, {}, (False, "RUNCONTEXT_PROVIDERS")),
        ({"RUNCONTEXT_PROVIDERS": "-git", "RUNCONTEXT_PROVIDER_GIT": "1"}, {}, (True, "RUNCONTEXT_PROVIDER_GIT")),
        ({"RUNCONTEXT_PROVIDER_GIT": "0"}, {}, (False, "RUNCONTEXT_PROVIDER_GIT")),
        ({"RUNCONTEXT_PROVIDER_GIT": ""}, {}, (True, "default")),
        ({}, {"disabled": True}, (False, "[tool.runcontext] disabled")),
        ({}, {"select": ["host"]}, (False, "[tool.runcontext] select")),
        ({}, {"providers": {"git": {"enabled": False}}}, (False, "[tool.runcontext.providers.git]")),
        ({"RUNCONTEXT_PROVIDERS": "git"}, {"providers": {"git": {"enabled": False}}}, (True, "RUNCONTEXT_PROVIDERS")),
        ({"RUNCONTEXT_PROVIDER_GIT": "1"}, {"disabled": True}, (True, "RUNCONTEXT_PROVIDER_GIT")),
        ({"RUNCONTEXT_DISABLED": "1"}, {"providers": {"git": {"enabled": True}}}, (False, "RUNCONTEXT_DISABLED")),
    ],
)
def test_toggles(variables: dict[str, str], table: dict[str, Any], expected: tuple[bool, str]) -> None:
    """The single toggle wins over the list, that over the switch for all, and the environment over pyproject.toml."""
    is_on, switched_by = Settings(variables, table).switch("git")
    assert is_on == expected[0]
    assert switched_by.startswith(expected[1])


@given(st.text(max_size=20))
def test_the_name_of_a_toggle(name: str) -> None:
    """A provider's name gives a variable: upper case, every other character an underscore."""
    part = variable_part(name)
    assert all(each == "_" or (each.isascii() and each.isalnum()) for each in part)
    assert variable_part("my-provider.2") == "MY_PROVIDER_2"


def test_extra_providers() -> None:
    """Providers without packaging have the name of their class, or the one in front of them."""
    found = with_variables(RUNCONTEXT_EXTRA_PROVIDERS="pkg.mod:Team, cost=pkg:Class.Inner").extra_providers
    assert [(name, target) for name, target, *_ in found] == [("Team", "pkg.mod:Team"), ("cost", "pkg:Class.Inner")]
    assert [name for name, *_ in with_table(**{"extra-providers": ["a:B"]}).extra_providers] == ["B"]


def test_a_variable_that_is_none_names_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is near to one of ours is named, what is near to none just said."""
    monkeypatch.setenv("RUNCONTEXT_TRACKING_URL", "x")
    monkeypatch.setenv("RUNCONTEXT_QWZX", "1")
    Settings.current(None)
    assert "RUNCONTEXT_TRACKING_URL is not a setting; did you mean RUNCONTEXT_TRACKING_URI?" in warnings(caplog)
    assert "RUNCONTEXT_QWZX is not a setting; it changes nothing" in warnings(caplog)
    assert "RUNCONTEXT_STRICT" not in warnings(caplog)


def test_reading_pyproject(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """[tool.runcontext] is read from the nearest pyproject.toml; what is no setting, or no TOML, is said."""
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.runcontext]\ntimeout = 2\ntimout = 3\n", encoding="utf-8")
    (tmp_path / "a").mkdir()
    assert Settings.current(str(tmp_path / "a")).table["timeout"] == 2
    assert "timout" in warnings(caplog)
    file.write_text("[tool.runcontext\n", encoding="utf-8")
    assert Settings.current(str(tmp_path)).table == {}
    assert "is not TOML" in warnings(caplog)
    file.write_bytes(b"# runcontext \xff")
    assert Settings.current(str(tmp_path)).table == {}
    for text in ("tool = 3  # runcontext", "[tool]\nruncontext = 5", "[project]\nname = 'x'"):
        file.write_text(text, encoding="utf-8")
        assert Settings.current(str(tmp_path)).table == {}
    file.unlink()
    file.mkdir()
    assert Settings.current(str(tmp_path)).table == {}
    assert Settings.current(None).table == {}


@pytest.mark.parametrize(
    "text",
    [
        "[tool.runcontext]\ntimeout = 2",
        "[ tool . runcontext ]\ntimeout = 2",
        '[tool."runcontext"]\ntimeout = 2',
        "[tool]\nruncontext.timeout = 2",
        "[tool]\n  runcontext = {timeout = 2}",
        "tool.runcontext.timeout = 2",
        "tool = {runcontext = {timeout = 2}}",
    ],
)
def test_every_way_to_write_the_table(tmp_path: Path, text: str) -> None:
    """TOML has several ways to write one table, and each is read."""
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert Settings.current(str(tmp_path)).timeout_seconds == 2


def test_only_what_is_known_is_kept() -> None:
    """Of the environment only our variables, and MLflow's that are read, are kept and handed on."""
    variables = {
        "RUNCONTEXT_TIMEOUT": "1",
        "MLFLOW_TRACKING_URI": "x",
        "AWS_SECRET_ACCESS_KEY": "s",
        "MLFLOW_OTHER": "y",
    }
    current = Settings(variables, {"timeout": 2})
    assert set(current.environment) == {"RUNCONTEXT_TIMEOUT", "MLFLOW_TRACKING_URI"}
    assert Settings.from_json(current.to_json()).timeout_seconds == 1.0
    assert current.with_environment({"RUNCONTEXT_TIMEOUT": "3"}).timeout_seconds == 3.0


def test_every_variable_says_what_it_is_for() -> None:
    """Each variable has a description, and its names are settled: ours, its key's, MLflow's."""
    for name, (key, fallback, purpose) in VARIABLES.items():
        assert name.startswith("RUNCONTEXT_")
        assert purpose
        assert key is None or key == key.lower()
        assert fallback is None or fallback.startswith("MLFLOW_")


def test_patterns_of_secrets() -> None:
    """The variable holds one regular expression, the key one or several."""
    assert with_variables(RUNCONTEXT_REDACT="host-[0-9]{1,3}").redact == ["host-[0-9]{1,3}"]
    assert with_table(redact=["a+", "b"]).redact == ["a+", "b"]
    assert Settings({"RUNCONTEXT_REDACT": "a"}, {"redact": "b"}).redact == ["a"]


def test_a_pattern_that_cannot_be_used_is_named_by_its_number(caplog: pytest.LogCaptureFixture) -> None:
    """The others stay in force, and the warning does not show what may be the secret itself."""
    assert with_table(redact=["(hunter2", "b", ""]).redact == ["b"]
    assert "pattern 1 is not usable: no regular expression" in warnings(caplog)
    assert "pattern 3 is not usable: matches the empty string" in warnings(caplog)
    assert "hunter2" not in warnings(caplog)


def test_switches_and_lists_of_what_is_recorded() -> None:
    """Arguments and shared runs can be switched off; variables to record are names and globs."""
    assert (Settings({}, {}).record_args, Settings({}, {}).ranks) == (True, True)
    assert not with_variables(RUNCONTEXT_RECORD_ARGS="0").record_args
    assert not with_table(**{"record-args": False}).record_args
    assert not with_variables(RUNCONTEXT_RANKS="no").ranks
    assert with_variables(RUNCONTEXT_ENV="TEAM, LAB_*").environment_patterns == ("TEAM", "LAB_*")
    assert with_table(**{"environment-variables": ["TEAM"]}).environment_patterns == ("TEAM",)


def test_what_asks_the_network_is_off_until_it_is_named() -> None:
    """The cloud provider is off by default, and on by its toggle or by a list that names it."""
    assert [name for name in registry.BUILT_IN if name in registry.ASKED_FOR] == ["cloud"]
    (cloud,) = (spec for spec in registry.plan((), Settings({}, {})) if spec.name == "cloud")
    assert not cloud.enabled
    assert "RUNCONTEXT_PROVIDER_CLOUD=1 switches it on" in cloud.switched_by
    for variables in ({"RUNCONTEXT_PROVIDER_CLOUD": "1"}, {"RUNCONTEXT_PROVIDERS": "user,cloud"}):
        (cloud,) = (spec for spec in registry.plan((), Settings(variables, {})) if spec.name == "cloud")
        assert cloud.enabled, variables
