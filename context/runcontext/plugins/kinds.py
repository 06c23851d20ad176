"""The kinds of plugins that there are, and what is known of one before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from runcontext import entry_points
from runcontext.artifacts import places as artifact_places
from runcontext.tracking import places as tracking_places

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_DISTRIBUTION = "runcontext"
BUILT_IN_GROUP = "built-in"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of plugin.

    - ``groups``: the entry-point groups that it is declared in: ours first, then MLflow's of the same role.
    - ``serves``: what its plugins are for; of a kind by scheme that is the scheme itself.
    - ``built_ins``: what runcontext itself has: scheme -> ``module:attribute``.
    - ``is_by_scheme``: of several plugins with one name only one is used; of any other kind every one is.
    - ``fixed``: schemes that no plugin can take.
    - ``methods``: what its plugins have, where those for MLflow have the same.
    """

    name: str
    groups: tuple[str, str]
    serves: str = ""
    built_ins: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    is_by_scheme: bool = False
    fixed: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


PROVIDERS = Kind("run context provider", entry_points.GROUPS, "tags of every run", methods=("in_context", "tags"))
TRACKING_STORES = Kind(
    "tracking store",
    ("runcontext.tracking_stores", "mlflow.tracking_store"),
    built_ins=tracking_places.BUILT_IN,
    is_by_scheme=True,
    fixed=tracking_places.LOCAL,
)
ARTIFACT_REPOSITORIES = Kind(
    "artifact repository",
    ("runcontext.artifact_repositories", "mlflow.artifact_repository"),
    built_ins=artifact_places.BUILT_IN,
    is_by_scheme=True,
    fixed=tracking_places.LOCAL,
)
REQUEST_HEADERS = Kind(
    "request header provider",
    ("runcontext.request_headers", "mlflow.request_header_provider"),
    "headers of requests to tracking servers",
    methods=("in_context", "request_headers"),
)
REQUEST_AUTH = Kind(
    "request auth provider",
    ("runcontext.request_auth", "mlflow.request_auth_provider"),
    "authentication that MLFLOW_TRACKING_AUTH names",
    methods=("get_name", "get_auth"),
)
DEFAULT_EXPERIMENTS = Kind(
    "default experiment provider",
    ("runcontext.default_experiments", "mlflow.default_experiment_provider"),
    "the experiment of runs that name none",
    methods=("in_context", "get_experiment_id"),
)
KINDS = (PROVIDERS, TRACKING_STORES, ARTIFACT_REPOSITORIES, REQUEST_HEADERS, REQUEST_AUTH, DEFAULT_EXPERIMENTS)


@dataclass(frozen=True, slots=True)
class Plugin:
    """One installed plugin, or what runcontext itself has for a scheme.

    - ``name``: its entry point's; of a store or repository the scheme that it serves.
    - ``target``: ``module:attribute``.
    - ``state``: ``available`` while nobody has loaded it, ``loaded``, ``shadowed`` where something else serves its
      scheme, ``failed`` where it could not be loaded.
    - ``reason``: why it is shadowed or failed, or which others it shadows; None where there is nothing to say.
    """

    kind: Kind
    name: str
    group: str
    target: str
    distribution: str
    version: str
    state: str = "available"
    reason: str | None = None

    def __str__(self) -> str:
        """Name it as messages do."""
        if self.is_built_in:
            return f"the built-in {self.kind.name} of {self.name}:"
        return f"{self.kind.name} {self.name!r} of {self.package} ({self.target})"

    @property
    def is_built_in(self) -> bool:
        """Whether it is runcontext's own."""
        return self.group == BUILT_IN_GROUP

    @property
    def is_mlflows(self) -> bool:
        """Whether it was written for MLflow, and is called as MLflow calls it."""
        return self.group == self.kind.groups[1]

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by: its kind, and what it loads."""
        return self.kind.name, self.target

    @property
    def serves(self) -> str:
        """What it is for, in a word or a few."""
        return f"{self.name}:" if self.kind.is_by_scheme else self.kind.serves

    @property
    def package(self) -> str:
        """Its distribution and version, for people."""
        return f"{self.distribution} {self.version}".strip()


def normalized(distribution: str) -> str:
    """Give a distribution's name as it is compared (Python packaging user guide, "Names and normalization")."""
    return "-".join(filter(None, distribution.lower().replace("_", "-").replace(".", "-").split("-")))
