"""The HNSW index in the database: whether it is there, and when it is better built after a load."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from django.db import connections, models

from ..models import VisuallySimilarModel
from ..query import all_rows
from ..search.hnsw_index import index_name
from ..search.placement import dimensions_of
from .reconnecting import with_reconnect

FIRST_FILL_ROWS = 1_000
"""From here on building the index after the load (0.56 ms a row) beats feeding a live one (3 ms a row)."""
BYTES_PER_INDEXED_DIMENSION = 2.66
"""Below 3.4 KB of maintenance_work_mem for each row of 1280 dimensions a build takes three times as long."""
MAX_KILOBYTES = 1024 * 1024


def get_index(holder: type[VisuallySimilarModel]) -> models.Index | None:
    """Return the index that the base class attached to ``holder``; ``None`` where its field is wrong."""
    return next((index for index in holder._meta.indexes if index.name == index_name(holder)), None)


def has_index(holder: type[VisuallySimilarModel], using: str) -> bool:
    """Return whether the model's HNSW index exists in the database and is valid."""
    return any(is_valid for _, is_valid in _existing(holder, using))


def build_index(holder: type[VisuallySimilarModel], using: str) -> None:
    """Build the model's HNSW index anew beside the running shop, with memory enough to hold its graph."""
    connection = connections[using]
    rows = all_rows(holder, using).filter(embedding__isnull=False).count()
    kilobytes = min(rows * BYTES_PER_INDEXED_DIMENSION * dimensions_of(holder) // 1024, MAX_KILOBYTES)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('maintenance_work_mem', greatest(setting::bigint, %s)::text, false) "
            "FROM pg_settings WHERE name = 'maintenance_work_mem'",
            [int(kilobytes)],
        )
    try:
        drop_index(holder, using)
        with connection.schema_editor(atomic=False) as editor:
            editor.add_index(holder, get_index(holder), concurrently=True)  # type: ignore[call-arg, arg-type]
    finally:
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("RESET maintenance_work_mem")


def drop_index(holder: type[VisuallySimilarModel], using: str) -> None:
    """Drop the model's HNSW index, valid or half-built, without making the shop wait."""
    for name, _ in _existing(holder, using):
        with connections[using].cursor() as cursor:
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _existing(holder: type[VisuallySimilarModel], using: str) -> list[tuple[str, bool]]:
    """Return quoted name and validity of the index in the database, wherever its table's schema is."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            "WHERE indrelid = to_regclass(%s) AND relname = %s",
            [connections[using].ops.quote_name(holder._meta.db_table), index_name(holder)],
        )
        return list(cursor.fetchall())


@contextmanager
def index_after_load(
    holder: type[VisuallySimilarModel], using: str, rows: int, *, on_build: Callable[[], object] | None = None
) -> Iterator[None]:
    """Take the HNSW index away while a first fill of ``rows`` rows is loaded, build it after and ANALYZE.

    Does nothing where it would not pay or would be seen: few rows, vectors already there, a transaction
    open, or another process at it. An index found missing or invalid (a first fill that was killed) is
    built at the end in any case. ``on_build`` is called before the building begins.
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
        if is_first_fill:
            drop_index(holder, using)
        try:
            yield
        finally:
            if is_ours:
                with_reconnect(using, partial(_complete, holder, using, is_first_fill, on_build))


def _complete(
    holder: type[VisuallySimilarModel], using: str, is_first_fill: bool, on_build: Callable[[], object] | None
) -> None:
    if not has_index(holder, using):
        if on_build:
            on_build()
        build_index(holder, using)
    if is_first_fill:
        with connections[using].cursor() as cursor:
            cursor.execute(f"ANALYZE {connections[using].ops.quote_name(holder._meta.db_table)}")


@contextmanager
def _index_lock(holder: type[VisuallySimilarModel], using: str) -> Iterator[bool]:
    """Hold a session lock on the model's index, and yield whether it was free."""
    key = ["similar_products index " + holder._meta.db_table]
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key)
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connections[using].cursor() as cursor:  # maybe a new connection, after the server's restart
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)
