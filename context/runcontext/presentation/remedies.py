"""What went wrong in a capture, and what can be done about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from runcontext import registry, settings
from runcontext.record import OutcomeStatus
from runcontext.resolution import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runcontext.record import Context, Outcome

_BAD = (OutcomeStatus.FAILED, OutcomeStatus.TIMED_OUT)
_VARIABLES = ("RUNCONTEXT_TAGS", "MLFLOW_RUN_CONTEXT")


class Problem(NamedTuple):
    """What went wrong with one provider.

    - ``facts``: what is not there, and why; the empty name stands for all that the provider has to say.
    - ``remedy``: what a person can do about it.
    """

    provider: str
    status: str
    facts: tuple[tuple[str, str], ...]
    remedy: str


def problems(context: Context, origins: Mapping[str, str]) -> tuple[Problem, ...]:
    """Give what went wrong, at the start and at the end of the run, provider by provider.

    ``origins`` names the distribution or setting that a provider comes from, where it is known.
    """
    found: list[Problem] = []
    for name, outcome in context.outcomes.items():
        found += _problems(name, name, outcome, origins.get(name, ""))
        if outcome.at_end is not None:
            found += _problems(name, f"{name}, at the end", outcome.at_end, origins.get(name, ""))
    return tuple(found)


def _problems(name: str, title: str, outcome: Outcome, origin: str) -> Iterator[Problem]:
    # A reason beside facts that are there says what the provider did to the program.
    whole = outcome.reason if outcome.status in _BAD or outcome.tags else None
    facts = [("", whole)] if whole else []
    facts += [(fact, reason) for fact, reason in outcome.failures.items() if not reason.startswith(ABSENT)]
    if facts:
        remedy = _remedy(name, [reason for _, reason in facts], origin)
        yield Problem(title, outcome.status.value.replace("_", " "), tuple(facts), remedy)


def _remedy(name: str, reasons: list[str], origin: str) -> str:
    if name in _VARIABLES:
        return f"set {name} to a JSON object of strings, or unset it"
    fitting = (advice for pattern, advice in _REMEDIES if any(re.search(pattern, reason) for reason in reasons))
    found = next(fitting, _REPORT)
    whom = "runcontext" if name in registry.BUILT_IN else origin or "whoever wrote it"
    table = name if re.fullmatch(r"[\w-]+", name, re.ASCII) else f'"{name}"'
    variable = settings.PROVIDER_VARIABLE + settings.variable_part(name)
    return f"{found.format(whom=whom, table=table)}; {variable}=0 switches it off"


_TABLE = "[tool.runcontext.providers.{table}] of pyproject.toml"
_MORE_TIME = f"timeout = 120 under {_TABLE} gives it so many seconds"
_LONGER_WAIT = "RUNCONTEXT_TIMEOUT=30 waits for it for so many seconds"
_BESIDE = f'placement = "companion" under {_TABLE} runs it beside the program'
_REPORT = "report it to {whom}, with what `runcontext capture --json` prints"

_REMEDIES = (
    (r"took longer than the deadline|, nor by the end of the run|by the end of the program", _LONGER_WAIT),
    (r"took longer than its limit", _MORE_TIME),
    (r"\bthe program's \w+ changed", _BESIDE),
    (r"\b(ModuleNotFound|Import)Error\b", "install what it imports, or install {whom} again"),
    (r"\bMisshapenProviderError\b", "it is no provider as it stands: report it to {whom}"),
    (r"worker process (was ended|exited)|companion process ended", "it ends the process that it runs in: " + _REPORT),
    (r"\bgit [\w-]+: no answer within", "`git status` by hand may show what git waits for"),
    (r"\bPermissionError\b", "let this user read it"),
)
"""What to do, by what the reason says: ``resolution``, ``threads`` and the companion's supervisor write them."""
