"""Every setting: RUNCONTEXT_* variables, MLflow's where it has one, and [tool.runcontext] of pyproject.toml.

The environment wins over pyproject.toml. An empty variable counts as unset. An unusable value warns, naming the
variable, the value and what is accepted, and the default stands.
"""

from __future__ import annotations

import os
import sys

from runcontext import cache, codec, environment, log, project, redaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")

PROVIDER_VARIABLE = "RUNCONTEXT_PROVIDER_"
PLUGIN_VARIABLE = "RUNCONTEXT_PLUGIN_"
_CACHE_VARIABLE = "RUNCONTEXT_CACHE_DIR"

VARIABLES: dict[str, tuple[str | None, str | None, str]] = {
    "RUNCONTEXT_TRACKING_URI": ("tracking-uri", "MLFLOW_TRACKING_URI", "where runs go: a folder, or a place's URI"),
    "RUNCONTEXT_LOCAL_STORE": ("local-store", None, "folder of the local runs, where the tracking URI is elsewhere"),
    "RUNCONTEXT_ARTIFACT_URI": ("artifact-uri", None, "where artifacts go, where the tracking URI leaves that open"),
    "RUNCONTEXT_OFFLINE": ("offline", None, "1 sends nothing to the tracking URI; `runcontext sync` does it later"),
    "RUNCONTEXT_SYNC_TIMEOUT": (
        "sync-timeout",
        None,
        "seconds that the end of a run waits for its mirror; 10 unless set",
    ),
    "RUNCONTEXT_PLUGIN_<SCHEME>": ("plugins.<scheme>", None, "distribution whose plugin serves a scheme of ours"),
    "RUNCONTEXT_EXPERIMENT_NAME": ("experiment-name", "MLFLOW_EXPERIMENT_NAME", "experiment of runs that name none"),
    "RUNCONTEXT_RUN_ID": (None, None, "run that start_run() joins; set by `runcontext run` for its command"),
    "RUNCONTEXT_TAGS": (None, "MLFLOW_RUN_CONTEXT", "tags of every run, a JSON object of strings"),
    "RUNCONTEXT_TIMEOUT": ("timeout", None, "seconds from start_run() that bound every wait; 5 unless set, 0 for none"),
    "RUNCONTEXT_STRICT": ("strict", None, "1 raises what is otherwise logged: for plugin authors and CI"),
    "RUNCONTEXT_DISABLED": ("disabled", None, "1 switches every provider off"),
    "RUNCONTEXT_PROVIDERS": ("select", None, "git,host for only these; -gpu to leave one out"),
    "RUNCONTEXT_PROVIDER_<NAME>": ("providers.<name>.enabled", None, "0 or 1 switches one provider; wins over all"),
    "RUNCONTEXT_EXTRA_PROVIDERS": ("extra-providers", None, "pkg.module:Class, comma-separated; name=pkg.module:Class"),
    "RUNCONTEXT_REDACT": ("redact", None, "a regular expression of what else is secret; as a key a list of them"),
    "RUNCONTEXT_RECORD_ARGS": ("record-args", None, "0 leaves the arguments of the command out"),
    "RUNCONTEXT_ENV": ("environment-variables", None, "variables to record, names or globs, comma-separated"),
    "RUNCONTEXT_RANKS": ("ranks", None, "0 gives each process of a distributed job a run of its own"),
    "RUNCONTEXT_COMPANION": ("companion", None, "0 starts no companion process: its providers run in threads"),
    "RUNCONTEXT_CACHE_DIR": (None, None, "folder of runcontext's cache; the user's cache folder unless set"),
}
"""Variable -> key in [tool.runcontext], MLflow's variable that is read as a fallback, what it is for."""

_PREFIX = "RUNCONTEXT_"
_EXPERIMENT_VARIABLES = ("RUNCONTEXT_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_NAME")
_FALLBACKS = frozenset(fallback for _, fallback, _ in VARIABLES.values() if fallback)

PROVIDER_KEYS = {
    "enabled": "true or false switches the provider",
    "placement": "inline, thread or companion: where it runs",
    "timeout": "seconds that its work may take in all; 60 unless set",
}
"""Keys of a [tool.runcontext.providers.<name>] table, and what each is for."""

DEFAULT_TIMEOUT_SECONDS = 5.0
DEFAULT_SYNC_TIMEOUT_SECONDS = 10.0
_YES = frozenset(("1", "true", "yes", "on"))
_NO = frozenset(("0", "false", "no", "off"))
_PLACEMENTS = ("inline", "thread", "companion")


