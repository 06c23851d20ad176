"""Who serves a tracking or artifact URI, what is wrong with one that nobody serves, and stores that go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from tests.places.throwaway import Site, new_site

from runcontext.artifacts import places as artifact_places
from runcontext.artifacts import schemes
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.record import RunStatus
from runcontext.testing import TrackingStoreContract, new_run
from runcontext.tracking import places, uris
from runcontext.tracking.store import Batch, BatchLimits, Query, RunUpdate, StoredRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runcontext.tracking.store import TrackingStore

STORES, REPOSITORIES = "runcontext.tracking_stores", "runcontext.artifact_repositories"
STORED = StoredRun("1" * 32, "1", None, "team://place/1")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Give a folder on this process's path, and a cache and settings of this test's own."""
    made = new_site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.setenv("RUNCONTEXT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return made


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("", ""),
        ("runs", ""),
        ("/srv/runs", ""),
        ("C:\\runs", ""),
        ("c:/runs", ""),
        ("user@host:path", ""),
        ("1st:x", ""),
        ("file:///srv/runs", "file"),
        ("HTTPS://example.org", "https"),
        ("sqlite:///a.db", "sqlite"),
        ("postgresql+psycopg://h/d", "postgresql"),
        ("mssql+pyodbc://h/d?driver=X", "mssql"),
        ("exa+bfs://h/x", "exa+bfs"),
        ("file-plugin:/srv", "file-plugin"),
        ("databricks", "databricks"),
        ("databricks-uc", "databricks-uc"),
        ("databricks://profile", "databricks"),
    ],
)
def test_the_scheme_of_a_uri(uri: str, scheme: str) -> None:
    """It is MLflow's reading: a database's driver is none of it, one letter is a drive, a bare word a path."""
    assert uris.scheme_of(uri) == scheme


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("http://h:5000", "HTTP://H:5000/", True),
        ("http://h:5000", "http://[redacted]@h:5000", True),
        ("https://h/mlflow", "https://h:443/mlflow/", True),
        ("https://h/mlflow", "https://h/MLflow", False),
        ("http://h", "https://h", False),
        ("http://h:443", "https://h", False),
        ("http://h/a@b", "http://h/b", False),
        ("postgresql://ann:[redacted]@DB/runs", "postgresql+psycopg2://db:5432/runs", True),
        ("postgresql://db/runs?sslmode=require", "postgresql://db/runs", False),
        ("sqlite:////srv/Runs.db", "sqlite:////srv/runs.db", False),
        ("plugin://H/x", "plugin://h/x", False),
        ("plugin:x", "plugin:x", True),
    ],
)
def test_two_uris_of_one_place(one: str, other: str, is_same: bool) -> None:
    """Who asks, a default port and the case of a host are no part of a place; a path and a query are."""
    assert uris.is_same_place(one, other) is is_same
    assert uris.is_same_place(other, one) is is_same


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "https://ada:l@velace@example.org/mlflow/",
        "http://[::1]:8080/x",
        "https://user:pw%2F@host:65535",
        "sqlite:///runs.db",
        "sqlite:////srv/runs.db?timeout=5",
        "postgresql://u:p/w#?@h:5432/runs",
        "postgresql:///runs?host=/run/postgresql",
        "mysql+pymysql://u@[::1]:3306/runs",
        "mssql+pymssql://u:p@h:1433/runs?driver=ODBC+Driver+18",
        "postgresql://?service=team",
        "file:///srv/runs",
        "runs",
    ],
)
def test_a_good_uri_has_no_problem(uri: str) -> None:
    """What can be told without a network is in order."""
    assert places.problem_of(uri) is None


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http:/example.org", "after http: two slashes are expected"),
        ("https:example.org", "after https: two slashes are expected"),
        ("http://", "no host follows the two slashes"),
        ("http://:5000", "no host follows the two slashes"),
        ("http://ada:pw-1815@/x", "no host follows the two slashes"),
        ("http://example.org:5000a/x", "after the colon behind the host a port number is expected, up to 65535"),
        ("http://example.org:65536", "after the colon behind the host a port number is expected, up to 65535"),
        ("http://[::1:5000", "the [ of its host is not closed, or empty"),
        ("http://example.org/?x=1", "a server's address has no ?; it is %3F or %23"),
        ("http://example.org/#/experiments/1", "a server's address has no #"),
        ("http://example.org /x", "character 19 is a space or cannot be printed"),
        ("http://example.org/\x1b[2J", "character 20 is a space or cannot be printed"),
        ("sqlite://runs.db", "three slashes are expected before a relative path, four before an absolute one"),
        ("sqlite:runs.db", "after sqlite: two slashes are expected"),
        ("sqlite://", "it names no file; a database in memory is gone with the process"),
        ("sqlite:///:memory:", "it names no file"),
        ("postgresql://h:pw-1815/runs", "after the colon behind the host a port number is expected"),
        ("postgresql://ada:pw-1815@h", "it names no database; DIALECT://USER@HOST:PORT/DATABASE is expected"),
        ("mysql://ada:pw-1815@h/?charset=utf8", "it names no database"),
        ("postgresql://ada:l@velace-1815@h/runs", "an @ in a user's name, a password or a database's name is %40"),
        ("mysql://ada:l@ve/lace-1815@h/runs", "an @ in a user's name, a password or a database's name is %40"),
        ("mariadb://a/da:pw-1815@h/runs", "an @ in a user's name, a password or a database's name is %40"),
        ("postgresql+psycopg:h/runs", "after postgresql+psycopg: two slashes are expected"),
        ("htps://example.org", "no tracking store serves htps:; did you mean https:? Known are file:, http:, https:"),
        ("postgres://h/runs", "did you mean postgresql:?"),
        ("redis://h", "no tracking store serves redis:; Known are file:"),
        ("databricks", "nothing here serves databricks: MLflow's own client alone speaks it"),
        ("azureml://x", "nothing here serves azureml: `pip install azureml-mlflow` brings it"),
        ("mongodb+srv://h/d", "nothing here serves mongodb+srv: `pip install mlflow-tracking-mongostore` brings it"),
        ("s3://bucket/x", "s3: is a place of artifacts, not of runs; name it in RUNCONTEXT_ARTIFACT_URI"),
        ("webhdfs://ada:pw-1815@h", "is a place of artifacts"),
    ],
)
def test_a_bad_uri_says_where(uri: str, said: str) -> None:
    """What is malformed is said by its place, an unknown scheme by what is known, and no password is shown.

    Who opens such a place is told the same.
    """
    problem = places.problem_of(uri)
    assert problem is not None
    assert said in problem
    assert "1815" not in problem
    assert "\x1b" not in problem
    with pytest.raises(StoreError) as caught:
        places.open_store(uri)
    assert said in str(caught.value)


