"""Real launchers that start real programs, each of which asks for its context as any program does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from runcontext.record import OutcomeStatus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import RunScript

ASK = """
    import json, os, runcontext

    context = runcontext.resolve_context(providers=["launcher", "ci"])
    reasons = {name: outcome.reason for name, outcome in context.outcomes.items()}
    print(json.dumps({"tags": dict(context.tags), "reasons": reasons}))
"""

ASK_IN_A_WORKER = """
    import json
    from distributed import Client, LocalCluster


    def ask():
        import runcontext

        return dict(runcontext.resolve_context(providers=["launcher"]).tags)


    if __name__ == "__main__":
        import runcontext

        with LocalCluster(n_workers=1, dashboard_address=None) as cluster, Client(cluster) as client:
            worker = client.submit(ask).result()
            around = runcontext.resolve_context(providers=["launcher"])
        print(json.dumps({"worker": worker, "around": dict(around.tags)}))
"""

ROOTS_MPIRUN = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
"""What Open MPI's mpirun asks of root: mpirun(1), Running as root."""


def answers_of(printed: str) -> list[Any]:
    """Give what each process printed, by its rank."""
    answers = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return sorted(answers, key=lambda answer: int(answer["tags"]["rank"]))


def test_a_program_that_a_person_starts_has_no_launcher(run_script: RunScript) -> None:
    """Both are absent, for reasons."""
    said = run_script(ASK, env={"CI": ""}).json
    assert said["tags"] == {}
    assert "started by hand" in said["reasons"]["launcher"]
    assert said["reasons"]["ci"] == "no CI system's variables are set"


def test_a_job_of_an_actions_runner_is_told(run_script: RunScript) -> None:
    """What the runner sets reaches the provider where it runs.

    Source: GitHub Docs, Variables reference, Default environment variables.
    """
    runner = {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKFLOW": "train",
        "GITHUB_RUN_ID": "1658821493",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "octocat/Hello-World",
        "GITHUB_JOB": "fit",
        "GITHUB_REF": "refs/pull/7/merge",
    }
    assert run_script(ASK, env=runner).json["tags"] == {
        "cicd.system": "github-actions",
        "cicd.pipeline.name": "train",
        "cicd.pipeline.run.id": "1658821493",
        "cicd.pipeline.run.url.full": "https://github.com/octocat/Hello-World/actions/runs/1658821493",
        "cicd.pipeline.task.name": "fit",
        "vcs.change.id": "7",
    }


def test_the_cloud_is_asked_only_on_request(run_script: RunScript) -> None:
    """Nothing reaches the network unless a user asked for it: the provider is off by default."""
    ran = run_script("""
        import runcontext

        print(runcontext.resolve_context().outcomes["cloud"].status)
    """)
    assert ran.stdout.strip() == OutcomeStatus.DISABLED


def is_open_mpi(mpirun: str) -> bool:
    """Say whether an mpirun is Open MPI's: others have other variables and other options."""
    return "Open MPI" in subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False).stdout


def test_mpirun_tells_the_ranks(project: Path, environment: dict[str, str], run_script: RunScript) -> None:
    """Two processes of one mpirun have the same job and each its own rank."""
    mpirun = shutil.which("mpirun")
    if mpirun is None or not is_open_mpi(mpirun):
        pytest.skip("Open MPI's mpirun is not installed (on Debian: openmpi-bin)")
    run_script(ASK, env={"CI": ""})
    ran = subprocess.run(
        [mpirun, "--oversubscribe", "-n", "2", sys.executable, "script.py"],
        cwd=project,
        env={**environment, **ROOTS_MPIRUN, "CI": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert ran.returncode == 0, ran.stderr
    first, second = (answer["tags"] for answer in answers_of(ran.stdout))
    assert {**first, "rank": "1", "local_rank": "1"} == second
    assert {name: first[name] for name in ("launcher.name", "rank", "local_rank", "world_size")} == {
        "launcher.name": "openmpi",
        "rank": "0",
        "local_rank": "0",
        "world_size": "2",
    }
    assert first["mpi.job.id"]


@pytest.mark.slow
def test_torchrun_tells_the_ranks(run_script: RunScript) -> None:
    """Two processes of one torchrun have the same run id and each its own rank, whatever started torchrun."""
    pytest.importorskip("torch", reason="torch is not installed")
    ran = run_script(
        ASK,
        env={"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
        options=["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        timeout=100,
    )
    first, second = (answer["tags"] for answer in answers_of(ran.stdout))
    assert {**first, "rank": "1", "local_rank": "1"} == second
    assert first.pop("torchrun.run.id")
    assert first == {
        "launcher.name": "slurm,torchrun",
        "rank": "0",
        "local_rank": "0",
        "world_size": "2",
        "slurm.job.id": "4711",
        "torchrun.restart.count": "0",
        "torchrun.node.rank": "0",
    }


@pytest.mark.slow
def test_a_worker_of_dask_is_told(run_script: RunScript) -> None:
    """A task's context names Dask, that of the program which made the cluster does not."""
    pytest.importorskip("distributed", reason="distributed is not installed")
    assert run_script(ASK_IN_A_WORKER, timeout=100).json == {"worker": {"launcher.name": "dask"}, "around": {}}