class Settings:
    """One moment's settings: what the environment and [tool.runcontext] say, read once and never changed.

    - ``environment``: the variables that this module knows, as they are set.
    - ``table``: [tool.runcontext] of the nearest pyproject.toml, empty where there is none.
    - ``is_inside_mlflow``: MLflow is asking, which runs its own plugins and reads its own variable itself.
    """

    __slots__ = ("_layers", "environment", "is_inside_mlflow", "table")

    def __init__(
        self, environment: Mapping[str, str], table: Mapping[str, Any], *, is_inside_mlflow: bool = False
    ) -> None:
        """Keep of ``environment`` what is known here, and ``table`` whole."""
        self.environment = {
            name: value
            for name, value in environment.items()
            if value and (name.startswith(_PREFIX) or name in _FALLBACKS)
        }
        self.table = table
        self.is_inside_mlflow = is_inside_mlflow
        self._layers: tuple[_Toggles, _Toggles] | None = None

    @classmethod
    def current(cls, folder: str | None, *, is_inside_mlflow: bool = False) -> Settings:
        """Read the environment, and the nearest pyproject.toml from ``folder`` upwards."""
        pyproject = project.pyproject_file(folder) if folder is not None else None
        table = _table(pyproject, cache.folder(os.environ.get(_CACHE_VARIABLE)))
        variables = environment.selected(_PREFIX, _FALLBACKS)
        for name in variables.keys() - VARIABLES.keys() - _FALLBACKS:
            if not name.startswith((PROVIDER_VARIABLE, PLUGIN_VARIABLE)):
                log.warn_once(f"{name} is not a setting; {_meant(name)}")
        return cls(variables, table, is_inside_mlflow=is_inside_mlflow)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Settings:
        """Make settings of what ``to_json`` gave."""
        return cls(fields["environment"], fields["table"], is_inside_mlflow=fields["is_inside_mlflow"])

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON holds them."""
        return {
            "environment": self.environment,
            "table": self.table,
            "is_inside_mlflow": self.is_inside_mlflow,
        }

    def with_environment(self, variables: Mapping[str, str]) -> Settings:
        """Give the same settings with ``variables`` on top."""
        return Settings({**self.environment, **variables}, self.table, is_inside_mlflow=self.is_inside_mlflow)

    @property
    def tracking_uri(self) -> str | None:
        """Where runs go, None for the default place; it may hold credentials."""
        uri: str | None = self._read("RUNCONTEXT_TRACKING_URI", _text, "a folder or a URI", None)
        return uri

    @property
    def local_store(self) -> str | None:
        """The folder of the local runs where the tracking URI is elsewhere, None for the default place."""
        folder: str | None = self._read("RUNCONTEXT_LOCAL_STORE", _text, "a folder", None)
        return folder

    @property
    def artifact_uri(self) -> str | None:
        """Where artifacts go where the place of the tracking URI leaves that open, None for its own choice.

        A relative one begins in the program's working directory, and is given from /.
        """
        uri: str | None = self._read("RUNCONTEXT_ARTIFACT_URI", _text, "a URI", None)
        if uri is None:
            return None
        from runcontext.program import current_program
        from runcontext.tracking import destination

        return destination.absolute_artifacts(uri, current_program().cwd)

    @property
    def offline(self) -> bool:
        """Whether nothing is sent to the tracking URI before ``runcontext sync``."""
        return self._read("RUNCONTEXT_OFFLINE", _switch, "0 or 1", default=False)

    @property
    def sync_timeout_seconds(self) -> float:
        """Seconds that the end of a run waits for what is still to be sent."""
        accepted = "a number of seconds, 0 or more"
        return self._read("RUNCONTEXT_SYNC_TIMEOUT", _seconds, accepted, DEFAULT_SYNC_TIMEOUT_SECONDS)

    def plugin_for(self, scheme: str) -> str | None:
        """Give the distribution whose plugin the user wants for a scheme that is served without it too."""
        variable = PLUGIN_VARIABLE + variable_part(scheme)
        if variable in self.environment:
            return self.environment[variable]
        table = self.table.get("plugins", {})
        chosen = table.get(scheme) if isinstance(table, dict) else None
        return None if chosen is None else _usable(f"[tool.runcontext.plugins] {scheme}", chosen, _text, "a name")

    @property
    def cache_folder(self) -> str | None:
        """Where the cache is kept, None where there is no place for one."""
        return cache.folder(self.environment.get(_CACHE_VARIABLE))

    @property
    def experiment_name(self) -> str:
        """The experiment of a run that names none."""
        return self._read("RUNCONTEXT_EXPERIMENT_NAME", _text, "a name", "Default")

    @property
    def names_experiment(self) -> bool:
        """Whether an experiment is named for runs that name none."""
        return any(name in self.environment for name in _EXPERIMENT_VARIABLES) or "experiment-name" in self.table

    @property
    def run_id(self) -> str | None:
        """The run to join, None for a run of one's own."""
        return self.environment.get("RUNCONTEXT_RUN_ID")

    @property
    def tags(self) -> tuple[str, str] | None:
        """The variable that gives tags to every run, and its text."""
        for name in ("RUNCONTEXT_TAGS",) if self.is_inside_mlflow else ("RUNCONTEXT_TAGS", "MLFLOW_RUN_CONTEXT"):
            if name in self.environment:
                return name, self.environment[name]
        return None

    @property
    def timeout_seconds(self) -> float:
        """Seconds from ``start_run()`` that bound every wait for the context."""
        return self._read("RUNCONTEXT_TIMEOUT", _seconds, "a number of seconds, 0 or more", DEFAULT_TIMEOUT_SECONDS)

    @property
    def strict(self) -> bool:
        """Whether failures of providers are raised."""
        return self._read("RUNCONTEXT_STRICT", _switch, "0 or 1", default=False)

    @property
    def redact(self) -> list[str]:
        """Regular expressions of what is secret beyond what is known to be; only those that can be used."""
        given: list[str] = self._read("RUNCONTEXT_REDACT", _patterns, "a regular expression, or a list of them", [])
        return [each for number, each in enumerate(given, 1) if _is_pattern(number, each)]

    @property
    def record_args(self) -> bool:
        """Whether the arguments of the command are recorded."""
        return self._read("RUNCONTEXT_RECORD_ARGS", _switch, "0 or 1", default=True)

    @property
    def environment_patterns(self) -> tuple[str, ...]:
        """Names and globs of the variables that the user wants recorded."""
        return tuple(self._read("RUNCONTEXT_ENV", _names, "names of variables, comma-separated", []))

    @property
    def ranks(self) -> bool:
        """Whether the processes of one distributed job share one run."""
        return self._read("RUNCONTEXT_RANKS", _switch, "0 or 1", default=True)

    @property
    def companion(self) -> bool:
        """Whether a companion process may be started."""
        return self._read("RUNCONTEXT_COMPANION", _switch, "0 or 1", default=True)

    @property
    def extra_providers(self) -> list[tuple[str, str, str]]:
        """Providers registered with no packaging: name, ``module:attribute``, and the setting that says so."""
        return self._read("RUNCONTEXT_EXTRA_PROVIDERS", _extra_providers, "pkg.module:Class[,pkg.module:Class]", [])

    def named_providers(self) -> set[str]:
        """Give the names that RUNCONTEXT_PROVIDERS and its key mention."""
        return {name for layer in self._toggles() for name in layer.only | layer.without}

    def may_switch_on_others(self, known: Iterable[str]) -> bool:
        """Say whether a provider that is not among ``known`` can be on: nothing needs to be looked for otherwise."""
        names = set(known)
        variables = {PROVIDER_VARIABLE + variable_part(name) for name in names}
        toggles = {name for name in self.environment if name.startswith(PROVIDER_VARIABLE)}
        mentioned = self.named_providers() | set(self.table.get("providers") or ())
        return bool(toggles - variables or mentioned - names) or self.switch("\0")[0]

    def switch(self, name: str, *, default: bool = True) -> tuple[bool, str]:
        """Say whether the provider called ``name`` is on, and what switched it.

        The environment wins over pyproject.toml; within each the single toggle wins over the list, and the list over
        the switch for all.
        """
        for layer in self._toggles():
            found = layer.verdict(name)
            if found is not None:
                return found
        return default, "default"

    def _toggles(self) -> tuple[_Toggles, _Toggles]:
        if self._layers is None:
            variables, keys = Settings(self.environment, {}), Settings({}, self.table)
            if "RUNCONTEXT_DISABLED" in self.environment:
                keys = Settings({}, {key: value for key, value in self.table.items() if key != "disabled"})
            self._layers = _Toggles(variables, is_variables=True), _Toggles(keys, is_variables=False)
        return self._layers

    def provider_setting(self, name: str, key: str) -> Any:
        """Give what [tool.runcontext.providers.<name>] says for ``key``, checked, None where it says nothing usable."""
        value = self._provider_table(name).get(key) if self.table else None
        if value is None:
            return None
        place = f"[tool.runcontext.providers.{name}] {key}"
        if key == "placement":
            return _usable(place, value, lambda each: _one_of(each, _PLACEMENTS), "inline, thread or companion")
        return _usable(place, value, _seconds, "a number of seconds, 0 or more")

    def _read(self, variable: str, parse: Callable[[Any], T], accepted: str, default: T) -> T:
        key, fallback, _ = VARIABLES[variable]
        for name in (variable, fallback):
            if name in self.environment:
                found = _usable(name, self.environment[name], parse, accepted)
                return default if found is None else found
        if key is not None and key in self.table:
            found = _usable(f"[tool.runcontext] {key}", self.table[key], parse, accepted)
            return default if found is None else found
        return default

    def _provider_table(self, name: str) -> Mapping[str, Any]:
        tables = self.table.get("providers", {})
        if not isinstance(tables, dict):
            _warn("[tool.runcontext] providers", tables, "a table per provider: [tool.runcontext.providers.<name>]")
            return {}
        found = tables.get(name, {})
        return found if isinstance(found, dict) else {}

    def single(self, name: str) -> bool | None:
        """Give what the toggle of one provider says, None where it says nothing usable."""
        variable = PROVIDER_VARIABLE + variable_part(name)
        if variable in self.environment:
            return _usable(variable, self.environment[variable], _switch, "0 or 1")
        value = self._provider_table(name).get("enabled")
        place = f"[tool.runcontext.providers.{name}] enabled"
        return None if value is None else _usable(place, value, _switch, "true or false")

    @property
    def selection(self) -> list[str]:
        """Provider names, each with a ``-`` where it is to be left out."""
        return self._read("RUNCONTEXT_PROVIDERS", _names, "provider names, each with - to leave it out", [])

    @property
    def disabled(self) -> bool:
        """Whether every provider is switched off."""
        return self._read("RUNCONTEXT_DISABLED", _switch, "0 or 1", default=False)


