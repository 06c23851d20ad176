"""Artifact repositories that were written for MLflow, used unchanged: entry points of ``mlflow.artifact_repository``.

What MLflow asks of them: ``mlflow.store.artifact.artifact_repo.ArtifactRepository``, of which most are subclasses. Many
are older than the arguments that MLflow 3 passes, or take its rules for listings lightly; both are made up for here.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import posixpath
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runcontext import at_work
from runcontext.artifacts.arrival import arriving
from runcontext.artifacts.paths import checked_folder, checked_path
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreError
from runcontext.redaction import redact_text, redact_url
from runcontext.tracking.plugin_store import store_error

_METHODS = ("log_artifact", "list_artifacts")
_DOWNLOADS = ("_download_file", "download_artifacts")


class MLflowPluginRepository:
    """One artifact repository of MLflow's kind, as one of ours.

    Uploads go one at a time, as MLflow's own do; downloads at once, as MLflow's do. What the plugin raises, ``exit()``
    among it, is a StoreError that names it; a lost connection somewhere in what caused it, a StoreUnavailableError.
    """

    def __init__(
        self, builder: Callable[..., Any], artifact_uri: str, tracking_uri: str | None = None, *, plugin: str
    ) -> None:
        """Call the plugin with those arguments that its signature takes.

        Args:
            builder: what the entry point loads: a class, or a function that gives a repository.
            artifact_uri: the run's, handed on as it is.
            tracking_uri: handed on where it is asked for, as ``tracking_uri`` and as ``registry_uri``.
            plugin: how messages call it: its distribution and entry point.

        Raises:
            StoreError: it cannot be built, or what it gives is no artifact repository.
        """
        self._plugin = plugin
        self._uri = redact_url(artifact_uri)
        self._artifact_uri = artifact_uri
        self._uploading = threading.Lock()
        self._sizes: dict[str, int | None] = {}
        self._several: set[str] = set()
        with self._guarded("be built"):
            in_place, named = _accepted(builder, tracking_uri)
            self._repository = builder(artifact_uri, *in_place, **named)
        self._check_shape()
        self._root = _name_of_root(self._repository.list_artifacts)

    def __repr__(self) -> str:
        """Show whose it is, and where."""
        return f"<MLflowPluginRepository {self._plugin}: {self._uri}>"

    @property
    def uri(self) -> str:
        """The artifact URI, without credentials."""
        return self._uri

    def upload_file(self, local_path: str, artifact_path: str) -> None:
        """Hand the plugin a file of the artifact's name, and the artifact's folder."""
        folder, name = posixpath.split(checked_path(artifact_path, self._uri))
        if not os.path.isfile(local_path):
            message = f"cannot upload {local_path} to {self._uri}: there is no such file"
            raise StoreError(message)
        with _called(os.path.abspath(local_path), name) as path, self._uploading, self._guarded("log", artifact_path):
            self._sizes.pop(artifact_path, None)
            self._repository.log_artifact(path, folder or self._root)

    def download_file(self, artifact_path: str, local_path: str) -> None:
        """Have the plugin write a file, and check that it did, and as long as its listing says."""
        checked_path(artifact_path, self._uri)
        if artifact_path not in self._sizes:
            # Where a plugin lists only the first page of a long folder, the file may be there all the same.
            self.list_artifacts(posixpath.dirname(artifact_path))
        if artifact_path in self._several:
            message = (
                f"{self._plugin} does not replace artifacts: it keeps several of different sizes as {artifact_path} in"
                f" {self._uri}, and cannot tell which is the newest"
            )
            raise StoreError(message)
        with arriving(local_path) as temporary:
            os.unlink(temporary)
            with self._guarded("download", artifact_path):
                self._download(artifact_path, temporary)
            if not os.path.isfile(temporary):
                message = f"no artifact {artifact_path} in {self._uri} ({self._plugin})"
                raise StoreError(message)
            self._check_size(artifact_path, os.path.getsize(temporary))

    def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
        """List what is directly in a folder, whatever else the plugin lists."""
        folder = checked_folder(path, self._uri)
        with self._guarded("list", folder or "its root"):
            rows = [_row(each) for each in self._repository.list_artifacts(folder or self._root)]
        entries: dict[str, ArtifactInfo] = {}
        for listed, is_dir, size_bytes in rows:
            info = _directly_in(folder, self._from_root(listed, folder), is_dir=is_dir, size_bytes=size_bytes)
            if info is not None:
                self._note(info, entries)
        found = sorted(entries.values(), key=lambda each: each.path)
        self._sizes.update((each.path, each.size_bytes) for each in found if not each.is_dir)
        return found

    def close(self) -> None:
        """Let the plugin go; MLflow has no word for it."""

    def _note(self, info: ArtifactInfo, entries: dict[str, ArtifactInfo]) -> None:
        before = entries.get(info.path)
        if before is not None and not before.is_dir and not info.is_dir and before != info:
            self._several.add(info.path)
        if before is None or not info.is_dir:
            entries[info.path] = info

    def _from_root(self, listed: str, folder: str) -> str:
        path = listed.removeprefix(self._artifact_uri)
        parts = [part for part in path.split("/") if part not in {"", "."}]
        if ".." in parts or "\0" in path:
            message = f"{self._plugin} lists {listed!r} in {self._uri}, which leads out of it"
            raise StoreError(message)
        # Of a folder's own name alone nothing else can be meant: it cannot be in the root and in the folder.
        return "/".join((folder, *parts) if folder and len(parts) == 1 and parts != [folder] else parts)

    def _download(self, artifact_path: str, target: str) -> None:
        if _is_implemented(self._repository, "_download_file"):
            self._repository._download_file(artifact_path, target)
            return
        with tempfile.TemporaryDirectory(prefix=".runcontext-", dir=os.path.dirname(target)) as folder:
            given = self._repository.download_artifacts(artifact_path, folder)
            found = os.path.join(folder, posixpath.basename(artifact_path)) if given is None else os.fspath(given)
            if os.path.isfile(found):
                # What lies elsewhere may be the artifact itself.
                shutil.copyfile(found, target)

    def _check_size(self, artifact_path: str, arrived: int) -> None:
        if self._sizes.get(artifact_path) not in {None, arrived}:
            # It may have been replaced since it was listed.
            self.list_artifacts(posixpath.dirname(artifact_path))
        expected = self._sizes.get(artifact_path)
        if expected is not None and arrived != expected:
            message = (
                f"{artifact_path} of {self._uri} did not arrive whole: {self._plugin} wrote {arrived:,} bytes,"
                f" and lists {expected:,}"
            )
            raise StoreError(message)

    def _check_shape(self) -> None:
        missing = [each for each in _METHODS if not callable(getattr(self._repository, each, None))]
        if not any(_is_implemented(self._repository, each) for each in _DOWNLOADS):
            missing.append(_DOWNLOADS[0])
        if missing:
            given = type(self._repository).__name__
            message = (
                f"{self._plugin} gave a {given} for {self._uri}, which has no {' and no '.join(missing)};"
                " an artifact repository of MLflow's kind is expected"
            )
            raise StoreError(message)

    @contextlib.contextmanager
    def _guarded(self, action: str, path: str = "") -> Iterator[None]:
        try:
            with at_work.running(self._plugin):
                yield
        except (StoreError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may do anything, and exit() is no reason to end
            # Not from the error: what the plugin or its client says may hold the credentials of the URI.
            what = f"{type(error).__name__}: {self._without_password(str(error))}".removesuffix(": ")
            message = f"{self._plugin} could not {action} {path}".rstrip() + f" ({self._uri}): {what}"
            raise store_error(message, error) from None

    def _without_password(self, text: str) -> str:
        from urllib.parse import unquote, urlsplit

        with contextlib.suppress(ValueError):
            password = urlsplit(self._artifact_uri).password
            for secret in {password, unquote(password)} if password else ():
                text = text.replace(secret, "[redacted]")
        return redact_text(text)


def let_mlflow_register() -> None:
    """Let MLflow register its plugins before one of them is loaded here.

    A plugin imports MLflow, and MLflow's registry would import the plugin again, half-made, and leave it out for the
    rest of the program.
    """
    with contextlib.suppress(ImportError):
        import mlflow.store.artifact.artifact_repository_registry  # noqa: F401 - for what its import does


def _accepted(builder: Callable[..., Any], tracking_uri: str | None) -> tuple[list[str | None], dict[str, str | None]]:
    """Give what a builder takes beside the artifact URI: what only its place names, and the rest by name."""
    offered = {"tracking_uri": tracking_uri, "registry_uri": tracking_uri}
    try:
        parameters = _parameters(builder)
    except (TypeError, ValueError):  # what is written in C tells nothing; MLflow hands it everything
        return [], offered
    placed = [each.name for each in parameters[1:] if each.kind is each.POSITIONAL_ONLY]
    in_place = list(itertools.takewhile(offered.__contains__, placed))
    rest = {name: value for name, value in offered.items() if name not in in_place}
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        named = {each.name for each in parameters if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}}
        rest = {name: value for name, value in rest.items() if name in named}
    return [offered[name] for name in in_place], rest


def _parameters(builder: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(builder).parameters.values())
    takes_anything = any(each.kind is each.VAR_KEYWORD for each in parameters)
    if takes_anything and isinstance(builder, type) and type(builder).__call__ is not type.__call__:
        # A metaclass that hands on whatever it is given says nothing about what is taken.
        built: Any = builder
        return list(inspect.signature(built.__init__).parameters.values())[1:]
    return parameters


def _name_of_root(list_artifacts: Callable[..., Any]) -> str | None:
    # MLflow says None for the root, and "" where it downloads all. Who asks for a path is given one: of files in its
    # root, mlflow-dbstore 1.0.1 lists and finds only those that it was told to keep in "".
    try:
        parameters = list(inspect.signature(list_artifacts).parameters.values())
    except (TypeError, ValueError):
        return None
    return "" if parameters and parameters[0].default is inspect.Parameter.empty else None


def _is_implemented(repository: Any, method: str) -> bool:
    found = getattr(repository, method, None)
    # MLflow's base class marks what it leaves to others, and forbids nobody to leave it too.
    return callable(found) and not getattr(found, "__isabstractmethod__", False)


def _row(listed: Any) -> tuple[str, bool, int | None]:
    path, is_dir, size_bytes = listed.path, listed.is_dir, getattr(listed, "file_size", None)
    if not isinstance(path, str):
        message = f"it lists an artifact whose path is a {type(path).__name__}; text is expected"
        raise TypeError(message)
    return path, bool(is_dir), None if is_dir or size_bytes is None else int(size_bytes)


def _directly_in(folder: str, path: str, *, is_dir: bool, size_bytes: int | None) -> ArtifactInfo | None:
    prefix = f"{folder}/" if folder else ""
    if not path.startswith(prefix) or path == folder:
        return None
    name, slash, _ = path[len(prefix) :].partition("/")
    if not name:
        return None
    is_folder = is_dir or bool(slash)
    return ArtifactInfo(prefix + name, is_folder, None if is_folder else size_bytes)


@contextlib.contextmanager
def _called(path: str, name: str) -> Iterator[str]:
    if os.path.basename(path) == name:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="runcontext-") as folder:
        named = os.path.join(folder, name)
        try:
            os.symlink(path, named)
        except OSError:  # where a user may make none, or the file system has none
            shutil.copyfile(path, named)
        yield named
