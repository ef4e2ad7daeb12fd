"""Limits of time that a shop sets for its pages, and long work of ours."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.models import QuerySet
from pgvector import Vector

from similar_products.embedding import embed
from similar_products.embedding.index_build import build_index, has_index
from similar_products.embedding.reconnecting import with_reconnect
from similar_products.embedding.timeouts import NO_LIMITS, set_for_session, without_limits
from tests.catalogues import ENCODER
from tests.embedding.added_shirts import add_shirts
from tests.models import Shirt

pytestmark = pytest.mark.django_db(transaction=True)


def setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        return cursor.fetchone()[0]


@pytest.fixture
def limited():
    """Gives the session the limits of a web process."""
    with set_for_session(connection, {"statement_timeout": "50ms", "lock_timeout": "50ms"}):
        yield


@pytest.fixture
def held_row():
    """Gives a shirt whose row another session has locked, as a long transaction of the shop does."""
    first, _ = add_shirts(2)
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("SELECT FROM tests_shirt WHERE id = %s FOR UPDATE", [first.pk])
    yield first
    other.rollback()
    other.close()


def test_without_limits__lifts_them_and_puts_them_back(limited):
    with without_limits({"default"}):
        assert {setting(name) for name in NO_LIMITS if name != "transaction_timeout"} == {"0"}
        assert setting("lock_timeout") == "50ms"
    assert setting("statement_timeout") == "50ms"


def test_without_limits__holds_on_a_connection_made_meanwhile(settings):
    options = connection.settings_dict["OPTIONS"]
    connection.close()
    connection.settings_dict["OPTIONS"] = {**options, "options": "-c statement_timeout=50ms"}
    try:
        with without_limits({"default"}):
            connection.close()
            assert setting("statement_timeout") == "0"
            with ThreadPoolExecutor(1) as other:  # which is not ours
                assert other.submit(setting_of_a_thread).result() == "50ms"
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = options


def setting_of_a_thread() -> str:
    try:
        return setting("statement_timeout")
    finally:
        connection.close()


def test_without_limits__leaves_other_databases_alone(limited):
    with without_limits({"archive"}):
        assert setting("statement_timeout") == "50ms"


def test_set_for_session__after_an_error_in_a_transaction_goes_on():
    with pytest.raises(OperationalError, match="canceling statement"), connection.cursor() as cursor:
        cursor.execute("BEGIN")
        with set_for_session(connection, {"statement_timeout": "20ms"}):
            cursor.execute("SELECT pg_sleep(5)")
    with connection.cursor() as cursor:
        cursor.execute("ROLLBACK")
    assert setting("statement_timeout") == "0"


def test_build_index__takes_the_time_it_needs(limited):
    vectors = np.random.default_rng(3).normal(size=(600, 1280))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with set_for_session(connection, NO_LIMITS):
        QuerySet(Shirt).bulk_create(
            Shirt(name="a", image="a.png", embedding=Vector(vector), embedding_source=f"{ENCODER}|a.png")
            for vector in vectors
        )
    build_index(Shirt, "default")
    assert has_index(Shirt, "default")
    assert setting("statement_timeout") == "50ms"


def test_commands__let_their_statements_take_their_time(limited, monkeypatch):
    class Slow(QuerySet):
        def pending(self):
            return self.extra(where=["(SELECT pg_sleep(0.2)) IS NOT NULL"])

    monkeypatch.setattr("similar_products.query.SimilarQuerySet.pending", Slow.pending)
    call_command("embed_products", "tests.Shirt", verbosity=0)
    assert setting("statement_timeout") == "50ms"


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
def test_embed__leaves_a_row_that_is_locked_too_long_to_a_later_run(held_row, limit, caplog):
    """It is no sign of a database that is away, and keeps nothing from the other rows."""
    with set_for_session(connection, {limit: "50ms"}):
        report = embed(Shirt.objects.exclude(pk=held_row.pk), retry_delays=[])
        assert report.embedded == 1
        report = embed(Shirt.objects.pending(), retry_delays=[])
    assert (report.embedded, report.locked) == (0, 1)
    assert "wait for a later pass" in caplog.text
    assert Shirt.objects.pending().get() == held_row


def test_with_reconnect__does_not_take_a_cancelled_statement_for_a_lost_connection(limited):
    calls = []

    def sleep() -> None:
        calls.append(connection.connection)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")

    with pytest.raises(OperationalError, match="statement timeout"):
        with_reconnect("default", sleep)
    assert calls == [connection.connection]
