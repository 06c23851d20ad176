"""Who started the run."""

from __future__ import annotations

import os

from runcontext import NotInContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext import RunContextProvider
    from runcontext.provider import TagValue

_NAME_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")


class UserProvider:
    """The user: MLFLOW_TRACKING_USERNAME, else whom the environment or the password database names.

    The order is that of ``getpass.getuser()``, whose module would cost the program 5 ms to import.
    """

    placement = "inline"

    def in_context(self) -> bool:
        """Say yes: somebody always runs the program."""
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give ``mlflow.user``; a user id without a name, as in containers, is ``uid:1234``."""
        return {"mlflow.user": _user}


def _user() -> str:
    for variable in ("MLFLOW_TRACKING_USERNAME", *_NAME_VARIABLES):
        name = os.environ.get(variable)
        if name:
            return name
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except ImportError:
        reason = f"none of {', '.join(_NAME_VARIABLES)} is set"
        raise NotInContext(reason) from None
    except KeyError:
        return f"uid:{os.getuid()}"


if TYPE_CHECKING:
    _: type[RunContextProvider] = UserProvider
