"""An example of a provider for runcontext; ``team.py`` is all there is to it."""
