"""A database that goes away in the middle of long work, and comes back."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections

logger = logging.getLogger(__name__)

RECONNECT_DELAYS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between the tries: half a minute in all, which a restart of PostgreSQL or a failover takes at most."""

LOST = {"25P03", "25P04", "53300", "57P01", "57P02", "57P03", "57P05"}
"""SQLSTATEs with which a server ends a session, or does not take one now; those that begin with 08 as well."""
IN_THE_WAY = {"40001", "40P01", "55P03", "57014"}
"""SQLSTATEs of what may work later: conflicts, a deadlock, a lock not given in time, a statement cancelled."""

T = TypeVar("T")


def sqlstate_of(error: Exception) -> str:
    """Return the server's code for an error of Django's; '' where the server said nothing."""
    return getattr(error.__cause__, "sqlstate", None) or ""


def with_reconnect(using: str, work: Callable[[], T]) -> T:
    """Return ``work()``, tried again on a new connection while the database is away.

    Away is a lost connection, not an error of the statement: a cancelled one, or a lock not given in time, is raised.
    ``work`` must be harmless to do twice. Inside a transaction it is tried once, because what came before in
    the transaction is lost with the connection. Raises Django's ``OperationalError`` or ``InterfaceError`` when
    the database stays away.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        return work()
    for delay in RECONNECT_DELAYS:
        try:
            return work()
        except (OperationalError, InterfaceError) as error:
            code = sqlstate_of(error)
            if code and code not in LOST and not code.startswith("08"):
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            logger.warning("The database %r does not answer (%s); trying again in %g s.", using, reason, delay)
            connection.close()
            time.sleep(delay)
    return work()
