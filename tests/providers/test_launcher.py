"""The launcher provider, in environments as each system's own documentation gives them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcontext.record import OutcomeStatus
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers._surroundings.launchers import LAUNCHERS
from runcontext_providers._surroundings.variables import value_of, variables_of
from runcontext_providers.launcher import LauncherProvider

if TYPE_CHECKING:
    from pathlib import Path

    from runcontext.record import Context

CREDENTIAL = "one-that-must-not-be-told"


class Job(NamedTuple):
    """A job as its system describes it: where that is documented, its variables, and all tags but the name."""

    documented_in: str
    variables: dict[str, str]
    tags: dict[str, str]


JOBS = {
    "kubernetes": Job(
        "https://kubernetes.io/docs/concepts/services-networking/service/, Discovering services; "
        "https://kubernetes.io/docs/concepts/workloads/controllers/job/, Completion mode, Indexed",
        {
            "KUBERNETES_SERVICE_HOST": "10.96.0.1",
            "KUBERNETES_SERVICE_PORT": "443",
            "JOB_COMPLETION_INDEX": "3",
            "HOSTNAME": "train-3-x7k2p",
        },
        {"k8s.job.completion.index": "3"},
    ),
    "sagemaker": Job(
        "https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html, "
        "Environment Variables; https://github.com/aws/sagemaker-training-toolkit, ENVIRONMENT_VARIABLES.md",
        {
            "TRAINING_JOB_NAME": "bert-2026-11-22",
            "TRAINING_JOB_ARN": "arn:aws:sagemaker:eu-west-1:111122223333:training-job/bert-2026-11-22",
            "SM_CURRENT_HOST": "algo-1",
            "SM_HOSTS": '["algo-1","algo-2"]',
            "SM_TRAINING_ENV": f'{{"hyperparameters":{{"hub_token":"{CREDENTIAL}"}}}}',
        },
        {
            "sagemaker.job.name": "bert-2026-11-22",
            "sagemaker.host": "algo-1",
            "sagemaker.hosts": '["algo-1","algo-2"]',
        },
    ),
    "azureml": Job(
        "https://learn.microsoft.com/python/api/azureml-core/azureml.core.run.run, get_context",
        {
            "AZUREML_RUN_ID": "icy_leaf_7h4g2k",
            "AZUREML_ARM_PROJECT_NAME": "bert",
            "AZUREML_ARM_WORKSPACE_NAME": "vision",
            "AZUREML_RUN_TOKEN": CREDENTIAL,
        },
        {
            "azureml.run.id": "icy_leaf_7h4g2k",
            "azureml.experiment.name": "bert",
            "azureml.workspace.name": "vision",
        },
    ),
    "vertex": Job(
        "https://docs.cloud.google.com/vertex-ai/docs/training/distributed-training, CLUSTER_SPEC: cluster description",
        {
            "CLOUD_ML_JOB_ID": "3213456789012345678",
            "AIP_MODEL_DIR": "gs://bucket/model/",
            "CLUSTER_SPEC": (
                '{"cluster":{"workerpool0":["cmle-training-workerpool0-ab-0:2222"],'
                '"workerpool1":["cmle-training-workerpool1-ab-0:2222"]},'
                '"environment":"cloud","task":{"type":"workerpool1","index":0,"trial":"7"},'
                '"job":"{\\"python_module\\":\\"\\"}"}'
            ),
        },
        {"vertex.job.id": "3213456789012345678", "vertex.task": "workerpool1"},
    ),
    "databricks": Job(
        "https://docs.databricks.com/aws/en/init-scripts/environment-variables, What environment variables are exposed",
        {"DATABRICKS_RUNTIME_VERSION": "17.3", "DB_CLUSTER_ID": "1122-213205-abcde123", "DATABRICKS_TOKEN": CREDENTIAL},
        {"databricks.runtime.version": "17.3", "databricks.cluster.id": "1122-213205-abcde123"},
    ),
    "airflow": Job(
        "https://airflow.apache.org/docs/apache-airflow/stable/, a task's log: Exporting env vars",
        {
            "AIRFLOW_CTX_DAG_OWNER": "ada",
            "AIRFLOW_CTX_DAG_ID": "train_weekly",
            "AIRFLOW_CTX_TASK_ID": "fit",
            "AIRFLOW_CTX_TRY_NUMBER": "2",
            "AIRFLOW_CTX_DAG_RUN_ID": "scheduled__2026-11-22T00:00:00+00:00",
            "AIRFLOW__CORE__FERNET_KEY": CREDENTIAL,
        },
        {
            "airflow.dag.id": "train_weekly",
            "airflow.dag.run.id": "scheduled__2026-11-22T00:00:00+00:00",
            "airflow.task.id": "fit",
            "airflow.try.number": "2",
        },
    ),
    "kubeflow-pipelines": Job(
        "https://github.com/kubeflow/pipelines, backend/src/v2/component/constants.go; "
        "https://argo-workflows.readthedocs.io/en/latest/environment-variables/, Executor",
        {
            "KFP_POD_NAME": "pipeline-abc-system-container-impl-1234",
            "KFP_POD_UID": "a1b2c3d4-a1b2-a1b2-a1b2-a1b2c3d4e5f6",
            "ARGO_NODE_ID": "pipeline-abc-1234",
        },
        {"kubeflow.pod.name": "pipeline-abc-system-container-impl-1234", "argo.node.id": "pipeline-abc-1234"},
    ),
    "slurm": Job(
        "https://slurm.schedmd.com/srun.html, OUTPUT ENVIRONMENT VARIABLES",
        {
            "SLURM_JOB_ID": "4711",
            "SLURM_JOBID": "4711",
            "SLURM_JOB_NAME": "train",
            "SLURM_STEP_ID": "0",
            "SLURM_STEPID": "0",
            "SLURM_ARRAY_JOB_ID": "4700",
            "SLURM_ARRAY_TASK_ID": "11",
            "SLURM_JOB_NODELIST": "node[17-18]",
            "SLURM_JOB_PARTITION": "gpu",
            "SLURM_JOB_ACCOUNT": "vision",
            "SLURM_CLUSTER_NAME": "hive",
            "SLURM_RESTART_COUNT": "1",
            "SLURM_PROCID": "5",
            "SLURM_LOCALID": "1",
            "SLURM_STEP_NUM_TASKS": "8",
            "SLURM_NTASKS": "16",
            "SLURM_JWT": CREDENTIAL,
        },
        {
            "rank": "5",
            "local_rank": "1",
            "world_size": "8",
            "slurm.job.id": "4711",
            "slurm.job.name": "train",
            "slurm.step.id": "0",
            "slurm.array.job.id": "4700",
            "slurm.array.task.id": "11",
            "slurm.node.list": "node[17-18]",
            "slurm.partition": "gpu",
            "slurm.account": "vision",
            "slurm.cluster.name": "hive",
            "slurm.restart.count": "1",
        },
    ),
    "pbs": Job(
        "PBS Professional User's Guide, Environment Variables; qsub(1B), ENVIRONMENT VARIABLES",
        {
            "PBS_JOBID": "1234[7].server",
            "PBS_JOBNAME": "train",
            "PBS_QUEUE": "workq",
            "PBS_ARRAY_INDEX": "7",
            "PBS_JOBCOOKIE": CREDENTIAL,
        },
        {"pbs.job.id": "1234[7].server", "pbs.job.name": "train", "pbs.queue": "workq", "pbs.array.index": "7"},
    ),
    "lsf": Job(
        "https://www.ibm.com/docs/en/spectrum-lsf/10.1.0, Environment variables set for job execution",
        {
            "LSB_JOBID": "123",
            "LSB_JOBINDEX": "0",
            "LSB_JOBNAME": "train",
            "LSB_QUEUE": "normal",
            "LSB_MCPU_HOSTS": "hosta 2 hostb 2",
        },
        {"lsf.job.id": "123", "lsf.job.name": "train", "lsf.queue": "normal", "lsf.hosts": "hosta 2 hostb 2"},
    ),
    "sge": Job(
        "submit(1), ENVIRONMENTAL VARIABLES",
        {"JOB_ID": "3141", "JOB_NAME": "train", "QUEUE": "all.q", "SGE_TASK_ID": "undefined", "PE": "smp"},
        {
            "sge.job.id": "3141",
            "sge.job.name": "train",
            "sge.queue": "all.q",
            "sge.parallel.environment": "smp",
        },
    ),
    "ray": Job(
        "https://github.com/ray-project/ray, src/ray/common/constants.h, kEnvVarKeyJobId",
        {"RAY_JOB_ID": "02000000", "RAY_RAYLET_PID": "4242", "RAY_AUTH_TOKEN": CREDENTIAL},
        {"ray.job.id": "02000000"},
    ),
    "dask": Job(
        "https://github.com/dask/distributed, distributed/proctitle.py, enable_proctitle_on_children",
        {"__DASK_PARENT_PID": "1", "OMP_NUM_THREADS": "1"},
        {},
    ),
    "openmpi": Job(
        "https://www.open-mpi.org/faq/?category=running, What environment variables ...; Open MPI 4.1.4's own",
        {
            "OMPI_COMM_WORLD_RANK": "1",
            "OMPI_COMM_WORLD_SIZE": "2",
            "OMPI_COMM_WORLD_LOCAL_RANK": "1",
            "PMIX_RANK": "1",
            "PMIX_NAMESPACE": "1220149249",
        },
        {"rank": "1", "local_rank": "1", "world_size": "2", "mpi.job.id": "1220149249"},
    ),
    "intel-mpi": Job(
        "Intel MPI Library Developer Reference, I_MPI_DEBUG: the variables that its output lists",
        {
            "PMI_RANK": "3",
            "PMI_SIZE": "4",
            "MPI_LOCALRANKID": "1",
            "MPI_LOCALNRANKS": "2",
            "I_MPI_MPIRUN": "mpirun",
            "I_MPI_HYDRA_TOPOLIB": "hwloc",
        },
        {"rank": "3", "local_rank": "1", "world_size": "4"},
    ),
    "mpich": Job(
        "What mpiexec.hydra of MPICH 4.0.2 sets, of Debian 12",
        {
            "PMI_RANK": "0",
            "PMI_SIZE": "2",
            "PMI_FD": "6",
            "MPI_LOCALRANKID": "0",
            "MPI_LOCALNRANKS": "2",
            "HYDI_CONTROL_FD": "7",
        },
        {"rank": "0", "local_rank": "0", "world_size": "2"},
    ),
    "pmix": Job(
        "PMIx Standard, Process-Related Reserved Keys: rank and namespace of a client",
        {"PMIX_RANK": "1", "PMIX_NAMESPACE": "prterun-host-4242@1"},
        {"mpi.job.id": "prterun-host-4242@1"},
    ),
    "horovod": Job(
        "https://github.com/horovod/horovod, horovod/runner/gloo_run.py, create_slot_env_vars",
        {
            "HOROVOD_RANK": "2",
            "HOROVOD_SIZE": "4",
            "HOROVOD_LOCAL_RANK": "0",
            "HOROVOD_CONTROLLER": "gloo",
            "HOROVOD_SECRET_KEY": CREDENTIAL,
        },
        {"rank": "2", "local_rank": "0", "world_size": "4"},
    ),
    "accelerate": Job(
        "https://github.com/huggingface/accelerate, src/accelerate/utils/launch.py, prepare_simple_launcher_cmd_env",
        {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO", "ACCELERATE_USE_CPU": "True"},
        {},
    ),
    "deepspeed": Job(
        "https://github.com/deepspeedai/DeepSpeed, deepspeed/launcher/launch.py, main",
        {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29500",
            "WORLD_SIZE": "4",
            "CROSS_RANK": "0",
            "CROSS_SIZE": "2",
            "LOCAL_SIZE": "2",
            "RANK": "1",
            "LOCAL_RANK": "1",
        },
        {"rank": "1", "local_rank": "1", "world_size": "4"},
    ),
    "torchrun": Job(
        "https://docs.pytorch.org/docs/stable/elastic/run.html, Environment Variables",
        {
            "RANK": "3",
            "LOCAL_RANK": "1",
            "GROUP_RANK": "1",
            "WORLD_SIZE": "4",
            "MASTER_ADDR": "node17",
            "MASTER_PORT": "29400",
            "TORCHELASTIC_RUN_ID": "bert-7",
            "TORCHELASTIC_RESTART_COUNT": "2",
            "TORCHELASTIC_MAX_RESTARTS": "3",
        },
        {
            "rank": "3",
            "local_rank": "1",
            "world_size": "4",
            "torchrun.run.id": "bert-7",
            "torchrun.restart.count": "2",
            "torchrun.node.rank": "1",
        },
    ),
    "torch.distributed": Job(
        "https://docs.pytorch.org/docs/stable/distributed.html, Environment variable initialization",
        {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"},
        {"rank": "1", "world_size": "2"},
    ),
}

ELSEWHERE = {"kubeflow-trainer", "htcondor"}
"""Launchers with a test of their own: one stands in a pod, one has a file."""


def told(*variables: dict[str, str]) -> Context:
    """Give what the provider tells in an environment of all ``variables``."""
    merged = {name: value for each in variables for name, value in each.items()}
    return resolve_provider(LauncherProvider(merged))


def recorded(name: str) -> dict[str, str]:
    """Give the variables of a recorded job."""
    return JOBS[name].variables


class TestLauncherProvider(ProviderContract):
    """It keeps what every provider keeps, however these tests are started."""

    provider = LauncherProvider


class TestInAJob(ProviderContract):
    """It keeps it in a job, too."""

    provider = LauncherProvider(JOBS["slurm"].variables)


def test_every_launcher_has_a_recorded_job() -> None:
    """The jobs here are one of each launcher in the table."""
    assert set(JOBS) | ELSEWHERE == {launcher.name for launcher in LAUNCHERS}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_told_as_its_system_describes_it(name: str) -> None:
    """Each documented variable becomes its tag; ranks that the system does not give are absent, and it is named why."""
    context = told(recorded(name))
    assert dict(context.tags) == {"launcher.name": name, **JOBS[name].tags}
    failures = context.outcomes["provider"].failures
    assert failures.keys() == {"rank", "local_rank", "world_size"} - JOBS[name].tags.keys()
    assert all(reason.startswith(f"absent: {name} gave this process no") for reason in failures.values())


@pytest.mark.parametrize("name", JOBS)
def test_no_credential_of_a_job_is_told(name: str) -> None:
    """Variables that hold the system's tokens are not read."""
    assert CREDENTIAL not in str(told(recorded(name)).to_json())


