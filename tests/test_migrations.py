import re
from pathlib import Path

import pytest
from django.core.management import call_command


@pytest.mark.django_db
def test_makemigrations__has_nothing_to_do(capsys):
    call_command("makemigrations", check=True, dry_run=True)
    assert "No changes detected" in capsys.readouterr().out


@pytest.mark.django_db
def test_makemigrations__of_a_shop_imports_django_and_pgvector_only(tmp_path, monkeypatch, settings):
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    settings.MIGRATION_MODULES = {"tests": "fresh"}
    call_command("makemigrations", "tests", name="initial", verbosity=0)
    written = (tmp_path / "fresh" / "0001_initial.py").read_text()
    imported = set(re.findall(r"^(?:import|from) (\w+)", written, re.MULTILINE))
    assert imported == {"django", "pgvector", "uuid"}
    assert "similar_products." not in written
    assert "pgvector.django.vector.VectorField(blank=True, dimensions=1280" in written
    call_command("makemigrations", "tests", check=True, dry_run=True, verbosity=0)


def test_app__ships_no_table():
    import similar_products

    assert not (Path(similar_products.__file__).parent / "migrations").exists()
