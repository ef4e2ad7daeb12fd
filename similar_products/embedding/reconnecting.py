"""A database that goes away in the middle of long work, and comes back."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections

logger = logging.getLogger(__name__)

RECONNECT_DELAYS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between the tries: half a minute in all, which a restart of PostgreSQL or a failover takes at most."""

T = TypeVar("T")


def with_reconnect(using: str, work: Callable[[], T]) -> T:
    """Return ``work()``, tried again on a new connection while the database is away.

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
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            logger.warning("The database %r does not answer (%s); trying again in %g s.", using, reason, delay)
            connection.close()
            time.sleep(delay)
    return work()
