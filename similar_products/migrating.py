"""A change of an embedding's dimensions: no vector can be converted to it, so the migration empties the columns."""

from typing import Any

from django.apps import AppConfig
from django.db.migrations import AlterField, Migration
from django.db.migrations.operations.base import Operation
from django.db.models.signals import pre_migrate
from pgvector.django import VectorField

from .search.hnsw_index import index_name, make_index
from .search.placement import DERIVED_FIELDS

EMPTY = {"embedding": "NULL", "embedding_source": "''", "embedding_error": "''"}


class AlterEmbedding(AlterField):
    """``AlterField`` that empties the derived columns where the number of dimensions changes, and makes the index anew.

    All rows are pending then. Django sees no difference between indexes on ``halfvec(64)`` and ``halfvec(128)``.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        before, after = (state.apps.get_model(app_label, self.model_name) for state in (from_state, to_state))
        old, new = before._meta.get_field(self.name), after._meta.get_field(self.name)
        fields = {field.name: field for field in before._meta.local_fields}
        is_derived = isinstance(old, VectorField) and fields.keys() >= EMPTY.keys()
        is_here = self.allow_migrate_model(schema_editor.connection.alias, after)
        if not is_derived or not is_here or old.dimensions == new.dimensions:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        index = next((index for index in before._meta.indexes if index.name == index_name(before)), None)
        if index is not None:
            schema_editor.remove_index(before, index)
        # One ALTER TABLE writes the table once, and leaves no dead rows.
        changes = ", ".join(
            f"ALTER COLUMN {schema_editor.quote_name(field.column)} TYPE {field.db_type(schema_editor.connection)} "
            f"USING {EMPTY[name]}"
            for name, field in fields.items()
            if name in EMPTY
        )
        if schema_editor.atomic_migration:
            schema_editor.execute("SET LOCAL statement_timeout = 0")  # which the table's rewriting may take
        schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(before._meta.db_table)} {changes}")
        super().database_forwards(app_label, schema_editor, from_state, to_state)
        if index is not None:
            schema_editor.add_index(after, make_index(after, new.dimensions))


def connect(app_config: AppConfig) -> None:
    """Have every ``migrate`` empty the columns before it changes their dimensions.

    A shop's migrations import pgvector and nothing of ours, so the operation is exchanged in the plan, as Django puts
    operations of its own there for the names of content types.
    """
    pre_migrate.connect(exchange_operations, sender=app_config)


def exchange_operations(plan: list[tuple[Migration, bool]] | None = None, **kwargs: Any) -> None:
    """Put ``AlterEmbedding`` in the place of each ``AlterField`` of an embedding in the plan of a migrate."""
    for migration, _ in plan or ():
        migration.operations[:] = map(_exchanged, migration.operations)  # type: ignore[index]


def _exchanged(operation: Operation) -> Operation:
    if type(operation) is AlterField and operation.name == DERIVED_FIELDS[0]:
        return AlterEmbedding(operation.model_name, operation.name, operation.field, operation.preserve_default)
    return operation
