"""A change of the number of dimensions, by the migration that makemigrations writes, in a table with vectors."""

import shutil
import uuid
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection

from tests.drawn_pictures import picture_file
from tests.models import Vase, VaseLook

MIGRATIONS = Path(__file__).parent / "migrations"

ALTER = """
import pgvector.django.vector
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("tests", "0002_library")]

    operations = [
        migrations.AlterField(
            model_name="vaselook",
            name="embedding",
            field=pgvector.django.vector.VectorField(
                blank=True, dimensions={dimensions}, editable=False, null=True, serialize=False
            ),
        ),
    ]
"""


@pytest.fixture
def migrate(tmp_path, monkeypatch, settings):
    """Return a function that migrates the tests' app to a migration, of which the last one alters the dimensions."""
    package = tmp_path / f"altered_{uuid.uuid4().hex}"  # a module is imported once
    shutil.copytree(MIGRATIONS, package)
    monkeypatch.syspath_prepend(tmp_path)
    settings.MIGRATION_MODULES = {"tests": package.name}

    def migrate(name: str, text: str = ALTER.format(dimensions=64)) -> None:
        (package / "0003_alter.py").write_text(text)
        call_command("migrate", "tests", name, verbosity=0)

    yield migrate
    call_command("migrate", "tests", "0002", verbosity=0)


def column() -> tuple[str, str]:
    """Return the type of the column and the definition of its index."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format_type(atttypid, atttypmod), pg_get_indexdef(indexrelid) FROM pg_attribute "
            "JOIN pg_index ON indrelid = attrelid JOIN pg_class ON pg_class.oid = indexrelid "
            "WHERE attrelid = 'tests_vaselook'::regclass AND attname = 'embedding' AND relname LIKE '%_hnsw'"
        )
        return cursor.fetchone()


@pytest.mark.django_db(transaction=True)
def test_migrate__to_other_dimensions_empties_the_columns_and_back(migrate):
    Vase.objects.create(name="a", image=picture_file("red"))
    assert VaseLook.objects.ready().count() == 1
    for name, dimensions in (("0003", 64), ("0002", 1280)):
        migrate(name)
        kind, index = column()
        assert kind == f"vector({dimensions})"
        assert f"halfvec({dimensions})" in index
        assert list(VaseLook.objects.values_list(*("embedding", "embedding_source", "embedding_error"))) == [
            (None, "", "")
        ]
    call_command("embed_products", "tests.VaseLook", verbosity=0)
    assert VaseLook.objects.ready().count() == 1


@pytest.mark.django_db(transaction=True)
def test_migrate__of_something_else_keeps_the_vectors(migrate):
    Vase.objects.create(name="a", image=default_storage.save("a.png", picture_file("red")))
    migrate("0003", ALTER.format(dimensions=1280).replace("blank=True", "blank=False"))
    assert VaseLook.objects.ready().count() == 1
