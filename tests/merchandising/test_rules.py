"""Pins and hides as shoppers see them, against a plain model of the rules."""

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from django.apps import apps
from django.db import connection
from django.template import Context, Template
from django.test.utils import modify_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from similar_products.merchandising.models import Rule
from similar_products.search import scan
from similar_products.search.ranking import ranked
from similar_products.visibility import visible_and_similar
from tests import api
from tests.catalogues import CATALOGUES, ENCODER, at_angle
from tests.drawn_pictures import picture_bytes
from tests.merchandising.made_rules import DAY, NEW_YEAR, fill, hide, numbers, pin, rule
from tests.models import (
    Rug,
    Shelf,
    Shirt,
    Vase,
)
from tests.profiles import often

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


WITHOUT = {"remove": ["similar_products.merchandising"]}


@dataclass
class Drawn:
    action: str
    product: int
    other: int
    place: int
    start: int | None
    end: int | None

    def is_in_force(self, day: int) -> bool:
        return (self.start is None or self.start <= day) and (self.end is None or day < self.end)


TIMES = st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(3, 5))


@st.composite
def worlds(draw):
    """Draw a placement, its products, the target, who passes the filter, the rules, and what is asked."""
    number = draw(st.integers(2, 12))
    numbers = st.integers(0, number - 1)
    rules = [
        Drawn(action, product, other, place, start, end)
        for action, product, other, place, (start, end) in draw(
            st.lists(
                st.tuples(
                    st.sampled_from(["pin", "pin", "hide", "everywhere"]), numbers, numbers, st.integers(1, 8), TIMES
                ),
                max_size=8,
            )
        )
        if product != other
    ]
    return {
        "placement": draw(st.sampled_from(sorted(CATALOGUES))),
        "number": number,
        "without": draw(st.sets(numbers, max_size=2)),
        "targets": draw(st.sampled_from([[], [0], [0], [0], [0, 1]])),
        "is_queryset": draw(st.booleans()),
        "passes": draw(st.sets(numbers) | st.just(set(range(number)))),
        "rules": rules,
        "day": draw(st.integers(-1, 6)),
        "k": draw(st.integers(1, 14)),
        "min_similarity": draw(st.sampled_from([0.0, 0.0, np.cos(0.475)])),
        "exact": draw(st.booleans()),
    }


def expected_of(world) -> list[int]:
    """Return what must be shown, pinned ones negative: the rules said once more, in the plainest words."""
    targets = set(world["targets"])
    in_force = [rule for rule in world["rules"] if rule.is_in_force(world["day"])]
    hidden, places = set(), {}
    for each in in_force:
        if each.action == "everywhere":
            hidden.add(each.product)
        elif each.action == "hide":
            hidden |= {each.other} if each.product in targets else set()
            hidden |= {each.product} if each.other in targets else set()
        elif each.product in targets:
            places[each.other] = min(each.place, places.get(each.other, each.place))
    if targets and targets <= world["without"]:
        return []
    eligible = [
        each
        for each in range(world["number"])
        if each in world["passes"] and each not in hidden | targets | world["without"]
    ]
    middle = sum(each for each in targets - world["without"]) / max(len(targets - world["without"]), 1)
    pinned = sorted((places[each], each) for each in eligible if each in places)
    others = [each for each in eligible if each not in places and (not world["min_similarity"] or each - middle < 4.75)]
    shown = []
    while len(shown) < world["k"] and (pinned or others):
        if pinned and (pinned[0][0] <= len(shown) + 1 or not others):
            shown.append(-pinned.pop(0)[1])
        else:
            shown.append(others.pop(0))
    return shown


