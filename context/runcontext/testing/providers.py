"""What a provider's author needs to test one: run it as the kernel would, and a contract that every provider keeps."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from runcontext import program as _program
from runcontext import registry, resolution
from runcontext.record import Context, OutcomeStatus

if TYPE_CHECKING:
    from runcontext.program import Program
    from runcontext.provider import TagValue


class StaticProvider:
    """A provider that always says the same: for testing what is made of it.

    Args:
        tags: what it says.
        in_context: whether it is in context.
    """

    def __init__(self, tags: Mapping[str, TagValue], *, in_context: bool = True) -> None:
        """Keep what it is to say."""
        self._tags = dict(tags)
        self._in_context = in_context

    def in_context(self) -> bool:
        """Say what it was made to say."""
        return self._in_context

    def tags(self) -> Mapping[str, TagValue]:
        """Give what it was made to give."""
        return self._tags


def resolve_provider(
    provider: Any,
    *,
    name: str = "provider",
    program: Program | None = None,
    folder: Path | None = None,
    method: str = "tags",
) -> Context:
    """Run one provider in this process, under the same guard as in a run, and give the context it makes.

    Args:
        provider: an instance, a class or a function that builds one.
        name: how the outcome calls it.
        program: the program that it is to describe; this process unless given.
        folder: where its attachments are written; without one they are only measured.
        method: ``companion_tags`` for those facts of an inline provider, ``tags_at_end`` for those of the run's end.
    """
    target = None if folder is None else str(folder / "context")
    before = _program.described()
    _program.describe(program)
    try:
        one = resolution.Resolution(name, "inline", reraise_interrupt=True)
        one.run(lambda: provider, method)
        if one.wants_attachments():
            one.run_attachments(target)
    finally:
        _program.describe(before)
    outcomes = resolution.settled_at_end({name: one.outcome}, None)
    return Context.from_json(resolution.merged([name], outcomes, one.attachments), folder)


class ProviderContract:
    """What every provider keeps to: subclass it in a test module, and pytest runs it.

    Set ``provider`` to the class, a builder or an instance, and ``program`` where it is to describe another process.
    """

    provider: ClassVar[Any]
    program: ClassVar[Program | None] = None

    def _resolved(self) -> Context:
        return resolve_provider(type(self).__dict__.get("provider", self.provider), program=self.program)

    def test_it_has_the_shape_of_a_provider(self) -> None:
        """It has in_context() and tags(), by these names."""
        loaded = type(self).__dict__.get("provider", self.provider)
        assert registry.shape_problem(registry.build("provider", loaded)) is None

    def test_nothing_of_it_fails(self) -> None:
        """Each fact is captured or absent for a reason; none fails, whatever the machine has."""
        outcome = self._resolved().outcomes["provider"]
        expected = (OutcomeStatus.CAPTURED, OutcomeStatus.ABSENT)
        assert outcome.status in expected, (outcome.reason, dict(outcome.failures))

    def test_nothing_fails_at_the_end_of_a_run(self) -> None:
        """What it says when the run ends, where it does so, is captured or absent for a reason as well."""
        loaded = type(self).__dict__.get("provider", self.provider)
        if hasattr(registry.build("provider", loaded), "tags_at_end"):
            said = resolve_provider(loaded, program=self.program, method="tags_at_end").outcomes["provider"]
            assert said.status in (OutcomeStatus.CAPTURED, OutcomeStatus.ABSENT), (said.reason, dict(said.failures))

    def test_what_is_absent_has_a_reason(self) -> None:
        """Where it is not in context, it says why."""
        outcome = self._resolved().outcomes["provider"]
        assert outcome.status is not OutcomeStatus.ABSENT or outcome.reason

    def test_every_value_fits_a_tag(self) -> None:
        """No value has to be cut, and none holds a secret that had to be replaced."""
        outcome = self._resolved().outcomes["provider"]
        assert all(len(value) <= resolution.MAX_VALUE_CHARACTERS for value in outcome.tags.values())

    def test_it_can_be_asked_again(self) -> None:
        """A second capture gives the same tags by name: nothing is used up by the first."""
        assert set(self._resolved().tags) == set(self._resolved().tags)

    def test_its_attachments_are_plain_files(self) -> None:
        """Attachments have plain, distinct names, and are written as they were given."""
        loaded = type(self).__dict__.get("provider", self.provider)
        with tempfile.TemporaryDirectory() as folder:
            context = resolve_provider(loaded, program=self.program, folder=Path(folder))
            names = [each.name for each in context.attachments]
            assert len(names) == len(set(names))
            assert all(each.path is None or each.path.is_file() for each in context.attachments)
