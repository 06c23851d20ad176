"""Whether a process is in a container: clues from several sides, each of some weight, few a proof by themselves."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from runcontext_providers._host.process_files import mount_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runcontext_providers._host.process_files import ProcessFiles

    Search = Callable[[ProcessFiles, Mapping[str, str]], Iterator["Clue"]]

PROOF, _STRONG, _FAIR, _WEAK = 4, 3, 2, 1
"""The weight that settles it; of what a manager said; of what an image leaves over; of what any sandbox has."""

_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""The namespace that the kernel starts with: PROC_PID_INIT_INO, Linux, include/linux/proc_ns.h."""

_RUNTIMES = {"cri-containerd": "containerd", "nerdctl": "containerd", "crio": "cri-o", "libpod": "podman", "oci": ""}
"""The names of runtimes by what they are called in paths and variables, where the two differ."""

_MANAGERS = frozenset({"docker", "podman", "oci", "crio", "lxc", "lxc-libvirt", "systemd-nspawn"})
"""What managers and images set the variable ``container`` to; anybody may have one of that name."""

_MACHINES = frozenset({"lxc", "lxc-libvirt", "systemd-nspawn"})
"""Runtimes whose containers are whole systems, with a machine-id of their own."""

_ID_IN_GROUP = re.compile(
    r"(?:(docker|cri-containerd|crio|libpod|nerdctl)[-:/]|(?<!conmon)[-:/])"
    r"([0-9a-f]{64}|[0-9a-f]{32}-\d{8,})(?=\.scope|/|$)"
)
"""A container's id in the path of its control group: of every OCI runtime, and of AWS Fargate.

``conmon`` is the monitor that Podman and CRI-O leave outside of the container.
"""

_NAME_IN_GROUP = re.compile(
    r"/(?:(lxc)(?:\.payload[./]|/)([^/]+)|machine\.slice/(?:machine-|systemd-nspawn@)([^/]+)\.(?:scope|service)/payload)"
)
"""The name of an LXC or a systemd-nspawn container in the path of its control group."""

