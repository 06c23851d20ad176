"""MLflow's artifact plugins unchanged: the two of its page, which it cannot run itself, and hostile ones."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.places import plugin_environment, servers_artifacts
from tests.places.oss_server import KEY_ID, KEY_SECRET
from tests.places.servers_kept import CannotStartError, Session

from runcontext.artifacts.mlflow_plugin import MLflowPluginRepository
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.testing import ArtifactRepositoryContract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

URI = "team://me:hunter2@host/run/artifacts"
_FIRST_TIME_SECONDS = 600


@dataclass
class FileInfo:
    """What a plugin lists, as mlflow.entities.FileInfo."""

    path: str
    is_dir: bool
    file_size: int | None


class FolderRepository:
    """A repository of MLflow's kind, as one is written today, over a folder that its URI names."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        """Take what MLflow 3 hands to every plugin."""
        self.root = Path(artifact_uri.removeprefix("team:"))
        self.uris = (artifact_uri, tracking_uri, registry_uri)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        folder = self.root / (artifact_path or "")
        folder.mkdir(parents=True, exist_ok=True)
        # Whole at once, since several threads use it.
        temporary = folder / f".{os.path.basename(local_file)}.{os.urandom(4).hex()}"
        temporary.write_bytes(Path(local_file).read_bytes())
        temporary.replace(folder / os.path.basename(local_file))

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        folder = self.root / (path or "")
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return [self._info(each) for each in found]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        Path(local_path).write_bytes((self.root / remote_file_path).read_bytes())

    def _info(self, path: Path) -> FileInfo:
        size = None if path.is_dir() else path.stat().st_size
        return FileInfo(str(path.relative_to(self.root)), path.is_dir(), size)


class TestFolderRepository(ArtifactRepositoryContract):
    """A plugin that does what MLflow asks keeps our contract through the adapter."""

    @pytest.fixture
    def repository(self, tmp_path: Path) -> MLflowPluginRepository:
        return adapted(FolderRepository, f"team:{tmp_path}/plugin")


