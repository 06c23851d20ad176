"""What a provider is: MLflow's two methods, and what it may add to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol, TypeAlias

from runcontext.errors import NotInContext

Placement: TypeAlias = Literal["inline", "thread", "companion"]
TagValue: TypeAlias = "str | Callable[[], str | None] | None"


class RunContextProvider(Protocol):
    """The shape of a provider: MLflow's ``RunContextProvider``, so that its plugins work unchanged.

    Providers need not inherit from it: they are known by their methods' names. Optional, looked up by name:

    - ``placement``: ``"inline"``, ``"thread"`` or ``"companion"``, where it runs;
    - ``timeout``: seconds that its work may take in all, 60 unless said;
    - ``attachments() -> Iterable[Attachment]``: files that belong to the context;
    - ``companion_tags() -> Mapping[str, TagValue]``: of an inline provider, the facts that cost more than a look,
      resolved in the companion;
    - ``tags_at_end() -> Mapping[str, TagValue]``: what can have changed, or is only known, when the run ends. A tag
      that differs from what ``tags()`` gave becomes ``changed.<tag>``, a new one becomes a tag. In the program it is
      asked of the same instance, in the companion of a new one.

    Source of the two methods: MLflow's plugins page, section "Run context providers".
    """

    def in_context(self) -> bool:
        """Say, cheaply, whether there is anything to tell here."""
        ...

    def tags(self) -> Mapping[str, TagValue]:
        """Give the facts: each a string, or a callable that gives one, or None for no such fact here."""
        ...


class Attachment(NamedTuple):
    """A file that a provider adds to the context, such as a patch or a list of packages.

    ``name`` is a plain file name, unique within the run. ``content`` is its bytes, or None where it was left out:
    then ``reason`` says why and ``size_bytes`` and ``sha256`` still identify what was left out. Where ``content``
    is given, they may be left to the kernel. ``redacted`` counts the secrets that were replaced in it.

    A named tuple, as providers' records are: ``dataclasses`` would cost every capture another 10 ms.
    """

    name: str
    content: bytes | None
    reason: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    redacted: int = 0


__all__ = ["Attachment", "NotInContext", "Placement", "RunContextProvider", "TagValue"]
