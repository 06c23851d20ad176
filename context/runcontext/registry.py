"""Which providers there are, in which order, where each runs, and what switched it on or off."""

from __future__ import annotations

import sys

from runcontext import entry_points, log, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from runcontext.entry_points import EntryPoint
    from runcontext.settings import Settings

BUILT_IN = {
    "user": ("runcontext_providers.user:UserProvider", "inline"),
    "source": ("runcontext_providers.source:SourceProvider", "inline"),
    "git": ("runcontext_providers.git:GitProvider", "companion"),
    "host": ("runcontext_providers.host:HostProvider", "companion"),
    "gpu": ("runcontext_providers.gpu:GpuProvider", "companion"),
    "python": ("runcontext_providers.python:PythonProvider", "companion"),
    "launcher": ("runcontext_providers.launcher:LauncherProvider", "companion"),
    "ci": ("runcontext_providers.ci:CiProvider", "companion"),
    "container": ("runcontext_providers.container:ContainerProvider", "companion"),
    "environment": ("runcontext_providers.environment:EnvironmentProvider", "companion"),
    "cloud": ("runcontext_providers.cloud:CloudProvider", "companion"),
    "determinism": ("runcontext_providers.determinism:DeterminismProvider", "inline"),
    "notebook": ("runcontext_providers.notebook:NotebookProvider", "inline"),
    "usage": ("runcontext_providers.usage:UsageProvider", "inline"),
}
"""The built-in providers in their order: name -> ``module:attribute``, and where it runs. Imported on use."""

ASKED_FOR = frozenset({"cloud"})
"""Built-in providers that are off until a setting names them: they ask the network."""

DEFAULT_LIMIT_SECONDS = 60.0
_NAMELESS = frozenset(("unused", "default"))
_OWN_DISTRIBUTION = "runcontext"


class Spec:
    """One provider of one capture: what it is called, how to get it, where it runs, and whether it does.

    - ``target``: ``module:attribute`` to load, empty where ``provider`` is the object itself.
    - ``origin``: where it comes from, for people.
    - ``switched_by``: the setting that switched it on or off.
    - ``limit_seconds``: how long its work may take in all, None for what its own ``timeout`` says.
    - ``is_placed``: it is settled that it runs there, whatever its class asks for.
    - ``required``: the caller named it in the call, so what is wrong with it is raised.
    """

    __slots__ = (
        "enabled",
        "is_placed",
        "limit_seconds",
        "name",
        "origin",
        "placement",
        "provider",
        "required",
        "switched_by",
        "target",
    )

    def __init__(
        self,
        name: str,
        *,
        placement: str,
        origin: str,
        target: str = "",
        provider: Any = None,
        enabled: bool = True,
        switched_by: str = "default",
        limit_seconds: float | None = None,
        required: bool = False,
    ) -> None:
        """Keep what the registry decided."""
        self.name = name
        self.placement = placement
        self.origin = origin
        self.target = target
        self.provider = provider
        self.enabled = enabled
        self.switched_by = switched_by
        self.limit_seconds = limit_seconds
        self.required = required
        self.is_placed = origin == "built-in"

    def __repr__(self) -> str:
        """Show what it is, where it runs and whether."""
        return f"<Spec {self.name} from {self.origin}, {self.placement}, {'on' if self.enabled else 'off'}>"

    def to_json(self) -> dict[str, Any]:
        """Give what the companion needs to run it."""
        return {"name": self.name, "target": self.target, "limit_seconds": self.limit_seconds}


class VariableTags:
    """The tags that an environment variable gives to every run, as a provider of its own."""

    def __init__(self, text: str) -> None:
        """Keep the variable's text, a JSON object."""
        self._text = text

    def in_context(self) -> bool:
        """Say yes: it is only made where the variable is set."""
        return True

    def tags(self) -> Mapping[str, Any]:
        """Give the object's entries; raises ValueError where the text is not a JSON object."""
        return settings.variable_tags(self._text)


_registered: dict[str, Any] = {}


def register_provider(provider: Any, name: str | None = None) -> None:
    """Add a provider to every later run of this process; no packaging needed.

    Args:
        provider: an instance, a class, or a function that builds one. It runs in a thread of this process unless its
            ``placement`` says otherwise.
        name: how outcomes and toggles call it; its class's or function's own name unless given. A provider
            registered before under this name is replaced.

    Raises:
        MisshapenProviderError: it lacks ``in_context()`` or ``tags()``; the message says which.
        ValueError: a built-in provider has this name.
    """
    name = name or _name_of(provider)
    if name in BUILT_IN:
        message = f"provider name {name!r} is a built-in provider's: pass name=..., or switch that one off"
        raise ValueError(message)
    if isinstance(provider, type) or not callable(provider):
        problem = shape_problem(provider)
        if problem is not None:
            message = f"provider {name!r} {problem}"
            raise MisshapenProviderError(message)
    _registered[name] = provider


