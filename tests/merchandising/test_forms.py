import re
from datetime import timedelta

import pytest

from similar_products.merchandising.models import Rule
from similar_products.search.ranking import ranked
from tests.merchandising.admin_pages import change_page, errors, form
from tests.merchandising.made_rules import NEW_YEAR, numbers, pin
from tests.models import Rug, Vase

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes", "rules_urls")]


@pytest.mark.parametrize(
    ("rows", "sentences"),
    [
        ([{"other_key": 1}], ["Give the place of the pinned product, 1 for the first."]),
        ([{"place": 1}], ["Choose the product to pin."]),
        ([{"other_key": 0, "place": 1}], ["A product does not stand in its own list; choose another product."]),
        ([{"other_key": 1, "place": 0}], ["Ensure this value is greater than or equal to 1."]),
        ([{"other_key": "4x", "place": 1}], ["There is no product with the key 4x; choose one from the list."]),
        ([{"other_key": "-9", "place": 1}], ["There is no product with the key -9; choose one from the list."]),
        ([{"action": "hide"}], ["Choose the product not to show together with this one."]),
        (
            [{"action": "everywhere", "other_key": 1}],
            ["This product itself is hidden everywhere: leave the other product empty."],
        ),
        (
            [{"other_key": 1, "place": 1, "start_0": "2026-01-02", "start_1": "0:0", "end_0": "2026-01-01"}],
            ["The end is not after the start; choose a later end."],
        ),
        (
            [{"other_key": 1, "place": 1}, {"other_key": 2, "place": 1}],
            ["Place 1 is given to item 01 and item 02 at the same time: choose another place or time for one of them."],
        ),
        (
            [{"other_key": 1, "place": 1}, {"other_key": 1, "place": 2}],
            ["item 01 is pinned twice at the same time: delete one of its pins, or change its time."],
        ),
    ],
)
def test_inline__what_is_wrong_is_said_in_one_sentence(admin_client, vases, rows, sentences):
    given = [
        {
            **row,
            **({"other_key": vases[row["other_key"]].pk} if isinstance(row.get("other_key"), int) else {}),
            **({"end_1": "0:0"} if "end_0" in row else {}),
        }
        for row in rows
    ]
    assert errors(admin_client.post(change_page(vases[0]), form(*given))) == sentences
    assert not Rule.objects.exists()


def test_inline__one_place_at_two_times_is_fine(admin_client, vases):
    rows = [
        {"other_key": vases[1].pk, "place": 1, "end_0": "2026-01-01", "end_1": "0:0"},
        {"other_key": vases[2].pk, "place": 1, "start_0": "2026-01-01", "start_1": "0:0"},
    ]
    assert admin_client.post(change_page(vases[0]), form(*rows)).status_code == 302
    similar = Vase.objects.similar_to(vases[0])
    assert numbers(ranked(similar, 1, at=NEW_YEAR - timedelta(seconds=1))) == [-1]
    assert numbers(ranked(similar, 1, at=NEW_YEAR)) == [-2]


def test_inline__two_pins_change_places(admin_client, vases):
    rules = [pin(vases[0], vases[1], 1), pin(vases[0], vases[2], 2)]
    rows = [{"id": rule.pk, "other_key": rule.other_key, "place": 3 - rule.place} for rule in rules]
    assert admin_client.post(change_page(vases[0]), form(*rows, before=2)).status_code == 302
    assert numbers(ranked(Vase.objects.similar_to(vases[0]), 2)) == [-2, -1]


def test_inline__a_deleted_pin_gives_its_place_away(admin_client, vases):
    old = pin(vases[0], vases[1], 1)
    rows = [
        {"id": old.pk, "other_key": old.other_key, "place": 1, "DELETE": "on"},
        {"other_key": vases[2].pk, "place": 1},
    ]
    assert admin_client.post(change_page(vases[0]), form(*rows, before=1)).status_code == 302
    assert [rule.other for rule in Rule.objects.all()] == [vases[2]]


def test_inline__a_choice_that_cannot_be_kept_stays_on_the_page(admin_client, vases):
    answer = admin_client.post(change_page(vases[0]), form({"other_key": vases[4].pk}))
    assert re.search(r"selected>\s*item 04\s*</option>", answer.content.decode())


def test_products__are_those_that_their_own_admin_finds(admin_client, vases):
    answer = admin_client.get("/admin/similar_products_merchandising/rule/products/tests/vase/?term=04")
    assert answer.json() == {"results": [{"id": str(vases[4].pk), "text": "item 04"}], "pagination": {"more": False}}


def test_products__without_an_order_of_their_own(admin_client):
    for number in range(30):
        Rug.objects.create(name=f"rug {number}")
    answer = admin_client.get("/admin/similar_products_merchandising/rule/products/tests/rug/?page=2").json()
    assert [each["text"] for each in answer["results"]] == [f"rug {number}" for number in range(20, 30)]


@pytest.mark.parametrize("model", ["tests/order", "tests/shelf", "none/such"])
def test_products__of_another_model_are_not_found(admin_client, model):
    assert admin_client.get(f"/admin/similar_products_merchandising/rule/products/{model}/").status_code == 404