class _Toggles:
    """What one half of the settings, variables or keys, says about switching providers."""

    __slots__ = ("_disabled", "_has_single_ones", "_is_variables", "_settings", "only", "without")

    def __init__(self, half: Settings, *, is_variables: bool) -> None:
        self._settings = half
        self._is_variables = is_variables
        self._disabled = half.disabled
        listed = half.selection
        self.without = {name[1:] for name in listed if name.startswith("-")}
        self.only = {name for name in listed if not name.startswith("-")}
        toggles = any(name.startswith(PROVIDER_VARIABLE) for name in half.environment)
        self._has_single_ones = toggles or bool(half.table)

    def verdict(self, name: str) -> tuple[bool, str] | None:
        """Say whether a provider is on and which setting says so, None where none does."""
        single = self._settings.single(name) if self._has_single_ones else None
        if single is not None:
            return single, self._setting(PROVIDER_VARIABLE + variable_part(name), f".providers.{name}] enabled")
        if name in self.without or self.only:
            is_on = name in self.only and name not in self.without
            return is_on, self._setting("RUNCONTEXT_PROVIDERS", "] select")
        if self._disabled:
            return False, self._setting("RUNCONTEXT_DISABLED", "] disabled")
        return None

    def _setting(self, variable: str, key: str) -> str:
        if self._is_variables:
            return f"{variable}={self._settings.environment[variable]}"
        return f"[tool.runcontext{key}"


