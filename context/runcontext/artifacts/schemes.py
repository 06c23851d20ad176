"""Which schemes of artifact URIs are served through fsspec and its like: strings, imported on use.

Any other scheme that fsspec itself knows is served too, by whatever file system fsspec has for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import quote

from runcontext.artifacts.addresses import Address
from runcontext.artifacts.files import Files, FsspecFiles
from runcontext.artifacts.multipart import STREAMS
from runcontext.errors import StoreError

Opener = Callable[[Address], tuple[Files, str]]
"""Connects, or makes ready to: gives a place's files, and the path of the root there, without a ``/`` at its end."""

_AZURE_HOST = re.compile(r"(?P<account>[^.]+)\.(?:dfs|blob)\.(?P<suffix>.+)")
_AZURE_SUFFIX = "core.windows.net"

_NOT_PLACES = frozenset(
    (
        *("arrow_hdfs", "async_wrapper", "asynclocal", "asyncwrapper", "blockcache", "cached", "dask", "data", "dbfs"),
        *("dir", "file", "filecache", "generic", "gist", "git", "github", "hf", "http", "https", "jlab", "jupyter"),
        *("libarchive", "local", "memory", "pyscript", "reference", "simplecache", "tar", "wandb", "zip"),
    )
)
"""What fsspec knows that keeps no artifacts: local files, readers, wrappers of others, and what ends with a process."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one scheme is served.

    - ``opener``: ``module:attribute``, an ``Opener``.
    - ``library``: what it imports; ``extra``: the extra of runcontext that brings it.
    - ``is_shared``: one connection serves any number of threads at once.
    - ``streams``: how many blocks of one file are fetched at once.
    - ``reserved``: characters that its library gives a meaning, so that no artifact's name can hold them.
    """

    opener: str
    library: str
    extra: str
    is_shared: bool = True
    streams: int = STREAMS
    reserved: str = ""


_HERE = "runcontext.artifacts.schemes"
_S3 = Scheme("runcontext.artifacts.s3:opened", "s3fs", "s3")
_S3_AT_HOST = Scheme("runcontext.artifacts.s3:opened_at_host", "s3fs", "s3")
_GS = Scheme(f"{_HERE}:google_opened", "gcsfs", "gs", reserved="#")
_AZURE = Scheme(f"{_HERE}:azure_opened", "adlfs", "azure", reserved="#?")
_HDFS = Scheme(f"{_HERE}:hadoop_opened", "pyarrow", "hdfs")
_SFTP = Scheme("runcontext.artifacts.sftp:opened", "paramiko", "sftp", is_shared=False, streams=1)

SCHEMES: dict[str, Scheme] = {
    "abfs": _AZURE,
    "abfss": _AZURE,
    "az": _AZURE,
    "b2": _S3_AT_HOST,
    "ftp": Scheme(f"{_HERE}:ftp_opened", "fsspec", "sftp", is_shared=False, streams=1),
    "gcs": _GS,
    "gs": _GS,
    "hdfs": _HDFS,
    "oss": Scheme("runcontext.artifacts.oss:opened", "oss2", "oss"),
    "r2": _S3_AT_HOST,
    "s3": _S3,
    "s3a": _S3,
    "sftp": _SFTP,
    "ssh": _SFTP,
    "viewfs": _HDFS,
    "wasb": _AZURE,
    "wasbs": _AZURE,
}
"""The schemes that are served by name."""


def scheme_of(name: str) -> Scheme | None:
    """Give how a scheme is served, None where neither runcontext nor fsspec knows it, or fsspec is not installed."""
    known = SCHEMES.get(name)
    if known is None and name in _fsspec_protocols() - _NOT_PLACES:
        return Scheme(f"{_HERE}:any_opened", "fsspec", "sftp", is_shared=False, streams=1)
    return known


def open_files(scheme: Scheme, address: Address) -> tuple[Files, str]:
    """Connect to a place, or make ready to.

    Raises:
        StoreError: the library is not installed, or the URI or a setting cannot be used.
        Exception: whatever the library raises where it cannot connect.
    """
    try:
        import_module(scheme.library)
        module, _, attribute = scheme.opener.partition(":")
        opener: Opener = getattr(import_module(module), attribute)
        return opener(address)
    except ImportError as error:
        hint = f"pip install 'runcontext[{scheme.extra}]'" if address.scheme in SCHEMES else str(error)
        message = f"artifacts at {address.shown} need {error.name or scheme.library}, which is not installed: {hint}"
        raise StoreError(message) from error


def google_opened(address: Address) -> tuple[Files, str]:
    """Open ``gs://BUCKET/PATH``; credentials are found as Google's libraries find them."""
    from gcsfs import GCSFileSystem

    address.check_has_no_credentials("GOOGLE_APPLICATION_CREDENTIALS, gcloud, or the machine's account")
    path = address.bucket_path(address.host)
    return _objects(GCSFileSystem(use_listings_cache=False, skip_instance_cache=True), path, address.host)


