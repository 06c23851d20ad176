"""What every repository of artifacts keeps to, as tests that a plugin's author runs over it."""

from __future__ import annotations

import hashlib
import os
import random
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from runcontext.artifacts.repository import ArtifactRepository
from runcontext.errors import StoreError

_BIG_BYTES = 9 * 1_048_576 + 3
NAMES = (
    "two words.txt",
    "50%.txt",
    "a%20b.txt",
    "#1.txt",
    "what?.txt",
    "a+b&c=d.txt",
    "it's [1]{2}.txt",
    "\u00e4\u00f6 \u6a21\u578b \U0001f9ea.txt",
    "e\u0301.txt",
    ".hidden",
    "-rf",
    "_underscore",
    "comma, semicolon;.txt",
    "UPPER.txt",
    "upper.txt",
)
"""Names that people give to files, each of which some place or other has mistaken."""

OUTSIDE = ("..", "../x", "a/../../x", "a/..", "/etc/x", ".", "./x", "a/./x", "a//x", "a\0b", "")
"""What is no path within a repository."""


class ArtifactRepositoryContract:
    """What every repository keeps to: subclass it in a test module, and pytest runs it.

    The subclass has a pytest fixture ``repository`` that gives an empty repository, a new one for each test::

        class TestTeamRepository(ArtifactRepositoryContract):
            secrets = ("hunter2",)

            @pytest.fixture
            def repository(self) -> TeamRepository:
                return TeamRepository(f"team://me:hunter2@host/{uuid.uuid4().hex}/artifacts")

    - ``secrets``: parts of its URI that nothing may show.
    - ``refused_names``: those of ``NAMES`` that the place cannot keep; they are to be refused, not kept as another.
    """

    secrets: ClassVar[tuple[str, ...]] = ()
    refused_names: ClassVar[tuple[str, ...]] = ()

    def test_a_file_comes_back_as_it_was(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Every byte value, and line ends of every system, in a folder that was not there before."""
        content = bytes(range(256)) * 3 + b"\r\n\n\r\0"
        upload(repository, tmp_path, "model/weights.bin", content)
        assert download(repository, tmp_path, "model/weights.bin") == content

    def test_an_empty_file_is_a_file(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """It is listed, with a size of 0 where the place says sizes at all, and comes back."""
        upload(repository, tmp_path, "empty.txt", b"")
        assert listed(repository) in ([("empty.txt", False, 0)], [("empty.txt", False, None)])
        assert download(repository, tmp_path, "empty.txt") == b""

    def test_a_big_file_comes_back_whole(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Some MiB and a few bytes, so that it takes several pieces, none like another, the last of them short."""
        source = tmp_path / "big.bin"
        source.write_bytes(random.Random(1).randbytes(_BIG_BYTES))  # noqa: S311 - no secret, only unlike itself
        repository.upload_file(str(source), "big.bin")
        assert listed(repository) == [("big.bin", False, source.stat().st_size)]
        repository.download_file("big.bin", str(tmp_path / "back.bin"))
        assert digest(tmp_path / "back.bin") == digest(source)

    def test_a_file_is_replaced(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """The second file of a name takes the place of the first, also where it is shorter."""
        upload(repository, tmp_path, "notes.txt", b"first, and long")
        upload(repository, tmp_path, "notes.txt", b"second")
        assert listed(repository) == [("notes.txt", False, 6)]
        assert download(repository, tmp_path, "notes.txt") == b"second"

    def test_the_artifact_may_be_called_otherwise_than_the_file(
        self, repository: ArtifactRepository, tmp_path: Path
    ) -> None:
        """``artifact_path`` names the artifact itself, whatever the local file is called, and leaves that as it is."""
        source = tmp_path / "local name.txt"
        source.write_bytes(b"text")
        repository.upload_file(str(source), "folder/other.json")
        assert listed(repository, "folder") == [("folder/other.json", False, 4)]
        assert source.read_bytes() == b"text"

    def test_a_listing_is_one_level_sorted(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Files with sizes and folders without, paths from the root; deeper ones only in their own folder's listing."""
        for path in ("b.txt", "a/2.txt", "a/1.txt", "a/deep/er/x.bin", "a.txt", "ab/other.txt"):
            upload(repository, tmp_path, path, path.encode())
        assert listed(repository) == [
            ("a", True, None),
            ("a.txt", False, 5),
            ("ab", True, None),
            ("b.txt", False, 5),
        ]
        assert listed(repository, "a") == [("a/1.txt", False, 7), ("a/2.txt", False, 7), ("a/deep", True, None)]
        assert listed(repository, "a/deep") == [("a/deep/er", True, None)]

    def test_a_file_and_what_is_not_there_list_nothing(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """An empty root, a file, a folder that nobody made: each is an empty listing, and no error."""
        assert listed(repository) == []
        upload(repository, tmp_path, "folder/file.txt", b"x")
        assert listed(repository, "folder/file.txt") == []
        assert listed(repository, "elsewhere") == []
        assert listed(repository, "fold") == []

    def test_a_deep_folder_is_kept(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Twenty folders in each other."""
        path = "/".join([*(f"level{each}" for each in range(20)), "leaf.txt"])
        upload(repository, tmp_path, path, b"leaf")
        assert download(repository, tmp_path, path) == b"leaf"
        assert listed(repository, path.rpartition("/")[0]) == [(path, False, 4)]

    def test_names_are_kept_as_they_are(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Spaces, signs that mean something in a URL or a pattern, Unicode in any form, letters that differ in case."""
        kept = [each for each in NAMES if each not in self.refused_names]
        for number, name in enumerate(kept):
            upload(repository, tmp_path, f"odd & folder/{name}", str(number).encode())
        found = [path for path, _, _ in listed(repository, "odd & folder")]
        assert sorted(found) == sorted(f"odd & folder/{each}" for each in kept)
        for number, name in enumerate(kept):
            assert download(repository, tmp_path, f"odd & folder/{name}") == str(number).encode(), name

    def test_a_name_that_it_cannot_keep_is_refused(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """It raises StoreError, and keeps nothing under another name instead."""
        for name in self.refused_names:
            self.refusal(lambda name=name: upload(repository, tmp_path, name, b"x"))  # type: ignore[misc]
        assert listed(repository) == []

    def test_a_path_out_of_the_root_is_refused(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Absolute ones, ``..`` and ``.``, empty parts and NUL: before anything is written anywhere."""
        target = tmp_path / "target.txt"
        for path in OUTSIDE:
            self.refusal(lambda path=path: upload(repository, tmp_path, path, b"x"))  # type: ignore[misc]
            self.refusal(lambda path=path: repository.download_file(path, str(target)))  # type: ignore[misc]
        for path in OUTSIDE[:-1]:
            self.refusal(lambda path=path: repository.list_artifacts(path))  # type: ignore[misc]
        assert listed(repository) == []
        assert not target.exists()

    def test_what_is_not_there_raises(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """It names the artifact; the local file stays as it was, and nothing lies beside it."""
        target = tmp_path / "there" / "target.txt"
        target.parent.mkdir()
        target.write_bytes(b"before")
        error = self.refusal(lambda: repository.download_file("no/such.txt", str(target)))
        assert "no/such.txt" in str(error)
        assert target.read_bytes() == b"before"
        assert os.listdir(target.parent) == ["target.txt"]

    def test_a_folder_is_no_file(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Downloading one raises, and writes nothing."""
        upload(repository, tmp_path, "folder/file.txt", b"x")
        self.refusal(lambda: repository.download_file("folder", str(tmp_path / "target")))
        assert not (tmp_path / "target").exists()

    def test_a_download_replaces_what_is_there(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """An older, longer file is gone whole; folders that are missing are made; nothing else is left."""
        upload(repository, tmp_path, "new.txt", b"new")
        target = tmp_path / "made" / "on" / "the way" / "new.txt"
        for content in (b"", b"old and longer"):
            if content:
                target.write_bytes(content)
            repository.download_file("new.txt", str(target))
            assert target.read_bytes() == b"new"
            assert os.listdir(target.parent) == ["new.txt"]

    def test_a_local_file_that_is_not_there_raises(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """The error names the file; nothing is kept under the artifact's name."""
        gone = tmp_path / "gone.txt"
        error = self.refusal(lambda: repository.upload_file(str(gone), "kept.txt"))
        assert "gone.txt" in str(error)
        assert listed(repository) == []

    def test_threads_use_it_at_once(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Files of different names and of one name, up and down together: each arrives whole."""
        contents = [bytes([each]) * (70_000 + each) for each in range(8)]

        def transfer(number: int) -> bytes:
            folder = tmp_path / str(number)
            folder.mkdir()
            upload(repository, folder, f"own/{number}.bin", contents[number])
            upload(repository, folder, "shared.bin", contents[number])
            return download(repository, folder, f"own/{number}.bin")

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(transfer, range(8))) == contents
        assert download(repository, tmp_path, "shared.bin") in contents
        assert len(listed(repository, "own")) == 8

    def test_nothing_shows_a_credential(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Neither its URI, nor its repr, nor an error with all that caused it."""
        error = self.refusal(lambda: repository.download_file("no/such.txt", str(tmp_path / "target.txt")))
        shown = "".join((repository.uri, repr(repository), *traceback.format_exception(error)))
        assert [each for each in self.secrets if each in shown] == []

    def test_it_can_be_closed_twice(self, repository: ArtifactRepository, tmp_path: Path) -> None:
        """Letting go of what is gone already does no harm."""
        upload(repository, tmp_path, "a.txt", b"a")
        repository.close()
        repository.close()

    @staticmethod
    def refusal(call: Callable[[], Any]) -> StoreError:
        """Give the StoreError that a call raises; anything else it does fails the test."""
        try:
            call()
        except StoreError as error:
            return error
        message = "a StoreError was expected, and none was raised"
        raise AssertionError(message)


def upload(repository: ArtifactRepository, folder: Path, path: str, content: bytes) -> None:
    """Upload ``content`` as ``path``, from a file in ``folder`` whose name says nothing."""
    source = folder / f"source-{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    source.write_bytes(content)
    repository.upload_file(str(source), path)


def download(repository: ArtifactRepository, folder: Path, path: str) -> bytes:
    """Give what an artifact holds, by a file in ``folder``."""
    target = folder / f"target-{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    repository.download_file(path, str(target))
    return target.read_bytes()


def listed(repository: ArtifactRepository, path: str | None = None) -> list[tuple[str, bool, int | None]]:
    """Give a listing as plain rows."""
    return [(each.path, each.is_dir, each.size_bytes) for each in repository.list_artifacts(path)]


def digest(path: Path) -> str:
    """Give a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


__all__ = ["ArtifactRepositoryContract"]
