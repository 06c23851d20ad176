"""Artifacts through an MLflow tracking server, which keeps them wherever it is told to.

``address`` says which server and which folder there a URI names, ``multipart`` sends large files past the server,
``repository`` does the rest.
"""

from __future__ import annotations

from runcontext.artifacts.proxied.repository import ProxiedRepository

__all__ = ["ProxiedRepository"]