def azure_opened(address: Address) -> tuple[Files, str]:
    """Open ``abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH``, ``wasbs:`` alike, or ``az://CONTAINER/PATH``."""
    from adlfs import AzureBlobFileSystem

    container = address.host if address.user is None else address.user
    path = address.bucket_path(container)
    options = azure_options(address)
    return _objects(AzureBlobFileSystem(**options, skip_instance_cache=True), path, container)


def azure_options(address: Address) -> dict[str, Any]:
    """Give the arguments of ``adlfs.AzureBlobFileSystem``; adlfs itself reads AZURE_STORAGE_* beside them.

    MLflow's AZURE_STORAGE_ACCESS_KEY is read where adlfs's AZURE_STORAGE_ACCOUNT_KEY is not set.

    Raises:
        StoreError: a container is given an account by a host that is none of Azure's.
    """
    options: dict[str, Any] = {"use_listings_cache": False}
    key = os.environ.get("AZURE_STORAGE_ACCESS_KEY")
    if key and not os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"):
        options["account_key"] = key
    if address.user is None:
        return options
    found = _AZURE_HOST.fullmatch(address.host)
    if found is None:
        message = (
            f"artifact URI {address.shown} is malformed: {address.host!r} is no storage account; "
            f"{address.scheme}://CONTAINER@ACCOUNT.dfs.{_AZURE_SUFFIX}/PATH is expected"
        )
        raise StoreError(message)
    options["account_name"] = found["account"]
    if found["suffix"] != _AZURE_SUFFIX:
        options["account_host"] = f"{found['account']}.blob.{found['suffix']}"
    return options


def hadoop_opened(address: Address) -> tuple[Files, str]:
    """Open ``hdfs://HOST:PORT/PATH`` or ``viewfs://NAME/PATH``; no host is that of Hadoop's configuration."""
    from fsspec.implementations.arrow import HadoopFileSystem

    system = HadoopFileSystem(**hadoop_options(address), skip_instance_cache=True)
    return FsspecFiles(system, renames=True), address.path


def hadoop_options(address: Address) -> dict[str, Any]:
    """Give the arguments of fsspec's ``HadoopFileSystem``, with MLflow's variables for Kerberos."""
    options: dict[str, Any] = {
        "host": f"{address.scheme}://{address.host}" if address.host else "default",
        "port": address.port or 0,
        "user": address.user or os.environ.get("MLFLOW_KERBEROS_USER"),
        "kerb_ticket": os.environ.get("MLFLOW_KERBEROS_TICKET_CACHE"),
    }
    return {name: value for name, value in options.items() if value is not None}


def ftp_opened(address: Address) -> tuple[Files, str]:
    """Open ``ftp://USER:PASSWORD@HOST:PORT/PATH``."""
    from fsspec.implementations.ftp import FTPFileSystem

    options = {"port": address.port or 21, "username": address.user, "password": address.password}
    system = FTPFileSystem(address.host, **options, skip_instance_cache=True)
    return FsspecFiles(system, renames=True), address.path


def any_opened(address: Address) -> tuple[Files, str]:
    """Open what fsspec knows and runcontext does not by name, as fsspec takes its URI."""
    from fsspec import AbstractFileSystem, get_filesystem_class

    kind: Any = get_filesystem_class(address.scheme)
    uri, decoded = _uri_of(address)
    options = {name: decoded.get(value, value) for name, value in kind._get_kwargs_from_urls(uri).items()}
    path = str(kind._strip_protocol(uri))
    # fsspec's own copies what is to be moved, and cannot be relied on.
    renames = kind.mv is not AbstractFileSystem.mv
    return FsspecFiles(kind(**options, skip_instance_cache=True), renames=renames), path.rstrip("/")


def _uri_of(address: Address) -> tuple[str, dict[Any, str]]:
    """Write a URI that anybody takes apart as it is meant, and say what its credentials are: few decode them."""
    decoded: dict[Any, str] = {quote(each, safe=""): each for each in (address.user, address.password) if each}
    credentials = ":".join(quote(each, safe="") for each in (address.user, address.password) if each is not None)
    host = f"[{address.host}]" if ":" in address.host else address.host
    port = "" if address.port is None else f":{address.port}"
    at = "" if address.user is None else "@"
    return f"{address.scheme}://{credentials}{at}{host}{port}{address.path}", decoded


def _objects(system: Any, path: str, bucket: str) -> tuple[Files, str]:
    return FsspecFiles(system, renames=False, bucket=bucket), path


def _fsspec_protocols() -> frozenset[str]:
    try:
        from fsspec import available_protocols
    except ImportError:
        return frozenset()
    return frozenset(available_protocols())
