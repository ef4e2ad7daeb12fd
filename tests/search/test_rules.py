"""What the optional app says of a list, and lists without it."""

import pytest
from django.test.utils import modify_settings

from similar_products.search.ranking import ranked
from similar_products.search.rules import rules_for, without_hidden
from tests.merchandising.made_rules import fill, hide, numbers, pin

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]

WITHOUT = {"remove": ["similar_products.merchandising"]}


def test_without_the_app__nothing_is_asked(catalogue, django_assert_num_queries):
    rows = [item.row for item in fill(catalogue, 12)]
    pin(rows[0], rows[9], 1)
    with modify_settings(INSTALLED_APPS=WITHOUT), django_assert_num_queries(1) as captured:
        found = ranked(catalogue.similar_to(rows[0]), 3)
    assert numbers(found) == [1, 2, 3]
    assert "merchandising" not in captured.captured_queries[0]["sql"]


def test_without_hidden__leaves_out_what_is_hidden_everywhere_or_beside_the_target(catalogue):
    rows = [item.row for item in fill(catalogue, 5)]
    hide(rows[1])
    hide(rows[2], rows[0])
    products = catalogue.model._default_manager.order_by("name")
    assert list(without_hidden(products)) == [rows[0], *rows[2:]]
    assert list(without_hidden(products, [rows[0].pk])) == [rows[0], *rows[3:]]
    with modify_settings(INSTALLED_APPS=WITHOUT):
        assert rules_for(catalogue.model) is None
        assert list(without_hidden(products, [rows[0].pk])) == rows