_RUNTIME_MOUNTS = ("/run/.containerenv", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
"""Files that runtimes mount over an image's, from a folder that is named after the container or its pod."""

_ID_IN_MOUNT = re.compile(r"/([0-9a-f]{64})(?=[-/])")

_MOUNTED_BY = (
    (re.compile(r"/io\.containerd\.|/nerdctl/"), "containerd"),
    (re.compile(r"/overlay-containers/"), "podman"),
    (re.compile(r"/containers/[0-9a-f]{64}/"), "docker"),
)
"""Whose folder it is that such a file is mounted from."""

_LAYERS_OF = (
    (re.compile(r"/docker/(?:aufs|btrfs|overlay2?|vfs|zfs)/|/overlay2/\w{25,64}(?:-init)?/diff"), "docker"),
    (re.compile(r"/io\.containerd\.snapshotter\."), "containerd"),
    (re.compile(r"/storage/overlay/(?:l|[0-9a-f]{64})/"), "podman"),
    (re.compile(r"/apptainer/mnt/session/"), "apptainer"),
    (re.compile(r"/singularity/mnt/session/"), "singularity"),
)
"""Whose store it is that the layers of the root file system are in."""

_POD_FOLDER = re.compile(r"/pods/([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32})/")
"""A pod's folder below that of the kubelet; the uid of a static pod is a hash without dashes."""

_SERVICE_ACCOUNT = "/secrets/kubernetes.io/serviceaccount"

_GVISOR_BUILD = "Sun Jan 10 15:06:54 PST 2016"
"""When gVisor says that its kernel was built (source: gVisor, pkg/sentry/syscalls/linux/linux64.go)."""


class Clue(NamedTuple):
    """Something that speaks for a container: in words, how much, and what it tells of the container."""

    says: str
    weight: int
    runtime: str = ""
    id: str = ""
    name: str = ""
    kubernetes: bool = False


class Findings(NamedTuple):
    """The clues, those that tell most first, and what could not be looked at, with the reasons."""

    clues: list[Clue]
    unseen: list[str]

    @property
    def is_container(self) -> bool:
        """Whether together they are proof."""
        return sum(clue.weight for clue in self.clues) >= PROOF

    @property
    def is_kubernetes(self) -> bool:
        """Whether the container is one of a pod."""
        return self.is_container and any(clue.kubernetes for clue in self.clues)

    @property
    def runtime(self) -> str:
        """The name of what runs the container, empty where no clue tells."""
        runtime = next((clue.runtime for clue in self.clues if clue.runtime), "")
        # The two keep images and containers in the same folders.
        return "cri-o" if runtime == "podman" and self.is_kubernetes else runtime


def look(process: ProcessFiles, environment: Mapping[str, str]) -> Findings:
    """Look for what speaks for a container around ``process``, of which ``environment`` are the variables."""
    clues: list[Clue] = []
    unseen: list[str] = []
    for search in _SEARCHES:
        try:
            clues.extend(search(process, environment))
        except OSError as error:
            unseen.append(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return Findings(clues, unseen)


def image_holds_machine_id(process: ProcessFiles, environment: Mapping[str, str]) -> bool:
    """Say whether the /etc/machine-id that ``process`` sees is part of a container's image, and so not the machine's.

    Raises OSError where it cannot be told, since its mounts cannot be read.
    """
    if any(mount.point == "/etc/machine-id" for mount in process.mounts):
        return False
    found = look(process, environment)
    return found.is_container and found.runtime not in _MACHINES


def _in_control_groups(process: ProcessFiles, _: Mapping[str, str]) -> Iterator[Clue]:
    # Where a namespace hides the group of the process, version 1 still shows which group is mounted.
    paths = [*process.memberships.values(), *(mount.root for mount in process.mounts if mount.type == "cgroup")]
    for path in dict.fromkeys(paths):
        says, kubernetes = f"control group {path}", "/kubepods" in path
        name = _NAME_IN_GROUP.search(path)
        if name is not None:
            lxc, machine = name[1], name[2] or name[3]
            yield Clue(says, PROOF, "lxc" if lxc else "systemd-nspawn", name=_systemd_unescaped(machine))
        for runtime, container in _ID_IN_GROUP.findall(path)[-1:]:
            yield Clue(says, PROOF, _known_as(runtime), container, kubernetes=kubernetes)


def _in_mounts_of_files(process: ProcessFiles, _: Mapping[str, str]) -> Iterator[Clue]:
    by_point = {mount.point: mount.root for mount in process.mounts}
    in_pod = any(_is_of_pod(mount.root, mount.point) for mount in process.mounts)
    for point in _RUNTIME_MOUNTS:
        root = by_point.get(point, "")
        for container in _ID_IN_MOUNT.findall(root)[-1:]:
            # In a pod these files are the sandbox's, which all its containers share, but for this one.
            is_own = point == "/run/.containerenv" or not (in_pod or "/sandboxes/" in root)
            runtime = next((name for pattern, name in _MOUNTED_BY if pattern.search(root)), "")
            yield Clue(f"{point} mounted from {root}", PROOF, runtime, container if is_own else "")


def _in_other_mounts(process: ProcessFiles, _: Mapping[str, str]) -> Iterator[Clue]:
    top = mount_of(process.mounts, "/")
    for mount in process.mounts:
        says = f"{mount.point} mounted from {mount.root}"
        if _is_of_pod(mount.root, mount.point):
            yield Clue(says, PROOF, kubernetes=True)
        elif mount.point == "/.flatpak-info":
            yield Clue(says, PROOF, "flatpak")
        elif mount.type == "fuse.lxcfs" and mount.point.startswith("/proc/"):
            yield Clue(f"{mount.point} from lxcfs", PROOF, "lxc")
        elif top is not None and mount.point == "/.lock" and mount.root == f"{top.root.rstrip('/')}/.lock":
            # What NVIDIA's enroot, src/runtime.sh, mounts over its lock file in the container's root.
            yield Clue(says, PROOF, "enroot", name=os.path.basename(top.root))


def _in_root_file_system(process: ProcessFiles, _: Mapping[str, str]) -> Iterator[Clue]:
    top = mount_of(process.mounts, "/")
    if top is None:
        return
    for pattern, runtime in _LAYERS_OF:
        if pattern.search(f"{top.root} {top.options}"):
            yield Clue(f"/ made of layers of {runtime}", PROOF, runtime)
            return
    # Without a layer to write to it is a system's own image, as that of bootc and OSTree.
    if "upperdir=" in top.options or top.type == "fuse.fuse-overlayfs":
        yield Clue(f"/ is of type {top.type}", _FAIR)


def _in_first_process(process: ProcessFiles, _: Mapping[str, str]) -> Iterator[Clue]:
    """Source: https://systemd.io/CONTAINER_INTERFACE, section "Environment Variables"."""
    try:
        with open(f"{process.root}/proc/1/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return  # it is for root's eyes only
    for variable in variables:
        if variable.startswith(b"container="):
            value = os.fsdecode(variable.removeprefix(b"container="))
            yield from _manager(value, "container in the environment of process 1", PROOF)


def _in_files_of_managers(process: ProcessFiles, _: Mapping[str, str]) -> Iterator[Clue]:
    """Source: the same, and systemd, src/basic/virt.c, ``detect_container()``."""
    for file in ("/run/host/container-manager", "/run/systemd/container"):
        yield from _manager(_content(process, file), file, _STRONG)


def _in_environment(_: ProcessFiles, environment: Mapping[str, str]) -> Iterator[Clue]:
    manager = environment.get("container", "")
    if manager in _MANAGERS:
        yield from _manager(manager, "container in the environment", _STRONG)
    for runtime in ("apptainer", "singularity"):
        variable = f"{runtime.upper()}_CONTAINER"
        if environment.get(variable):
            yield Clue(variable, _STRONG, runtime)
            break
    if environment.get("KUBERNETES_SERVICE_HOST"):
        yield Clue("KUBERNETES_SERVICE_HOST", _STRONG, kubernetes=True)
    if environment.get("ECS_CONTAINER_METADATA_URI_V4"):
        yield Clue("ECS_CONTAINER_METADATA_URI_V4", _STRONG)


def _in_leftovers(process: ProcessFiles, _: Mapping[str, str]) -> Iterator[Clue]:
    """Files that are as well there where an image was made into a machine, or a container into an image."""
    environment = container_environment(process.root)
    if environment.get("id"):
        yield Clue("/run/.containerenv", PROOF, "podman", environment["id"], environment.get("name", ""))
    elif os.path.exists(f"{process.root}/run/.containerenv"):
        yield Clue("/run/.containerenv", _WEAK, "podman")
    if os.path.exists(f"{process.root}/.dockerenv"):
        yield Clue("/.dockerenv", _FAIR, "docker")
    if os.path.isdir(f"{process.root}/.singularity.d"):
        yield Clue("/.singularity.d", _WEAK, "apptainer")


def _in_namespaces(process: ProcessFiles, _: Mapping[str, str]) -> Iterator[Clue]:
    try:
        namespace = os.readlink(process.path("ns/pid"))
    except OSError:
        return
    if namespace != _FIRST_PID_NAMESPACE:
        yield Clue("a PID namespace of its own", _WEAK)


def _in_kernel(process: ProcessFiles, _: Mapping[str, str]) -> Iterator[Clue]:
    if _GVISOR_BUILD in _content(process, "/proc/version"):
        yield Clue("gVisor's kernel", PROOF, "gvisor")


_SEARCHES: tuple[Search, ...] = (
    _in_control_groups,
    _in_mounts_of_files,
    _in_root_file_system,
    _in_first_process,
    _in_files_of_managers,
    _in_environment,
    _in_leftovers,
    _in_other_mounts,
    _in_kernel,
    _in_namespaces,
)
"""In the order in which their answers are believed where they differ."""


def container_environment(root: str) -> dict[str, str]:
    """Read what Podman tells a privileged container of itself: ``id``, ``name``, ``image``, ``imageid``.

    Source: Podman, libpod/container_internal_common.go. Empty where it tells nothing.
    """
    try:
        with open(f"{root}/run/.containerenv", encoding="utf-8", errors="replace") as file:
            return dict(re.findall(r'^(\w+)="([^"\n]*)"$', file.read(65_536), re.MULTILINE))
    except OSError:
        return {}


def _is_of_pod(root: str, point: str) -> bool:
    if point.startswith(("/run", "/var/run")) and point.endswith(_SERVICE_ACCOUNT):
        return True
    found = _POD_FOLDER.search(root)
    # On the node itself the kubelet mounts such folders too, each below itself.
    return found is not None and found[1] not in point


def _manager(value: str, says: str, weight: int) -> Iterator[Clue]:
    # A distribution under WSL is a machine of its own, whatever systemd calls it.
    if value and value != "wsl":
        yield Clue(f"{says}: {value}", weight, _known_as(value))


def _known_as(runtime: str) -> str:
    return _RUNTIMES.get(runtime, runtime)


def _content(process: ProcessFiles, file: str) -> str:
    try:
        with open(f"{process.root}{file}", encoding="utf-8", errors="replace") as opened:
            return opened.read(4_096).strip()
    except OSError:
        return ""


def _systemd_unescaped(name: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda escape: chr(int(escape[1], 16)), name)
