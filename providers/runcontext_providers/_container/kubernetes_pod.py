"""The pod that a container belongs to, as far as something inside tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runcontext import NotInContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runcontext_providers._host.process_files import ProcessFiles

_PREFIXES = ("", "K8S_", "KUBERNETES_", "MY_", "OTEL_RESOURCE_ATTRIBUTES_")
"""How people, the pages of Kubernetes on the downward API (``MY_``), and OpenTelemetry's operator name variables."""

_UID = r"[0-9a-f]{8}[-_](?:[0-9a-f]{4}[-_]){3}[0-9a-f]{12}|[0-9a-f]{32}"
_UID_IN_GROUP = re.compile(rf"/kubepods.*pod({_UID})(?=[./:]|$)")
"""The pod's uid in the path of its group: with the systemd driver its dashes are underscores."""

_FOLDER = re.compile(rf"/pods/({_UID})/(?:containers/([^/]+)/)?")
"""The pod's folder on its node, and in it that of a container; source: Kubernetes, pkg/kubelet/kubelet_getters.go."""

_NAMESPACE_FILES = (
    "var/run/secrets/kubernetes.io/serviceaccount/namespace",
    "run/secrets/kubernetes.io/serviceaccount/namespace",
)
"""The token beside it is never read."""

_HOST_NETWORK = "# Kubernetes-managed hosts file (host network)"
"""How /etc/hosts begins where the pod has its node's network, and so its host name (pkg/kubelet/kubelet_pods.go)."""

_LONGEST_HOST_NAME = 63
"""Characters to which the kubelet cuts a pod's name for its host name: from there on it may not be the whole."""


class Pod:
    """What is told of the pod that ``process`` is in; ``attributes`` are those of OTEL_RESOURCE_ATTRIBUTES.

    Each fact raises NotInContext where nothing tells it, saying what to do.
    """

    def __init__(self, process: ProcessFiles, environment: Mapping[str, str], attributes: Mapping[str, str]) -> None:
        """Prepare to tell."""
        self._process = process
        self._environment = environment
        self._attributes = attributes

    def name(self) -> str:
        """Give the pod's name: what the downward API tells, else the host name where it is the pod's."""
        return self._told("k8s.pod.name", "POD_NAME", ("name", "podname", "pod_name")) or self._host_name()

    def namespace(self) -> str:
        """Give the namespace: what the downward API tells, else that of the service account."""
        told = self._told("k8s.namespace.name", "POD_NAMESPACE", ("namespace",)) or self._variable("NAMESPACE")
        found = told or next(filter(None, map(self._file, _NAMESPACE_FILES)), None)
        return _required(found, "the namespace", "POD_NAMESPACE", "metadata.namespace")

    def node(self) -> str:
        """Give the node's name, which only the downward API tells."""
        told = self._told("k8s.node.name", "NODE_NAME", ())
        return _required(told, "its node", "NODE_NAME", "spec.nodeName")

    def uid(self) -> str:
        """Give the pod's uid: from its control group, its mounts, or the downward API."""
        groups = filter(None, map(_UID_IN_GROUP.search, self._process.memberships.values()))
        found = next(groups, None) or next(self._folders(), None)
        told = found[1].replace("_", "-") if found else self._told("k8s.pod.uid", "POD_UID", ("uid",))
        return _required(told, "its uid", "POD_UID", "metadata.uid")

    def container_name(self) -> str | None:
        """Give the container's name in its pod, by the folder that its termination log is mounted from."""
        found = next((folder[2] for folder in self._folders() if folder[2]), None)
        return found or self._attributes.get("k8s.container.name")

    def _folders(self) -> Iterator[re.Match[str]]:
        return filter(None, (_FOLDER.search(mount.root) for mount in self._process.mounts))

    def _host_name(self) -> str:
        name = self._environment.get("HOSTNAME") or self._file("etc/hostname")
        why = self._why_not_host_name(name or "")
        if name and why is None:
            # With setHostnameAsFQDN it is followed by the pod's domain.
            return name.partition(".svc.")[0].partition(".")[0] if ".svc." in name else name
        message = f"{why or 'nothing names the pod'}: add POD_NAME from metadata.name to its environment (downward API)"
        raise NotInContext(message)

    def _why_not_host_name(self, name: str) -> str | None:
        if (self._file("etc/hosts") or "").startswith(_HOST_NETWORK):
            return "the host name is the node's, whose network the pod has"
        if "JOB_COMPLETION_INDEX" in self._environment:
            return "the host name of an indexed job's pod is not its name"
        if len(name) >= _LONGEST_HOST_NAME:
            return f"the host name is cut to {_LONGEST_HOST_NAME} characters"
        return None

    def _told(self, attribute: str, variable: str, files: tuple[str, ...]) -> str | None:
        """Give what the downward API tells: in a variable, an attribute, or a file of /etc/podinfo."""
        in_files = next(filter(None, (self._file(f"etc/podinfo/{file}") for file in files)), None)
        return self._variable(variable) or self._attributes.get(attribute) or in_files

    def _variable(self, name: str) -> str | None:
        # Jenkins calls its agent so, which may well be a pod.
        prefixes = _PREFIXES[1:] if name == "NODE_NAME" and "JENKINS_URL" in self._environment else _PREFIXES
        return next(filter(None, (self._environment.get(prefix + name) for prefix in prefixes)), None)

    def _file(self, path: str) -> str | None:
        try:
            with open(f"{self._process.root}/{path}", encoding="utf-8", errors="replace") as file:
                return file.read(4_096).strip()
        except OSError:
            return None


def _required(value: str | None, fact: str, variable: str, field: str) -> str:
    if value:
        return value
    message = f"a pod is not told {fact}: add {variable} from {field} to its environment (downward API)"
    raise NotInContext(message)
