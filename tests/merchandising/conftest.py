import pytest

from tests.catalogues import CATALOGUES, Catalogue, Item
from tests.merchandising.made_rules import fill
from tests.models import Vase


@pytest.fixture(params=CATALOGUES)
def catalogue(request) -> Catalogue:
    return CATALOGUES[request.param]


@pytest.fixture
def items(catalogue) -> list[Item]:
    return fill(catalogue, 12)


@pytest.fixture
def rows(items):
    return [item.row for item in items]


@pytest.fixture
def rules_urls(settings) -> None:
    """Serve the admin of ``admin_pages`` in place of the demo's."""
    settings.ROOT_URLCONF = "tests.merchandising.admin_pages"


@pytest.fixture
def vases() -> list[Vase]:
    return [item.row for item in fill(CATALOGUES["companion"], 6)]
