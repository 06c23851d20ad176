"""The processes of one distributed job: which of them this is, how they share one run, and what differs between them.

Rank 0 makes the run and says so in a file of the store; the others look for that file and attach to its run. So all it
takes is a store that every process sees: one machine, or a shared file system.
"""

from __future__ import annotations

import os
import time

from runcontext import codec, process
from runcontext.files import replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from runcontext.tracking.local import LocalStore, RunFolder

SCHEMA = 1
DIFFER_TAG = "ranks.differ"
"""The facts that are not the same on every rank, joined with commas."""

_JOBS = "jobs"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_GLANCE_SECONDS = (0.002, 0.05)
_SAME_TIME_MILLISECONDS = 600_000
"""Where nothing tells one job from the next on the same address, rank 0's run must have begun so lately."""

_KEPT_SECONDS = 86_400.0
_MOST_GENERATIONS = 32
_MOST_DIGITS = 9
_PMI_JOBS = ("PMI_JOBID", "PALS_APID", "I_MPI_HYDRA_UUID", "SLURM_JOB_ID", "SLURM_STEP_ID", "PBS_JOBID")
"""What names a job of processes that speak PMI: Slurm's and MPICH's PMI, HPE's PALS, Intel MPI, the batch systems."""
_NOT_OF_A_JOB = ("", "none")

_OF_ONE_PROCESS = frozenset(
    (
        "cicd.pipeline.task.name",
        "container.id",
        "gpu.memory.peak",
        "gpu.others",
        "gpu.topology",
        "gpu.uuid",
        "gpu.visible",
        "host.boot_time",
        "host.id",
        "host.name",
        "k8s.node.name",
        "k8s.pod.name",
        "k8s.pod.uid",
        "load",
        "local_rank",
        "process.command_args",
        "process.creation.time",
        "process.pid",
        "python.packages.imported",
        "rank",
    )
)
"""Facts that each process or machine of a job has for itself: that they differ says nothing."""

_OF_ONE_PROCESS_BY_FORM = (("usage.", "changed.", "ranks."), (".random.state", "random.state"))

_VARIABLES_OF_ONE_PROCESS = tuple(
    f"{name}="
    for name in (
        "CUDA_VISIBLE_DEVICES",
        "GPU_DEVICE_ORDINAL",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "TPU_VISIBLE_CHIPS",
        "ZE_AFFINITY_MASK",
    )
)
_VARIABLES_OF_RANKS = ("RANK", "_PROCID", "_LOCALID", "_NODEID", "_VISIBLE_DEVICES")
"""Variables by which a launcher gives each process its own device and number."""

_SPEAKING = ("captured", "partial", "absent")


class Place:
    """Which process of which distributed job this is.

    - ``rank``, ``world_size``: its number, and how many there are.
    - ``job``: what all processes of the job have in common, and as far as can be known no other job has.
    - ``is_certain``: no other job can have the same; else only a run that began lately counts.
    """

    __slots__ = ("is_certain", "job", "rank", "world_size")

    def __init__(self, rank: int, world_size: int, job: tuple[str, ...], *, is_certain: bool) -> None:
        """Keep what a launcher's variables say."""
        self.rank = rank
        self.world_size = world_size
        self.job = job
        self.is_certain = is_certain

    def __repr__(self) -> str:
        """Show which of how many."""
        return f"<Place {self.rank} of {self.world_size}>"


def place_of(environment: Mapping[str, str]) -> Place | None:
    """Give this process's place in its distributed job, None where it has none: the innermost launcher's word.

    Sources: PyTorch, "torchrun (Elastic Launch)", Environment Variables; Horovod, ``horovod/runner/gloo_run.py``;
    Open MPI, "Environment variables set by mpirun"; PMIx standard, ``PMIX_NAMESPACE``; MPICH Hydra, ``PMI_RANK`` and
    ``PMI_SIZE``; Slurm, srun(1), "Output environment variables".
    """
    for read in (_of_torchrun, _of_horovod, _of_open_mpi, _of_slurm, _of_hydra):
        place = read(environment)
        if place is not None:
            return place if place.world_size > 1 and 0 <= place.rank < place.world_size else None
    return None


def _of_torchrun(environment: Mapping[str, str]) -> Place | None:
    numbers = _numbers(environment, "RANK", "WORLD_SIZE")
    address = environment.get("MASTER_ADDR")
    if numbers is None or not address:
        return None
    run_id = environment.get("TORCHELASTIC_RUN_ID", "")
    is_local = environment.get("LOCAL_WORLD_SIZE") == environment["WORLD_SIZE"] or address in _LOOPBACK
    job = ("torch", run_id, address, environment.get("MASTER_PORT", ""))
    attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "")
    # Only an agent of torchrun's lives as long as its job: another parent may start one after the other.
    parent = _launcher("RANK") if is_local else ()
    is_certain = bool(run_id) and (bool(parent) or run_id not in _NOT_OF_A_JOB)
    return Place(*numbers, (*job, attempt, *parent), is_certain=is_certain)


