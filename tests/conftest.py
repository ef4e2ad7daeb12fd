import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.files.base import ContentFile
from django.core.management.color import no_style
from django.db import connections
from django.db.models import QuerySet
from django.test import TransactionTestCase

from similar_products.models import get_holders
from tests.drawn_pictures import picture_file

collect_ignore = ["oscar_shop"] + ([] if "packages" in os.environ.get("DJANGO_SETTINGS_MODULE", "") else ["packages"])
"""Projects with settings of their own: one that test_oscar.py runs, and one for the packages that .ci/run installs."""

MARKS_OF_FIXTURES = {"browser": ("browser", "slow"), "live_server": ("network",), "redis": ("network", "slow")}
"""Marks that every test has which asks for such a fixture; modules and tests name their others themselves."""


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, marks in MARKS_OF_FIXTURES.items():
            if fixture in getattr(item, "fixturenames", ()):
                for mark in marks:
                    item.add_marker(mark)


@pytest.fixture(scope="session", autouse=True)
def _media_folder() -> Iterator[None]:
    yield
    shutil.rmtree(django_settings.MEDIA_ROOT, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep converted models out of the user's cache folder, in the processes that tests start as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_flush() -> Iterator[None]:
    """Leave the content types and permissions where a test's commits are taken back.

    Django's own flush empties all tables and makes these anew, which is two thirds of its time.
    """

    def empty(test: TransactionTestCase) -> None:
        connection = connections["default"]
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        kept = {"auth_permission", "django_content_type"}
        connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), sorted({*tables} - kept)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        yield


@pytest.fixture
def picture() -> ContentFile:
    return picture_file("tomato")


@pytest.fixture
def fresh_indexes(db) -> None:
    """Give the test vector indexes without the entries of tests that were rolled back.

    Nobody vacuums between tests, and many of them use the same few vectors: an HNSW scan that lands among hundreds of
    dead entries of one vector finds nothing else, and the query is made a second time.
    """
    with connections["default"].cursor() as cursor:
        tables = ", ".join(connections["default"].ops.quote_name(holder._meta.db_table) for holder in get_holders())
        cursor.execute(f"TRUNCATE {tables} CASCADE")


@pytest.fixture
def bands(settings, tmp_path: Path) -> Path:
    """Near-duplicates are up to 0.14 radians apart, very similar ones 0.45, similar ones 1.05."""
    from tests.catalogues import ENCODER  # here: a shop of another project has no such models

    path = tmp_path / "bands.json"
    path.write_text(json.dumps({ENCODER: {"near_duplicate": 0.99, "very_similar": 0.9, "similar": 0.5}}))
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": path}
    return path


@pytest.fixture
def sorts_ties(db) -> None:
    if getattr(connections["default"], "pg_version", 0) < 170_000:
        pytest.skip("PostgreSQL 16 cannot sort what an index orders by the key as well")


@pytest.fixture
def explain(db):
    """Return a function that gives the plan of a queryset with sequential scans and sorting made dear.

    Small tables are rightly scanned; that the index can be used at all is what such a test asks.
    """

    def plan(queryset: QuerySet) -> str:
        with connections["default"].cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
            return str(queryset.explain())

    return plan
