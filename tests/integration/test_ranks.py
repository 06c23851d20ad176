"""The processes of one distributed job: one run, rank 0's, the others attached to it, and what differs there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

from runcontext import ranks
from runcontext.ranks import Meeting
from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore, RunFolder, new_run_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.integration.conftest import StartScript

    from runcontext.record import RunRecord

RANKED = """
    import json, os, sys, time
    import runcontext

    rank = int(os.environ["RANK"])

    def is_whole(name):
        # It is written first when nobody has answered yet, and each time under another name.
        if not (name.startswith("context.rank.") and name.endswith(".json")):
            return False
        outcomes = json.loads((run.path / name).read_text("utf-8"))["outcomes"]
        return all(each["status"] != "pending" for each in outcomes.values())

    with runcontext.start_run(run_name="job", tags={"from": str(rank)}) as run:
        began = time.monotonic()
        run.log_metric(f"loss.{rank}", rank)
        run.tags
        if rank == 0:  # the others find it while it lasts
            until = time.monotonic() + 50
            while sum(map(is_whole, os.listdir(run.path))) < EXPECTED:
                assert time.monotonic() < until, os.listdir(run.path)
                time.sleep(0.02)
    print(json.dumps({"rank": rank, "run_id": run.run_id}))
"""


class Job:
    """A distributed job on this machine, as torchrun's documentation gives its variables: a process for each rank."""

    def __init__(self, start_script: StartScript, world_size: int) -> None:
        """Start nothing yet."""
        self._start = start_script
        self._world_size = world_size
        self._processes: list[subprocess.Popen[str]] = []

    def variables(self, rank: int, **more: str) -> dict[str, str]:
        """Give the variables of one rank."""
        size = str(self._world_size)
        return {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": size,
            "LOCAL_WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29500",
            "TORCHELASTIC_RUN_ID": "none",
            "TORCHELASTIC_RESTART_COUNT": "0",
            "RUNCONTEXT_PROVIDERS": "user,source,host,told",
            "RUNCONTEXT_EXTRA_PROVIDERS": "told=told:Provider",
            **more,
        }

    def start(self, source: str, rank: int, expected: int | None = None, **more: str) -> None:
        """Start one rank; rank 0 waits for so many others."""
        attached = self._world_size - 1 if expected is None else expected
        text = textwrap.dedent(source).replace("EXPECTED", str(attached))
        self._processes.append(self._start(text, env=self.variables(rank, **more), name=f"script{len(text)}.py"))

    def finish(self, returncodes: tuple[int, ...] | None = None) -> list[Any]:
        """Wait for all, and give the last line that each printed, read as JSON."""
        found = []
        for process in self._processes:
            stdout, stderr = process.communicate(timeout=90)
            assert returncodes is not None or process.returncode == 0, (stdout, stderr)
            found.append(json.loads(stdout.splitlines()[-1]) if stdout else stderr)
        assert returncodes is None or tuple(each.returncode for each in self._processes) == returncodes, found
        return found


@pytest.fixture
def told(tmp_path: Path) -> None:
    """Install a provider whose fact each rank's variables decide."""
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    (site / "told.py").write_text(
        textwrap.dedent("""
            import os

            class Provider:
                def in_context(self):
                    return True

                def tags(self):
                    return {"gpu.driver.version": os.environ.get("DRIVER", "550"), "told.pid": "same"}
        """),
        encoding="utf-8",
    )


def runs_of(project: Path) -> list[RunRecord]:
    """Give every run of a project, newest first."""
    return reading.search_runs(LocalStore(str(project / ".runcontext")))


@pytest.mark.usefixtures("told")
def test_one_run_is_made_and_the_others_attach_to_it(project: Path, start_script: StartScript) -> None:
    """Rank 0's run has what every rank logged, and the context of each other one beside its own."""
    job = Job(start_script, 3)
    for rank in (1, 2, 0):
        job.start(RANKED, rank)
    ids = {row["run_id"] for row in job.finish()}
    (run,) = runs_of(project)
    assert ids == {run.run_id}
    assert run.status == "FINISHED"
    assert run.metrics == {"loss.0": 0.0, "loss.1": 1.0, "loss.2": 2.0}
    assert run.tags["from"] == "0"
    assert "ranks.differ" not in run.tags
    rows = {rank: json.loads((run.path / f"context.rank.{rank}.json").read_text("utf-8")) for rank in (1, 2)}
    pids = {row["tags"]["process.pid"] for row in rows.values()} | {run.tags["process.pid"]}
    assert len(pids) == 3
    assert all(row["outcomes"]["host"]["status"] in ("captured", "partial") for row in rows.values())
    context = reading.read_context(LocalStore(str(project / ".runcontext")), run.run_id)
    assert context is not None
    assert [each.rank for each in context.ranks] == [1, 2]


