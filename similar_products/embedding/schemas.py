"""The schema that a connection is set to, where each tenant has its own, and a table's name, which may carry one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, models


def current_schema(using: str) -> str:
    """Return the schema that the database's connection is set to; '' where there is one for all."""
    return getattr(connections[using], "schema_name", None) or ""


def quoted_table(model: type[models.Model], using: str) -> str:
    """Return the name of the model's table as SQL has it, which may carry a schema."""
    return connections[using].ops.quote_name(model._meta.db_table)


@contextmanager
def in_schema(using: str, schema: str) -> Iterator[None]:
    """Set the connection to the schema that ``current_schema`` gave, and back afterwards; '' leaves it as it is."""
    if schema in ("", current_schema(using)):
        yield
        return
    connection: Any = connections[using]
    tenant = connection.tenant
    connection.set_schema(schema)
    try:
        yield
    finally:
        connection.set_tenant(tenant)
