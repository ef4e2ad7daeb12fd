import pytest
from django.db import connection

from similar_products.embedding import embed, rows, writer
from similar_products.embedding.reconnecting import with_reconnect
from tests.embedding.added_shirts import add_shirts
from tests.models import Shirt

pytestmark = pytest.mark.django_db


def terminate_own_backend() -> None:
    connection.ensure_connection()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    other.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", ["_claim_page", "_release"])
def test_embed__goes_on_after_the_connection_is_lost(monkeypatch, place):
    add_shirts(10)
    original = getattr(rows.ClaimedRows, place)
    lost = []

    def lose(self, *arguments):
        if len(lost) < 2:
            lost.append(1)
            terminate_own_backend()
        return original(self, *arguments)

    monkeypatch.setattr(rows.ClaimedRows, place, lose)
    assert embed(Shirt.objects.pending(), batch_size=4).embedded == 10
    assert Shirt.objects.ready().count() == 10
    assert len(lost) == 2


@pytest.mark.django_db(transaction=True)
def test_embed__goes_on_after_the_connection_is_lost_while_writing(monkeypatch):
    add_shirts(10)
    update, lost = writer.VectorWriter._update, []

    def lose(self, chunk):
        if not lost:
            lost.append(1)
            terminate_own_backend()
        return update(self, chunk)

    monkeypatch.setattr(writer.VectorWriter, "_update", lose)
    assert embed(Shirt.objects.pending(), batch_size=4).embedded == 10


def test_with_reconnect__inside_a_transaction_tries_once():
    from django.db import OperationalError

    tries = []

    def fail():
        tries.append(1)
        raise OperationalError("gone")

    with pytest.raises(OperationalError):
        with_reconnect("default", fail)
    assert tries == [1]


@pytest.mark.django_db(transaction=True)
def test_with_reconnect__gives_up_when_the_database_stays_away(monkeypatch):
    from django.db import OperationalError

    from similar_products.embedding import reconnecting

    tries = []

    def fail():
        tries.append(1)
        raise OperationalError("gone")

    monkeypatch.setattr(reconnecting, "RECONNECT_DELAYS", (0, 0))
    with pytest.raises(OperationalError):
        with_reconnect("default", fail)
    assert tries == [1, 1, 1]