@pytest.mark.usefixtures("told")
def test_a_fact_that_differs_is_said_in_one_tag(project: Path, start_script: StartScript) -> None:
    """Another driver on one rank is in ``ranks.differ``, with that rank's value; what each has for itself is not."""
    job = Job(start_script, 3)
    job.start(RANKED, 0)
    job.start(RANKED, 1)
    job.start(RANKED, 2, DRIVER="535")
    job.finish()
    (run,) = runs_of(project)
    assert run.tags["ranks.differ"] == "gpu.driver.version"
    assert run.tags["gpu.driver.version"] == "550"
    context = reading.read_context(LocalStore(str(project / ".runcontext")), run.run_id)
    assert context is not None
    assert {each.rank: dict(each.differs) for each in context.ranks} == {1: {}, 2: {"gpu.driver.version": "535"}}


@pytest.mark.usefixtures("told")
def test_the_program_sees_what_differs(project: Path, start_script: StartScript) -> None:
    """``run.tags`` of rank 0 has ``ranks.differ`` too, once the other rank is there."""
    job = Job(start_script, 2)
    ending = '            run.log_param("differ", run.tags.get("ranks.differ"))'
    source = RANKED.replace("    print(json", f"{ending}\n    print(json")
    job.start(source, 0)
    job.start(source, 1, DRIVER="535")
    job.finish()
    (run,) = runs_of(project)
    assert run.params == {"differ": "gpu.driver.version"}


@pytest.mark.usefixtures("told")
def test_without_rank_0_a_rank_has_its_own_run_and_waits_no_longer_than_the_deadline(
    project: Path, start_script: StartScript
) -> None:
    """A rank that finds no run within the deadline makes its own, which says why."""
    job = Job(start_script, 2)
    source = """
        import json, time
        import runcontext
        began = time.monotonic()
        with runcontext.start_run() as run:
            print(json.dumps({"held": time.monotonic() - began, "run_id": run.run_id}))
    """
    job.start(source, 1, RUNCONTEXT_TIMEOUT="1.5")
    (row,) = job.finish()
    (run,) = runs_of(project)
    assert run.run_id == row["run_id"]
    assert 1.4 < row["held"] < 15
    assert run.tags["ranks.alone"] == "rank 0 had no run that could be found within 1.5 s"


@pytest.mark.usefixtures("told")
def test_second_and_nested_runs_find_each_other_too(project: Path, start_script: StartScript) -> None:
    """Each run of rank 0 is met by the same run of the other rank: the second by the second, a nested by the nested."""
    source = """
        import json, os
        import runcontext
        ids = []
        for name in ("first", "second"):
            with runcontext.start_run(run_name=name) as run:
                with runcontext.start_run(run_name=f"{name}, inside", nested=True) as inner:
                    ids += [run.run_id, inner.run_id]
        print(json.dumps(ids))
    """
    job = Job(start_script, 2)
    job.start(source, 0)
    job.start(source, 1)
    first, second = job.finish()
    assert first == second
    names = {run.run_id: run.run_name for run in runs_of(project)}
    assert [names[each] for each in first] == ["first", "first, inside", "second", "second, inside"]
    assert len(names) == 4


@pytest.mark.usefixtures("told")
def test_what_a_rank_starts_is_no_rank(project: Path, start_script: StartScript) -> None:
    """A program that a rank starts has its variables and a run of its own, whichever rank that was."""
    child = "import runcontext\\nwith runcontext.start_run(run_name='child'):\\n    pass\\n"
    source = f"""
        import json, subprocess, sys
        import runcontext
        with runcontext.start_run(run_name="job") as run:
            subprocess.run([sys.executable, "-c", "{child}"], check=True)
            print(json.dumps(run.run_id))
    """
    job = Job(start_script, 2)
    job.start(source, 0)
    job.start(source, 1)
    first, second = job.finish()
    assert first == second
    assert sorted(run.run_name for run in runs_of(project)) == ["child", "child", "job"]


