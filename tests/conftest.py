import shutil
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.db import connections

from tests.pictures import picture_file


@pytest.fixture(scope="session", autouse=True)
def _media_folder() -> Iterator[None]:
    yield
    shutil.rmtree(settings.MEDIA_ROOT, ignore_errors=True)


@pytest.fixture
def picture() -> ContentFile:
    return picture_file("tomato")


@pytest.fixture
def explain(db):
    """Return a function that gives the plan of a queryset with sequential scans and sorting made dear.

    Small tables are rightly scanned; that the index can be used at all is what such a test asks.
    """

    def plan(queryset) -> str:
        with connections["default"].cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
            return queryset.explain()

    return plan
