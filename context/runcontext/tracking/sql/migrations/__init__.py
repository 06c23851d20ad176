"""Alembic's revisions of the schema: one file for each version below ``versions``."""