@pytest.mark.usefixtures("told")
def test_a_program_after_another_in_one_step_has_its_own_run(project: Path, start_script: StartScript) -> None:
    """Where each process of a job runs two programs in turn, the second one's ranks do not join the first one's run."""
    both = f"""
        import subprocess, sys
        for name in ("prepare", "train"):
            subprocess.run([sys.executable, "-c", {textwrap.dedent(RANKED).replace("EXPECTED", "1")!r}], check=True)
        print("0")
    """
    job = Job(start_script, 2)
    for rank in (1, 0):
        job.start(both, rank)
    job.finish()
    assert [(run.status, dict(run.metrics)) for run in runs_of(project)] == [
        ("FINISHED", {"loss.0": 0.0, "loss.1": 1.0})
    ] * 2


@pytest.mark.usefixtures("told")
def test_a_rank_waits_in_vain_once(project: Path, start_script: StartScript) -> None:
    """A program whose rank 0 makes no runs waits for the first of its own only."""
    source = """
        import json, time
        import runcontext
        began = time.monotonic()
        for number in range(4):
            with runcontext.start_run():
                pass
        print(json.dumps(time.monotonic() - began))
    """
    job = Job(start_script, 2)
    job.start(source, 1, RUNCONTEXT_TIMEOUT="2", RUNCONTEXT_PROVIDERS="user")
    (seconds,) = job.finish()
    assert 1.9 < seconds < 7.5
    assert len(runs_of(project)) == 4


@pytest.mark.usefixtures("told")
def test_a_context_of_a_rank_that_cannot_be_read_costs_itself(
    project: Path, start_script: StartScript, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken file of another rank is said once, and the run is read without it."""
    job = Job(start_script, 2)
    for rank in (0, 1):
        job.start(RANKED, rank)
    job.finish()
    (run,) = runs_of(project)
    for content in ("", "[]", "{}"):
        (run.path / "context.rank.1.json").write_text(content, encoding="utf-8")
        (again,) = runs_of(project)
        assert again.run_id == run.run_id
    assert "what differs there is not known" in caplog.text


@pytest.mark.usefixtures("told")
def test_a_rank_that_fails_says_so_in_the_run(project: Path, start_script: StartScript) -> None:
    """How another rank ended does not end the run, and why it failed is a tag of it."""
    failing = """
        import runcontext
        with runcontext.start_run():
            raise ValueError("no memory on rank 1")
    """
    job = Job(start_script, 2)
    job.start(RANKED, 0)
    job.start(failing, 1)
    job.finish((0, 1))
    (run,) = runs_of(project)
    assert run.status == "FINISHED"
    assert run.tags["rank.1.end.reason"] == "ValueError: no memory on rank 1"


@pytest.mark.usefixtures("told")
def test_ranks_may_be_left_alone(project: Path, start_script: StartScript) -> None:
    """With RUNCONTEXT_RANKS=0 each process has a run of its own, at once."""
    job = Job(start_script, 2)
    for rank in (0, 1):
        job.start(RANKED, rank, expected=0, RUNCONTEXT_RANKS="0")
    assert len({row["run_id"] for row in job.finish()}) == 2
    assert all("ranks.alone" not in run.tags for run in runs_of(project))


@pytest.mark.usefixtures("told")
def test_a_later_job_on_the_same_address_is_another_job(project: Path, start_script: StartScript) -> None:
    """Jobs that only an address names, one after the other, do not take each other's run."""
    for _job in range(2):
        job = Job(start_script, 2)
        for rank in (0, 1):
            job.start(RANKED, rank, TORCHELASTIC_RUN_ID="")
        assert len({row["run_id"] for row in job.finish()}) == 1
    assert len(runs_of(project)) == 2


def test_under_runcontext_run_all_ranks_share_the_surrounding_run(
    project: Path, environment: Mapping[str, str]
) -> None:
    """Where ``runcontext run`` surrounds the job, rank 0 joins its run, and the others attach to that."""
    (project / "launch.py").write_text(
        textwrap.dedent("""
            import os, subprocess, sys
            variables = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
            job = {**os.environ, **variables, "TORCHELASTIC_RUN_ID": "none"}
            ranks = [subprocess.Popen([sys.executable, "rank.py"], env={**job, "RANK": str(rank)}) for rank in (1, 0)]
            sys.exit(max(each.wait() for each in ranks))
        """),
        encoding="utf-8",
    )
    (project / "rank.py").write_text(textwrap.dedent(RANKED).replace("EXPECTED", "1"), encoding="utf-8")
    command = [sys.executable, "-m", "runcontext", "run", "--name", "outer", "--", sys.executable, "launch.py"]
    done = subprocess.run(command, cwd=project, env=dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = runs_of(project)
    assert run.run_name == "outer"
    assert run.metrics == {"loss.0": 0.0, "loss.1": 1.0}


TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29400",
    "TORCHELASTIC_RUN_ID": "trial-7",
    "TORCHELASTIC_RESTART_COUNT": "0",
}
HOROVOD = {"HOROVOD_RANK": "1", "HOROVOD_SIZE": "4", "HOROVOD_GLOO_RENDEZVOUS_ADDR": "10.0.0.1"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_NAMESPACE": "prterun-node1-4711@1"}
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "4"}
SLURM = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(
    ("variables", "is_certain"),
    [(TORCHRUN, True), (HOROVOD, False), (OPEN_MPI, True), (HYDRA, True), (SLURM, True)],
)
def test_place_of_each_launcher(variables: Mapping[str, str], *, is_certain: bool) -> None:
    """Each launcher's own variables say which of how many processes this is, and whether no other job has the same."""
    place = ranks.place_of(variables)
    assert place is not None
    assert (place.rank, place.world_size, place.is_certain) == (1, 4, is_certain)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "1"},
        {"RANK": "1", "WORLD_SIZE": "2"},
        {**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"},
        {**TORCHRUN, "RANK": "4"},
        {**TORCHRUN, "RANK": "first"},
        {**TORCHRUN, "RANK": "-1"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "77"},
        {"PMI_RANK": "1", "PMI_SIZE": "4"},
        {**SLURM, "SLURM_PROCID": "9" * 5_000},
    ],
)
def test_no_place_without_evidence(variables: Mapping[str, str]) -> None:
    """One process, a rank of nothing, or Slurm's batch script are no process of a job that shares a run."""
    assert ranks.place_of(variables) is None


