"""``python -m runcontext``: the command line, where no ``runcontext`` is on PATH."""

import sys

from runcontext.cli import main

sys.exit(main())
