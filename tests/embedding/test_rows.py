import pytest
from django.db import connection

from similar_products.embedding import embed, rows, run, writer
from tests.embedding.added_shirts import add_shirts
from tests.models import Shirt

pytestmark = pytest.mark.django_db


@pytest.fixture
def other_connection():
    """A second session on the test's database, as another process would have it."""
    other = connection.copy()
    yield other
    other.close()


LOCK = "SELECT pg_advisory_lock(hashtextextended(concat('similar_products row ', %s::regclass::oid, ' ', %s), 0))"


def test_claim__row_of_another_process_is_left_to_it(watched, other_connection):
    first, second = add_shirts(2)
    with other_connection.cursor() as cursor:
        cursor.execute(LOCK, ["tests_shirt", first.pk])
    report = embed(Shirt.objects.pending(), retry_delays=[0])
    assert (report.embedded, report.locked) == (1, 1)
    assert Shirt.objects.ready().get() == second


def test_claim__row_given_back_is_taken_by_the_next_pass(watched, other_connection, monkeypatch):
    (row,) = add_shirts(1)
    with other_connection.cursor() as cursor:
        cursor.execute(LOCK, ["tests_shirt", row.pk])

    def give_back(*arguments):
        with other_connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")

    monkeypatch.setattr(run, "_sleep", give_back)
    assert embed(Shirt.objects.pending(), retry_delays=[1]).embedded == 1


def test_claim__row_finished_by_another_process_is_not_embedded_again(watched, monkeypatch):
    (row,) = add_shirts(1)
    claim = rows.ClaimedRows._claim_page

    def late(self, queryset, page, wanted):
        keys = list(page.values_list("pk", flat=True))
        Shirt.objects.update(embedding_source=f"watched|{row.image}")  # between the page and the claim
        monkeypatch.setattr(rows.ClaimedRows, "_claim_page", claim)
        return claim(self, queryset, Shirt.objects.filter(pk__in=keys), wanted)

    monkeypatch.setattr(rows.ClaimedRows, "_claim_page", late)
    assert embed(Shirt.objects.pending(), retry_delays=[]).done == 0
    assert watched.batches == []


def held_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        return cursor.fetchone()[0]


def test_claim__is_given_back_after_success_and_failure(settings, monkeypatch):
    add_shirts(40)
    embed(Shirt.objects.pending(), limit=20)
    assert held_locks() == 0
    monkeypatch.setattr(writer.VectorWriter, "write", lambda self, results: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embed(Shirt.objects.pending(), batch_size=4)
    assert held_locks() == 0
