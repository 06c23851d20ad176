"""How requests go to one server: its address, credentials, headers of plugins, retries, and what its replies mean.

``addresses`` judges a tracking URI, ``variables`` reads MLflow's environment, ``credentials`` and ``headers`` dress a
request, ``replies`` turns what comes back into a result or one clear error, without what was ``sent`` as a credential,
and ``session`` holds them together.
"""

from __future__ import annotations

from runcontext.tracking.http.addresses import problem_of
from runcontext.tracking.http.replies import ServerRefusalError
from runcontext.tracking.http.session import ServerSession

__all__ = ["ServerRefusalError", "ServerSession", "problem_of"]