def _name_of(provider: Any) -> str:
    return str(getattr(provider, "__name__", None) or type(provider).__name__)


def unregister_provider(provider: Any) -> None:
    """Take back what ``register_provider`` added, by its name or by the object itself.

    Raises:
        KeyError: nothing like it is registered; the message names what is.
    """
    for name, each in _registered.items():
        if name == provider or each is provider:
            del _registered[name]
            return
    message = f"no provider {provider!r} is registered; registered: {', '.join(_registered) or 'none'}"
    raise KeyError(message)


class MisshapenProviderError(TypeError):
    """A provider that lacks one of the two methods: an error of its author's, raised to who named it in the call."""


def shape_problem(provider: Any) -> str | None:
    """Say what keeps an object or a class from being a provider, None where nothing does.

    Known by its methods' names alone: MLflow's plugins subclass nothing, and neither need ours.
    """
    for method in ("in_context", "tags"):
        if not callable(getattr(provider, method, None)):
            return f"has no method {method}(){_resembling(provider, method)}"
    return None


def _resembling(provider: Any, method: str) -> str:
    import difflib

    close = difflib.get_close_matches(method, [each for each in dir(provider) if not each.startswith("__")], n=1)
    return f"; it has {close[0]}(): a misspelling?" if close else ""


def plan(
    found: Iterable[EntryPoint] | None,
    current: Settings,
    *,
    named: Sequence[Any] | None = None,
) -> list[Spec]:
    """Put every provider in its order: built-ins, the environment's tags, then all others by name.

    Args:
        found: the installed entry points, None where nobody has looked yet.
        current: the settings that switch and place them.
        named: what the caller listed in the call, names or objects: only these; None for all.
    """
    specs = [*_built_in(current), *_variable(current), *_others(found or (), current)]
    if named is not None:
        specs = _only_named(specs, named)
        _apply(specs, current)
    if found is not None:
        _report_unknown(specs, current)
    by_name = {spec.name: spec for spec in specs}
    return [by_name[name] for name in order(by_name)]


def plugins(found: Iterable[EntryPoint], current: Settings) -> list[Spec]:
    """Give the providers of entry points and settings, by name, without the built-ins and runcontext's own bridge.

    Inside MLflow its plugins are off: it runs them itself.
    """
    found = list(found)
    taken = set(BUILT_IN)
    specs: list[Spec] = []
    own = {target for target, _ in BUILT_IN.values()}
    foreign = [each for each in entry_points.by_target(found) if not _is_own(each) and each.target not in own]
    for entry in sorted(foreign, key=lambda each: (each.name, each.distribution)):
        name = entry.name
        if name in _NAMELESS or name in taken:
            name = f"{entry.distribution}:{entry.name}"
        taken.add(name)
        specs.append(Spec(name, placement=_placement(entry), origin=_origin(entry), target=entry.target))
    for name, target, origin in current.extra_providers:
        specs.append(Spec(name, placement="companion", origin=origin, target=target))
    _report_same_variable(specs)
    _apply(specs, current)
    if current.is_inside_mlflow:
        _leave_to_mlflow(specs, found)
    return specs


def _leave_to_mlflow(specs: Iterable[Spec], found: Iterable[EntryPoint]) -> None:
    targets = {each.target for each in found if each.group == entry_points.MLFLOW_GROUP}
    for spec in specs:
        if spec.target in targets:
            spec.enabled, spec.switched_by = False, "MLflow, which runs it itself"


def order(names: Iterable[str]) -> list[str]:
    """Put providers' names in the order in which later ones win: built-ins, the environment's tags, others by name."""
    built_in = list(BUILT_IN)
    variables = ("RUNCONTEXT_TAGS", "MLFLOW_RUN_CONTEXT")

    def rank(name: str) -> tuple[int, int, str]:
        if name in BUILT_IN:
            return 0, built_in.index(name), name
        return (1 if name in variables else 2), 0, name

    return sorted(set(names), key=rank)


def _built_in(current: Settings) -> list[Spec]:
    specs = [
        Spec(name, placement=placement, origin="built-in", target=target)
        for name, (target, placement) in BUILT_IN.items()
    ]
    _apply(specs, current)
    return specs


