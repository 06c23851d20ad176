"""A run and its life: what is logged to it, and how it ends, whoever ends it."""

from __future__ import annotations

import _thread
import contextvars
import os
import sys

from runcontext import capture, endings, log, process, resolution
from runcontext.companion import client
from runcontext.tracking import local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from runcontext.mirror.asking import Link
    from runcontext.record import Context, RunRecord, RunStatus
    from runcontext.tracking.artifacts import Artifacts
    from runcontext.tracking.journal import Journal

NAME_TAG = "mlflow.runName"
_FINAL = ("FINISHED", "FAILED", "KILLED")
_WATCH_MILLISECONDS = 1_000

_active: contextvars.ContextVar[Run | None] = contextvars.ContextVar("runcontext.active_run", default=None)
_open: dict[str, Run] = {}
_started: dict[str, int] = {}
# One thread's last run may end while another's begins; a signal handler that ends a run is in the same thread.
_opening = _thread.RLock()


class Run:
    """An open run: log to it, ask what it knows, leave its block to end it.

    Made by ``runcontext.start_run()``. ``tags`` and ``context`` wait for what is still being captured, up to the
    deadline; nothing else waits.
    """

    def __init__(
        self,
        folder: local.RunFolder,
        store: local.LocalStore,
        *,
        parent: Run | None,
        capture: capture.Capture | None,
        is_joined: bool = False,
        ordinal: str = "",
        end_tag: str | None = None,
        signal_records: str | None = None,
        watches_signals: bool = True,
    ) -> None:
        """Take over a run that is on disk.

        ``ordinal`` says which run of its process it is, and ``end_tag`` where the reason goes why one that is joined
        did not end well here.
        """
        identity = folder.identity
        self._folder = folder
        self._store = store
        self._parent = parent
        self._capture = capture
        self._is_joined = is_joined
        self._end_tag = end_tag
        self.ordinal = ordinal
        self._watches_signals = watches_signals
        self._pid = os.getpid()
        self._journals: dict[int, Journal] = {}
        self._artifacts: Artifacts | None = None
        self._link: Link | None = None
        self._watched_at: int = identity["start_time"]
        self._signal_records = signal_records or folder.signal_records
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = dict(identity["tags"])
        self._status = "RUNNING"
        self.run_id: str = identity["run_id"]
        self.run_name: str = identity["run_name"]
        self.experiment_name: str = identity["experiment_name"]

    def __repr__(self) -> str:
        """Show which run, and how it stands; never waits."""
        return f"<runcontext.Run({self.run_id} {self.run_name!r} {self._status})>"

    def _repr_html_(self) -> str | None:
        """Show it under headings, as notebooks do, with what is on disk by now; never waits, never raises."""
        from runcontext import html

        return html.of_open_run(self)

    def __enter__(self) -> Self:
        """Enter the block that the run lasts for."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run as the block ends."""
        if not self.is_open:
            return
        status, reason = endings.of_exception(error)
        self.end(status, reason, error=error)

    @property
    def is_open(self) -> bool:
        """Whether the run goes on, in this process."""
        return self._status == "RUNNING" and self._pid == os.getpid()

    @property
    def parent(self) -> Run | None:
        """The run of this process inside which this one was started."""
        return self._parent

    @property
    def path(self) -> Path:
        """The run's folder."""
        from pathlib import Path

        return Path(self._folder.path)

    @property
    def remote_id(self) -> str | None:
        """The run's id at the place of its tracking URI. Waits for it; None where it is not known, or there is none."""
        found = None if self._link is None else self._link.remote()
        return None if found is None else found.remote_id

    @property
    def url(self) -> str | None:
        """A page that shows the run at the place of its tracking URI. Waits as ``remote_id`` does."""
        found = None if self._link is None else self._link.remote()
        return None if found is None else found.url

    @property
    def status(self) -> RunStatus:
        """How the run stands."""
        from runcontext.record import RunStatus

        return RunStatus(self._status)

    @property
    def tags(self) -> Mapping[str, str]:
        """Every tag: the captured facts, and over them what the program set. Waits for the capture.

        Raises:
            ProviderError: with RUNCONTEXT_STRICT=1, when a provider failed.
        """
        from types import MappingProxyType

        return MappingProxyType({**self._context_row()["tags"], **self._tags})

    @property
    def context(self) -> Context:
        """The captured context, with the reasons for what is not in it. Waits for the capture.

        Raises:
            ProviderError: with RUNCONTEXT_STRICT=1, when a provider failed.
        """
        from runcontext.record import Context

        return Context.from_json(self._context_row(), self.path / "artifacts")

    def _context_row(self) -> resolution.ContextRow:
        if self._capture is None or self._pid != os.getpid():
            # A forked child has no part in the capture.
            from runcontext.tracking import reading

            found = reading.read_context(self._store, self.run_id)
            return resolution.merged((), {}) if found is None else found.to_json()
        self._capture.wait()
        self._capture.raise_problems()
        row = self._capture.row()
        is_late = not self.is_open and any(map(resolution.is_pending_at_end, row["outcomes"].values()))
        if not is_late and (self._is_joined or not self.ordinal):
            return row
        from runcontext.tracking import reading

        if is_late:
            # What the companion heard after the end of the run it has written.
            row = reading.context_file(self._folder.path, self._capture.context_file) or row
        return row if self._is_joined else reading.with_ranks(self._folder.path, row)

    # --- logging ------------------------------------------------------------------------------------------------

    def log_param(self, key: str, value: Any) -> Any:
        """Record a param, once; gives the value back.

        Raises:
            ValueError: the name is ill-formed, or the param has another value already.
        """
        self.log_params({key: value})
        return value

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record several params; see ``log_param``. All are recorded or, where one raises, none."""
        texts = {_checked("param", key): resolution.writable(str(value)) for key, value in params.items()}
        for key, text in texts.items():
            if self._params.get(key, text) != text:
                message = f"param {key!r} is {self._params[key]!r} and cannot become {text!r}: params do not change"
                raise ValueError(message)
        self._params.update(texts)
        self._append({"params": texts})

    def log_metric(self, key: str, value: float, step: int | None = None, timestamp: int | None = None) -> None:
        """Record one point of a metric.

        Args:
            key: the metric's name.
            value: a number; NaN and infinities are kept as they are.
            step: which step of the training, 0 unless given.
            timestamp: milliseconds since the epoch, UTC; now unless given.

        Raises:
            ValueError, TypeError: the name is ill-formed, or the value is no number.
        """
        self.log_metrics({key: value}, step, timestamp)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None, timestamp: int | None = None) -> None:
        """Record a point of several metrics at once; see ``log_metric``."""
        numbers = {_checked("metric", key): _number(key, value) for key, value in metrics.items()}
        event: dict[str, Any] = {"metrics": numbers}
        if step is not None:
            event["step"] = int(step)
        if timestamp is not None:
            event["at"] = int(timestamp)
        self._append(event)

    def set_tag(self, key: str, value: Any) -> None:
        """Set a tag; no captured fact overrides it, whenever that arrives.

        Raises:
            ValueError: the name is ill-formed.
        """
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags; see ``set_tag``."""
        texts = checked_tags(tags)
        self._tags.update(texts)
        if NAME_TAG in texts:
            self.run_name = texts[NAME_TAG]
        self._append({"tags": texts})

    def log_artifact(self, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Copy a file, or a folder with all that is in it, into the run's artifacts.

        Args:
            local_path: what to copy.
            artifact_path: the folder below the run's artifacts to copy it into.

        Raises:
            OSError: it cannot be read; of a folder, something in it cannot be, and all else is kept.
            ValueError: ``artifact_path`` leads out of the run's artifacts, or no file's name can be like that.
        """
        self._kept_artifacts().copy(local_path, artifact_path)

    def log_artifacts(self, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Copy what is in a folder into the run's artifacts; see ``log_artifact``."""
        self._kept_artifacts().copy_contents(local_dir, artifact_path)

    def log_text(self, text: str, artifact_file: str) -> None:
        """Write a text, in UTF-8, as an artifact.

        Raises:
            ValueError: ``artifact_file`` leads out of the run's artifacts, or no file's name can be like that.
        """
        self._kept_artifacts().write_text(text, artifact_file)

    def _kept_artifacts(self) -> Artifacts:
        if self._artifacts is None:
            from runcontext.tracking.artifacts import Artifacts

            self._artifacts = Artifacts(self._folder.path)
        return self._artifacts

    def _append(self, event: Mapping[str, Any]) -> None:
        endings.forget_exit_code()
        milliseconds = self._journal().append(event)
        if milliseconds - self._watched_at > _WATCH_MILLISECONDS:
            self._watched_at = milliseconds
            endings.keep_watching()

    def _journal(self) -> Journal:
        pid = os.getpid()
        journal = self._journals.get(pid)
        if journal is None:
            # A forked child that logs to its parent's run writes a journal of its own.
            journal = self._folder.journal(process.host_name(), pid, str(process.own_identity()["process_start"] or 0))
            # Of two threads that come here at once, both write the same one.
            journal = self._journals.setdefault(pid, journal)
        return journal

    # --- the end ------------------------------------------------------------------------------------------------

    def end(self, status: str = "FINISHED", reason: str = "", *, error: BaseException | None = None) -> None:
        """End the run, and first the runs that were started inside it and are still open.

        Args:
            status: FINISHED, FAILED or KILLED.
            reason: why, for the tag ``end.reason``.
            error: the exception under way, to which problems are added as a note.

        Raises:
            ValueError: ``status`` is none of the three.
            ProviderError: with RUNCONTEXT_STRICT=1, when a provider failed and no exception is under way.
        """
        if status not in _FINAL:
            message = f"status {str(status)!r} does not end a run; expected {', '.join(_FINAL)}"
            raise ValueError(message)
        if not self.is_open:
            return
        for inner in reversed([each for each in _open.values() if each.parent is self]):
            inner.end(status, reason or "its outer run ended")
        if _open.pop(self.run_id, None) is None:
            # Another thread ended it at this moment.
            return
        self._status = str(status)
        if not self._is_joined:
            self._journal().append({"status": self._status, **({"reason": reason} if reason else {})})
        elif self._end_tag and self._status != "FINISHED":
            self._journal().append({"tags": {self._end_tag: resolution.writable(reason or self._status)}})
        try:
            self._end_capture()
        finally:
            self._close()
            self._end_sending()
        self._raise_problems(error)

    def _end_capture(self) -> None:
        try:
            if self._capture is not None:
                self._capture.end()
        except Exception as error:  # noqa: BLE001 - as in begin(): it costs what was to be said at the end
            log.warn_once(f"the context of run {self.run_id} is not complete: {resolution.describe_error(error)}")

    def _end_sending(self) -> None:
        if self._link is not None:
            # An outer run's end waits for those inside it too.
            is_inner = self._parent is not None and self._parent.is_open
            self._guarded_link(lambda link: link.end(f"{self.run_id[-8:]} {self.run_name}", waits=not is_inner))

    def linked(self, link: Link | None, *, sends: bool = False) -> Run:
        """Send the run where ``link`` leads: from now on where it ``sends``, else what is left at its end."""
        self._link = link
        if sends:
            self._guarded_link(lambda link: link.begin())
        return self

    def _guarded_link(self, work: Callable[[Link], None]) -> None:
        try:
            if self._link is not None:
                work(self._link)
        except Exception as error:  # noqa: BLE001 - as in begin(): the run is on disk, and can be sent later
            log.warn_once(
                f"run {self.run_id} is not sent: {resolution.describe_error(error)}; `runcontext sync` does it"
            )

    def _close(self) -> None:
        if self._capture is not None:
            self._capture.finish()
        if self._artifacts is not None:
            self._artifacts.close()
        for journal in self._journals.values():
            journal.close()
        if _active.get() is self:
            _active.set(self._parent)
        with _opening:
            if signal_folder() is None:
                endings.unwatch_signals()

    def _raise_problems(self, error: BaseException | None) -> None:
        if self._capture is None:
            return
        from runcontext.errors import ProviderError

        try:
            self._capture.raise_problems()
        except ProviderError as problem:
            if error is None:
                raise
            if sys.version_info >= (3, 11):
                error.add_note(f"runcontext: {problem}")
            else:
                log.warn_once(str(problem))

    def begin(self) -> Run:
        """Set the capture going; Ctrl-C at this moment ends the run, and anything else costs only the context."""
        try:
            if self._capture is not None:
                self._capture.begin()
        except Exception as error:  # noqa: BLE001 - no descriptors, no memory, a fault of ours: the program goes on
            log.warn_once(f"the context of run {self.run_id} cannot be captured: {resolution.describe_error(error)}")
        except BaseException as error:
            self._capture = None
            self.end(*endings.of_exception(error))
            raise
        return self

    def go_on(self, signal_records: str, tags: Mapping[str, str]) -> None:
        """Take up a run that ended, or was left behind: what it has on record, and that this process has it now."""
        self._recall()
        living = {**process.own_identity(), "signal_records": signal_records}
        self._append({"status": "RUNNING", "process": living, **({"tags": tags} if tags else {})})
        self._tags.update(tags)

    def _recall(self) -> None:
        """Take up what a resumed run has on record."""
        record = self.to_record()
        self.run_name = record.run_name
        self._params.update(record.params)
        self._tags.update(record.tags)
        self._tags.pop(local.END_REASON_TAG, None)

    def known(self) -> RunRecord:
        """Give what this process knows of the run without reading or waiting: no metrics, no captured tags."""
        import time

        from runcontext.record import RunRecord

        identity = self._folder.identity
        return RunRecord(
            run_id=self.run_id,
            run_name=self.run_name,
            experiment_name=self.experiment_name,
            status=self.status,
            start_time=identity["start_time"],
            end_time=None,
            tags=dict(self._tags),
            params=dict(self._params),
            metrics={},
            parent_run_id=identity.get("parent_run_id"),
            last_event_time=time.time_ns() // 1_000_000,
            path=self.path,
        )

    def to_record(self) -> RunRecord:
        """Read the run back from its store, as everybody else sees it."""
        from runcontext.tracking import reading

        return reading.get_run(self._store, self.run_id)


def entered(run: Run) -> Run:
    """Make a run that is on disk the active one, and see to its end."""
    endings.install(end_open_runs, forget_in_child)
    with _opening:
        if run._watches_signals and signal_folder() is None:
            endings.watch_signals(run._signal_records)
        _open[run.run_id] = run
    _active.set(run)
    return run


def signal_folder() -> str | None:
    """Give the folder of the run whose signal records count for all runs of this process, None for one's own.

    A run whose end another process records takes no part: a signal that ends this one need not end it.
    """
    return next((each._signal_records for each in open_runs() if each._watches_signals), None)


def is_open_here(run_id: str) -> bool:
    """Say whether this process has the run of this id open already."""
    return run_id in _open


def next_ordinal(outer: Run | None) -> str:
    """Number the runs of this process: ``2`` for the second, ``2.1`` for the first inside that."""
    inside = outer.ordinal if outer is not None else ""
    count = _started[inside] = _started.get(inside, 0) + 1
    return f"{inside}.{count}" if inside else str(count)


def active() -> Run | None:
    """Give the run that this thread or task is in, None where it is in none."""
    run = _active.get()
    while run is not None and not run.is_open:
        run = run.parent
    return run


def open_runs() -> Iterator[Run]:
    """Give the runs of this process that are open, the oldest first."""
    return (run for run in list(_open.values()) if run.is_open)


def end_open_runs(status: str, reason: str) -> None:
    """End every open run of this process, the innermost first; nothing that goes wrong reaches the program."""
    for run in reversed(list(open_runs())):
        try:
            run.end(status, reason)
        except Exception as error:  # noqa: BLE001 - the program is at its end: there is nobody to raise to
            log.warn_once(f"run {run.run_id} did not end cleanly: {error}")
    client.forget()


def forget_in_child() -> None:
    """In a forked child: it has no run, and ends none; a lock that another thread held must not hold it."""
    global _opening  # noqa: PLW0603 - see above
    _opening = _thread.RLock()
    _open.clear()
    _started.clear()
    _active.set(None)


def checked_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """Give tags as strings that every store can hold; raises ValueError naming an ill-formed one."""
    return {_checked("tag", key): resolution.writable(str(value)) for key, value in tags.items()}


def _checked(kind: str, key: str) -> str:
    problem = resolution.key_problem(key)
    if problem is not None:
        message = f"{kind} {key!r} has {problem}"
        raise ValueError(message)
    return str.__str__(key)


def _number(key: str, value: Any) -> float | str:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        message = f"metric {key!r} is {value!r}, a {type(value).__name__}; a number is expected"
        raise TypeError(message) from None
    if number - number == 0:
        return number
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"  # noqa: PLR0124
