"""Settings of a database session that hold while something is done, the server's limits of time above all."""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

NO_LIMITS = dict.fromkeys(("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"), "0")
"""What a role or a database may limit for the sake of web pages, and long work does not keep within."""
NO_LIMIT_AT_ALL = {**NO_LIMITS, "lock_timeout": "0"}
"""For an index too, whose building waits for every transaction older than it."""


@contextmanager
def without_limits(aliases: Collection[str]) -> Iterator[None]:
    """Let statements of this thread take their time, on the connections to these databases that it has or makes."""
    thread = threading.get_ident()
    with ExitStack() as stack:

        def lift(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
            if connection.alias in aliases and threading.get_ident() == thread:
                stack.enter_context(set_for_session(connection, NO_LIMITS))

        connection_created.connect(lift)
        stack.callback(connection_created.disconnect, lift)
        for connection in connections.all(initialized_only=True):
            if connection.connection is not None:
                with suppress(OperationalError, InterfaceError):  # a lost one, which is made anew when it is needed
                    lift(connection)
        yield


@contextmanager
def set_for_session(connection: BaseDatabaseWrapper, settings: Mapping[str, str]) -> Iterator[None]:
    """Give the session those of ``settings`` that its server knows, and what it had before afterwards."""
    before, raw = _set(connection, settings), connection.connection
    try:
        yield
    finally:
        if raw is connection.connection and not raw.closed:
            with suppress(DatabaseError):  # of a transaction that failed: its end takes the settings back as well
                _set(connection, before)


def _set(connection: BaseDatabaseWrapper, settings: Mapping[str, str]) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, current_setting(name), set_config(name, new.value, false) "
            "FROM pg_settings JOIN unnest(%s::text[], %s::text[]) AS new(name, value) USING (name)",
            [list(settings), list(settings.values())],
        )
        return {name: before for name, before, _ in cursor.fetchall()}
