"""The container provider: real namespaces and mounts, and what variables and files tell; see also test_systems.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from runcontext.program import Program
from runcontext.record import OutcomeStatus
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers.container import ContainerProvider

if TYPE_CHECKING:
    from pathlib import Path

    from runcontext.record import Outcome

linux_only = pytest.mark.skipif(not psutil.LINUX, reason="reads what only Linux has")

CONTAINER_ID = "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970"
POD_UID = "5eb0b025-81e9-46bc-838d-8aece8c8f56e"
IN_POD = f"1 0 0:1 /var/lib/kubelet/pods/{POD_UID}/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"

SHOW = """
import json, sys
from runcontext.testing import resolve_provider
from runcontext_providers.container import ContainerProvider
context = resolve_provider(ContainerProvider(environment={}), name="container")
outcome = context.outcomes["container"]
print(json.dumps({"tags": dict(context.tags), "status": str(outcome.status), "reason": outcome.reason}))
"""


class TestContract(ProviderContract):
    """What every provider keeps to, this one keeps to, whether this machine is a container or not."""

    provider = ContainerProvider


def pod(root: Path, environment: dict[str, str], files: dict[str, str] | None = None) -> Outcome:
    """Describe a container of a pod that has these variables and files."""
    process = root / "proc" / str(os.getpid())
    process.mkdir(parents=True)
    (process / "cgroup").write_text("0::/\n")
    (process / "mountinfo").write_text(IN_POD)
    for name, content in (files or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return resolve_provider(ContainerProvider(str(root), environment), name="container").outcomes["container"]


@linux_only
@pytest.mark.parametrize(
    ("variable", "tag"),
    [
        ("POD_NAME", "k8s.pod.name"),
        ("MY_POD_NAME", "k8s.pod.name"),
        ("K8S_POD_NAME", "k8s.pod.name"),
        ("KUBERNETES_POD_NAME", "k8s.pod.name"),
        ("OTEL_RESOURCE_ATTRIBUTES_POD_NAME", "k8s.pod.name"),
        ("HOSTNAME", "k8s.pod.name"),
        ("POD_NAMESPACE", "k8s.namespace.name"),
        ("MY_POD_NAMESPACE", "k8s.namespace.name"),
        ("KUBERNETES_NAMESPACE", "k8s.namespace.name"),
        ("NAMESPACE", "k8s.namespace.name"),
        ("NODE_NAME", "k8s.node.name"),
        ("MY_NODE_NAME", "k8s.node.name"),
        ("OTEL_RESOURCE_ATTRIBUTES_NODE_NAME", "k8s.node.name"),
    ],
)
def test_downward_api_in_variables(tmp_path: Path, variable: str, tag: str) -> None:
    """The usual names are known: those of Kubernetes' own page (``MY_``), of OpenTelemetry's operator, and of people.

    Sources: Kubernetes, "Expose Pod Information to Containers Through Environment Variables"; OpenTelemetry operator,
    internal/instrumentation/sdk.go.
    """
    assert pod(tmp_path, {variable: "some-name"}).tags[tag] == "some-name"


@linux_only
@pytest.mark.parametrize(
    ("file", "tag"),
    [
        ("etc/podinfo/name", "k8s.pod.name"),
        ("etc/podinfo/pod_name", "k8s.pod.name"),
        ("etc/podinfo/namespace", "k8s.namespace.name"),
        ("run/secrets/kubernetes.io/serviceaccount/namespace", "k8s.namespace.name"),
        ("etc/hostname", "k8s.pod.name"),
    ],
)
def test_files_of_a_pod(tmp_path: Path, file: str, tag: str) -> None:
    """So are the usual files: Kubernetes, "Expose Pod Information to Containers Through Files"."""
    assert pod(tmp_path, {}, {file: "some-name\n"}).tags[tag] == "some-name"


@linux_only
def test_resource_attributes(tmp_path: Path) -> None:
    """What OTEL_RESOURCE_ATTRIBUTES says is taken, decoded, where nothing nearer tells, and nonsense is skipped."""
    attributes = (
        "k8s.pod.name=a%20b, container.image.name = registry.example.org/train,nonsense,,container.name=trainer"
    )
    tags = pod(tmp_path, {"OTEL_RESOURCE_ATTRIBUTES": attributes}).tags
    assert tags["k8s.pod.name"] == "a b"
    assert tags["container.image.name"] == "registry.example.org/train"
    assert tags["container.name"] == "trainer"


@linux_only
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("train-0", "train-0"),
        ("train-0.training.research.svc.cluster.local", "train-0"),
        ("x" * 63, None),
        ("", None),
    ],
)
def test_host_name_of_a_pod(tmp_path: Path, name: str, told: str | None) -> None:
    """A host name is the pod's name, without the domain of setHostnameAsFQDN, unless it may have been cut."""
    outcome = pod(tmp_path, {"HOSTNAME": name})
    assert outcome.tags.get("k8s.pod.name") == told
    assert told or "add POD_NAME from metadata.name" in outcome.failures["k8s.pod.name"]


