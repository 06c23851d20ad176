"""One capture under way: hands providers to where they run, collects what they say, and bounds every wait."""

from __future__ import annotations

import _thread
import itertools
import os
import sys
import time

from runcontext import endings, entry_points, log, registry, resolution
from runcontext.companion import client
from runcontext.errors import ProviderError
from runcontext.program import current_program, describe, described
from runcontext.settings import DEFAULT_TIMEOUT_SECONDS, put_in_force

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from runcontext.companion.wire import Message
    from runcontext.program import Program
    from runcontext.registry import Spec
    from runcontext.resolution import AttachmentRow, ContextRow, Outcome
    from runcontext.settings import Settings
    from runcontext.threads import ThreadedProvider
    from runcontext.tracking.local import RunFolder

_GLANCE_SECONDS = 0.05
_HANDSHAKE_SECONDS = (0.5, 4.0)
"""What was started as a companion and has not said so after half the deadline, within these bounds, is none."""

_END_SECONDS = 1.0
"""How long the end of a run waits for what providers say then; the companion goes on after that."""

_FAREWELL_SECONDS = 0.5
"""How long the end of a run waits for the companion to take what it was told last: 200 kB fit at once."""

_captures: dict[str, Capture] = {}
_receiving = _thread.allocate_lock()
_counter = itertools.count(1)


