"""The requests of MLflow's REST API that a store of runs makes.

Paths, fields and errors are those of MLflow 2.22 to 3.18 ("REST API" in its documentation, and mlflow.server.handlers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runcontext.errors import StoreUnavailableError
from runcontext.tracking.http import ServerRefusalError
from runcontext.tracking.mlflow import batches
from runcontext.tracking.store import RUN_ID_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeAlias

    from runcontext.tracking.mlflow.batches import Identity
    from runcontext.tracking.mlflow.session import MLflowSession

    Row: TypeAlias = Mapping[str, Any]

ABSENT = "RESOURCE_DOES_NOT_EXIST"
ALREADY_THERE = "RESOURCE_ALREADY_EXISTS"
_INVALID = "INVALID_PARAMETER_VALUE"
_PREFIX = "/api/2.0/mlflow/"
_POINTS_AT_ONCE = 50_000
_EXPERIMENTS_AT_ONCE = 1_000
_DUPLICATES_AT_ONCE = 100
_QUOTES = frozenset("'\"`\\")


class MLflowRest:
    """What one server is asked.

    Args:
        server: the session with it.
        is_patient: whether reading waits for a server that cannot be reached or is busy; writing never does.
    """

    def __init__(self, server: MLflowSession, *, is_patient: bool) -> None:
        """Keep both; nothing is asked yet."""
        self.server = server
        self._is_patient = is_patient

    def post(self, endpoint: str, body: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Write once; raises as the session's ``post`` does."""
        return self.server.post(_PREFIX + endpoint, body)

    def field(self, reply: Row, name: str) -> Any:
        """Give what a reply must hold.

        Raises:
            StoreUnavailableError: it does not.
        """
        if name not in reply:
            message = f"{self.server.uri} answered without {name!r}: the reply was cut, or is a proxy's"
            raise StoreUnavailableError(message)
        return reply[name]

    def run(self, remote_id: str) -> Row | None:
        """Give the run of the server's own id, deleted ones too."""
        return self._one("runs/get", {"run_id": remote_id}, "run")

    def runs_with_id(self, run_id: str, experiment_ids: Sequence[str]) -> list[Row]:
        """Give every run that has our id, deleted ones too."""
        if not experiment_ids or _QUOTES & set(run_id):
            return []
        asked = {
            "experiment_ids": list(experiment_ids),
            "filter": f"tags.`{RUN_ID_TAG}` = '{run_id}'",
            "run_view_type": "ALL",
            "max_results": _DUPLICATES_AT_ONCE,
        }
        return list(self._search(asked).get("runs", ()))

    def runs(self, asked: Row) -> Iterator[Row]:
        """Give all runs that a body of runs/search asks for, page after page."""
        token = ""
        while True:
            page = self._search({**asked, "page_token": token} if token else asked)
            yield from page.get("runs", ())
            token = page.get("next_page_token", "")
            if not token:
                return

    def history(self, remote_id: str, key: str) -> Iterator[Identity]:
        """Give every point of a metric."""
        # Servers before 3 know no pages and give all; those of 3 give none where no size is asked for.
        asked = {"run_id": remote_id, "metric_key": key, "max_results": _POINTS_AT_ONCE}
        for page in self._pages("metrics/get-history", asked):
            for each in page.get("metrics", ()):
                yield batches.identity(each["timestamp"], each.get("step", 0), each["value"])

    def experiment(self, experiment_id: str) -> Row | None:
        """Give the experiment of an id, deleted ones too."""
        return self._one("experiments/get", {"experiment_id": experiment_id}, "experiment")

    def experiment_named(self, name: str) -> Row | None:
        """Give the experiment of a name, deleted ones too."""
        return self._one("experiments/get-by-name", {"experiment_name": name}, "experiment")

    def experiments(self) -> Iterator[Row]:
        """Give all experiments that were not deleted."""
        asked = {"max_results": _EXPERIMENTS_AT_ONCE, "view_type": "ACTIVE_ONLY"}
        for page in self._pages("experiments/search", asked):
            yield from page.get("experiments", ())

    def _one(self, endpoint: str, asked: Row, name: str) -> Row | None:
        """Read one thing, None where the server has none of that name."""
        try:
            reply = self.server.get(_PREFIX + endpoint, asked, is_patient=self._is_patient)
        except ServerRefusalError as error:
            # The latter is said of a name or id that none can have.
            if error.error_code in (ABSENT, _INVALID):
                return None
            raise
        found: Row = self.field(reply, name)
        return found

    def _search(self, asked: Row) -> Row:
        return self.server.search(_PREFIX + "runs/search", asked, is_patient=self._is_patient)

    def _pages(self, endpoint: str, asked: Row) -> Iterator[Row]:
        token = ""
        while True:
            params = {**asked, "page_token": token} if token else asked
            page = self.server.get(_PREFIX + endpoint, params, is_patient=self._is_patient)
            yield page
            token, earlier = page.get("next_page_token", ""), token
            if not token or token == earlier:
                return
