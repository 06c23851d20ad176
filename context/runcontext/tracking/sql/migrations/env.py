"""How Alembic runs the revisions: on the connection that it is given, in that connection's transaction."""

from __future__ import annotations

from alembic import context

from runcontext.tracking.sql import schema

context.configure(connection=context.config.attributes["connection"], version_table=schema.VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