@linux_only
def test_the_token_of_a_service_account_is_never_opened(tmp_path: Path) -> None:
    """Of the service account only the namespace is read: a token that blocks whoever opens it holds nobody up."""
    account = tmp_path / "var/run/secrets/kubernetes.io/serviceaccount"
    account.mkdir(parents=True)
    os.mkfifo(account / "token")
    (account / "namespace").write_text("research")
    assert pod(tmp_path, {}).tags["k8s.namespace.name"] == "research"


@linux_only
def test_program_that_has_ended() -> None:
    """Of a process that is gone nothing can be told, and that is said."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=60)
    program = Program(pid=child.pid)
    outcome = resolve_provider(ContainerProvider(environment={}), name="container", program=program).outcomes[
        "container"
    ]
    assert outcome.status is OutcomeStatus.ABSENT
    assert outcome.reason is not None
    assert f"/proc/{child.pid} is not there" in outcome.reason


def shown(*command: str) -> dict[str, Any]:
    """Run SHOW at the end of a command that makes namespaces, and give what it shows; skip where it may not."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("only root with util-linux's unshare can make namespaces")
    done = subprocess.run(
        [unshare, *command, sys.executable, "-c", SHOW], capture_output=True, text=True, check=False, timeout=60
    )
    if done.stderr.startswith(("unshare:", "mount:", "chroot:")):
        pytest.skip(f"this cannot be set up here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def skip_in_a_container() -> None:
    """Skip where this machine is a container already: then nothing can be told from what is around it."""
    if resolve_provider(ContainerProvider(environment={}), name="container").tags:
        pytest.skip("this machine is a container itself")


@linux_only
def test_real_namespaces_are_no_container() -> None:
    """A process with namespaces of its own, as in a sandbox, is not for that in a container."""
    skip_in_a_container()
    found = shown("--pid", "--fork", "--mount-proc", "--uts", "--ipc", "--cgroup")
    assert found["status"] == "absent"
    assert "too little for a proof: " in found["reason"]
    assert "a PID namespace of its own" in found["reason"]


@linux_only
def test_real_first_process_that_names_its_manager() -> None:
    """What a manager put into the environment of the real process 1 is believed, as systemd's interface has it."""
    skip_in_a_container()
    script = 'env -u container "$0" "$@"; exit $?'
    namespaces = ("--pid", "--fork", "--mount-proc")
    found = shown(*namespaces, "env", "container=systemd-nspawn", "sh", "-c", script)
    assert found["tags"]["container.runtime.name"] == "systemd-nspawn"


@linux_only
def test_real_overlay_and_mounts_as_docker_makes_them(tmp_path: Path) -> None:
    """In a root made of layers, with files mounted from a container's folder, mountinfo tells runtime and id."""
    script = f"""
        set -e
        mount -t tmpfs none "$1"
        layer="$1/docker/overlay2/{CONTAINER_ID[::-1]}"
        files="$1/docker/containers/{CONTAINER_ID}"
        mkdir -p "$layer/diff" "$layer/work" "$layer/merged" "$files"
        mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/diff,workdir=$layer/work" "$layer/merged"
        cd "$layer/merged"
        for each in hostname hosts; do
            : > "$files/$each"; : > "etc/$each"
            mount --bind "$files/$each" "etc/$each"
        done
        mount --rbind /proc proc
        shift
        exec chroot . "$@"
    """
    found = shown("--mount", "sh", "-c", script, "sh", str(tmp_path))
    assert found["tags"]["container.id"] == CONTAINER_ID
    assert found["tags"]["container.runtime.name"] == "docker"


@linux_only
def test_another_process_s_container(tmp_path: Path) -> None:
    """The evidence is the described process's: one that went into a container is, and who looks is not."""
    skip_in_a_container()
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root with util-linux's unshare can mount")
    folder = tmp_path / f"containers/{CONTAINER_ID}"
    folder.mkdir(parents=True)
    (folder / "hosts").touch()
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    wait = [sys.executable, "-c", "print(flush=True); input()"]
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(folder / "hosts"), *wait]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        ready = child.stdout.readline()
        program = Program(pid=child.pid)
        tags = resolve_provider(ContainerProvider(environment={}), name="container", program=program).tags
        errors = child.communicate(b"\n")[1]
    if not ready:
        pytest.skip(f"nothing can be mounted here: {errors.decode().strip()}")
    assert tags["container.id"] == CONTAINER_ID