class Capture:
    """The capture of one context.

    Args:
        current: the settings in force.
        named: providers that the caller listed in the call, None for all.
        folder: the run's folder, None for a context without a run.
        context_file: what the context is called in it.
        caller_tags: what the program sets itself.
        program: what is described, None for this process.
        attachments: whether attachments are asked for.
        records_end: whether the companion is to record the end of a program that dies.
        began: when the deadline begins to count, by the monotonic clock; now unless given.

    Raises:
        ValueError, TypeError: ``named`` lists what is no provider.
    """

    def __init__(
        self,
        current: Settings,
        *,
        named: list[Any] | None = None,
        folder: RunFolder | None = None,
        context_file: str = "context.json",
        caller_tags: Mapping[str, str] | None = None,
        program: Program | None = None,
        attachments: bool = True,
        records_end: bool = False,
        began: float | None = None,
    ) -> None:
        """Decide what runs and where; nothing runs yet."""
        self.id = f"{os.getpid()}-{next(_counter)}"
        self._settings = current
        self._timeout_seconds = current.timeout_seconds
        self._folder = folder
        self.context_file = context_file
        self._caller_tags = dict(caller_tags or {})
        self._program = program
        self._attachments_wanted = attachments
        self._records_end = records_end
        self._cache_folder = current.cache_folder
        self._is_scanning = False
        self._specs, self._needs_scan = self._plan(named)
        self._targets: dict[str, tuple[str, str]] = {}
        self._order = [spec.name for spec in self._specs]
        self._outcomes: dict[str, Outcome] = {}
        self._attachments: list[AttachmentRow] = []
        self._companion: client.Companion | None = None
        self._lock = _thread.RLock()
        self._in_program: dict[str, Any] = {}
        self._in_threads: dict[str, Any] = {}
        self._is_finished = False
        self._is_kept = True
        self._has_lost_companion = False
        self._began = time.monotonic() if began is None else began

    # --- what runs ----------------------------------------------------------------------------------------------

    def _plan(self, named: list[Any] | None) -> tuple[list[Spec], bool]:
        """Give the providers, and whether the installed ones are still to be looked for."""
        found = entry_points.cached(sys.path, self._cache_folder)
        known_names = registry.BUILT_IN.keys()
        if found is None and any(isinstance(each, str) and each not in known_names for each in named or ()):
            found = entry_points.scanned_here(self._cache_folder)
        specs = registry.plan(found, self._settings, named=named)
        at_work = resolution.provider_at_work()
        if at_work is not None:
            _leave_to_the_outer(specs, at_work)
        return specs, found is None and named is None and at_work is None

    def begin(self) -> None:
        """Run what runs inline, put that on disk, and set the rest going; never raises what a provider raises."""
        put_in_force(self._settings)
        before = described()
        # Inline and in threads too, providers speak of that program, not of this process.
        describe(self._program or current_program())
        try:
            self._begin()
        finally:
            if self._program is None:
                # This process goes on, and will be another soon: it is looked at once for all of this.
                describe(before)

    def _begin(self) -> None:
        elsewhere = []
        for spec in self._specs:
            if not spec.enabled:
                self._outcomes[spec.name] = resolution.disabled(spec.placement, spec.switched_by)
                continue
            self._outcomes[spec.name] = resolution.pending(spec.placement)
            if spec.placement != "inline":
                elsewhere.append((spec, "tags"))
            elif self._run_inline(spec):
                elsewhere.append((spec, "companion_tags"))
        # A companion that has answered an earlier capture of this process is there: it writes at once what it is told.
        self._is_kept = (known := client.current()) is None or not known.has_answered
        if self._is_kept:
            self._write()
        self._set_going(elsewhere)

    def _run_inline(self, spec: Spec) -> bool:
        """Run a provider in this thread, and say whether it has facts for the companion too."""
        one = resolution.Resolution(spec.name, "inline", reraise_interrupt=_is_main_thread())
        outcome = one.run(lambda: _loaded(spec))
        if outcome["status"] == "failed":
            endings.forget_exit_code()
        if resolution.is_pending_at_end(outcome):
            self._in_program[spec.name] = one.provider
        has_more = outcome["status"] in ("captured", "partial") and hasattr(one.provider, "companion_tags")
        self._outcomes[spec.name] = {**outcome, "status": "pending"} if has_more else outcome
        self._report(spec.name)
        return has_more

    def _set_going(self, elsewhere: list[tuple[Spec, str]]) -> None:
        self._targets = {spec.name: (spec.target, method) for spec, method in elsewhere}
        for_threads = [(spec, method) for spec, method in elsewhere if spec.placement == "thread"]
        for_companion = [(spec, method) for spec, method in elsewhere if spec.placement != "thread"]
        needs_scan = self._needs_scan and self._settings.may_switch_on_others(self._outcomes)
        if for_companion or needs_scan:
            self._companion = self._started_companion(for_companion)
            if self._companion is None:
                for_threads += for_companion
                for_threads += self._scanned_here() if needs_scan else []
            else:
                self._ask(for_companion, needs_scan=needs_scan)
        if for_threads:
            self._run_in_threads([(spec.name, method, lambda spec=spec: _loaded(spec)) for spec, method in for_threads])

    def _scanned_here(self) -> list[tuple[Spec, str]]:
        """Find the plugins in this thread, where there is no companion to do it."""
        self._needs_scan = False
        found = entry_points.scanned_here(self._cache_folder)
        added = [spec for spec in registry.plugins(found, self._settings) if spec.name not in self._outcomes]
        for spec in added:
            off = resolution.disabled(spec.placement, spec.switched_by)
            self._outcomes[spec.name] = resolution.pending("thread") if spec.enabled else off
            self._targets[spec.name] = (spec.target, "tags")
        self._order = registry.order(self._outcomes)
        return [(spec, "tags") for spec in added if spec.enabled]

    # --- the companion ------------------------------------------------------------------------------------------

    def _started_companion(self, specs: list[tuple[Spec, str]]) -> client.Companion | None:
        if not self._settings.companion:
            return None
        modules = [
            spec.target.partition(":")[0] for spec, method in specs if method == "tags" and spec.origin == "built-in"
        ]
        return client.ensure([words for words in (modules[::2], modules[1::2]) if words])

    def _ask(self, specs: list[tuple[Spec, str]], *, needs_scan: bool) -> None:
        _captures[self.id] = self
        request = {
            "op": "capture",
            "id": self.id,
            "program": (self._program or current_program()).to_json(),
            "order": self._order,
            "outcomes": self._outcomes,
            "caller_tags": self._caller_tags,
            "attachments": self._attachments_wanted,
            "folder": None if self._folder is None else self._folder.path,
            "identity": None if self._folder is None else dict(self._folder.identity),
            "context_file": self.context_file,
            "is_kept": self._is_kept,
            "records_end": self._records_end,
            "deadline_seconds": self._timeout_seconds,
            "providers": [
                {**spec.to_json(), "method": method, "placement": spec.placement, "is_placed": spec.is_placed}
                for spec, method in specs
            ],
            "settings": self._settings.to_json(),
            "needs_scan": needs_scan,
            "cache_folder": self._cache_folder,
        }
        self._is_scanning = needs_scan
        assert self._companion is not None  # noqa: S101 - the caller has just made it
        self._companion.ask(request)

    def _on_message(self, message: Message) -> None:
        operation = message.get("op")
        if operation == "outcomes":
            with self._lock:
                for answer in message["answers"]:
                    self._outcomes[answer["name"]] = self._with_own_end(answer["name"], answer["outcome"])
                    self._attachments.extend(answer["attachments"])
                self._is_kept = message["is_kept"]
            for answer in message["answers"]:
                self._report(answer["name"])
        elif operation == "elsewhere":
            target, method = self._targets[message["name"]]
            self._run_in_threads([(message["name"], method, lambda: registry.load(target))])
        elif operation == "found":
            self._on_found(message)
        elif operation != "ended":
            raise KeyError(operation)

    def _with_own_end(self, name: str, outcome: Outcome) -> Outcome:
        """Keep what the program itself has said at the end of the run: the companion may not have heard it yet."""
        said = self._outcomes.get(name, outcome)["at_end"]
        if resolution.is_pending_at_end(outcome) and said is not None and said["status"] != "pending":
            return {**outcome, "at_end": said}
        return outcome

    def _on_found(self, message: Message) -> None:
        with self._lock:
            self._is_scanning = False
            self._order = message["order"]
            self._targets.update({name: (target, "tags") for name, target in message["targets"].items()})
            for name, outcome in message["outcomes"].items():
                self._outcomes.setdefault(name, outcome)

    def _receive(self, seconds: float, is_done: Callable[[], bool]) -> None:
        """Hand on what the companion says, to this capture and to others; one thread reads at a time."""
        companion = self._companion
        # Whoever reads now may read what this thread waits for: look again soon.
        if companion is None or not _receiving.acquire(timeout=min(max(seconds, 0.0), _GLANCE_SECONDS)):
            return
        try:
            # Another thread may have read meanwhile what this one waits for.
            for message in companion.receive(0.0 if is_done() else seconds):
                capture = _captures.get(message.get("id", ""))
                if capture is not None:
                    capture._take_message(message, companion)
        finally:
            _receiving.release()

    def _take_message(self, message: Message, companion: client.Companion) -> None:
        try:
            self._on_message(message)
        except (KeyError, TypeError, AttributeError):
            # Not what a companion of ours says: nothing else of it is to be believed.
            companion.close()

    def _replace_companion(self) -> None:
        """Answer for a companion that is gone.

        Where it was the program that closed the connection, another companion is asked, once. Else built-in providers
        run in threads instead. A plugin does so only where the companion never came to life: one that may have ended it
        must not come near the program.
        """
        companion, self._companion = self._companion, None
        assert companion is not None  # noqa: S101 - the caller has looked
        is_first_loss, self._has_lost_companion = not self._has_lost_companion, True
        if companion.was_cut and is_first_loss and self._ask_another():
            return
        pending = [name for name, outcome in self._outcomes.items() if outcome["status"] == "pending"]
        jobs = []
        for name in pending:
            target, method = self._targets.get(name, ("", "tags"))
            if not target or self._outcomes[name]["placement"] == "thread":
                continue
            if name in registry.BUILT_IN or not companion.has_answered:
                jobs.append((name, method, lambda target=target: registry.load(target)))
            else:
                reason = "the companion process ended before it answered"
                self._deliver(name, resolution.failed("companion", reason), [])
        if self._is_scanning:
            self._is_scanning = False
            if not companion.has_answered:
                jobs += [(spec.name, method, lambda spec=spec: _loaded(spec)) for spec, method in self._scanned_here()]
        if jobs:
            self._run_in_threads(jobs)

    def _ask_another(self) -> bool:
        specs = []
        for name, (target, method) in self._targets.items():
            outcome = self._outcomes[name]
            if target and outcome["status"] == "pending" and outcome["placement"] != "thread":
                origin = "built-in" if name in registry.BUILT_IN else "another companion"
                spec = registry.Spec(name, placement=outcome["placement"], origin=origin, target=target)
                spec.limit_seconds = self._settings.provider_setting(name, "timeout")
                specs.append((spec, method))
        self._companion = self._started_companion(specs)
        if self._companion is not None:
            self._ask(specs, needs_scan=self._is_scanning)
        return self._companion is not None

    # --- threads ------------------------------------------------------------------------------------------------

    def _run_in_threads(self, jobs: Iterable[tuple[str, str, Any]]) -> None:
        from runcontext.threads import ThreadedProvider, Watch

        folder = None if self._folder is None else self._folder.attachments(self.context_file)
        started: list[ThreadedProvider] = []
        for name, method, load in jobs:
            self._move_to_thread(name, method)
            try:
                # In this thread, the caller's own: an import in the background could break one of the program's.
                loaded = load()
            except BaseException as error:  # a plugin that cannot be imported is an outcome
                if isinstance(error, KeyboardInterrupt) and _is_main_thread():
                    raise
                # What a plugin's import says with sys.exit() is not how the program ends.
                endings.forget_exit_code()
                self._deliver(name, resolution.failed("thread", resolution.describe_error(error)), [])
                continue
            each = self._in_threads[name] = ThreadedProvider(
                name,
                loaded,
                method=method,
                folder=folder,
                attachments=self._attachments_wanted,
                deliver=self._deliver,
                limit=self._thread_limit(name, loaded),
            )
            self._start_thread(each, started)
        Watch(started).start()

    def _start_thread(self, each: ThreadedProvider, started: list[ThreadedProvider]) -> None:
        try:
            each.start()
            started.append(each)
        except RuntimeError:
            self._without_thread(each)

    def _move_to_thread(self, name: str, method: str) -> None:
        # What else an inline provider has to say joins what it said inline.
        if method == "tags":
            with self._lock:
                self._outcomes[name] = resolution.pending("thread")

    def _thread_limit(self, name: str, loaded: Any) -> tuple[float, str]:
        """Give how long a provider may run in a thread, and what says so: at most as long as the deadline."""
        deadline = self._timeout_seconds or DEFAULT_TIMEOUT_SECONDS
        own = self._settings.provider_setting(name, "timeout") or registry.own_limit(loaded)
        return (own, "its limit") if own is not None and own < deadline else (deadline, "the deadline")

    def _without_thread(self, provider: ThreadedProvider) -> None:
        """Answer where the system allows no more threads: only what is known not to hang may run in this one."""
        if provider.method == "tags_at_end":
            # Python 3.12 starts none once the program is at its end.
            provider.deliver(provider.name, resolution.absent("thread", "no thread could be started then"), [])
        elif provider.name in registry.BUILT_IN:
            provider.run_here()
        else:
            provider.deliver(provider.name, resolution.failed("thread", "no thread could be started"), [])

    def _deliver(self, name: str, outcome: Outcome, attachments: list[AttachmentRow]) -> None:
        with self._lock:
            if self._is_finished:
                return
            known = self._outcomes.get(name)
            if known is not None and known["placement"] == "inline":
                outcome = resolution.united(known, outcome)
            self._outcomes[name] = outcome
            self._attachments.extend(attachments)
            self._pass_on({"name": name, "outcome": outcome, "attachments": attachments, "is_at_end": False})

    def _deliver_at_end(self, name: str, outcome: Outcome, _attachments: list[AttachmentRow]) -> None:
        with self._lock:
            if self._is_finished:
                return
            self._outcomes[name] = {**self._outcomes[name], "at_end": outcome}
            self._pass_on({"name": name, "outcome": outcome, "attachments": [], "is_at_end": True})

    def _pass_on(self, answer: Mapping[str, Any]) -> None:
        """See to it that what a thread said is written: by the companion, where there is one."""
        companion = self._companion
        if companion is not None and companion.is_open:
            companion.send({"op": "outcome", "id": self.id, **answer})
            # Whether it could write that, it does not say.
            self._is_kept = False
        else:
            self._write()

    # --- the end of the run -------------------------------------------------------------------------------------

    def end(self) -> None:
        """Wait for the capture, and ask what there is to say at the end of the run; for that it waits a second."""
        self._begin_end()
        self.wait()
        until = time.monotonic() + min(_END_SECONDS, self._timeout_seconds)
        self._ask_threads_at_end(until)
        self._wait(self._is_complete_at_end, lambda: until - time.monotonic())
        self._report_all()

    def _begin_end(self) -> None:
        """Ask every provider that has more to say at the end of the run, the inline ones in this thread."""
        at = resolution.now_milliseconds()
        put_in_force(self._settings)
        said = {name: self._asked_at_end(name, provider) for name, provider in self._in_program.items()}
        with self._lock:
            for name, outcome in said.items():
                self._outcomes[name] = {**self._outcomes[name], "at_end": outcome}
        companion = self._companion
        if companion is not None and companion.is_open:
            program = (self._program or current_program()).at_end().to_json()
            companion.ask({"op": "ending", "id": self.id, "at": at, "program": program, "outcomes": said})
            self._is_kept = self._is_kept and not said

    def _asked_at_end(self, name: str, provider: Any) -> Outcome:
        one = resolution.Resolution(name, "inline", reraise_interrupt=_is_main_thread())
        # The program itself may be leaving by sys.exit(): a provider's own has no part in that.
        with endings.kept_exit_code():
            return one.run(lambda: provider, "tags_at_end")

    def _ask_threads_at_end(self, until: float) -> None:
        asked = [(name, each.provider) for name, each in self._in_threads.items() if self._is_asked_in_thread(name)]
        if not asked:
            return
        from runcontext.threads import ThreadedProvider, Watch

        started: list[ThreadedProvider] = []
        for name, provider in asked:
            again = ThreadedProvider(
                name,
                provider,
                method="tags_at_end",
                folder=None,
                attachments=False,
                deliver=self._deliver_at_end,
                limit=(max(0.0, until - time.monotonic()), "what the end of a run waits"),
            )
            self._start_thread(again, started)
        Watch(started).start()

    def _is_asked_in_thread(self, name: str) -> bool:
        outcome = self._outcomes[name]
        return outcome["placement"] == "thread" and resolution.is_pending_at_end(outcome)

    def _is_complete_at_end(self) -> bool:
        """Say whether nobody is left who could still say something at the end of the run."""
        has_companion = self._companion is not None and self._companion.is_open
        with self._lock:
            return not any(
                resolution.is_pending_at_end(outcome) and (has_companion or outcome["placement"] == "thread")
                for outcome in self._outcomes.values()
            )

    # --- what is known ------------------------------------------------------------------------------------------

    @property
    def is_complete(self) -> bool:
        """Whether every provider has answered."""
        with self._lock:
            return not self._is_scanning and all(each["status"] != "pending" for each in self._outcomes.values())

    @property
    def remaining_seconds(self) -> float:
        """How long a wait may still take: the deadline counts from ``begin()``."""
        return max(0.0, self._began + self._timeout_seconds - time.monotonic())

    def wait(self) -> None:
        """Wait until the capture is complete, or the deadline has passed."""
        self._wait(lambda: self.is_complete, lambda: self.remaining_seconds)
        self._report_all()

    def _wait(self, is_done: Callable[[], bool], remaining_seconds: Callable[[], float]) -> None:
        self._receive(0.0, is_done)
        while not is_done():
            remaining = remaining_seconds()
            companion = self._companion
            if companion is not None and companion.is_silent(self._handshake_seconds):
                companion.close()
            if companion is not None and not companion.is_open:
                self._replace_companion()
            elif remaining <= 0:
                return
            elif companion is not None:
                must_look = self._has_threads() or not companion.has_answered
                self._receive(min(remaining, _GLANCE_SECONDS) if must_look else remaining, is_done)
            else:
                time.sleep(min(remaining, 0.002))

    @property
    def _handshake_seconds(self) -> float:
        least, most = _HANDSHAKE_SECONDS
        return min(most, max(least, self._timeout_seconds / 2))

    def _has_threads(self) -> bool:
        return any(
            outcome["status"] == "pending" and outcome["placement"] == "thread" for outcome in self._outcomes.values()
        )

    def row(self) -> ContextRow:
        """Give the context as far as it is known, in the form that context.json holds."""
        with self._lock:
            return resolution.merged(self._order, self._outcomes, self._attachments, self._caller_tags)

    def finish(self) -> None:
        """Make what is known final: whoever has not answered is timed out. Does not wait."""
        self._receive(0.0, lambda: False)
        reason = f"no answer within {self._timeout_seconds:g} s, nor by the end of the run"
        with self._lock:
            was_complete = self.is_complete
            self._is_finished = True
            known = resolution.settled(self._outcomes, reason)
            self._outcomes = self._settled_at_end(known)
            was_complete = was_complete and self._outcomes == known
        self._report_all()
        # Before the companion has its last word: it may know more by then.
        if not was_complete or self._is_alone() or not self._is_on_disk():
            self._write()
        self._let_go(reason)

    def _settled_at_end(self, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
        if self._folder is None:
            # What is no run has no end.
            return resolution.settled_at_end(outcomes, None)
        # A companion that is there goes on, and writes what it hears.
        only = "thread" if self._companion is not None and self._companion.is_open else None
        return resolution.settled_at_end(outcomes, "timed_out", "no answer at the end of the run", only=only)

    def _is_alone(self) -> bool:
        """Say whether the companion does not know what this process knows."""
        return self._has_lost_companion or (self._companion is not None and self._companion.has_unsent)

    def abandon(self) -> None:
        """Let go of a capture that nobody asks about: what is still out is not waited for, and no failure."""
        with self._lock:
            self._is_finished = True
        self._let_go("nobody asked")

    def _let_go(self, reason: str) -> None:
        companion = self._companion
        if companion is not None and companion.is_open:
            companion.send({"op": "end", "id": self.id, "reason": reason})
            companion.drain(_FAREWELL_SECONDS)
        _captures.pop(self.id, None)

    def raise_problems(self) -> None:
        """Raise what is otherwise only on record, where that is asked for.

        Raises:
            ProviderError: with RUNCONTEXT_STRICT=1 for any failure; else for a provider that the caller named and that
                is misshapen.
        """
        found = resolution.problems(self._outcomes) if self._settings.strict else self._misshapen()
        if found:
            raise ProviderError("; ".join(found))

    def _misshapen(self) -> list[str]:
        name_of_error = registry.MisshapenProviderError.__name__
        reasons = [self._outcomes[spec.name]["reason"] or "" for spec in self._specs if spec.required]
        return [reason for reason in reasons if reason.startswith(name_of_error)]

    def _report_all(self) -> None:
        # Never from a thread of ours: one that is in a log's lock when the program ends brings it down.
        for name in list(self._outcomes):
            self._report(name)

    def _report(self, name: str) -> None:
        for line in resolution.problems({name: self._outcomes[name]}):
            log.warn_once(line)

    def _is_on_disk(self) -> bool:
        if self._folder is None:
            return True
        return self._is_kept and os.path.exists(self._folder.file(self.context_file))

    def _write(self) -> None:
        if self._folder is not None:
            try:
                self._folder.write_context(self.row(), self.context_file)
                self._is_kept = True
            except OSError as error:
                self._is_kept = False
                log.warn_once(f"cannot write the context into {self._folder.path}: {error}")


def _leave_to_the_outer(specs: Iterable[Spec], at_work: str) -> None:
    """Switch off what could ask for this capture again: one that a provider asks for has the built-ins' facts only."""
    for spec in specs:
        if spec.enabled and spec.name not in registry.BUILT_IN and not spec.required:
            spec.enabled, spec.switched_by = False, f"provider {at_work!r}, inside which this was asked for"


def _loaded(spec: Spec) -> Any:
    return registry.load(spec.target) if spec.target else spec.provider


def _is_main_thread() -> bool:
    threading = sys.modules.get("threading")
    # Without that module there are no other threads to speak of.
    return threading is None or threading.main_thread().ident == _thread.get_ident()


def forget_in_child() -> None:
    """In a forked child: it has no captures and no companion, and locks that another thread held must not hold it."""
    global _receiving  # noqa: PLW0603 - see above
    _receiving = _thread.allocate_lock()
    _captures.clear()
    client.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_in_child)