def test_jobs_of_slurm_that_speak_pmi_are_told_apart() -> None:
    """``srun --mpi=pmi2`` gives Slurm's variables and PMI's: two such jobs in one store are two."""
    pmi = {"PMI_RANK": "1", "PMI_SIZE": "4", "PMI_JOBID": "77.0"}
    places = [ranks.place_of({**SLURM, **pmi, "SLURM_JOB_ID": job}) for job in ("77", "78")]
    jobs = {place.job for place in places if place is not None}
    assert len(jobs) == 2


def test_the_innermost_launcher_counts() -> None:
    """In a Slurm step torchrun's workers go by torchrun's variables."""
    place = ranks.place_of({**SLURM, **TORCHRUN, "RANK": "3"})
    assert place is not None
    assert place.rank == 3


@pytest.mark.parametrize(
    "other",
    [{"TORCHELASTIC_RUN_ID": "trial-8"}, {"TORCHELASTIC_RESTART_COUNT": "1"}, {"MASTER_PORT": "2"}],
)
def test_another_job_or_attempt_is_another(other: Mapping[str, str]) -> None:
    """Jobs are told apart by torchrun's id, by its restarts and by their address."""
    one, two = ranks.place_of(TORCHRUN), ranks.place_of({**TORCHRUN, **other})
    assert one is not None
    assert two is not None
    assert one.job != two.job


def meeting_of(store: Path) -> Meeting:
    """Give a meeting of a Slurm step's rank 1 in a store."""
    place = ranks.place_of(SLURM)
    assert place is not None
    return Meeting(str(store), place, "1")


def made_run(store: Path) -> str:
    """Make a run on disk, and give its id."""
    local_store = LocalStore(str(store))
    run_id = new_run_id()
    local_store.create_run(RunFolder(local_store.run_path(run_id), {"schema": 1, "run_id": run_id}))
    return run_id


def test_what_other_days_left_is_removed(tmp_path: Path) -> None:
    """The files by which ranks meet do not pile up: those of earlier days go, and nothing that a link leads to."""
    old, elsewhere = tmp_path / "jobs" / "of another day", tmp_path / "elsewhere"
    for folder in (old, elsewhere):
        folder.mkdir(parents=True)
        (folder / "1.json").write_text("{}", encoding="utf-8")
        os.utime(folder, (time.time() - 200_000, time.time() - 200_000))
    (tmp_path / "jobs" / "link").symlink_to(elsewhere)
    run_id = made_run(tmp_path)
    meeting_of(tmp_path).publish(run_id)
    assert not old.exists()
    assert (elsewhere / "1.json").exists()
    found = meeting_of(tmp_path).join(LocalStore(str(tmp_path)), 0.0)
    assert found is not None
    assert found.identity["run_id"] == run_id