def _of_horovod(environment: Mapping[str, str]) -> Place | None:
    numbers = _numbers(environment, "HOROVOD_RANK", "HOROVOD_SIZE")
    if numbers is None:
        return None
    meeting_point = (environment.get(f"HOROVOD_GLOO_RENDEZVOUS_{part}", "") for part in ("ADDR", "PORT"))
    return Place(*numbers, ("horovod", *meeting_point), is_certain=False)


def _of_open_mpi(environment: Mapping[str, str]) -> Place | None:
    numbers = _numbers(environment, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
    if numbers is None:
        return None
    name = environment.get("PMIX_NAMESPACE") or environment.get("OMPI_MCA_ess_base_jobid", "")
    is_local = environment.get("OMPI_COMM_WORLD_LOCAL_SIZE") == environment["OMPI_COMM_WORLD_SIZE"]
    parent = _launcher("OMPI_COMM_WORLD_RANK") if is_local else ()
    return Place(*numbers, ("openmpi", name, *parent), is_certain=bool(name or parent))


def _of_hydra(environment: Mapping[str, str]) -> Place | None:
    numbers = _numbers(environment, "PMI_RANK", "PMI_SIZE")
    if numbers is None:
        return None
    is_local = environment.get("MPI_LOCALNRANKS") == environment["PMI_SIZE"]
    parent = _launcher("PMI_RANK") if is_local else ()
    names = tuple(environment.get(name, "") for name in _PMI_JOBS)
    if not parent and not any(names):
        # Nothing tells this job from another in the same store.
        return None
    return Place(*numbers, ("pmi", *names, *parent), is_certain=True)


def _of_slurm(environment: Mapping[str, str]) -> Place | None:
    numbers = _numbers(environment, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
    step = environment.get("SLURM_STEP_ID") or environment.get("SLURM_STEPID")
    if numbers is None or not step:
        # The batch script itself is no process of a step.
        return None
    if environment.get("PMI_SIZE", environment["SLURM_STEP_NUM_TASKS"]) != environment["SLURM_STEP_NUM_TASKS"]:
        # Hydra started its own processes inside the step; `srun --mpi=pmi2` gives both alike.
        return None
    names = ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return Place(*numbers, ("slurm", *(environment.get(name, "") for name in names), step), is_certain=True)


def _numbers(environment: Mapping[str, str], rank: str, world_size: str) -> tuple[int, int] | None:
    words = environment.get(rank, ""), environment.get(world_size, "")
    is_usable = all(word.isdecimal() and len(word) <= _MOST_DIGITS for word in words)
    return (int(words[0]), int(words[1])) if is_usable else None


def _launcher(variable: str) -> tuple[str, ...]:
    """Give the process that started all ranks of this machine: on one machine nothing names their job better.

    It is the nearest one above that was started without ``variable``, which it gives to each rank: between it and a
    rank there may be a shell, and a rank may have started this process.
    """
    here = process.own_identity()
    pid = os.getppid()
    for _generation in range(_MOST_GENERATIONS):
        if variable not in process.first_environment(pid):
            break
        pid = process.parent_of(pid) or 1
    return str(here["boot_id"]), str(here["pid_namespace"]), str(pid), str(process.start_time(pid))


class Meeting:
    """Where the processes of a job find each other's run: a file in the store, one for each run of the job.

    Args:
        store: the store's folder.
        place: this process's place.
        ordinal: which run of the process it is: ``2`` for the second, ``2.1`` for the first inside that.
    """

    def __init__(self, store: str, place: Place, ordinal: str) -> None:
        """Name the file; nothing is touched yet."""
        self.place = place
        self.is_unmet = False
        self._jobs = os.path.join(store, _JOBS)
        self._file = os.path.join(self._jobs, _digest(place.job), f"{ordinal}.json")

    def publish(self, run_id: str) -> None:
        """Say which run this is, as rank 0; raises OSError.

        What rank 0 itself starts has its variables too: it must not take the place of rank 0's run.
        """
        record = self._record()
        if record is not None and self._is_of_this_job(record) and not self._is_over(record):
            return
        _remove_old(self._jobs, os.path.dirname(self._file))
        os.makedirs(os.path.dirname(self._file), exist_ok=True)
        content = {"schema": SCHEMA, "run_id": run_id, "at": _now(), **process.own_identity()}
        replace_file(self._file, codec.dumps(content).encode())

    def join(self, store: LocalStore, seconds: float) -> RunFolder | None:
        """Be the one process of this rank in rank 0's run, waiting so long at most for that to be there.

        None where it is not: then ``is_unmet`` says whether it was missed, as against found with this rank in it
        already. What a rank starts has its variables, and is not that rank. Raises StoreError.
        """
        until = time.monotonic() + seconds
        pause, longest = _GLANCE_SECONDS
        while True:
            remaining = until - time.monotonic()
            record = self._record()
            if record is not None and self._counts(record, is_last_look=remaining <= 0):
                folder = store.open_run(record["run_id"])
                if store.claim(folder, process.own_identity(), self._mark):
                    return folder
                if not self._is_left_behind(folder):
                    return None
            if remaining <= 0:
                self.is_unmet = True
                return None
            time.sleep(min(pause, remaining))
            pause = min(2 * pause, longest)

    @property
    def _mark(self) -> str:
        return f"rank.{self.place.rank}.json"

    def _counts(self, record: Mapping[str, Any], *, is_last_look: bool) -> bool:
        """Say whether a record is of the run to join: what an earlier program of the job left counts only at last."""
        if not self._is_of_this_job(record):
            return False
        return not self._is_over(record) or (is_last_look and self.place.is_certain)

    def _is_over(self, record: Mapping[str, Any]) -> bool:
        """Say whether the process that made a record has ended; from elsewhere only its run's end can be seen."""
        if process.is_gone(record):
            return True
        is_elsewhere = record.get("host") != process.host_name()
        return is_elsewhere and _has_ended(os.path.join(os.path.dirname(self._jobs), "runs", record["run_id"]))

    def _is_left_behind(self, folder: RunFolder) -> bool:
        """Say whether the process that was this rank in a run is gone: then that run is an earlier program's."""
        claimer = _json(folder.file(self._mark))
        return claimer is not None and process.is_gone(claimer)

    def _is_of_this_job(self, record: Mapping[str, Any]) -> bool:
        at = record.get("at")
        is_recent = isinstance(at, int) and abs(_now() - at) < _SAME_TIME_MILLISECONDS
        return self.place.is_certain or is_recent

    def _record(self) -> dict[str, Any] | None:
        try:
            # A listing makes a network file system look again, where a file that was not there is remembered as such.
            os.listdir(os.path.dirname(self._file))
        except OSError:
            return None
        found = _json(self._file)
        return found if found is not None and isinstance(found.get("run_id"), str) else None


def _json(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            found = codec.loads(file.read().decode())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _has_ended(run_folder: str) -> bool:
    from runcontext.tracking import reading

    try:
        return reading.final_status(run_folder) is not None
    except OSError:
        return False


def _digest(job: tuple[str, ...]) -> str:
    import hashlib

    return hashlib.sha256("\0".join(job).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _now() -> int:
    return time.time_ns() // 1_000_000


def _remove_old(folder: str, own: str) -> None:
    """Remove what jobs of other days left behind."""
    try:
        entries = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in entries:
        try:
            if entry.path != own and time.time() - entry.stat().st_mtime > _KEPT_SECONDS:
                for name in os.listdir(entry.path):
                    if name.endswith((".json", ".tmp")):
                        os.unlink(os.path.join(entry.path, name))
                os.rmdir(entry.path)
        except OSError:
            # Another process was faster, or it is not ours to remove.
            continue


def compared(first: Mapping[str, Any], others: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Give rank 0's context with what differs on the other ranks: in one tag, and rank by rank with both values.

    Args:
        first: the context of rank 0, in the form that context.json holds.
        others: the contexts of other ranks.
    """
    rows = []
    for rank, other in sorted(others.items()):
        differs = dict(_differing(first, other))
        rows.append({"rank": rank, "host": other["tags"].get("host.name"), "differs": differs})
    named = sorted({tag for row in rows for tag in row["differs"]})
    tags = {**first["tags"], **({DIFFER_TAG: ",".join(named)} if named else {})}
    return {**first, "tags": tags, "ranks": rows}


def _differing(first: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Give each fact that another rank has otherwise, with its value there; None where it has none."""
    for provider, outcome in other["outcomes"].items():
        known = first["outcomes"].get(provider)
        if known is None or not {known["status"], outcome["status"]} <= set(_SPEAKING):
            # Who did not answer has not said that it is different.
            continue
        here, there = known["tags"], outcome["tags"]
        for tag in {**here, **there}:
            if _shared(tag, here.get(tag)) != _shared(tag, there.get(tag)) and not _is_of_one_process(tag):
                yield tag, there.get(tag)


def _shared(tag: str, value: str | None) -> str | None:
    """Give of a fact what all processes of a job should have alike."""
    if tag != "environment.variables" or value is None:
        return value
    return " ".join(word for word in value.split(" ") if not word.startswith(_VARIABLES_OF_ONE_PROCESS))


def _is_of_one_process(tag: str) -> bool:
    beginnings, endings = _OF_ONE_PROCESS_BY_FORM
    if tag.startswith("env.") and tag.endswith(_VARIABLES_OF_RANKS):
        return True
    return tag in _OF_ONE_PROCESS or tag.startswith(beginnings) or tag.endswith(endings)