def test_what_a_run_asks_at_its_start_is_cheap() -> None:
    """A good address of a built-in place is known to be one without an import beyond what every start has."""
    source = """
import sys, json
import runcontext.fluent, runcontext.settings, runcontext.tracking.local
before = set(sys.modules)
from runcontext.tracking import places
settings = runcontext.settings.Settings({}, {})
assert places.problem_of("https://ada:pw@example.org:8080/x", settings) is None
assert places.problem_of("sqlite:///runs.db", settings) is None
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    new = [name for name in json.loads(done.stdout) if name not in {"json", "_json"} and not name.startswith("json.")]
    assert new == ["runcontext.tracking.places", "runcontext.tracking.uris"]


# --- who serves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("{}/runs", "FolderStore"),
        ("file://{}/runs", "FolderStore"),
        ("http://127.0.0.1:1", "MLflowServerStore"),
        ("sqlite:///{}/runs.db", "SqlStore"),
    ],
)
def test_built_in_stores(tmp_path: Path, uri: str, opened: str) -> None:
    """Each scheme has its store, which is open without anybody having been asked."""
    store = places.open_store(uri.format(tmp_path))
    assert type(store).__name__ == opened
    store.close()


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("{}/artifacts", "LocalRepository"),
        ("file://{}/artifacts", "LocalRepository"),
        ("mlflow-artifacts:/1/artifacts", "ProxiedRepository"),
        ("s3://bucket/x", "RemoteRepository"),
        ("webhdfs://x", "RemoteRepository"),
        ("sqlite:///{}/runs.db/1/artifacts", "DatabaseRepository"),
    ],
)
def test_built_in_repositories(tmp_path: Path, uri: str, opened: str) -> None:
    """Each scheme has its repository; what fsspec alone knows goes to fsspec."""
    repository = artifact_places.open_repository(uri.format(tmp_path), tracking_uri="http://127.0.0.1:1")
    assert type(repository).__name__ == opened
    repository.close()


def test_what_ends_with_the_process_is_no_place() -> None:
    """It is refused before anything is sent: nobody would find it again."""
    problem = artifact_places.problem_of("memory://x")
    assert problem is not None
    assert "in one process only" in problem
    with pytest.raises(StoreError, match="in one process only"):
        artifact_places.open_repository("memory://x")


def test_the_schemes_of_fsspec_are_one_list() -> None:
    """Who decides which repository serves a scheme knows all that the one on fsspec serves by name."""
    assert set(artifact_places.REMOTE_SCHEMES) == set(schemes.SCHEMES)


def test_an_artifact_uri_that_nobody_serves() -> None:
    """It says what is known, and shows no password."""
    with pytest.raises(
        StoreError, match="no artifact repository serves moon:; known are file:, mlflow-artifacts:"
    ) as e:
        artifact_places.open_repository("moon://ada:pw-1815@crater")
    assert "1815" not in str(e.value)
    assert artifact_places.problem_of("moon://crater") is not None
    assert artifact_places.problem_of("s3://bucket") is None


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("bos://b", "nothing here serves bos: `pip install mlflow-baidubce-store-plugin` brings it"),
        ("exa+bfs://h/b", "nothing here serves exa+bfs: `pip install exasol-mlflow-plugin` brings it"),
        ("dbfs:/x", "nothing here serves dbfs: MLflow's own client alone speaks it"),
    ],
)
def test_an_artifact_uri_that_a_package_would_serve(uri: str, said: str) -> None:
    """Where it is known which one, it is named."""
    assert artifact_places.problem_of(uri) == f"artifact URI {uri!r}: {said}"


def test_what_fsspec_would_serve_is_said_without_it(site: Site) -> None:
    """Where fsspec is not installed it is named, with the package that fsspec itself names for the scheme."""
    from fsspec.registry import known_implementations

    for scheme, package in artifact_places.BY_FSSPEC.items():
        assert package in known_implementations[scheme]["err"]
        assert schemes.scheme_of(scheme) is not None
    source = (
        "import sys; sys.modules['fsspec'] = None\n"
        "from runcontext.artifacts import places; print(places.problem_of('smb://h/share'))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=site.folder)
    said = "artifact URI 'smb://h/share': nothing here serves smb: `pip install fsspec smbprotocol` brings it\n"
    assert done.stdout == said


def test_a_choice_of_nothing_installed_is_a_problem(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said at the start of a run, and whoever opens the place is told the same."""
    assert site
    monkeypatch.setenv("RUNCONTEXT_PLUGIN_HTTP", "nobody")
    assert "RUNCONTEXT_PLUGIN_HTTP=nobody names no installed plugin" in (places.problem_of("http://h") or "")
    assert "nobody" in (artifact_places.problem_of("http://h") or "")
    with pytest.raises(StoreError, match="nobody"):
        places.open_store("http://h")
    with pytest.raises(StoreError, match="nobody"):
        artifact_places.open_repository("http://h")