def test_a_rank_joins_once(tmp_path: Path) -> None:
    """While the process that is a rank lives, another with the same variables is not it, and need not wait."""
    meeting_of(tmp_path).publish(made_run(tmp_path))
    store = LocalStore(str(tmp_path))
    assert meeting_of(tmp_path).join(store, 0.0) is not None
    second = meeting_of(tmp_path)
    began = time.monotonic()
    assert second.join(store, 30.0) is None
    assert time.monotonic() - began < 5.0
    assert not second.is_unmet


def test_a_torn_record_is_no_record(tmp_path: Path) -> None:
    """What cannot be read names no run, and costs no more than the wait."""
    meeting = meeting_of(tmp_path)
    meeting.publish(made_run(tmp_path))
    (file,) = (tmp_path / "jobs").rglob("1.json")
    for content in ("", "{", "[]", '{"run_id": 7}'):
        file.write_text(content, encoding="utf-8")
        assert meeting.join(LocalStore(str(tmp_path)), 0.0) is None
        assert meeting.is_unmet


def _row(tags: Mapping[str, str], status: str = "captured") -> dict[str, Any]:
    return {"tags": dict(tags), "outcomes": {"gpu": {"status": status, "tags": dict(tags)}}}


@pytest.mark.parametrize(
    ("there", "status", "differing"),
    [
        ({"gpu.name": "A"}, "captured", {}),
        ({"gpu.name": "B"}, "captured", {"gpu.name": "B"}),
        ({}, "captured", {"gpu.name": None}),
        ({"gpu.name": "A", "gpu.vbios": "1"}, "captured", {"gpu.vbios": "1"}),
        ({"gpu.name": "A", "gpu.uuid": "GPU-2"}, "captured", {}),
        ({}, "timed_out", {}),
        ({}, "absent", {"gpu.name": None}),
        ({"gpu.name": "A", "env.LOCAL_RANK": "1"}, "captured", {}),
        ({"gpu.name": "A", "environment.variables": "CUDA_VISIBLE_DEVICES=1"}, "captured", {}),
    ],
)
def test_what_counts_as_a_difference(
    there: Mapping[str, str], status: str, differing: Mapping[str, str | None]
) -> None:
    """Another value, or none, is a difference; another process's own facts and a missing answer are none."""
    here = {"gpu.name": "A", **dict.fromkeys(there.keys() & {"environment.variables"}, "CUDA_VISIBLE_DEVICES=0")}
    found = ranks.compared(_row(here), {1: _row(there, status)})
    assert found["ranks"][0]["differs"] == differing
    assert found["tags"].get("ranks.differ") == (",".join(differing) or None)


@pytest.mark.slow
def test_torchrun_for_real(project: Path, environment: Mapping[str, str]) -> None:
    """Two processes under torchrun make one run, with the second's context beside the first's."""
    pytest.importorskip("torch")
    (project / "rank.py").write_text(textwrap.dedent(RANKED).replace("EXPECTED", "1"), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "rank.py"]
    done = subprocess.run(command, cwd=project, env=dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = runs_of(project)
    assert run.metrics == {"loss.0": 0.0, "loss.1": 1.0}
    assert (run.tags["launcher.name"], run.tags["rank"], run.tags["world_size"]) == ("torchrun", "0", "2")
    assert json.loads((run.path / "context.rank.1.json").read_text("utf-8"))["tags"]["rank"] == "1"


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun (Open MPI) is not installed")
def test_mpirun_for_real(project: Path, environment: Mapping[str, str]) -> None:
    """Two processes under Open MPI's mpirun make one run."""
    source = textwrap.dedent(RANKED).replace("EXPECTED", "1").replace('"RANK"', '"OMPI_COMM_WORLD_RANK"')
    (project / "rank.py").write_text(source, encoding="utf-8")
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = ["mpirun", "--oversubscribe", "-n", "2", sys.executable, "rank.py"]
    variables = {**environment, **as_root}
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = runs_of(project)
    assert run.metrics == {"loss.0": 0.0, "loss.1": 1.0}