_in_force: Settings | None = None


def current_settings() -> Settings:
    """Give the settings of the capture that is under way; outside one, those of this moment."""
    if _in_force is not None:
        return _in_force
    from runcontext.program import current_program

    return Settings.current(current_program().cwd)


def put_in_force(current: Settings | None) -> None:
    """Make ``current`` what ``current_settings`` gives and redaction goes by; None for those of each moment."""
    global _in_force  # noqa: PLW0603 - one process describes one program at a time
    _in_force = current
    redaction.use_patterns(() if current is None else current.redact)


def variable_part(name: str) -> str:
    """Give the part of a toggle's name that stands for a provider: upper case, every other character ``_``."""
    return "".join(each if each.isascii() and each.isalnum() else "_" for each in name).upper()


def variable_tags(text: str) -> Mapping[str, Any]:
    """Read RUNCONTEXT_TAGS or MLFLOW_RUN_CONTEXT: a JSON object; raises ValueError on anything else."""
    found = codec.loads(text.strip())
    if not isinstance(found, dict):
        message = f"a JSON {type(found).__name__}; a JSON object of strings is expected"
        raise ValueError(message)  # noqa: TRY004 - the text is at fault, not the caller's type
    return found


def _meant(name: str) -> str:
    import difflib

    known = [each.removeprefix(_PREFIX) for each in VARIABLES if "<" not in each]
    near = difflib.get_close_matches(name.removeprefix(_PREFIX).upper(), known, n=1)
    return f"did you mean {_PREFIX}{near[0]}?" if near else "it changes nothing"


