"""An artifact repository that a plugin of ``runcontext.artifact_repositories`` brings, kept from doing harm.

Whatever it raises, an exit too, is a StoreError that names it; what it gives is checked where it arrives.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from runcontext import plugins
from runcontext.artifacts.paths import checked_folder, checked_path
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import PluginError, StoreError
from runcontext.redaction import redact_url
from runcontext.tracking.plugin_store import store_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runcontext.plugins import Plugin

_NOT_BUILT = object()
METHODS = ("upload_file", "download_file", "list_artifacts", "close")


class PluginRepository:
    """One repository of a plugin's, as every other."""

    def __init__(
        self, plugin: Plugin, artifact_uri: str, *, tracking_uri: str | None = None, built: Any = _NOT_BUILT
    ) -> None:
        """Build it: its builder is called with the artifact URI and ``tracking_uri=``; or take what a store gave.

        Raises:
            StoreError: it cannot be loaded or built, or lacks a method; the message names plugin and package.
        """
        self._plugin = plugin
        self._raw_uri = artifact_uri
        try:
            if built is _NOT_BUILT:
                built = plugins.build(plugin, artifact_uri, tracking_uri=tracking_uri, uri=artifact_uri)
            plugins.check_shape(plugin, built, METHODS)
        except PluginError as error:
            raise StoreError(str(error)) from None
        self._repository = built

    @property
    def uri(self) -> str:
        """The artifact URI, without credentials."""
        return redact_url(self._raw_uri)

    def upload_file(self, local_path: str, artifact_path: str) -> None:
        """Have it keep a file."""
        checked_path(artifact_path, self.uri)
        self._do("upload", artifact_path, lambda: self._repository.upload_file(local_path, artifact_path))

    def download_file(self, artifact_path: str, local_path: str) -> None:
        """Have it write a file, and see that it did."""
        checked_path(artifact_path, self.uri)
        self._do("download", artifact_path, lambda: self._repository.download_file(artifact_path, local_path))
        if not os.path.isfile(local_path):
            message = f"{self._plugin} wrote no {local_path} for {artifact_path} of {self.uri}"
            raise StoreError(message)

    def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
        """Have it list a folder; an entry that leads out of the repository is an error."""
        checked_folder(path, self.uri)
        found = self._do("list", path or "its root", lambda: list(self._repository.list_artifacts(path)))
        for each in found:
            if not isinstance(each, ArtifactInfo):
                message = f"{self._plugin} lists a {type(each).__name__} in {self.uri}; ArtifactInfo is expected"
                raise StoreError(message)
            checked_path(each.path, self.uri)
        return sorted(found, key=lambda each: each.path)

    def close(self) -> None:
        """Have it let go."""
        self._do("close", "itself", self._repository.close)

    def _do(self, action: str, path: str, work: Callable[[], Any]) -> Any:
        what = f"could not {action} {path} ({self.uri})"
        return plugins.guarded(self._plugin, what, work, passing=(StoreError,), raising=store_error, uri=self._raw_uri)
