"""The HNSW index in the database: whether it is there, and when it is better built after a load."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from django.db import connections, models

from ..models import VisuallySimilarModel
from ..query import all_rows
from ..search.hnsw_index import index_name
from ..search.placement import dimensions_of
from .reconnecting import with_reconnect
from .schemas import quoted_table
from .timeouts import NO_LIMIT_AT_ALL, set_for_session

logger = logging.getLogger(__name__)

RIGHTS = "docs/rights.md"
FIRST_FILL_ROWS = 1_000
"""From here on building the index after the load (0.56 ms a row) beats feeding a live one (3 ms a row)."""
BYTES_PER_INDEXED_DIMENSION = 2.66
"""Below 3.4 KB of maintenance_work_mem for each row of 1280 dimensions a build takes three times as long."""
MAX_KILOBYTES = 1024 * 1024


def get_index(holder: type[VisuallySimilarModel]) -> models.Index | None:
    """Return the index that the base class attached to ``holder``; ``None`` where its field is wrong."""
    return next((index for index in holder._meta.indexes if index.name == index_name(holder)), None)


def has_index(holder: type[VisuallySimilarModel], using: str) -> bool:
    """Return whether the model's HNSW index exists in the database, valid and of the embedding's dimensions."""
    return any(is_valid for _, is_valid in _existing(holder, using))


def may_maintain(holder: type[VisuallySimilarModel], using: str) -> bool:
    """Return whether the connection's role may drop and build indexes of the model's table: as a rule its owner."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE') "
            "FROM pg_class WHERE oid = to_regclass(%s)",
            [quoted_table(holder, using)],
        )
        row = cursor.fetchone()
        return row is not None and bool(row[0])


def build_index(holder: type[VisuallySimilarModel], using: str) -> None:
    """Build the model's HNSW index anew beside the running shop, with memory and time enough for its graph."""
    connection = connections[using]
    rows = all_rows(holder, using).filter(embedding__isnull=False).count()
    wanted = min(rows * BYTES_PER_INDEXED_DIMENSION * dimensions_of(holder) // 1024, MAX_KILOBYTES)
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'")
        memory = max(cursor.fetchone()[0], int(wanted))
    with set_for_session(connection, {**NO_LIMIT_AT_ALL, "maintenance_work_mem": str(memory)}):
        drop_index(holder, using)
        with connection.schema_editor(atomic=False) as editor:
            editor.add_index(holder, get_index(holder), concurrently=True)  # type: ignore[call-arg, arg-type]


def drop_index(holder: type[VisuallySimilarModel], using: str) -> None:
    """Drop the model's HNSW index, valid or half-built, without making the shop wait."""
    for name, _ in _existing(holder, using):
        with connections[using].cursor() as cursor:
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _existing(holder: type[VisuallySimilarModel], using: str) -> list[tuple[str, bool]]:
    """Return quoted name and validity of the index in the database, wherever its table's schema is."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text, indisvalid AND "
            "coalesce(substring(pg_get_indexdef(indexrelid) FROM 'halfvec.([0-9]+)') = %s, true) "
            "FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            "WHERE indrelid = to_regclass(%s) AND relname = %s",
            [str(dimensions_of(holder)), quoted_table(holder, using), index_name(holder)],
        )
        return list(cursor.fetchall())


@contextmanager
def index_after_load(
    holder: type[VisuallySimilarModel], using: str, rows: int, *, say: Callable[[str], object] = logger.info
) -> Iterator[None]:
    """Take the HNSW index away while a first fill of ``rows`` rows is loaded, build it after and ANALYZE.

    Does nothing where it would not pay or would be seen: few rows, vectors already there, a transaction
    open, or another process at it. An index found missing or invalid (a first fill that was killed) is
    built at the end in any case. A role that could not put the index back does not take it away. ``say`` is given a
    sentence for what takes long or cannot be done.
    """
    connection = connections[using]
    if connection.in_atomic_block or not connection.get_autocommit():
        # DROP and CREATE INDEX CONCURRENTLY need to stand alone.
        yield
        return
    with _index_lock(holder, using) as is_ours:
        is_first_fill = (
            is_ours and rows >= FIRST_FILL_ROWS and not all_rows(holder, using).filter(embedding__isnull=False).exists()
        )
        if is_first_fill and not may_maintain(holder, using):
            say(f"the role does not own the table: the index stays while it is filled, which takes longer ({RIGHTS}).")
            is_first_fill = False
        try:
            # One of other dimensions takes no vector.
            if is_first_fill or (is_ours and not has_index(holder, using) and may_maintain(holder, using)):
                with set_for_session(connection, NO_LIMIT_AT_ALL):
                    drop_index(holder, using)
            yield
        finally:
            if is_ours:
                with_reconnect(using, partial(_complete, holder, using, is_first_fill, say))


def _complete(
    holder: type[VisuallySimilarModel], using: str, is_first_fill: bool, say: Callable[[str], object]
) -> None:
    if not has_index(holder, using):
        if may_maintain(holder, using):
            say("building the vector index.")
            build_index(holder, using)
        else:
            say(f"the vector index is missing, and the role does not own the table: run this as its owner ({RIGHTS}).")
    if is_first_fill:
        with set_for_session(connections[using], NO_LIMIT_AT_ALL), connections[using].cursor() as cursor:
            cursor.execute(f"ANALYZE {quoted_table(holder, using)}")


@contextmanager
def _index_lock(holder: type[VisuallySimilarModel], using: str) -> Iterator[bool]:
    """Hold a session lock on the model's index, and yield whether it was free."""
    lock = "hashtextextended(concat('similar_products index ', to_regclass(%s)::oid), 0)"
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock({lock})", [quoted_table(holder, using)])
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connections[using].cursor() as cursor:  # maybe a new connection, after the server's restart
                cursor.execute(f"SELECT pg_advisory_unlock({lock})", [quoted_table(holder, using)])
