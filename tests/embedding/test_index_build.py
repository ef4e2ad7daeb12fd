import threading

import pytest
from django.db import connection, connections

from similar_products.embedding import embed, index_build
from similar_products.embedding.index_build import build_index, drop_index, has_index, index_after_load
from tests.embedding.added_shirts import add_shirts
from tests.models import Shirt

pytestmark = pytest.mark.django_db


def test_index_after_load__inside_a_transaction_leaves_the_index_alone():
    with index_after_load(Shirt, "default", 10_000):
        assert has_index(Shirt, "default")


@pytest.mark.django_db(transaction=True)
class TestFirstFill:
    def test_index_is_built_after_the_load(self):
        said = []
        with index_after_load(Shirt, "default", 10_000, say=said.append):
            assert not has_index(Shirt, "default")
            add_shirts(3)
            embed(Shirt.objects.pending())
        assert has_index(Shirt, "default")
        assert said == ["building the vector index."]
        with connection.cursor() as cursor:
            cursor.execute("SELECT last_analyze IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'tests_shirt'")
            assert cursor.fetchone() == (True,)
            cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'shirt_9a438cef_hnsw'")
            (definition,) = cursor.fetchone()
        assert "hnsw (((embedding)::halfvec(1280)) halfvec_cosine_ops) WITH (m='24', ef_construction='128')" in (
            definition
        )

    @pytest.mark.parametrize(("rows", "has_vectors"), [(10, False), (10_000, True)])
    def test_index_stays_where_it_would_not_pay(self, rows, has_vectors):
        if has_vectors:
            add_shirts(1)
            embed(Shirt.objects.pending())
        with index_after_load(Shirt, "default", rows):
            assert has_index(Shirt, "default")

    def test_index_is_built_when_the_load_fails(self):
        with pytest.raises(KeyboardInterrupt), index_after_load(Shirt, "default", 10_000):
            raise KeyboardInterrupt
        assert has_index(Shirt, "default")

    def test_missing_index_is_built_by_the_next_run(self):
        drop_index(Shirt, "default")
        with index_after_load(Shirt, "default", 0):
            pass
        assert has_index(Shirt, "default")

    def test_index_is_left_to_the_process_that_has_the_lock(self):
        held, release = threading.Event(), threading.Event()

        def other_process():
            with index_after_load(Shirt, "default", 10_000):
                held.set()
                release.wait(30)
            connections.close_all()

        thread = threading.Thread(target=other_process)
        thread.start()
        assert held.wait(30)
        with index_after_load(Shirt, "default", 10_000):
            assert not has_index(Shirt, "default")
        assert not has_index(Shirt, "default")
        release.set()
        thread.join(30)
        assert has_index(Shirt, "default")

    def test_build_index_raises_its_memory_for_the_build_only(self, monkeypatch):
        add_shirts(3)
        embed(Shirt.objects.pending())
        monkeypatch.setattr(index_build, "BYTES_PER_INDEXED_DIMENSION", 100_000)
        seen = []
        drop = index_build.drop_index
        monkeypatch.setattr(index_build, "drop_index", lambda *where: seen.append(memory()) or drop(*where))
        before = memory()
        build_index(Shirt, "default")
        assert seen == ["375000kB"] != [before]
        assert memory() == before

    def test_invalid_index_is_built_anew(self):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shirt_9a438cef_hnsw'::regclass")
        assert not has_index(Shirt, "default")
        with index_after_load(Shirt, "default", 0):
            pass
        assert has_index(Shirt, "default")


def memory() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW maintenance_work_mem")
        return cursor.fetchone()[0]


@pytest.fixture
def app_role(transactional_db):
    """Gives the session a role that may read and write rows, as the role of a web process does, and owns nothing."""
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS similar_products_app")
        cursor.execute("CREATE ROLE similar_products_app")
        cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO similar_products_app")
        cursor.execute("SET ROLE similar_products_app")
    yield
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("DROP OWNED BY similar_products_app")
        cursor.execute("DROP ROLE similar_products_app")


def test_first_fill__by_a_role_that_does_not_own_the_table_goes_over_the_index(app_role):
    said = []
    with index_after_load(Shirt, "default", 10_000, say=said.append):
        assert has_index(Shirt, "default")
    assert has_index(Shirt, "default")
    assert said == [
        "the role does not own the table: the index stays while it is filled, which takes longer (docs/rights.md)."
    ]


def test_missing_index__of_a_table_that_the_role_does_not_own_is_said(app_role):
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        drop_index(Shirt, "default")
        cursor.execute("SET ROLE similar_products_app")
    said = []
    with index_after_load(Shirt, "default", 0, say=said.append):
        pass
    assert said == [
        "the vector index is missing, and the role does not own the table: run this as its owner (docs/rights.md)."
    ]
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
    build_index(Shirt, "default")


@pytest.mark.django_db(transaction=True)
def test_index__of_other_dimensions_is_built_anew_before_the_load():
    """As a migration leaves it that altered the column and not the index: no vector can be written."""
    drop_index(Shirt, "default")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE INDEX shirt_9a438cef_hnsw ON tests_shirt USING hnsw ((embedding::halfvec(64)) halfvec_cosine_ops)"
        )
    assert not has_index(Shirt, "default")
    add_shirts(2)
    with index_after_load(Shirt, "default", 2):
        assert embed(Shirt.objects.pending()).embedded == 2
    assert has_index(Shirt, "default")


@pytest.mark.django_db(transaction=True)
def test_index__of_the_shops_own_that_casts_nothing_is_taken_as_it_is():
    drop_index(Shirt, "default")
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX shirt_9a438cef_hnsw ON tests_shirt USING hnsw (embedding vector_cosine_ops)")
    assert has_index(Shirt, "default")
    build_index(Shirt, "default")
