"""How a run comes to be: made anew, resumed, or joined where ``runcontext run`` surrounds the program."""

from __future__ import annotations

import os
import sys
import time

from runcontext import capture, log, process, run
from runcontext.errors import StoreError
from runcontext.project import working_directory
from runcontext.run import NAME_TAG, Run
from runcontext.settings import Settings, put_in_force
from runcontext.tracking import destination, local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runcontext.mirror.asking import Link
    from runcontext.program import Program
    from runcontext.ranks import Meeting

_RANK_VARIABLES = ("RANK", "HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
"""Without one of them this is no process of a distributed job that shares a run."""

_ALONE_TAG = "ranks.alone"
_has_waited_in_vain: list[bool] = []
_PARENT_TAG = "mlflow.parentRunId"
_NOTE_TAG = "mlflow.note.content"

_ADJECTIVES = "able bold brisk calm clear deft eager fair firm fleet fond glad keen kind light lively merry mild neat quick quiet rapid ready sharp sleek smart solid spry stout swift warm wise".split()  # noqa: E501, SIM905
_NOUNS = "ant auk bat bee boar carp colt crab crane crow deer dove eel elk fawn finch fox frog gnu goat grebe hare hawk heron ibex jay kite lark lynx mole moth newt".split()  # noqa: E501, SIM905


def start(
    *,
    run_name: str | None,
    run_id: str | None,
    experiment_name: str | None,
    nested: bool,
    parent_run_id: str | None,
    tags: Mapping[str, Any] | None,
    description: str | None,
    tracking_uri: str | os.PathLike[str] | None,
    providers: list[Any] | None,
    program: Program | None = None,
) -> Run:
    """Make a run, join one or resume one; ``runcontext.start_run`` describes the arguments and what is raised.

    Beyond those, ``program`` is what the run describes, None for this process.
    """
    outer = run.active()
    if outer is not None and not nested:
        message = f"run {outer.run_id} ({outer.run_name}) is active: end it first, or pass nested=True"
        raise RuntimeError(message)
    folder = _folder_of(program)
    began = time.monotonic()
    settings = Settings.current(folder)
    put_in_force(settings)
    store, elsewhere = destination.of(tracking_uri or settings.tracking_uri, settings, folder)
    destination.check_artifacts(elsewhere, settings)
    if run_id is not None and run_id != settings.run_id:
        resumed_tags = _start_tags(tags, description, None, None)
        return run.entered(_resumed(store, run_id, outer, resumed_tags, _link(store, run_id, elsewhere, settings)))
    may_join = outer is None or run_id is not None
    around = _surrounding(store, settings, is_asked_for=run_id is not None) if may_join else None
    ordinal, meeting = _meeting(store, settings, outer) if program is None and run_id is None else ("", None)
    alone: dict[str, Any] = {}
    if meeting is not None and meeting.place.rank:
        start_tags = _start_tags(tags, description, None, None)
        found = _found(store, meeting, _patience_seconds(settings))
        if found is not None:
            made = _attached(store, settings, found, meeting, start_tags, providers, outer, ordinal, began)
            return made.linked(_link(store, made.run_id, elsewhere, settings, is_owner=False))
        if meeting.is_unmet:
            alone = {_ALONE_TAG: f"rank 0 had no run that could be found within {settings.timeout_seconds:g} s"}
            _has_waited_in_vain.append(True)
    elif around is not None and program is None:
        is_first = store.claim(around, process.own_identity())
        if is_first or run_id is not None:
            start_tags = _start_tags(tags, description, None, None)
            _publish(meeting, around.identity["run_id"])
            made = _joined(store, around, settings, run_name, start_tags, providers, outer, ordinal, is_first=is_first)
            return made.linked(_link(store, made.run_id, elsewhere, settings, is_owner=False))
    if around is not None:
        parent_run_id = parent_run_id or around.identity["run_id"]
    parent_run_id = parent_run_id or (outer.run_id if outer is not None else None)
    new_id = local.new_run_id()
    name = run_name or _given_name(tags) or _generated_name(new_id)
    identity = {
        "schema": local.SCHEMA,
        "run_id": new_id,
        "run_name": name,
        "is_named": name != _generated_name(new_id),
        "experiment_name": experiment_name or settings.experiment_name,
        "start_time": time.time_ns() // 1_000_000,
        "parent_run_id": parent_run_id,
        "tags": _start_tags({**(tags or {}), **alone}, description, name, parent_run_id),
        "signal_records": run.signal_folder(),
        **_sent_to(elsewhere, settings, is_named=bool(experiment_name or settings.names_experiment)),
        # Of a command too: this process, not the command's, sees how that ends and puts it on record.
        **process.own_identity(),
    }
    run_folder = local.RunFolder(store.run_path(new_id), identity)
    under_way = capture.Capture(
        settings,
        named=providers,
        folder=run_folder,
        caller_tags=identity["tags"],
        program=program,
        records_end=True,
        began=began,
    )
    store.create_run(run_folder)
    if meeting is not None and not meeting.place.rank:
        _publish(meeting, new_id)
    made = Run(run_folder, store, parent=outer, capture=under_way, ordinal=ordinal, watches_signals=program is None)
    link = _link(store, new_id, elsewhere, settings)
    return run.entered(made).begin().linked(link, sends=True)


def _link(
    store: local.LocalStore, run_id: str, elsewhere: str | None, settings: Settings, *, is_owner: bool = True
) -> Link | None:
    if elsewhere is None:
        return None
    from runcontext.mirror.asking import Link

    return Link(store.run_path(run_id), elsewhere, settings, is_owner=is_owner)


def _sent_to(elsewhere: str | None, settings: Settings, *, is_named: bool) -> dict[str, Any]:
    """Give what run.json says of the place that the run is sent to, nothing where there is none.

    Whoever sends it may do so later, with settings and a working directory of its own.
    """
    if elsewhere is None:
        return {}
    from runcontext.redaction import redact_url

    artifact_uri = settings.artifact_uri
    wanted = {} if artifact_uri is None else {"artifact_uri": redact_url(artifact_uri)}
    return {"tracking_uri": redact_url(elsewhere), **wanted, "is_experiment_named": is_named}


def _meeting(store: local.LocalStore, settings: Settings, outer: Run | None) -> tuple[str, Meeting | None]:
    """Give which run of this process comes next, and where its distributed job meets; none outside of one."""
    if not any(name in os.environ for name in _RANK_VARIABLES) or not settings.ranks:
        return "", None
    from runcontext import ranks

    place = ranks.place_of(os.environ)
    if place is None or (outer is not None and not outer.ordinal):
        return "", None
    ordinal = run.next_ordinal(outer)
    return ordinal, ranks.Meeting(store.path, place, ordinal)


def _publish(meeting: Meeting | None, run_id: str) -> None:
    try:
        if meeting is not None:
            meeting.publish(run_id)
    except OSError as error:
        log.warn_once(f"the other ranks cannot find run {run_id}, and make their own: {error}")


def _patience_seconds(settings: Settings) -> float:
    # A program whose rank 0 makes no run, or not this one, is not to wait for each of its own.
    return 0.0 if _has_waited_in_vain else settings.timeout_seconds


def _found(store: local.LocalStore, meeting: Meeting, seconds: float) -> local.RunFolder | None:
    """Find rank 0's run and be the one process of this rank in it; None where that is not to be had."""
    rank = meeting.place.rank
    try:
        return meeting.join(store, seconds)
    except StoreError as error:
        log.warn_once(f"rank {rank} cannot attach to the run of rank 0: {error}")
        return None


def _attached(
    store: local.LocalStore,
    settings: Settings,
    folder: local.RunFolder,
    meeting: Meeting,
    tags: Mapping[str, str],
    providers: list[Any] | None,
    outer: Run | None,
    ordinal: str,
    began: float,
) -> Run:
    """Attach to rank 0's run, with a context of this rank's own."""
    rank = meeting.place.rank
    under_way = capture.Capture(
        settings,
        named=providers,
        folder=folder,
        context_file=local.rank_context_file(rank),
        caller_tags=tags,
        attachments=False,
        began=began,
    )
    end_tag = f"rank.{rank}.{local.END_REASON_TAG}"
    made = Run(
        folder,
        store,
        parent=outer,
        capture=under_way,
        is_joined=True,
        ordinal=ordinal,
        end_tag=end_tag,
        watches_signals=False,
    )
    return run.entered(made).begin()


def _resumed(
    store: local.LocalStore, run_id: str, outer: Run | None, tags: Mapping[str, str], link: Link | None
) -> Run:
    if run.is_open_here(run_id):
        message = f"run {run_id} is open in this process already"
        raise RuntimeError(message)
    folder = store.open_run(run_id)
    signal_records = run.signal_folder()
    if signal_records is None:
        signal_records = folder.path
        folder.set_aside_signal_records()
    resumed = Run(folder, store, parent=outer, capture=None, signal_records=signal_records)
    resumed.go_on(signal_records, tags)
    return resumed.linked(link, sends=True)


def _surrounding(store: local.LocalStore, settings: Settings, *, is_asked_for: bool) -> local.RunFolder | None:
    """Give the run of the surrounding ``runcontext run``, None where there is none, or it is kept elsewhere."""
    if settings.run_id is None:
        return None
    try:
        return store.open_run(settings.run_id)
    except StoreError as error:
        if is_asked_for:
            raise
        log.warn_once(f"RUNCONTEXT_RUN_ID: {error}; this run is one of its own")
        return None


def _joined(
    store: local.LocalStore,
    folder: local.RunFolder,
    settings: Settings,
    run_name: str | None,
    tags: Mapping[str, str],
    providers: list[Any] | None,
    outer: Run | None,
    ordinal: str,
    *,
    is_first: bool,
) -> Run:
    """Join the run of the surrounding ``runcontext run``; the first program to do so adds its own facts to it."""
    if run.is_open_here(folder.identity["run_id"]):
        message = f"run {folder.identity['run_id']} is open in this process already"
        raise RuntimeError(message)
    under_way = None
    if is_first:
        under_way = capture.Capture(
            settings, named=providers, folder=folder, context_file=local.JOINED_CONTEXT_FILE, caller_tags=tags
        )
    made = Run(folder, store, parent=outer, capture=under_way, is_joined=True, ordinal=ordinal, watches_signals=False)
    joined = run.entered(made).begin()
    named = {NAME_TAG: run_name} if run_name and not folder.identity["is_named"] else {}
    if tags or named:
        joined.set_tags({**tags, **named})
    return joined


def _start_tags(
    tags: Mapping[str, Any] | None, description: str | None, name: str | None, parent: str | None
) -> dict[str, str]:
    known = {NAME_TAG: name, _PARENT_TAG: parent, _NOTE_TAG: description}
    return run.checked_tags({**(tags or {}), **{key: value for key, value in known.items() if value is not None}})


def _given_name(tags: Mapping[str, Any] | None) -> str | None:
    return str(tags[NAME_TAG]) if tags and NAME_TAG in tags else None


def _generated_name(run_id: str) -> str:
    """Make a name that people can say out of a run id's random bits; the program's random generators are its own."""
    bits = int(run_id[-10:], 16)
    return f"{_ADJECTIVES[bits & 31]}-{_NOUNS[bits >> 5 & 31]}-{(bits >> 10) % 900 + 100}"


def _folder_of(program: Program | None) -> str | None:
    """Give the folder from which project and store are looked for: the program's, else its script's."""
    if program is not None:
        return program.cwd
    folder = working_directory()
    if folder is not None:
        return folder
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    of_script = os.path.dirname(os.path.abspath(file)) if file and os.path.isabs(file) else None
    return of_script if of_script is not None and os.path.isdir(of_script) else None
