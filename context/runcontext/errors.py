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


class StoreUnavailableError(StoreError):
    """A place that cannot be reached, or is busy, now: what was asked of it may go right later.

    ``retry_after_seconds`` is when the place itself asks to be tried again, None where it does not say.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        """Keep what is to be shown, and when to come again."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StoreUnusableError(StoreError):
    """A place that takes nothing at all before somebody has seen to it: to credentials, a certificate, a bucket.

    Any other StoreError is about the one thing that was asked, and says nothing of the next.
    """


class PluginError(RunContextError):
    """A plugin that cannot be used: not installed, not loadable, or not what its kind asks for."""


class ProviderError(RunContextError):
    """A provider that failed, where failures are to be raised: named in the call, or RUNCONTEXT_STRICT=1."""