class TestModel(TestCase):
    """A transaction of its own for each example: what one example fills the next does not see."""

    @settings(max_examples=often(100, nightly=2_000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(worlds())
    @pytest.mark.slow
    def test_ranked__is_what_the_rules_say(self, world):
        catalogue = CATALOGUES[world["placement"]]
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {catalogue.holder._meta.db_table} CASCADE")
        rows = [item.row for item in fill(catalogue, world["number"], world["without"])]
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # so that the index is used where it can be
        for each in world["rules"]:
            made = rule(
                each.action,
                rows[each.product],
                None if each.action == "everywhere" else rows[each.other],
                each.place if each.action == "pin" else None,
                *(None if day is None else NEW_YEAR + day * DAY for day in (each.start, each.end)),
            )
            made.full_clean()
            made.save()
        target = [rows[each] for each in world["targets"]] or at_angle(0.0)
        if world["targets"] and world["is_queryset"]:
            target = catalogue.model._base_manager.filter(pk__in=[row.pk for row in target])
        passing = catalogue.model._default_manager.filter(pk__in=[rows[each].pk for each in world["passes"]])
        found = ranked(
            catalogue.similar_to(target, passing, exact=world["exact"]),
            world["k"],
            min_similarity=world["min_similarity"],
            at=NEW_YEAR + world["day"] * DAY,
        )
        assert numbers(found) == expected_of(world)


def test_pin__stands_at_its_place(catalogue, rows):
    pin(rows[0], rows[9], 1)
    pin(rows[0], rows[11], 3)
    similar = catalogue.similar_to(rows[0])
    assert numbers(ranked(similar, 5)) == [-9, 1, -11, 2, 3]
    assert numbers(ranked(similar, 2)) == [-9, 1]
    assert numbers(ranked(similar, 5, merchandising=False)) == [1, 2, 3, 4, 5]
    assert sorted(numbers(ranked(catalogue.similar_to(rows[1]), 3))) == [0, 2, 3]  # another's list
    assert ranked(similar, 5)[0].similarity == pytest.approx(0.62, abs=0.01)
    assert not any(name.startswith("_") and name != "_state" for row in ranked(similar, 3) for name in row.__dict__)


def test_pin__costs_one_query_and_none_where_there_is_none(catalogue, rows, django_assert_num_queries):
    similar = catalogue.similar_to(rows[0])
    with django_assert_num_queries(1):
        ranked(similar, 5)
    pin(rows[0], rows[9], 1)
    with django_assert_num_queries(2):
        assert numbers(ranked(similar, 5)) == [-9, 1, 2, 3, 4]
    with django_assert_num_queries(1):
        ranked(catalogue.similar_to(rows[1]), 5)


def test_pin__moves_up_where_the_others_end(catalogue, rows):
    pin(rows[0], rows[3], 8)
    few = catalogue.model._default_manager.filter(name__lte="item 04")
    assert numbers(ranked(catalogue.similar_to(rows[0], few), 6)) == [1, 2, 4, -3]
    assert numbers(ranked(catalogue.similar_to(rows[0]), 6)) == [1, 2, 4, 5, 6, 7]


def test_pin__at_one_place_the_nearer_comes_first(catalogue, rows):
    pin(rows[0], rows[7], 1)
    pin(rows[0], rows[5], 1)
    assert numbers(ranked(catalogue.similar_to(rows[0]), 3)) == [-5, -7, 1]


def test_pin__must_be_in_the_queryset(catalogue, rows):
    pin(rows[0], rows[5], 1)
    similar = catalogue.similar_to(rows[0])
    assert numbers(ranked(similar, 2)) == [-5, 1]
    assert numbers(ranked(similar.exclude(name="item 05"), 2)) == [1, 2]
    assert numbers(ranked(catalogue.similar_to(rows[0], catalogue.model.objects.exclude(name="item 05")), 2)) == [1, 2]
    assert numbers(ranked(similar, 2, exclude=rows[5])) == [1, 2]
    catalogue.holder._base_manager.update(embedding_source=f"{ENCODER}|old.png")
    assert ranked(similar, 2) == []


def test_pin__without_a_vector_is_not_shown(catalogue):
    rows = [item.row for item in fill(catalogue, 4, without=[2])]
    pin(rows[0], rows[2], 1)
    assert numbers(ranked(catalogue.similar_to(rows[0]), 9)) == [1, 3]
    pin(rows[2], rows[0], 1)
    assert ranked(catalogue.similar_to(rows[2]), 9) == []


def test_pin__alone_in_the_queryset(catalogue, rows, django_assert_num_queries):
    pin(rows[0], rows[5], 3)
    alone = catalogue.model._default_manager.filter(name="item 05")
    with django_assert_num_queries(3):  # without the rule there would be two, since fewer than wanted exist
        assert numbers(ranked(catalogue.similar_to(rows[0], alone), 6)) == [-5]


def test_pin__that_is_hidden_now_is_not_shown(rows, catalogue):
    pin(rows[0], rows[5], 1)
    hide(rows[0], rows[5])
    assert numbers(ranked(catalogue.similar_to(rows[0]), 2)) == [1, 2]


def test_pin__invisible_or_a_variant_is_not_shown():
    rows = [item.row for item in fill(CATALOGUES["companions of pictures"], 6)]
    pin(rows[0], rows[5], 1)
    assert numbers(ranked(visible_and_similar(rows[0]), 2)) == [-5, 1]
    Rug.objects.filter(pk=rows[5].pk).update(published=False)
    assert numbers(ranked(visible_and_similar(rows[0]), 2)) == [1, 2]
    Rug.objects.filter(pk=rows[5].pk).update(published=True, parent=rows[0])
    assert numbers(ranked(visible_and_similar(rows[0]), 2)) == [1, 2]
    assert numbers(ranked(visible_and_similar(rows[0]), 2, variants=True)) == [-5, 1]


def test_pin__is_shown_however_little_alike(catalogue, rows):
    pin(rows[0], rows[11], 2)
    assert numbers(ranked(catalogue.similar_to(rows[0]), 9, min_similarity=0.95)) == [1, -11, 2, 3]


def test_pin__near_duplicates_give_way_to_it_and_not_it_to_them(catalogue, rows, bands):
    similar = catalogue.similar_to(rows[0])
    assert numbers(ranked(similar, 9)) == [1, 3, 5, 7, 9, 11]  # 0.14 radians apart or more
    pin(rows[0], rows[2], 2)
    pin(rows[0], rows[3], 4)
    assert numbers(ranked(similar, 9)) == [5, -2, 7, -3, 9, 11]
    assert numbers(ranked(similar, 3)) == [4, -2, 6]  # place 4 is none of these: what it would displace stays
    assert numbers(ranked(similar, 5, near_duplicates=True)) == [1, -2, 4, -3, 5]


@pytest.mark.usefixtures("bands")
def test_pin__near_duplicates_that_the_index_finds_late_give_way_to_it(
    catalogue, rows, settings, monkeypatch, django_assert_num_queries
):
    pin(rows[0], rows[3], 1)
    wanted = numbers(ranked(catalogue.similar_to(rows[0], exact=True), 5, near_duplicates=False))
    assert wanted == [-3, 1, 5, 7, 9]
    monkeypatch.setitem(scan.SCAN_SETTINGS, "iterative_scan", "off")
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EF_SEARCH": 1}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    with django_assert_num_queries(4):  # a few, the pin, all, and the pin beside these
        assert numbers(ranked(catalogue.similar_to(rows[0]), 5, near_duplicates=False)) == wanted


def test_pin__diversity_moves_away_from_it(catalogue, rows):
    pin(rows[0], rows[1], 1)
    found = numbers(ranked(catalogue.similar_to(rows[0]), 2, diversity=0.6))
    assert found == [-1, 11]
    assert numbers(ranked(catalogue.similar_to(rows[0]), 2, diversity=0.6, merchandising=False)) == [1, 11]


def test_pin__each_product_once_in_spite_of_a_filter_over_many_rows():
    rows = [item.row for item in fill(CATALOGUES["companion"], 6)]
    for _ in range(3):
        Shelf.objects.create().many_vases.add(*rows)
    pin(rows[0], rows[5], 1)
    similar = Vase.objects.similar_to(rows[0]).filter(shelves__isnull=False)
    assert numbers(ranked(similar, 3)) == [-5, 1, 2]


def test_pin__of_several_targets(catalogue, rows):
    pin(rows[0], rows[9], 2)
    pin(rows[1], rows[9], 1)
    pin(rows[1], rows[0], 1)  # a target itself
    assert numbers(ranked(catalogue.similar_to([rows[0], rows[1]]), 3)) == [-9, 2, 3]
    several = catalogue.model._base_manager.filter(name__in=["item 00", "item 01"]).order_by("-name")
    assert numbers(ranked(catalogue.similar_to(several), 3)) == [-9, 2, 3]
    assert [row.name for row in ranked(catalogue.similar_to(several[:1]), 2)] == ["item 00", "item 09"]


def test_hide__pair_is_not_shown_together_either_way(catalogue, rows):
    hide(rows[0], rows[1])
    assert numbers(ranked(catalogue.similar_to(rows[0]), 2)) == [2, 3]
    assert numbers(ranked(catalogue.similar_to(rows[1]), 2)) == [2, 3]
    assert sorted(numbers(ranked(catalogue.similar_to(rows[2]), 4))) == [0, 1, 3, 4]
    assert numbers(ranked(catalogue.similar_to([rows[0], rows[3]]), 2)) == [2, 4]


def test_hide__everywhere_holds_for_photos_too(catalogue, rows):
    hide(rows[1])
    assert numbers(ranked(catalogue.similar_to(rows[0]), 2)) == [2, 3]
    assert numbers(ranked(catalogue.similar_to(at_angle(0.0)), 3)) == [0, 2, 3]
    assert sorted(numbers(ranked(catalogue.similar_to(rows[1]), 2))) == [0, 2]  # its own page still has a list


def test_hide__k_rows_in_spite_of_it(catalogue, rows):
    for row in rows[1:7]:
        hide(row)
    assert numbers(ranked(catalogue.similar_to(rows[0]), 5)) == [7, 8, 9, 10, 11]


def test_similar_to__itself_knows_no_rules(catalogue, rows):
    pin(rows[0], rows[9], 1)
    hide(rows[1])
    assert [row.name for row in catalogue.similar_to(rows[0])[:2]] == ["item 01", "item 02"]


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [(None, None, [0, 1, 2, 3]), (1, None, [1, 2, 3]), (None, 2, [0, 1]), (1, 3, [1, 2])],
    ids=["always", "from a day", "up to a day", "between"],
)
def test_times__start_belongs_to_it_and_end_does_not(start, end, days):
    rows = [item.row for item in fill(CATALOGUES["product"], 4)]
    times = {name: NEW_YEAR + day * DAY for name, day in (("start", start), ("end", end)) if day is not None}
    pin(rows[0], rows[3], 1, **times)
    hide(rows[1], **times)
    similar = Shirt.objects.similar_to(rows[0])
    shown = {day: numbers(similar.ranked(2, at=NEW_YEAR + day * DAY)) for day in range(4)}
    assert shown == {day: [-3, 2] if day in days else [1, 2] for day in range(4)}


def test_times__now_is_the_databases():
    rows = [item.row for item in fill(CATALOGUES["product"], 4)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        (now,) = cursor.fetchone()
    pin(rows[0], rows[3], 1, end=now - DAY)
    pin(rows[0], rows[2], 1, start=now + DAY)
    similar = Shirt.objects.similar_to(rows[0])
    assert numbers(similar.ranked(2)) == [1, 2]
    assert numbers(similar.ranked(2, at=now + 2 * DAY)) == [-2, 1]
    hide(rows[1], start=now - DAY, end=now + DAY)
    assert numbers(similar.ranked(2)) == [2, 3]


def test_explain__rules_by_their_indexes_and_the_vectors_by_theirs(catalogue, rows, django_assert_num_queries):
    others = [catalogue.model(pk=number) for number in range(10_000, 12_000)]
    Rule.objects.bulk_create(rule("pin", other, others[0], 1) for other in others[1:])
    hide(rows[0], rows[1])
    pin(rows[0], rows[9], 1)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        with django_assert_num_queries(2) as captured:
            ranked(catalogue.similar_to(rows[0]), 6)
        plans = []
        for query in captured.captured_queries:
            cursor.execute(f"EXPLAIN {query['sql']}")
            plans.append("\n".join(line for (line,) in cursor.fetchall()))
    assert f"Index Scan using {catalogue.index}" in plans[0]
    assert "similar_rule_product" in plans[0]
    assert "similar_rule_other" in plans[0]
    assert "Seq Scan on similar_products_merchandising_rule" not in plans[0]
    assert f"Index Scan using {catalogue.index}" not in plans[1]  # the pinned ones by their keys


@pytest.fixture
def rugs(settings):
    settings.ROOT_URLCONF = "tests.api"
    return [item.row for item in fill(CATALOGUES["companions of pictures"], 6)]


def similar(product, tail: str = "") -> str:
    return f"/api/products/{product.pk}/similar/{tail}"


def shown(answer) -> list[str]:
    return [result["product"]["name"] for result in answer.json()["results"]]


def test_tag__shows_the_pinned_first_and_no_hidden(rugs):
    pin(rugs[0], rugs[5], 1)
    hide(rugs[1])
    html = Template("{% load similar_products %}{% similar_products rug limit=2 %}").render(Context({"rug": rugs[0]}))
    assert html.index("item 05") < html.index("item 02")
    assert "item 01" not in html


def test_api__similar_is_two_queries_and_three_with_pins(client, rugs, django_assert_num_queries):
    with django_assert_num_queries(2):
        assert shown(client.get(similar(rugs[0], "?limit=2"))) == ["item 01", "item 02"]
    hide(rugs[1])
    with django_assert_num_queries(2):
        assert shown(client.get(similar(rugs[0], "?limit=2"))) == ["item 02", "item 03"]
    pin(rugs[0], rugs[5], 1)
    with django_assert_num_queries(3):
        answer = client.get(similar(rugs[0], "?limit=2&min_similarity=0.95"))
    assert shown(answer) == ["item 05", "item 02"]
    assert [result["rank"] for result in answer.json()["results"]] == [1, 2]
    with modify_settings(INSTALLED_APPS=WITHOUT), django_assert_num_queries(2):
        assert shown(client.get(similar(rugs[0], "?limit=2"))) == ["item 01", "item 02"]


def test_api__fragment(client, rugs):
    before = client.get(similar(rugs[0], "fragment/?limit=2"))
    pin(rugs[0], rugs[5], 1)
    answer = client.get(similar(rugs[0], "fragment/?limit=2"), headers={"If-None-Match": before["ETag"]})
    assert answer.status_code == 200
    assert answer.content.decode().index("item 05") < answer.content.decode().index("item 01")


def test_api__search_by_photo_shows_no_hidden_product(client, settings):
    settings.ROOT_URLCONF = "tests.api"
    photo = picture_bytes("tomato")
    from similar_products.encoders import get_encoder
    from similar_products.pictures.gate import load_pixels

    vector = get_encoder().encode(load_pixels(photo, get_encoder().image_size)[None])[0]
    shirts = Shirt.objects.bulk_create(
        Shirt(name=name, image="a.png", embedding=vector, embedding_source=f"{ENCODER}|a.png") for name in "ab"
    )
    hide(shirts[0])
    from io import BytesIO

    answer = client.post("/own/shirts/search/", {"image": BytesIO(photo)})
    assert shown(answer) == ["b"]
    fallback = {"tests.Shirt": {"FALLBACK": f"{api.__name__}.bestsellers"}}
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "PRODUCTS": fallback}
    hide(shirts[1])
    Shirt.objects.create(name="c", image="c.png")
    answer = client.post("/own/shirts/search/", {"image": BytesIO(photo)})
    assert shown(answer) == ["c"]  # offered, and neither of the hidden ones


def test_api__fallback_shows_no_hidden_product(client, rugs, settings):
    settings.SIMILAR_PRODUCTS = {
        **settings.SIMILAR_PRODUCTS,
        "PRODUCTS": {"tests.Rug": {"THROUGH": "photos__look", "FALLBACK": f"{api.__name__}.bestsellers"}},
    }
    hide(rugs[5])
    hide(rugs[0], rugs[4])
    assert shown(client.get(similar(rugs[0], "?min_similarity=0.99&limit=9"))) == ["item 01", "item 03", "item 02"]
    bare = Rug.objects.create(name="bare")
    hide(bare, rugs[3])
    assert shown(client.get(similar(bare, "?limit=2"))) == ["item 04", "item 02"]


def test_app__has_keys_of_its_own_whatever_the_shops_are():
    assert apps.get_app_config("similar_products_merchandising").default_auto_field == "django.db.models.BigAutoField"


ALONE = """
import io
import sys
import django
django.setup()
from django.conf import settings
assert "similar_products.merchandising" not in settings.INSTALLED_APPS
import similar_products.admin
from django.core.management import call_command
from django.test import Client
from django.test.utils import setup_test_environment
setup_test_environment()
call_command("check", stdout=io.StringIO())
call_command("makemigrations", check=True, dry_run=True, stdout=io.StringIO())
from shop_demo.models import Product
from django.template import Context, Template
product = Product.objects.get(name="0")
tag = Template("{% load similar_products %}{% similar_products product %}").render(Context({"product": product}))
print("1" in tag, Client().get(f"/api/products/{product.pk}/similar/").json()["count"])
product.delete()
print([name for name in sys.modules if name.startswith("similar_products.merchandising")])
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["with its table", "without its table"])
def test_without_the_app__in_a_process_of_its_own(table):
    from shop_demo.models import Category, Product

    category = Category.objects.create(name="Hats", slug="hats")
    Product.objects.bulk_create(
        Product(
            name=str(number),
            category=category,
            price=1,
            image="a.png",
            embedding=at_angle(number / 10),
            embedding_source=f"{ENCODER}|a.png",
        )
        for number in range(2)
    )
    name = Rule._meta.db_table
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.without_merchandising_settings",
        "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
    }
    with connection.cursor() as cursor:
        if table == "without its table":
            cursor.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
        try:
            done = subprocess.run(
                [sys.executable, "-c", ALONE], capture_output=True, text=True, env=environment, timeout=120
            )
        finally:
            if table == "without its table":
                cursor.execute(f"ALTER TABLE {name}_away RENAME TO {name}")
    assert (done.stdout, done.stderr) == ("True 1\n[]\n", "")
