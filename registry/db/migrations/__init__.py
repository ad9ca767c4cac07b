"""The history of the tables, one Alembic revision a module; a published one never changes."""