# --- plugins' own stores ---------------------------------------------------------------------------------------------

GOOD = """
from runcontext.tracking.folder import FolderStore

def Store(uri):
    return FolderStore(uri.removeprefix("team:"))
"""


class TestPluginStore(TrackingStoreContract):
    """A plugin's store is a store: here one that keeps runs as the built-in of folders does."""

    store_uri: ClassVar[str] = ""

    @pytest.fixture
    def opened(self, site: Site, tmp_path: Path) -> Iterator[Callable[[], TrackingStore]]:
        """Open it by its scheme, as the user would."""
        site.install("team-store", GOOD, {STORES: {"team": "Store"}})
        made: list[TrackingStore] = []

        def opened() -> TrackingStore:
            made.append(places.open_store(f"team:{tmp_path}/runs"))
            return made[-1]

        yield opened
        for each in made:
            each.close()


class Bad:
    """A store of whose methods every one does the same."""

    def __init__(self, site: Site, body: str) -> None:
        """Install and open it; ``body`` is what each method does."""
        methods = "".join(
            f"    def {name}(self, *arguments):\n        {body}\n"
            for name in ("create_run", "log_batch", "update_run", "get_run", "search_runs", "artifacts", "close")
        )
        source = f"import sys\nclass Store:\n    def __init__(self, uri): self.secret = uri\n{methods}"
        site.install("bad-store", source, {STORES: {"bad": "Store"}})
        self.store = places.open_store("bad://ada:pw-1815@h/runs")

    def failures(self) -> dict[str, StoreError]:
        """Call every method, and give what each raised."""
        store = self.store
        calls: dict[str, Callable[[], Any]] = {
            "create_run": lambda: store.create_run(new_run("e")),
            "log_batch": lambda: store.log_batch(STORED, Batch(1)),
            "update_run": lambda: store.update_run(STORED, RunUpdate(RunStatus.FINISHED, 1, "n")),
            "get_run": lambda: store.get_run("1"),
            "search_runs": lambda: store.search_runs(Query()),
            "artifacts": lambda: store.artifacts(STORED),
            "close": store.close,
        }
        found = {}
        for name, call in calls.items():
            try:
                call()
            except StoreError as error:
                found[name] = error
        return found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('no disk for ' + self.secret)", "RuntimeError: no disk for bad://ada:[redacted]@h/runs"),
        ("sys.exit(7)", "SystemExit: 7"),
        ("return self.nothing", "AttributeError"),
    ],
)
def test_a_store_that_goes_wrong_is_named(site: Site, body: str, said: str) -> None:
    """Whatever its methods raise, an exit too, is a StoreError with plugin, package and method, and no password."""
    bad = Bad(site, body)
    assert (bad.store.uri, bad.store.limits) == ("bad://ada:[redacted]@h/runs", BatchLimits())
    found = bad.failures()

    assert len(found) == 7
    for name, error in found.items():
        assert type(error) is StoreError
        assert str(error).startswith("tracking store 'bad' of bad-store 1.0")
        assert name in str(error)
        assert said in str(error)
        assert "1815" not in str(error)


