"""What runcontext raises, each with what to do about it in its message."""

from __future__ import annotations


class RunContextError(Exception):
    """The base of everything that runcontext itself raises into the program."""


class NotInContext(Exception):  # noqa: N818 - not an error: a provider's way to say that it has nothing to say
    """Raised by a provider, or by one fact's callable, to say why it has nothing to tell here.

    The text becomes the reason on record: ``raise NotInContext("no repository above train.py")``.
    """


class StoreError(RunContextError):
    """A tracking store that cannot be used at the start of a run, or a run that it does not hold."""


class ProviderError(RunContextError):
    """A provider that failed, where failures are to be raised: named in the call, or RUNCONTEXT_STRICT=1."""