class DownloadingRepository(FolderRepository):
    """One that can only download into a folder, as old ones do."""

    _download_file = None  # type: ignore[assignment]

    def download_artifacts(self, artifact_path: str, dst_path: str) -> str:
        target = Path(dst_path, artifact_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((self.root / artifact_path).read_bytes())
        return str(target)


class TestDownloadingRepository(ArtifactRepositoryContract):
    """As does one without ``_download_file``."""

    @pytest.fixture
    def repository(self, tmp_path: Path) -> MLflowPluginRepository:
        return adapted(DownloadingRepository, f"team:{tmp_path}/plugin")


def adapted(builder: Callable[..., Any], artifact_uri: str = URI) -> MLflowPluginRepository:
    """Give the adapter over a plugin that is called "teamplugin"."""
    return MLflowPluginRepository(builder, artifact_uri, "http://tracking", plugin="teamplugin 1.0 (team)")


needs_plugins = [pytest.mark.mlflow]
if not plugin_environment.is_installed():
    # The first of them installs MLflow, over whatever network there is.
    needs_plugins.append(pytest.mark.timeout(_FIRST_TIME_SECONDS))


@pytest.fixture
def both(session: Session, postgresql_url: str) -> dict[str, Any]:
    """Give what came of the two plugins of MLflow's page, once; skips where it cannot be had."""
    try:
        return dict(
            session.share("artifact-plugins", lambda: tried(servers_artifacts.oss_url(session), postgresql_url))
        )
    except CannotStartError as error:
        pytest.skip(str(error))


def tried(oss: str, postgresql: str) -> dict[str, Any]:
    """Run the program that tries both plugins; give what it found."""
    python = plugin_environment.installed()
    with psycopg.connect(postgresql, autocommit=True) as connection:
        # The type that mlflow-dbstore asks for is SQL Server's; with one of its name PostgreSQL does as well.
        connection.execute("CREATE DOMAIN varbinary AS bytea")
    uris = (
        f"oss://{servers_artifacts.fresh_bucket(oss)}/RUN/artifacts",
        f"{postgresql.replace('postgresql:', 'postgresql+psycopg:')}/RUN/artifacts",
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}
    done = subprocess.run(
        [python, str(Path(__file__).with_name("plugin_contract.py")), *uris],
        env={
            **own,
            "MLFLOW_OSS_ENDPOINT_URL": oss,
            "MLFLOW_OSS_KEY_ID": KEY_ID,
            "MLFLOW_OSS_KEY_SECRET": KEY_SECRET,
            "RUNCONTEXT_PLUGIN_OSS": "aliyunstoreplugin",
            "RUNCONTEXT_PLUGIN_MSSQL": "mlflow-dbstore",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "stderr": done.stderr}


class TestThoseOfMLflowsPage:
    """aliyunstoreplugin 1.0.0 and mlflow-dbstore 1.0.1 as the package index has them, beside MLflow 3."""

    pytestmark = needs_plugins

    def test_mlflow_cannot_run_them(self, both: dict[str, Any]) -> None:
        """MLflow 3 hands both arguments that they do not take, which is why the adapter looks at the signature."""
        assert both["mlflow_version"].startswith("3.")
        for error in both["mlflow"].values():
            assert "got an unexpected keyword argument 'tracking_uri'" in error

    def test_aliyunstoreplugin_keeps_the_whole_contract(self, both: dict[str, Any]) -> None:
        """Over a server that speaks OSS's protocol, chosen by RUNCONTEXT_PLUGIN_OSS over what runcontext has itself."""
        assert both["aliyunstoreplugin"] == {}
        assert "aliyunstoreplugin 1.0.0" in both["repr"]

    def test_mlflow_dbstore_keeps_all_of_it_but_one_thing(self, both: dict[str, Any]) -> None:
        """On PostgreSQL it uploads, lists and downloads; it does not replace what is there, and that is said."""
        failed = both["mlflow-dbstore"]
        assert set(failed) == {"test_a_file_is_replaced", "test_threads_use_it_at_once"}
        assert all(
            "mlflow-dbstore 1.0.1" in error and "does not replace artifacts" in error for error in failed.values()
        )

    def test_mlflow_dbstore_is_what_serves_mssql_once_chosen(self, both: dict[str, Any]) -> None:
        """RUNCONTEXT_PLUGIN_MSSQL hands it the URI; without the driver its error names it and no password."""
        assert "mlflow-dbstore 1.0.1" in both["mssql"]
        assert "pyodbc" in both["mssql"]
        assert "hunter2" not in both["mssql"]

    def test_mlflows_own_registry_stays_whole(self, both: dict[str, Any]) -> None:
        """Loading a plugin here does not make MLflow leave it out, and so it warns of nothing."""
        assert "Failure attempting to register" not in both["stderr"]


class Recorder:
    """A plugin that notes what it was called with."""

    def __init__(self, artifact_uri: str, *given: object, **named: object) -> None:
        """Note it."""
        self.called_with = (artifact_uri, given, named)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Take nothing."""

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        del path
        return []

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        """Write nothing."""


def uri_alone(artifact_uri: str) -> Recorder:
    """Build one as a plugin of MLflow 1 does."""
    return Recorder(artifact_uri)


def uri_and_option(artifact_uri: str, bucket: object = None) -> Recorder:
    """Build one that has an option of its own."""
    return Recorder(artifact_uri, bucket)


def uri_and_tracking(artifact_uri: str, tracking_uri: str | None = None) -> Recorder:
    """Build one as a plugin of MLflow 2 does."""
    return Recorder(artifact_uri, tracking_uri=tracking_uri)


def everything(artifact_uri: str, **named: object) -> Recorder:
    """Build one that takes what comes."""
    return Recorder(artifact_uri, **named)


def uri_and_tracking_in_place(artifact_uri: str, tracking_uri: str | None, /) -> Recorder:
    """Build one whose arguments have no names."""
    return Recorder(artifact_uri, tracking_uri)


def in_place_and_by_name(artifact_uri: str, tracking_uri: str | None, /, **named: object) -> Recorder:
    """Build one that takes what comes after them."""
    return Recorder(artifact_uri, tracking_uri, **named)


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        (uri_and_tracking_in_place, (URI, ("http://tracking",), {})),
        (in_place_and_by_name, (URI, ("http://tracking",), {"registry_uri": "http://tracking"})),
        (uri_alone, (URI, (), {})),
        (uri_and_option, (URI, (None,), {})),
        (uri_and_tracking, (URI, (), {"tracking_uri": "http://tracking"})),
        (everything, (URI, (), {"tracking_uri": "http://tracking", "registry_uri": "http://tracking"})),
        (Recorder, (URI, (), {"tracking_uri": "http://tracking", "registry_uri": "http://tracking"})),
    ],
)
def test_a_plugin_gets_the_arguments_that_it_takes(builder: Callable[..., Recorder], expected: object) -> None:
    """Classes and builder functions of every age, none with more than its signature has."""
    built: list[Recorder] = []

    @functools.wraps(builder)
    def kept(*given: Any, **named: Any) -> Recorder:
        built.append(builder(*given, **named))
        return built[-1]

    adapted(kept)
    assert built[0].called_with == expected


def test_a_metaclass_that_hands_everything_on_says_nothing() -> None:
    """What its class takes counts, as of a registry or a singleton."""

    class Registry(type):
        def __call__(cls, *given: Any, **named: Any) -> Any:
            return super().__call__(*given, **named)

    class Registered(Recorder, metaclass=Registry):
        def __init__(self, artifact_uri: str, tracking_uri: str | None = None) -> None:
            """Take two, and no more."""
            super().__init__(artifact_uri, tracking_uri)

    built = adapted(Registered)._repository
    assert built.called_with == (URI, ("http://tracking",), {})


def listing(*rows: object) -> Callable[..., Any]:
    """Give a builder of a plugin that lists these rows, whatever it is asked for."""

    class Listing(Recorder):
        def list_artifacts(self, path: str | None = None) -> Any:
            del path
            return list(rows)

    return Listing


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (FileInfo("folder/a.txt", is_dir=False, file_size=3), ("folder/a.txt", False, 3)),
        (FileInfo("./folder/a.txt", is_dir=False, file_size=3), ("folder/a.txt", False, 3)),
        (FileInfo("/folder/a.txt", is_dir=False, file_size=3), ("folder/a.txt", False, 3)),
        (FileInfo(f"{URI}/folder/a.txt", is_dir=False, file_size=3), ("folder/a.txt", False, 3)),
        (FileInfo("a.txt", is_dir=False, file_size=3), ("folder/a.txt", False, 3)),
        (FileInfo("folder/a.txt", is_dir=False, file_size=None), ("folder/a.txt", False, None)),
        (FileInfo("folder/sub/", is_dir=True, file_size=0), ("folder/sub", True, None)),
        (FileInfo("folder/sub/deep/a.txt", is_dir=False, file_size=3), ("folder/sub", True, None)),
        (FileInfo("folder", is_dir=True, file_size=None), None),
        (FileInfo(".", is_dir=True, file_size=None), None),
        (FileInfo("other/a.txt", is_dir=False, file_size=3), None),
    ],
)
def test_a_listing_is_read_as_it_is_meant(listed: FileInfo, expected: tuple[str, bool, int | None] | None) -> None:
    """From the root or from the folder, with and without dots and slashes, whole trees, and the folder itself."""
    found = adapted(listing(listed)).list_artifacts("folder")
    assert [(each.path, each.is_dir, each.size_bytes) for each in found] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    "row",
    [FileInfo("../../etc/passwd", is_dir=False, file_size=1), FileInfo(None, is_dir=False, file_size=1), "a.txt", 7],
)
def test_a_listing_that_makes_no_sense_is_an_error(row: object) -> None:
    """What leads out, and what is no FileInfo, is a StoreError that names the plugin."""
    with pytest.raises(StoreError, match="teamplugin"):
        adapted(listing(row)).list_artifacts()


def misbehaving(behave: Callable[[], object]) -> Callable[..., Any]:
    """Give a builder of a plugin that does the same thing wherever it is called."""

    class Misbehaving(Recorder):
        def _behave(self, *_: object) -> Any:
            return behave()

        log_artifact = list_artifacts = _download_file = _behave

    return Misbehaving


def leave() -> None:
    """Do what a plugin did on a bad day."""
    sys.exit("no license")


def fail() -> None:
    """Say more than is good."""
    message = "cannot log in to team://me:hunter2@host with hunter2"
    raise ValueError(message)


def lose_connection() -> None:
    """Raise what a client makes of a refused connection."""
    try:
        raise ConnectionRefusedError(111, "refused")  # noqa: TRY301 - the cause of what comes next
    except ConnectionRefusedError as error:
        message = "client gave up"
        raise RuntimeError(message) from error


def be_denied() -> None:
    """Raise what the system says of a folder that others own."""
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (leave, StoreError),
        (fail, StoreError),
        (lose_connection, StoreUnavailableError),
        (be_denied, StoreUnusableError),
    ],
)
def test_what_a_plugin_raises_is_an_error_of_ours(behave: Callable[[], object], kind: type, tmp_path: Path) -> None:
    """exit() too; it names the plugin, and shows no password, however the plugin says it."""
    repository = adapted(misbehaving(behave))
    (tmp_path / "a.txt").write_text("a")
    calls: Sequence[Callable[[], object]] = (
        lambda: repository.upload_file(str(tmp_path / "a.txt"), "a.txt"),
        lambda: repository.download_file("a.txt", str(tmp_path / "b.txt")),
        repository.list_artifacts,
    )
    for call in calls:
        with pytest.raises(StoreError) as caught:
            call()
        assert type(caught.value) is kind
        assert "teamplugin 1.0 (team)" in str(caught.value)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.txt"]


def none(artifact_uri: str) -> None:
    """Build nothing."""
    del artifact_uri


def no_methods(artifact_uri: str) -> object:
    """Build what is no repository."""
    return artifact_uri


@pytest.mark.parametrize("builder", [none, no_methods, leave, fail, lose_connection])
def test_what_is_no_repository_is_refused(builder: Callable[..., Any]) -> None:
    """A builder that fails, ends the program or gives something else: a StoreError that names the plugin."""
    with pytest.raises(StoreError, match="teamplugin") as caught:
        adapted(builder)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_arrives_short_is_an_error(tmp_path: Path) -> None:
    """What the plugin wrote is held against what it lists; the local file stays as it was."""

    class Short(Recorder):
        def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
            del path
            return [FileInfo("a.bin", is_dir=False, file_size=10)]

        def _download_file(self, remote_file_path: str, local_path: str) -> None:
            del remote_file_path
            Path(local_path).write_bytes(b"short")

    (tmp_path / "a.bin").write_bytes(b"before")
    with pytest.raises(StoreError, match="did not arrive whole: teamplugin"):
        adapted(Short).download_file("a.bin", str(tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == b"before"