def test_kubeflows_trainer_is_known_in_a_pod() -> None:
    """PET_* are torchrun's own options by variable: they are Kubeflow's where the process is in a pod.

    Source: https://github.com/kubeflow/trainer, pkg/constants/constants.go, Distributed envs for torchrun.
    """
    options = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_NODE_RANK": "1", "PET_MASTER_PORT": "29500"}
    in_pod = told(options, {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"})
    assert in_pod.tags["launcher.name"] == "kubernetes,kubeflow-trainer"
    assert (in_pod.tags["kubeflow.nodes"], in_pod.tags["kubeflow.node.rank"]) == ("2", "1")
    assert told(options).outcomes["provider"].status is OutcomeStatus.ABSENT


JOB_AD = """\
Arguments = "--epochs 3"
ClusterId = 812
Environment = "HUB_TOKEN=one-that-must-not-be-told"
procid = 4
Owner = "ada"
"""


def test_htcondors_ids_are_in_its_job_ad(tmp_path: Path) -> None:
    """The job's ad gives the two ids; attributes' names are in any case, and no other attribute is told.

    Source: HTCondor manual, Environment and services for a running job, Extra Environment Variables.
    """
    (tmp_path / ".job.ad").write_text(JOB_AD, encoding="utf-8")
    context = told(
        {
            "_CONDOR_SCRATCH_DIR": str(tmp_path),
            "_CONDOR_SLOT": "slot1_3",
            "_CONDOR_JOB_AD": str(tmp_path / ".job.ad"),
            "BATCH_SYSTEM": "HTCondor",
        }
    )
    assert dict(context.tags) == {
        "launcher.name": "htcondor",
        "htcondor.slot": "slot1_3",
        "htcondor.cluster.id": "812",
        "htcondor.process.id": "4",
    }


def test_a_job_ad_that_is_gone_costs_its_ids_alone(tmp_path: Path) -> None:
    """A file that cannot be read is a failed fact; no ad at all is an absent one."""
    gone = told({"BATCH_SYSTEM": "HTCondor", "_CONDOR_JOB_AD": str(tmp_path / "gone"), "_CONDOR_SLOT": "slot1"})
    assert dict(gone.tags) == {"launcher.name": "htcondor", "htcondor.slot": "slot1"}
    assert "gone" in gone.outcomes["provider"].failures["htcondor.cluster.id"]
    without = told({"BATCH_SYSTEM": "HTCondor"}).outcomes["provider"].failures
    assert without["htcondor.process.id"] == "absent: HTCondor names no job ad: _CONDOR_JOB_AD is not set"


# --- nested launchers ------------------------------------------------------------------------------------------------


def test_nested_launchers_are_named_from_the_outermost() -> None:
    """A step of Slurm that runs accelerate, which runs torchrun, is all three; each tells its own ids."""
    context = told(recorded("slurm"), recorded("accelerate"), recorded("torchrun"))
    assert context.tags["launcher.name"] == "slurm,accelerate,torchrun"
    assert (context.tags["slurm.job.id"], context.tags["torchrun.run.id"]) == ("4711", "bert-7")


@pytest.mark.parametrize("outer", ["slurm", "openmpi", "intel-mpi", "mpich", "horovod"])
def test_the_innermost_launcher_gives_the_rank(outer: str) -> None:
    """Ranks of whoever started torchrun, once a node, are not those of the processes that torchrun started."""
    context = told(recorded(outer), recorded("torchrun"))
    assert (context.tags["rank"], context.tags["local_rank"], context.tags["world_size"]) == ("3", "1", "4")


def test_mpirun_within_a_batch_script_gives_the_rank() -> None:
    """The batch script's own place, 0 of all that the job may start, is not that of the processes of its mpirun."""
    batch = {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "16"}
    context = told(batch, recorded("openmpi"))
    assert context.tags["launcher.name"] == "slurm,openmpi"
    assert (context.tags["rank"], context.tags["world_size"]) == ("1", "2")


def test_ranks_of_two_launchers_are_not_mixed() -> None:
    """A launcher that has no local rank leaves it absent: another's local rank belongs to another process."""
    context = told(recorded("slurm"), recorded("torch.distributed"))
    assert (context.tags["rank"], context.tags["world_size"]) == ("1", "2")
    assert context.outcomes["provider"].failures["local_rank"] == (
        "absent: torch.distributed gave this process no local rank"
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_JOB_ID": "4711", "SLURM_JOB_PARTITION": "gpu"},
        {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "16"},
        {"SLURM_JOB_ID": "4711", "RANK": "3"},
        {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "9", "SLURM_STEP_NUM_TASKS": "8"},
        {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "first", "SLURM_STEP_NUM_TASKS": "8"},
        {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "1" * 5000, "SLURM_STEP_NUM_TASKS": "2" * 5000},
    ],
    ids=["salloc's shell", "batch script", "a rank of nobody's", "beyond the size", "no number", "no count"],
)
def test_a_job_without_ranks_is_still_the_job(variables: dict[str, str]) -> None:
    """What is no process among several has its job's id, and no rank, for a reason."""
    context = told(variables)
    assert context.tags["slurm.job.id"] == "4711"
    assert "rank" not in context.tags
    assert context.outcomes["provider"].failures["rank"] == (
        "absent: slurm gave this process no rank: it is not one that was started as one of several"
    )


def test_slurms_own_pmi_is_slurm() -> None:
    """``srun --mpi=pmi2`` and ``--mpi=pmix`` set PMI's variables for every process: no mpirun is there.

    Source: Slurm documentation, MPI Users Guide, PMI2 and PMIx.
    """
    context = told(
        recorded("slurm"), {"PMI_RANK": "5", "PMI_SIZE": "8", "PMIX_RANK": "5", "PMIX_NAMESPACE": "slurm.4711.0"}
    )
    assert (context.tags["launcher.name"], context.tags["rank"]) == ("slurm", "5")


def test_an_id_that_torchrun_made_up_as_none_is_none() -> None:
    """Releases of torchrun before PyTorch 2 call a job without --rdzv-id "none"."""
    context = told(recorded("torchrun"), {"TORCHELASTIC_RUN_ID": "none"})
    assert "torchrun.run.id" not in context.tags
    assert context.tags["launcher.name"] == "torchrun"


def test_a_nanny_is_not_its_own_worker() -> None:
    """Dask's nanny, in a local cluster the program itself, sets for its children what it then has as well."""
    outcome = told({"__DASK_PARENT_PID": str(os.getpid())}).outcomes["provider"]
    assert outcome.status is OutcomeStatus.ABSENT


def test_a_worker_that_ray_started_ahead_of_its_job_has_no_id() -> None:
    """Ray 2.60 starts workers before there is a job: their id is of no job."""
    ahead = {"RAY_JOB_ID": "ffffffff", "RAY_RAYLET_PID": "15978", "RAY_LD_PRELOAD_ON_WORKERS": "0"}
    assert dict(told(ahead).tags) == {"launcher.name": "ray"}


def test_vertexs_job_is_not_read_out_of_its_specification() -> None:
    """CLUSTER_SPEC holds the whole specification of the job, arguments included: only the task is taken from it."""
    context = told({name: value for name, value in recorded("vertex").items() if name != "CLOUD_ML_JOB_ID"})
    assert dict(context.tags) == {"launcher.name": "vertex", "vertex.task": "workerpool1"}


def test_a_cluster_that_is_not_vertexs_is_not_taken_for_its() -> None:
    """CLUSTER_SPEC without Vertex AI's own variables is somebody else's."""
    variables = {"CLUSTER_SPEC": recorded("vertex")["CLUSTER_SPEC"]}
    assert told(variables).outcomes["provider"].status is OutcomeStatus.ABSENT


# --- no launcher -----------------------------------------------------------------------------------------------------


def test_without_a_launcher_there_is_nothing() -> None:
    """A program that a person starts has no launcher, and the reason says so."""
    outcome = told({"PATH": "/bin", "JOB_ID": "7", "SGE_ROOT": "/opt/sge"}).outcomes["provider"]
    assert outcome.status is OutcomeStatus.ABSENT
    assert outcome.reason is not None
    assert "started by hand" in outcome.reason


@pytest.mark.parametrize("variables", [{"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "2"}])
def test_a_rank_alone_is_nobodys(variables: dict[str, str]) -> None:
    """RANK without all that torch.distributed needs is no place among processes, and the reason says what it lacks."""
    outcome = told(variables).outcomes["provider"]
    assert outcome.status is OutcomeStatus.ABSENT
    assert outcome.reason is not None
    assert "MASTER_ADDR" in outcome.reason


def test_an_empty_variable_counts_as_unset() -> None:
    """A job's variable that was emptied is no evidence of the job."""
    assert told({"SLURM_JOB_ID": "", "PBS_JOBID": ""}).outcomes["provider"].status is OutcomeStatus.ABSENT


# --- what an environment may hold ------------------------------------------------------------------------------------

VARIABLES = sorted({name for job in JOBS.values() for name in job.variables} | {"_CONDOR_JOB_AD", "PET_NODE_RANK"})
TEXTS = st.text(max_size=20) | st.sampled_from(["0", "1", "undefined", "none", "[]", '{"task":{"type":"a"}}', "\udcff"])


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(VARIABLES), TEXTS))
def test_nothing_that_variables_hold_breaks_it(variables: dict[str, str]) -> None:
    """Whatever is set to whatever, each fact is captured or absent; only a job ad that is none can fail."""
    outcome = told({**variables, "_CONDOR_JOB_AD": ""}).outcomes["provider"]
    assert outcome.status in (OutcomeStatus.CAPTURED, OutcomeStatus.ABSENT), (outcome.reason, outcome.failures)
    assert int(outcome.tags.get("rank", 0)) < int(outcome.tags.get("world_size", 1))


HOSTILE = ('"task":{', '"task" ', "1", "f", " ", "\n")


@pytest.mark.parametrize("part", HOSTILE, ids=repr)
def test_a_hostile_value_costs_little(part: str) -> None:
    """Every pattern runs in linear time: values as long as Linux takes them, 128 KiB."""
    value = part * (131_000 // len(part))
    started = time.process_time()
    for launcher in LAUNCHERS:
        for sources in launcher.ids.values():
            value_of(dict.fromkeys(variables_of(sources), value), sources)
    assert time.process_time() - started < 5
