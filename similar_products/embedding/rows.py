"""Rows claimed in batches by any number of processes, none of which does another's again."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Model, QuerySet

from ..search.placement import Placement
from .reconnecting import with_reconnect
from .schemas import quoted_table

# Of the table that the name means now: another schema's has another number, and may have rows of the same keys.
LOCK = "hashtextextended(concat('similar_products row ', to_regclass(%s)::oid, ' ', key), 0)"


class Row(NamedTuple):
    """A row with a vector: its key, and the picture and the source that it had when it was read."""

    pk: Any
    image: str
    source: str


class ClaimedRows:
    """Claims rows in batches by primary key: no snapshot is held open, no row lock is held during inference."""

    def __init__(self, placement: Placement, using: str) -> None:
        self._image = placement.holder_image
        self._using = using
        self._table = quoted_table(placement.holder, using)
        self._key = placement.holder._meta.pk.name  # of the table with the vectors, whatever child the queryset is of
        self._held: set[Hashable] = set()

    def claim(
        self,
        queryset: QuerySet[Model],
        batch_size: int,
        limit: int | None,
        should_stop: Callable[[], bool],
        on_locked: Callable[[Hashable, str], object],
    ) -> Iterator[list[Row]]:
        """Yield batches of rows that no other process has; those that one has are handed to ``on_locked``."""
        queryset = queryset.filter(**{f"{self._image}__gt": ""}).order_by(self._key)
        page, left = queryset, limit
        while (left is None or left > 0) and not should_stop():
            wanted = batch_size if left is None else min(batch_size, left)
            keys, rows = with_reconnect(self._using, partial(self._claim_page, queryset, page, wanted))
            for pk in keys:
                if pk not in self._held:
                    on_locked(pk, "locked")
            taken = {row.pk for row in rows}
            self.release([pk for pk in keys if pk not in taken])
            if rows:
                yield rows
            if len(keys) < wanted:
                return
            page = queryset.filter(**{f"{self._key}__gt": keys[-1]})
            left = None if left is None else left - len(rows)

    def only(self, queryset: QuerySet[Model], keys: Sequence[Hashable]) -> QuerySet[Model]:
        return queryset.filter(**{f"{self._key}__in": keys})

    def _claim_page(
        self, queryset: QuerySet[Model], page: QuerySet[Model], wanted: int
    ) -> tuple[list[Hashable], list[Row]]:
        keys = list(page.values_list(self._key, flat=True)[:wanted])
        if not keys:
            return [], []
        with connections[self._using].cursor() as cursor:
            cursor.execute(
                "SELECT position FROM unnest(%s::text[]) WITH ORDINALITY AS keys(key, position) "  # noqa: S608
                f"WHERE pg_try_advisory_lock({LOCK})",
                [list(map(str, keys)), self._table],
            )
            claimed = [keys[position - 1] for (position,) in cursor.fetchall()]
        self._held.update(claimed)
        # Read only now: what another process has just finished has left the queryset.
        columns = self.only(queryset, claimed).values_list(self._key, self._image, "embedding_source")
        return keys, [Row(*values) for values in columns]

    def release(self, keys: Iterable[Hashable]) -> None:
        """Let other processes have the rows again."""
        with_reconnect(self._using, partial(self._release, self._held.intersection(keys)))

    def release_all(self) -> None:
        """Let go of what is still held after an error or a stop."""
        if self._held:
            self._release(set(self._held))

    def _release(self, keys: set[Hashable]) -> None:
        if not keys:
            return
        with connections[self._using].cursor() as cursor:
            # A lock that went away with its connection is not held any more, which PostgreSQL notes and no more.
            cursor.execute(
                f"SELECT pg_advisory_unlock({LOCK}) FROM unnest(%s::text[]) AS keys(key)",  # noqa: S608
                [self._table, list(map(str, keys))],
            )
        self._held -= keys