def _variable(current: Settings) -> list[Spec]:
    if current.tags is None:
        return []
    name, text = current.tags
    return [Spec(name, placement="inline", origin="environment", provider=VariableTags(text))]


def _others(found: Iterable[EntryPoint], current: Settings) -> list[Spec]:
    registered = [_object_spec(name, provider, "register_provider()") for name, provider in _registered.items()]
    _apply(registered, current)
    return [*plugins(found, current), *registered]


def _object_spec(name: str, provider: Any, origin: str, *, required: bool = False) -> Spec:
    asked = getattr(provider, "placement", "thread")
    placement = asked if asked in ("inline", "thread") else "thread"
    return Spec(name, placement=placement, origin=origin, provider=provider, required=required)


def _only_named(specs: list[Spec], named: Sequence[Any]) -> list[Spec]:
    known = {spec.name: spec for spec in specs}
    chosen = {}
    for each in named:
        if isinstance(each, str):
            if each not in known:
                message = f"providers={each!r} names no provider; known are {', '.join(known)}"
                raise ValueError(message)
            chosen[each] = known[each]
            chosen[each].required = True
        else:
            name = _name_of(each)
            _raise_misshapen(name, each)
            chosen[name] = _object_spec(name, each, "providers=[...]", required=True)
    return list(chosen.values())


def _raise_misshapen(name: str, provider: Any) -> None:
    if callable(provider) and not isinstance(provider, type):
        return
    problem = shape_problem(provider)
    if problem is not None:
        message = f"providers=[...]: {name} {problem}"
        raise MisshapenProviderError(message)


def _apply(specs: Iterable[Spec], current: Settings) -> None:
    for spec in specs:
        spec.enabled, spec.switched_by = current.switch(spec.name, default=spec.name not in ASKED_FOR)
        if not spec.enabled and spec.switched_by == "default":
            variable = settings.PROVIDER_VARIABLE + settings.variable_part(spec.name)
            spec.switched_by = f"default, since it asks the network; {variable}=1 switches it on"
        spec.limit_seconds = current.provider_setting(spec.name, "timeout")
        placement = current.provider_setting(spec.name, "placement")
        if placement is not None and (placement != "companion" or spec.provider is None):
            spec.placement = placement
            spec.is_placed = True


def _placement(entry: EntryPoint) -> str:
    # An installed package that asks to run inline could hold the program for ever: only its user may grant that.
    return "thread" if entry.placement in ("inline", "thread") else "companion"


def _origin(entry: EntryPoint) -> str:
    return f"{entry.distribution} ({entry.group})"


def _is_own(entry: EntryPoint) -> bool:
    return entry.distribution == _OWN_DISTRIBUTION or entry.target.startswith("runcontext.mlflow:")


def _report_same_variable(specs: Iterable[Spec]) -> None:
    first: dict[str, str] = {}
    for spec in specs:
        variable = settings.PROVIDER_VARIABLE + settings.variable_part(spec.name)
        other = first.setdefault(variable, spec.name)
        if other != spec.name:
            log.warn_once(f"providers {other!r} and {spec.name!r} share the toggle {variable}: it switches both")


def _report_unknown(specs: Iterable[Spec], current: Settings) -> None:
    known = [spec.name for spec in specs]
    for name in sorted(current.named_providers() - set(known)):
        log.warn_once(f"RUNCONTEXT_PROVIDERS names {name!r}, which is no provider here; known are {', '.join(known)}")


def load(target: str) -> Any:
    """Import the object that ``module:attribute`` names; raises what the import raises."""
    module, _, attributes = target.partition(":")
    __import__(module)
    found: Any = sys.modules[module]
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    return found


def own_limit(loaded: Any) -> float | None:
    """Give the ``timeout`` of a provider or its class in seconds, None where it says nothing usable."""
    asked = getattr(loaded, "timeout", None)
    if not isinstance(asked, (int, float)) or isinstance(asked, bool):
        return None
    return float(asked) if 0 < asked < float("inf") else None


def build(name: str, loaded: Any) -> Any:
    """Make a provider of what was loaded or registered: call a class or a builder, take an instance as it is.

    Raises:
        MisshapenProviderError: what comes back is no provider; the message names it and says what is missing.
    """
    is_instance = not isinstance(loaded, type) and shape_problem(loaded) is None
    provider = loaded if is_instance or not callable(loaded) else loaded()
    problem = shape_problem(provider)
    if problem is not None:
        message = f"provider {name!r} {problem}"
        raise MisshapenProviderError(message)
    return provider
