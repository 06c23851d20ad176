"""Which variables each launcher sets: a table, written from the document that each row names.

Only what a row names is ever read: a job's environment holds secrets too, such as ``SLURM_JWT``, ``AZUREML_RUN_TOKEN``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from runcontext_providers._surroundings.variables import Marks, Sources, is_marked, value_of

_COUNT = r"([0-9]{1,9})\Z"


class Ranks(NamedTuple):
    """Where a launcher says which of its processes this is; ``rank`` and ``size`` count only together."""

    rank: str
    size: str
    local_rank: str


class Launcher(NamedTuple):
    """One launcher: how it is known, where it says the ranks, and its own ids by the tags that they become.

    ``starter`` is a variable with the pid of the process that starts others, which has the marks as well.
    """

    name: str
    source: str
    marks: Marks
    ranks: Ranks | None = None
    ids: Mapping[str, Sources] = {}
    starter: str | None = None


class Place(NamedTuple):
    """Which process of how many this one is, in numbers as the launcher gave them, and which launcher said so."""

    launcher: str
    rank: str
    world_size: str
    local_rank: str | None


_TORCH_RANKS = Ranks("RANK", "WORLD_SIZE", "LOCAL_RANK")
_PMI_RANKS = Ranks("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID")

LAUNCHERS: tuple[Launcher, ...] = (
    Launcher(
        name="kubernetes",
        source="Kubernetes documentation, Service, Discovering services; Jobs, Completion mode",
        marks=(("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),),
        ids={"k8s.job.completion.index": (("JOB_COMPLETION_INDEX", _COUNT),)},
    ),
    Launcher(
        name="sagemaker",
        source="Amazon SageMaker AI Developer Guide, How Amazon SageMaker AI Provides Training Information; "
        "SageMaker Training Toolkit, Environment Variables",
        marks=(("TRAINING_JOB_NAME", "TRAINING_JOB_ARN"), ("SM_CURRENT_HOST", "SM_HOSTS")),
        ids={
            "sagemaker.job.name": ("TRAINING_JOB_NAME",),
            "sagemaker.host": ("SM_CURRENT_HOST",),
            "sagemaker.hosts": ("SM_HOSTS",),
        },
    ),
    Launcher(
        name="azureml",
        source="Azure Machine Learning SDK v1 reference, azureml.core.Run, get_context: variables of a submitted run",
        marks=(("AZUREML_RUN_ID",),),
        ids={
            "azureml.run.id": ("AZUREML_RUN_ID",),
            "azureml.experiment.name": ("AZUREML_ARM_PROJECT_NAME",),
            "azureml.workspace.name": ("AZUREML_ARM_WORKSPACE_NAME",),
        },
    ),
    Launcher(
        name="vertex",
        source="Vertex AI documentation, Distributed training, Cluster description; Vertex AI SDK for Python, "
        "training_utils/environment_variables.py",
        marks=(("CLOUD_ML_JOB_ID",), ("CLUSTER_SPEC", "AIP_MODEL_DIR")),
        ids={
            "vertex.job.id": ("CLOUD_ML_JOB_ID",),
            "vertex.task": (("CLUSTER_SPEC", r'(?s:.*?)"task"\s*:\s*\{[^}]{0,200}?"type"\s*:\s*"([^"]+)"'),),
            "vertex.trial.id": ("CLOUD_ML_TRIAL_ID",),
        },
    ),
    Launcher(
        name="databricks",
        source="Databricks documentation, What are init scripts, Use environment variables; Databricks Runtime",
        marks=(("DATABRICKS_RUNTIME_VERSION",),),
        ids={
            "databricks.runtime.version": ("DATABRICKS_RUNTIME_VERSION",),
            "databricks.cluster.id": ("DB_CLUSTER_ID",),
        },
    ),
    Launcher(
        name="airflow",
        source="Apache Airflow documentation, Best Practices and task context: AIRFLOW_CTX_ variables of an operator",
        marks=(("AIRFLOW_CTX_DAG_ID",),),
        ids={
            "airflow.dag.id": ("AIRFLOW_CTX_DAG_ID",),
            "airflow.dag.run.id": ("AIRFLOW_CTX_DAG_RUN_ID",),
            "airflow.task.id": ("AIRFLOW_CTX_TASK_ID",),
            "airflow.try.number": ("AIRFLOW_CTX_TRY_NUMBER",),
        },
    ),
    Launcher(
        name="kubeflow-pipelines",
        source="Kubeflow Pipelines source, backend/src/v2/component/constants.go, names of variables; "
        "Argo Workflows documentation, Environment Variables, Executor",
        marks=(("KFP_POD_NAME", "KFP_POD_UID"),),
        ids={
            "kubeflow.pod.name": ("KFP_POD_NAME",),
            "kubeflow.run.id": ("KFP_RUN_ID",),
            "argo.node.id": ("ARGO_NODE_ID",),
        },
    ),
    Launcher(
        name="kubeflow-trainer",
        source="Kubeflow Trainer source, pkg/constants/constants.go, Distributed envs for torchrun",
        marks=(("KUBERNETES_SERVICE_HOST", "PET_NNODES", "PET_NODE_RANK"),),
        ids={"kubeflow.nodes": ("PET_NNODES",), "kubeflow.node.rank": ("PET_NODE_RANK",)},
    ),
    Launcher(
        name="slurm",
        source="Slurm documentation, srun and sbatch, OUTPUT ENVIRONMENT VARIABLES",
        marks=(("SLURM_JOB_ID",), ("SLURM_JOBID",)),
        # SLURM_NTASKS is what the job may start, and stands in its batch script too: only a step has ranks.
        ranks=Ranks("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
        ids={
            "slurm.job.id": ("SLURM_JOB_ID", "SLURM_JOBID"),
            "slurm.job.name": ("SLURM_JOB_NAME",),
            "slurm.step.id": ("SLURM_STEP_ID", "SLURM_STEPID"),
            "slurm.array.job.id": ("SLURM_ARRAY_JOB_ID",),
            "slurm.array.task.id": ("SLURM_ARRAY_TASK_ID",),
            "slurm.node.list": ("SLURM_JOB_NODELIST", "SLURM_NODELIST"),
            "slurm.partition": ("SLURM_JOB_PARTITION",),
            "slurm.account": ("SLURM_JOB_ACCOUNT",),
            "slurm.cluster.name": ("SLURM_CLUSTER_NAME",),
            "slurm.restart.count": ("SLURM_RESTART_COUNT",),
        },
    ),
    Launcher(
        name="pbs",
        source="PBS Professional User's Guide, PBS Environment Variables; TORQUE, qsub, Environment Variables",
        marks=(("PBS_JOBID",),),
        ids={
            "pbs.job.id": ("PBS_JOBID",),
            "pbs.job.name": ("PBS_JOBNAME",),
            "pbs.queue": ("PBS_QUEUE",),
            "pbs.array.index": ("PBS_ARRAY_INDEX", "PBS_ARRAYID"),
        },
    ),
    Launcher(
        name="lsf",
        source="IBM Spectrum LSF documentation, Environment variables set for job execution",
        marks=(("LSB_JOBID",),),
        ids={
            "lsf.job.id": ("LSB_JOBID",),
            # Of a job that is no array it is 0.
            "lsf.job.index": (("LSB_JOBINDEX", r"([1-9][0-9]*)\Z"),),
            "lsf.job.name": ("LSB_JOBNAME",),
            "lsf.queue": ("LSB_QUEUE",),
            "lsf.hosts": ("LSB_MCPU_HOSTS", "LSB_HOSTS"),
        },
    ),
    Launcher(
        name="sge",
        source="Grid Engine, submit(1), ENVIRONMENTAL VARIABLES",
        marks=(("JOB_ID", "QUEUE", "SGE_TASK_ID"),),
        ids={
            "sge.job.id": ("JOB_ID",),
            "sge.job.name": ("JOB_NAME",),
            # Of a job that is no array it is "undefined".
            "sge.task.id": (("SGE_TASK_ID", _COUNT),),
            "sge.queue": ("QUEUE",),
            "sge.parallel.environment": ("PE",),
        },
    ),
    Launcher(
        name="htcondor",
        source="HTCondor manual, Environment and services for a running job, Extra Environment Variables",
        marks=(("_CONDOR_SCRATCH_DIR", "_CONDOR_JOB_AD"), ("BATCH_SYSTEM=HTCondor",)),
        ids={"htcondor.slot": ("_CONDOR_SLOT",)},
    ),
    Launcher(
        name="ray",
        source="Ray source, src/ray/common/constants.h, kEnvVarKeyJobId: set for each worker",
        marks=(("RAY_JOB_ID",),),
        # A worker that was started ahead of any job has the nil id.
        ids={"ray.job.id": (("RAY_JOB_ID", r"(?!f+\Z)(.+)"),)},
    ),
    Launcher(
        name="dask",
        source="distributed source, distributed/proctitle.py, enable_proctitle_on_children: set by each nanny",
        marks=(("__DASK_PARENT_PID",),),
        starter="__DASK_PARENT_PID",
    ),
    Launcher(
        name="openmpi",
        source="Open MPI documentation, Environment variables set by mpirun(1); FAQ, General run-time tuning",
        marks=(("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),),
        ranks=Ranks("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
        ids={"mpi.job.id": ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")},
    ),
    Launcher(
        name="intel-mpi",
        source="Intel MPI Library Developer Reference, Other Environment Variables, I_MPI_DEBUG: variables it lists",
        marks=(("PMI_RANK", "PMI_SIZE", "I_MPI_MPIRUN"), ("PMI_RANK", "PMI_SIZE", "I_MPI_HYDRA_TOPOLIB")),
        ranks=_PMI_RANKS,
    ),
    Launcher(
        # Slurm's own PMI sets PMI_RANK as well, for programs that it started itself.
        name="mpich",
        source="MPICH, Using the Hydra Process Manager, Environment Settings",
        marks=(
            ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "!I_MPI_MPIRUN", "!I_MPI_HYDRA_TOPOLIB"),
            ("PMI_RANK", "PMI_SIZE", "!SLURM_STEP_NUM_TASKS", "!I_MPI_MPIRUN", "!I_MPI_HYDRA_TOPOLIB"),
        ),
        ranks=_PMI_RANKS,
    ),
    Launcher(
        # It says no size, and its ranks are those of whoever started the processes: Slurm, Open MPI, prun.
        name="pmix",
        source="PMIx Standard, Process-Related Reserved Keys; OpenPMIx, variables of a client",
        marks=(("PMIX_RANK", "PMIX_NAMESPACE", "!OMPI_COMM_WORLD_RANK", "!SLURM_STEP_NUM_TASKS"),),
        ids={"mpi.job.id": ("PMIX_NAMESPACE",)},
    ),
    Launcher(
        name="horovod",
        source="Horovod documentation, Horovod with gloo: variables of horovodrun; horovod/runner/gloo_run.py",
        marks=(("HOROVOD_RANK", "HOROVOD_SIZE"),),
        ranks=Ranks("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK"),
    ),
    Launcher(
        name="accelerate",
        source="Accelerate source, accelerate/utils/launch.py: set whatever it launches",
        marks=(("ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_BACKEND"),),
    ),
    Launcher(
        name="deepspeed",
        source="DeepSpeed source, deepspeed/launcher/launch.py, PyTorch distributed related variables",
        marks=(("CROSS_RANK", "CROSS_SIZE", "LOCAL_SIZE", "RANK", "WORLD_SIZE"),),
        ranks=_TORCH_RANKS,
    ),
    Launcher(
        name="torchrun",
        source="PyTorch documentation, torchrun (Elastic Launch), Environment Variables",
        marks=(("TORCHELASTIC_RUN_ID",),),
        ranks=_TORCH_RANKS,
        ids={
            # Without --rdzv-id it was "none" before PyTorch 2: no id at all.
            "torchrun.run.id": (("TORCHELASTIC_RUN_ID", r"(?!none\Z)(.+)"),),
            "torchrun.restart.count": ("TORCHELASTIC_RESTART_COUNT",),
            "torchrun.node.rank": ("GROUP_RANK",),
        },
    ),
    Launcher(
        # Of whoever else starts processes for torch.distributed: Ray Train, Azure ML, the PyTorch operator, a script.
        name="torch.distributed",
        source="PyTorch documentation, torch.distributed, Environment variable initialization",
        marks=(("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "!TORCHELASTIC_RUN_ID", "!CROSS_SIZE"),),
        ranks=_TORCH_RANKS,
    ),
)
"""The launchers from the outermost to the innermost: what provides machines, what schedules on them, what starts
processes. That each may start what comes after it is usual, and all that an environment can tell."""


def launchers_of(environment: Mapping[str, str], pid: int) -> list[Launcher]:
    """Give the launchers whose marks ``environment``, that of process ``pid``, has, the outermost first."""
    return [
        launcher
        for launcher in LAUNCHERS
        if is_marked(environment, launcher.marks)
        and (launcher.starter is None or environment.get(launcher.starter) != str(pid))
    ]


def place_of(environment: Mapping[str, str], launchers: list[Launcher]) -> Place | None:
    """Give the place that the innermost of ``launchers`` gives, None where none gives one.

    All of it is of one launcher: a rank of one and a size of another would be nobody's.
    """
    for launcher in reversed(launchers):
        if launcher.ranks is None:
            continue
        rank, size, local = (value_of(environment, ((name, _COUNT),)) for name in launcher.ranks)
        if rank is not None and size is not None and int(rank[0]) < int(size[0]):
            return Place(launcher.name, rank[0], size[0], local[0] if local is not None else None)
    return None