def _table(pyproject: str | None, cache_folder: str | None) -> Mapping[str, Any]:
    if pyproject is None:
        return {}
    try:
        with open(pyproject, "rb") as file:
            content = file.read()
            state = [os.fstat(file.fileno()).st_mtime_ns, len(content)]
    except OSError as error:
        log.warn_once(f"{pyproject} cannot be read ({error}): its [tool.runcontext] is not in force")
        return {}
    if not _may_set(content):
        return {}
    # A TOML parser would cost the program more than all the rest of its start.
    known = cache.read(cache_folder, "pyproject", pyproject)
    if known is not None and known.get("state") == state and isinstance(known.get("table"), dict):
        table: dict[str, Any] = known["table"]
    else:
        table = _parsed(pyproject, content)
        cache.write(cache_folder, "pyproject", pyproject, {"state": state, "table": table})
    _warn_of_unknown(table, pyproject)
    return table


def _may_set(content: bytes) -> bool:
    """Say whether a pyproject.toml may have our table: to name runcontext as a dependency must not cost a TOML parser.

    ``[tool.runcontext]`` and ``tool = {runcontext = ...}`` name both words in a line; below ``[tool]`` ours is a key.
    """
    for line in content.splitlines():
        key, sign, _ = line.partition(b"=")
        if b"tool" in line.partition(b"runcontext")[0] and b"runcontext" in line:
            return True
        if sign and key.strip().startswith((b"runcontext", b'"runcontext"', b"'runcontext'")):
            return True
    return False


def _parsed(pyproject: str, content: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table = tomllib.loads(content.decode()).get("tool", {}).get("runcontext", {})
    except (ValueError, AttributeError) as error:
        log.warn_once(f"{pyproject} is not TOML ({error}): its [tool.runcontext] is not in force")
        return {}
    if not isinstance(table, dict):
        _warn(f"[tool] runcontext in {pyproject}", table, "a table: [tool.runcontext]")
        return {}
    return table


def _warn_of_unknown(table: Mapping[str, Any], pyproject: str) -> None:
    known = {key.split(".")[0] for key, _, _ in VARIABLES.values() if key}
    for key in table.keys() - known:
        log.warn_once(f"[tool.runcontext] {key} in {pyproject} is not a setting; known are {', '.join(sorted(known))}")


def _usable(place: str, value: object, parse: Callable[[Any], T], accepted: str) -> T | None:
    try:
        return parse(value)
    except (ValueError, TypeError, AttributeError):
        _warn(place, value, accepted)
        return None


def _warn(place: str, value: object, accepted: str) -> None:
    shown = redaction.redact_text(f"{place}={value!r}")
    log.warn_once(f"{shown} is not usable: expected {accepted}; the default stands")


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise TypeError
    return value


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower()
    if word not in _YES and word not in _NO:
        raise ValueError
    return word in _YES


def _seconds(value: Any) -> float:
    seconds = float(value)
    if isinstance(value, bool) or not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def _one_of(value: Any, accepted: Iterable[str]) -> str:
    if value not in accepted:
        raise ValueError
    return str(value)


def _names(value: Any) -> list[str]:
    words = value.split(",") if isinstance(value, str) else value
    return [word.strip() for word in words if word.strip()]


def _patterns(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [_text(each) for each in value]


def _is_pattern(number: int, pattern: str) -> bool:
    problem = redaction.pattern_problem(pattern)
    if problem is not None:
        # It is not shown: a pattern may be the very secret.
        log.warn_once(f"RUNCONTEXT_REDACT: pattern {number} is not usable: {problem}; what it is to hide shows")
    return problem is None


def _extra_providers(value: Any) -> list[tuple[str, str, str]]:
    origin = "RUNCONTEXT_EXTRA_PROVIDERS" if isinstance(value, str) else "pyproject.toml"
    found = []
    for word in _names(value):
        name, separator, target = word.rpartition("=")
        module, colon, attribute = target.partition(":")
        if not (module and colon and attribute) or (separator and not name.strip()):
            raise ValueError
        found.append((name.strip() or attribute, target.strip(), origin))
    return found
