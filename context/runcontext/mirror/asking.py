"""The program's part: it names its run to the companion, and at the end waits a while for what is still to be sent.

Nothing is sent from here: no client is imported, no thread is started. How far it got is read from ``mirror.json``.
"""

from __future__ import annotations

import time

from runcontext import log
from runcontext.companion import client
from runcontext.program import current_program
from runcontext.redaction import redact_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runcontext.mirror.state import MirrorState
    from runcontext.settings import Settings

_SHORTEST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.005, 0.05
_AGAIN_SECONDS = 0.2
"""How long it is waited for what was waited for in vain before, by this run or by an earlier one of the process."""

_in_vain: set[str] = set()


class Link:
    """What one open run has to do with the place that it is sent to.

    Args:
        folder: the run's folder.
        uri: the place, credentials included.
        settings: those of the run.
        is_owner: whether the run ends here; one that was only joined has no more to be sent than what was logged here.
    """

    def __init__(self, folder: str, uri: str, settings: Settings, *, is_owner: bool = True) -> None:
        """Remember them; nothing is asked yet."""
        self._is_owner = is_owner
        self._folder = folder
        self._uri = uri
        self._settings = settings
        self._has_asked_in_vain = False
        # That of this process, whatever it is to describe next.
        self._program = current_program()

    def begin(self) -> None:
        """Have the run sent from now on, beside the program."""
        self._ask(is_ending=False)

    def end(self, name: str, *, waits: bool) -> None:
        """Have the rest sent now, wait for that as long as the user allows, and say what is still to be sent."""
        if self._settings.offline:
            return
        asked_at = time.time_ns() // 1_000_000
        self._ask(is_ending=True)
        if not waits:
            return
        seconds = self._settings.sync_timeout_seconds
        seconds = min(_AGAIN_SECONDS, seconds) if self._uri in _in_vain else seconds
        found = self._waited(seconds, lambda found: self._is_settled(found, asked_at))
        if self._is_all_sent(found):
            _in_vain.discard(self._uri)
        else:
            _in_vain.add(self._uri)
        self._report(name, found, seconds if self._is_being_sent() else 0.0)

    def remote(self) -> MirrorState | None:
        """Wait, as long as the end of a run would, until the place has the run; give what is known of it there.

        Where that was in vain before, it is waited for shortly.
        """
        seconds = 0.0 if self._settings.offline else self._settings.sync_timeout_seconds
        if self._has_asked_in_vain or self._uri in _in_vain:
            seconds = min(_AGAIN_SECONDS, seconds)
        found = self._waited(seconds, lambda found: found.remote_id is not None or found.is_given_up)
        self._has_asked_in_vain = found is None or found.remote_id is None
        return found

    def _ask(self, *, is_ending: bool) -> None:
        if self._settings.offline or not self._settings.companion:
            return
        companion = client.ensure(())
        if companion is not None:
            companion.ask(
                {
                    "op": "mirror",
                    "folder": self._folder,
                    "uri": self._uri,
                    "is_ending": is_ending,
                    "program": self._program.to_json(),
                    "settings": self._settings.to_json(),
                }
            )

    def _is_settled(self, found: MirrorState, asked_at: int) -> bool:
        # What was given up before this was asked is tried once more.
        return (found.is_given_up and found.error_at >= asked_at) or self._is_all_sent(found)

    def _is_all_sent(self, found: MirrorState | None) -> bool:
        # Where it is first needed: start_run() needs none of it.
        from runcontext.mirror import state

        return not state.unsent(self._folder, found, is_over=self._is_owner)

    def _waited(self, seconds: float, is_enough: Callable[[MirrorState], bool]) -> MirrorState | None:
        """Look until what is known of the run there is enough, or so much time has passed."""
        from runcontext.mirror import state

        until = time.monotonic() + seconds
        pause = _SHORTEST_LOOK_SECONDS
        while True:
            found = state.read(self._folder)
            remaining = until - time.monotonic()
            if (found is not None and is_enough(found)) or remaining <= 0 or not self._is_being_sent():
                return found
            time.sleep(min(pause, remaining))
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)

    def _is_being_sent(self) -> bool:
        """Say whether there is anybody who sends."""
        companion = client.current()
        if companion is None:
            return False
        companion.drain(0.0)
        return True

    def _report(self, name: str, found: MirrorState | None, waited_seconds: float) -> None:
        from runcontext.mirror import state

        for warning in () if found is None else found.warnings:
            log.warn_once(warning)
        shown = redact_url(self._uri)
        rest = state.unsent(self._folder, found, is_over=self._is_owner)
        if rest:
            log.warn_once(f"run {name}: {rest} {self._still_to_be_sent(shown, found, waited_seconds)}")
        elif found is not None and found.refusals:
            first = found.refusals[0]
            count = len(found.refusals)
            others = f", and {count - 1:,} more" if count > 1 else ""
            log.warn_once(
                f"run {name}: {first['kind']} {first['key']!r} was refused at {shown}: {first['reason']}{others};"
                " the run's folder has all of it"
            )

    def _still_to_be_sent(self, shown: str, found: MirrorState | None, waited_seconds: float) -> str:
        from runcontext.mirror import state

        why = state.why_not(self._folder, found)
        if not why:
            is_silent = waited_seconds > 0 and (found is None or found.remote_id is None)
            silence = f", which has not answered within {waited_seconds:g} s" if is_silent else ""
            return f"still to be sent to {shown}{silence}; {state.what_sends(found)}"
        where = "" if shown in why else f" to {shown}"
        return f"still to be sent{where}: {why}; {state.what_sends(found)}"
