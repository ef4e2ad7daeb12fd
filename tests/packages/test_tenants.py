"""Tenants with a schema each, whose tables have the same names and whose rows the same keys."""

import contextlib
import io

import pytest
from django.conf import settings
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import QuerySet

from similar_products import tasks
from similar_products.embedding import embed
from similar_products.embedding.states import last_embedded
from tests.drawn_pictures import picture_file

if not settings.DATABASES["default"]["ENGINE"].startswith("django_tenants"):
    pytest.skip("needs the settings of the tenants", allow_module_level=True)

from django_tenants.utils import tenant_context

from tests.packages.crockery.models import Plate
from tests.packages.tenants.models import Client

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenants(db):
    with contextlib.redirect_stdout(io.StringIO()):
        return [Client.objects.create(schema_name=name, name=name) for name in ("first", "second")]


def add(tenant, color: str = "red") -> None:
    with tenant_context(tenant):
        image = default_storage.save(f"packages/{color}.png", picture_file(color))
        QuerySet(Plate).bulk_create([Plate(pk=7, name=color, image=image)])


def ready(tenant) -> int:
    with tenant_context(tenant):
        return Plate.objects.ready().count()


def test_embed__of_one_tenant_leaves_the_rows_of_another_free(tenants, monkeypatch):
    from similar_products.embedding.writer import VectorWriter

    for tenant in tenants:
        add(tenant)
    write, reports = VectorWriter.write, []

    def write_meanwhile(writer, results):
        """Ask in another session which tenant's row of the key is free while the first one's is claimed."""
        if not reports:
            with connection.cursor() as cursor:  # the other session does not see a table that is not committed
                cursor.execute("SELECT 'second.crockery_plate'::regclass::oid")
                (table,) = cursor.fetchone()
                cursor.execute("SELECT 'first.crockery_plate'::regclass::oid")
                (own,) = cursor.fetchone()
            other = connection.copy()
            with other.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_try_advisory_lock(hashtextextended(concat('similar_products row ', each, ' ', 7), 0)) "
                    "FROM unnest(%s::oid[]) AS each",
                    [[own, table]],
                )
                reports.append([is_free for (is_free,) in cursor.fetchall()])
            other.close()
        return write(writer, results)

    monkeypatch.setattr(VectorWriter, "write", write_meanwhile)
    with tenant_context(tenants[0]):
        assert embed(Plate.objects.pending()).embedded == 1
    assert (reports, ready(tenants[0]), ready(tenants[1])) == ([[False, True]], 1, 0)


@pytest.mark.django_db(transaction=True)
def test_save__whose_transaction_ends_after_the_tenant_embeds_in_its_schema(tenants_committed):
    first, second = tenants_committed
    with transaction.atomic(), tenant_context(second):
        Plate.objects.create(name="a", image=picture_file("green"))
    assert (ready(first), ready(second)) == (0, 1)
    assert connection.schema_name == "public"


@pytest.fixture
def tenants_committed(transactional_db):
    with contextlib.redirect_stdout(io.StringIO()):
        made = [Client.objects.create(schema_name=name, name=name) for name in ("first", "second")]
    yield made
    with contextlib.redirect_stdout(io.StringIO()):
        for tenant in made:
            tenant.delete(force_drop=True)


def test_task__embeds_in_the_schema_that_asked(tenants):
    for tenant in tenants:
        add(tenant)
    tasks._embed_product_task("crockery.Plate", "7", "default", "second")
    assert (ready(tenants[0]), ready(tenants[1])) == (0, 1)
    assert connection.schema_name == "public"


def test_last_embedded__is_of_the_tenant(tenants):
    cache.clear()
    for tenant in tenants:
        add(tenant)
    with tenant_context(tenants[0]):
        embed(Plate.objects.pending())
        assert last_embedded(Plate, "default") is not None
    with tenant_context(tenants[1]):
        assert last_embedded(Plate, "default") is None
