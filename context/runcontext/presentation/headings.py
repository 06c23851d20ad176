"""Under which heading a fact stands, and which facts a person asks for first."""

from __future__ import annotations

from typing import NamedTuple

from runcontext.resolution import CALLER, CHANGED

RUN = "Run"
HOW_IT_ENDED = "How it ended"
TAGS = "Tags"
"""What the program and its environment set themselves."""


class Heading(NamedTuple):
    """A heading, and what stands under it.

    Names that end with a dot stand for all that begin so, those that begin with one for all that end so.

    - ``providers``: built-in providers whose facts stand here, and what is said of them where they have none.
    - ``families``: tags that stand here whoever gives them.
    - ``first``: tags that a person asks for first, in this order.
    - ``expected``: tags and providers that are missed where they are absent.
    """

    title: str
    providers: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()


_HEADINGS = (
    Heading(
        RUN,
        families=("mlflow.runName", "mlflow.parentRunId", "mlflow.note.content"),
        first=("mlflow.note.content",),
    ),
    Heading("Who", ("user",), ("mlflow.user",), ("mlflow.user",), ("user", "mlflow.user")),
    Heading(
        "Code",
        ("source", "git", "notebook"),
        ("mlflow.source.", "source.", "git.", "notebook."),
        (
            "mlflow.source.name",
            "mlflow.source.git.commit",
            "mlflow.source.git.branch",
            "mlflow.source.git.dirty",
            "mlflow.source.git.repoURL",
            "git.fallback",
            "git.untracked",
            "git.pushed",
            "git.state",
            "git.submodules",
            "git.lfs",
            "notebook.name",
        ),
        ("git", "mlflow.source.git.commit", "mlflow.source.git.branch"),
    ),
    Heading(
        "Machine",
        ("host", "container", "cloud"),
        ("host.", "os.", "cpu.", "memory.", "limits.", "shm.", "cwd.", "load", "container.", "k8s.", "cloud."),
        (
            "host.name",
            "os.description",
            "host.cpu.model.name",
            "host.type",
            "cpu.available",
            "memory.total",
            "memory.limit",
            "container.runtime.name",
            "container.image.name",
            "k8s.pod.name",
            "cloud.provider",
            "cloud.region",
        ),
        ("host",),
    ),
    Heading(
        "Accelerators",
        ("gpu",),
        ("gpu.",),
        (
            "gpu.count",
            "gpu.name",
            "gpu.memory.total",
            "gpu.driver.version",
            "gpu.cuda.version",
            "gpu.visible",
            "gpu.others",
            "gpu.missing",
        ),
        ("gpu", "gpu.visible"),
    ),
    Heading(
        "Software",
        ("python", "determinism", "environment"),
        ("process.runtime.", "process.executable.", "python."),
        (
            "process.runtime.name",
            "process.runtime.version",
            "python.environment",
            "python.lockfile",
            "python.packages.count",
            "python.packages.sha256",
            "torch.deterministic",
            "torch.cuda.libraries",
        ),
        ("python",),
    ),
    Heading(
        "Launch",
        ("launcher", "ci"),
        ("process.", "launcher.", "rank", "local_rank", "world_size", "ranks.", "cicd.", "vcs."),
        (
            "process.command_args",
            "process.working_directory",
            "launcher.name",
            "rank",
            "world_size",
            "ranks.",
            ".job.id",
            ".run.id",
            "cicd.system",
            "cicd.pipeline.run.url.full",
        ),
    ),
    Heading(
        HOW_IT_ENDED,
        ("usage",),
        ("end.", "usage.", "gpu.memory.peak", CHANGED),
        ("end.reason", "usage.", "gpu.memory.peak", CHANGED),
    ),
)

TITLES = tuple(each.title for each in _HEADINGS)
"""The headings that every page has, in their order, where there is anything under them."""

_BY_TITLE = {each.title: each for each in _HEADINGS}
_OF_PROVIDER = {provider: each.title for each in _HEADINGS for provider in each.providers}
_FAMILIES = sorted(
    ((family, each.title) for each in _HEADINGS for family in each.families),
    key=lambda pair: len(pair[0]),
    reverse=True,
)
_OWN = (CALLER, "RUNCONTEXT_TAGS", "MLFLOW_RUN_CONTEXT")


def title_of_tag(tag: str, giver: str) -> str:
    """Give the heading for a tag: its family's, else that of who gave it."""
    found = next((title for family, title in _FAMILIES if _fits(tag, family)), None)
    return found or title_of_provider(giver)


def title_of_provider(name: str) -> str:
    """Give the heading of a provider: one that is not built in has one of its own name."""
    return TAGS if name in _OWN else _OF_PROVIDER.get(name, name)


def place_among_first(title: str, tag: str) -> int | None:
    """Give the place of a fact that a person asks for first, None for others; of unknown providers they ask for all."""
    heading = _BY_TITLE.get(title)
    if heading is None:
        return 0
    return next((place for place, name in enumerate(heading.first) if _fits(tag, name)), None)


def is_expected(title: str, name: str) -> bool:
    """Say whether this tag or provider is missed where it is absent."""
    heading = _BY_TITLE.get(title)
    return heading is not None and name in heading.expected


def _fits(tag: str, name: str) -> bool:
    return tag == name or (name.endswith(".") and tag.startswith(name)) or (name[0] == "." and tag.endswith(name))