def test_a_store_that_gives_nothing_is_named(site: Site) -> None:
    """Where something is expected None is an error; a batch without refusals may be None."""
    found = Bad(site, "return None").failures()

    assert set(found) == {"create_run", "get_run", "search_runs", "artifacts"}
    assert "gave a NoneType for create_run(); StoredRun is expected" in str(found["create_run"])
    assert "gave a NoneType without upload_file(), download_file()" in str(found["artifacts"])


def test_a_store_out_of_reach_may_be_back(site: Site) -> None:
    """A lost connection behind what it raises is told from what never goes right; its own StoreErrors stay."""
    lost = Bad(site, "raise OSError('send') from ConnectionResetError()").failures()
    assert {type(each) for each in lost.values()} == {StoreUnavailableError}


def test_a_stores_own_errors_stay(site: Site) -> None:
    """What a plugin says in runcontext's own words is passed on as it is."""
    own = Bad(site, "from runcontext.errors import StoreUnavailableError as E; raise E('x', retry_after_seconds=4)")
    assert {getattr(each, "retry_after_seconds", None) for each in own.failures().values()} == {4}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def Store(uri): raise ValueError(uri)", "cannot be built: ValueError: odd://ada:[redacted]@h"),
        ("def Store(uri): return None", "gave a NoneType without create_run(), log_batch()"),
        ("raise ImportError('no such library')", "cannot be loaded: ImportError: no such library"),
    ],
)
def test_a_store_that_cannot_be_built(site: Site, source: str, said: str) -> None:
    """The error names plugin and package, and the artifacts of such a scheme fail alike."""
    site.install("odd-store", f"{source}\n", {STORES: {"odd": "Store"}, REPOSITORIES: {"odd": "Store"}})
    with pytest.raises(StoreError) as caught:
        places.open_store("odd://ada:pw-1815@h")
    assert said in str(caught.value)
    assert "odd-store 1.0" in str(caught.value)
    with pytest.raises(StoreError, match=r"artifact repository 'odd' of odd-store 1\.0"):
        artifact_places.open_repository("odd://ada:pw-1815@h")


REPOSITORY = """
from runcontext.artifacts.local import LocalRepository
from runcontext.artifacts.repository import ArtifactInfo

class Outside(LocalRepository):
    def __init__(self, uri, tracking_uri=None):
        super().__init__(uri.removeprefix("out:"))
        self.asked_for = tracking_uri
    def list_artifacts(self, path=None):
        return [ArtifactInfo("../secret", False, 1)] if path == "out" else super().list_artifacts(path)
    def download_file(self, artifact_path, local_path):
        if artifact_path != "lost.txt":
            super().download_file(artifact_path, local_path)
"""


def test_a_plugins_repository(site: Site, tmp_path: Path) -> None:
    """It keeps files as others do; what it lists outside of itself, or does not download, is an error."""
    site.install("out", REPOSITORY, {REPOSITORIES: {"out": "Outside"}})
    repository = artifact_places.open_repository(f"out:{tmp_path}/kept", tracking_uri="http://h")
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    repository.upload_file(str(tmp_path / "a.txt"), "sub/a.txt")
    assert list(repository.list_artifacts("sub")) == [ArtifactInfo("sub/a.txt", is_dir=False, size_bytes=1)]
    repository.download_file("sub/a.txt", str(tmp_path / "b.txt"))
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "a"

    with pytest.raises(StoreError, match=r"\.\./secret"):
        repository.list_artifacts("out")
    with pytest.raises(StoreError, match=r"of out 1.0 .* wrote no .*c.txt"):
        repository.download_file("lost.txt", str(tmp_path / "c.txt"))
    with pytest.raises(StoreError):
        repository.upload_file(str(tmp_path / "a.txt"), "../a.txt")
