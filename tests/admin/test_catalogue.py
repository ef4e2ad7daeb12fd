"""The catalogue page of the admin: coverage, failures, encoder, index, near-duplicates, products among others."""

import re
from html import unescape

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.db import OperationalError, connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext, isolate_apps

from similar_products.admin import SimilarProductsAdminMixin, catalogue
from similar_products.catalogue.labels import field_at_end
from similar_products.search.bands import Bands, write_bands
from tests.admin_site import ChairAdmin, ShirtAdmin, site
from tests.catalogues import CATALOGUES, DIMENSIONS, ENCODER, Item, Picture, along, at_angle
from tests.models import Chair, ChairPhoto, Rug, RugPhotoLook, Shelf, Shirt, Vase

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.admin_site"),
    pytest.mark.usefixtures("fresh_indexes"),
]

MODELS = {"product": Shirt, "companion": Vase, "pictures": Chair, "companions of pictures": Rug}
EVERY_PLACEMENT = pytest.mark.parametrize("placement", MODELS)


@pytest.fixture(autouse=True)
def _bands(settings, tmp_path):
    path = tmp_path / "bands.json"
    write_bands(path, ENCODER, Bands(0.999, 0.9, 0.5))
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": path}


def url_of(model, query=""):
    return f"/admin/tests/{model._meta.model_name}/similar-products/{query}"


def text(response):
    html = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def fill(placement, vectors):
    items = [Item(name, [Picture(each) for each in pictures]) for name, pictures in vectors.items()]
    CATALOGUES[placement].fill(items)
    return {item.name: item.row for item in items}


def findings_in(response):
    """Return the names in each finding, the product of the block first."""
    return [
        re.findall(r'similar-products__name">(?:<a [^>]*>)?([^<]*)<', part)
        for part in response.content.decode().split('<article class="similar-products__finding">')[1:]
    ]


TWINS = {
    "a": [at_angle(0)],
    "a again": [at_angle(0.001)],
    "b": [at_angle(0.5)],
    "b again": [at_angle(0.501)],
    "c": [along(5)],
}


# Coverage.


@EVERY_PLACEMENT
def test_coverage__counts_products_by_state(admin_client, placement):
    fill(placement, TWINS)
    holder = CATALOGUES[placement].holder
    first, second = holder.embeddings.order_by("pk")[:2]
    holder.embeddings.filter(pk=first.pk).update(embedding=None, embedding_error="truncated")
    holder.embeddings.filter(pk=second.pk).update(embedding_source="older-encoder|nothing.png")
    response = admin_client.get(url_of(MODELS[placement]))
    shown = response.context
    assert (shown["products"], shown["ready"], shown["pending"], shown["failed"]) == (5, 3, 1, 1)
    assert "Of 5 products 3 can be found by their looks (60 %)." in text(response)
    assert "truncated 1 The picture file ends too early: upload it again." in text(response)
    link = f'href="/admin/tests/{MODELS[placement]._meta.model_name}/?similar_products_state=failed%3Atruncated"'
    assert link in response.content.decode()


def test_coverage__link_leads_to_as_many_products(admin_client):
    fill("product", TWINS)
    Shirt.objects.filter(name__startswith="a").update(embedding=None, embedding_error="blank")
    html = admin_client.get(url_of(Shirt)).content.decode()
    (link,) = re.findall(r'href="([^"]*failed%3Ablank)"', html)
    assert {shirt.name for shirt in admin_client.get(link).context["cl"].result_list} == {"a", "a again"}


def test_coverage__products_without_a_picture(admin_client):
    Shirt.objects.create(name="none")
    response = admin_client.get(url_of(Shirt))
    assert "Of 1 product 0 can be found by its looks (0 %)." in text(response)
    assert "products without a picture 1" in text(response)


def test_coverage__of_nothing(admin_client):
    assert "Of 0 products 0 can be found by their looks (0 %)." in text(admin_client.get(url_of(Shirt)))


def test_coverage__counts_what_the_admin_lists(rf, admin_user):
    fill("product", TWINS)

    class Own(ShirtAdmin):
        def get_queryset(self, request):
            return super().get_queryset(request).filter(name__startswith="a")

    request = rf.get("/", {"look": "duplicates"})
    request.user = admin_user
    described = catalogue.describe(Own(Shirt, site), request, "color")
    assert (described["products"], described["ready"]) == (2, 2)
    assert [finding.product.name for finding in described["look"].findings] == ["a"]


def test_duplicates__only_what_the_admin_lists_is_named(rf, admin_user):
    fill("product", TWINS)

    class Own(ShirtAdmin):
        def get_queryset(self, request):
            return super().get_queryset(request).filter(name__in=["a", "b", "b again"])

    request = rf.get("/", {"look": "duplicates"})
    request.user = admin_user
    look = catalogue.describe(Own(Shirt, site), request, "color")["look"]
    assert [[each.name for each in (found.product, *found.others)] for found in look.findings] == [["b", "b again"]]


class Replicas:
    """Names the database of the tests for the first reading, and for the next ones databases that there are not."""

    def __init__(self):
        self.asked = 0

    def db_for_read(self, model, **hints):
        self.asked += 1
        return "default" if self.asked == 1 else f"replica {self.asked}"


@pytest.mark.parametrize("look", catalogue.LOOKS)
def test_page__of_several_replicas_one_is_asked(rf, admin_user, settings, look):
    categories(12)
    request = rf.get("/", {"look": look})
    request.user = admin_user
    settings.DATABASE_ROUTERS = [Replicas()]
    described = catalogue.describe(ShirtAdmin(Shirt, site), request, "color")
    assert (described["products"], described["look"].problem) == (12, "")
    assert described["look"].findings


def test_page__query_count_is_constant(admin_client):
    counts = []
    for number in (3, 30):
        fill("product", {f"{number}-{index}": [at_angle(index / 1000)] for index in range(number)})
        for query in ("", "?look=duplicates", "?look=categories"):
            with CaptureQueriesContext(connection) as queries:
                admin_client.get(url_of(Shirt, query))
            counts.append(len(queries))
    assert counts[:3] == counts[3:]
    assert max(counts) <= 25


# Encoder and index.


def test_encoder__name_dimensions_and_last_embedded(admin_client):
    cache.clear()
    page = text(admin_client.get(url_of(Shirt)))
    assert f"Encoder {ENCODER} Dimensions {DIMENSIONS} Vectors of other encoders none" in page
    assert "Last embedded not known to the cache" in page


def test_encoder__vectors_of_others(admin_client):
    CATALOGUES["product"].fill(
        [Item("old", [Picture(at_angle(0), encoder="older")]), Item("stale", [Picture(at_angle(0), is_stale=True)])]
    )
    assert "Vectors of other encoders 1 ( older )" in text(admin_client.get(url_of(Shirt)))


def test_encoder__that_cannot_be_made_is_said(admin_client, settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "ENCODER": {"BACKEND": "no.such.Encoder"}}
    response = admin_client.get(url_of(Shirt, "?look=duplicates"))
    assert response.status_code == 200
    assert "which cannot be imported" in text(response)


def test_index__present_and_missing(admin_client):
    assert "Vector index present and valid ( shirt_9a438cef_hnsw )" in text(admin_client.get(url_of(Shirt)))
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX shirt_9a438cef_hnsw")
    page = text(admin_client.get(url_of(Shirt)))
    assert "missing or invalid : whole tables are scanned; run python manage.py embed_products tests.Shirt" in page


# Near-duplicates.


@EVERY_PLACEMENT
def test_duplicates__are_shown_side_by_side(admin_client, placement):
    fill(placement, TWINS)
    response = admin_client.get(url_of(MODELS[placement], "?look=duplicates"))
    assert findings_in(response) == [["a", "a again"], ["b", "b again"]]
    assert "Compared products 1 to 5 of 5 ready ones" in text(response)
    assert "near-duplicate listings" in text(response).lower()


def test_duplicates__pictures_of_one_product_are_none(admin_client):
    rows = fill("pictures", {"a": [at_angle(0), at_angle(0.001)], "b": [at_angle(1), at_angle(0.002)]})
    response = admin_client.get(url_of(Chair, "?look=duplicates"))
    assert findings_in(response) == [["a", "b"]]
    assert re.findall(r'<img src="/media/([^"]*)"', response.content.decode())[-1] == "b-1.png"
    ChairPhoto.objects.filter(chair=rows["b"]).delete()
    assert findings_in(admin_client.get(url_of(Chair, "?look=duplicates"))) == []


def test_duplicates__are_found_beyond_the_block(admin_client, monkeypatch):
    monkeypatch.setattr(catalogue, "BLOCK", 2)
    fill("product", {"a": [at_angle(0)], "b": [at_angle(1)], "c": [along(4)], "d": [at_angle(1.001)], "e": [along(5)]})
    first = admin_client.get(url_of(Shirt, "?look=duplicates"))
    assert findings_in(first) == [["b", "d"]]
    assert "Compared products 1 to 2 of 5" in text(first)
    assert "?look=duplicates&amp;page=2#" in first.content.decode()
    second = admin_client.get(url_of(Shirt, "?look=duplicates&page=2"))
    assert findings_in(second) == [["d", "b"]]
    assert "page=1#" in second.content.decode()
    assert findings_in(admin_client.get(url_of(Shirt, "?look=duplicates&page=nonsense"))) == [["b", "d"]]


def test_duplicates__without_bands_is_said(admin_client, settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": None}
    fill("product", TWINS)
    page = text(admin_client.get(url_of(Shirt, "?look=duplicates")))
    assert f"The encoder {ENCODER} has not been calibrated" in page


def test_duplicates__nothing_is_looked_for_unasked(admin_client):
    fill("product", TWINS)
    for query in ("", "?look=nonsense"):
        page = text(admin_client.get(url_of(Shirt, query)))
        assert "Each search compares 50 products with the whole catalogue" in page
        assert "Compared products" not in page


def test_neighbours__of_a_block_by_the_index(explain):
    fill("product", {str(number): [at_angle(number / 50)] for number in range(40)})
    keys = list(Shirt.objects.order_by("pk").values_list("pk", flat=True)[:5])
    with CaptureQueriesContext(connection) as queries:
        found = catalogue.find_neighbours(Shirt.objects.all(), keys, ENCODER, 3)
    assert len(queries) == 1
    assert [each.key - keys[2] for each in found[keys[2]]] in ([-1, 1, -2], [1, -1, -2], [-1, 1, 2], [1, -1, 2])
    assert found[keys[2]][0].similarity == pytest.approx(0.9998, abs=1e-4)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {queries[0]['sql']}")
        assert "Index Scan using shirt_9a438cef_hnsw" in "\n".join(line for (line,) in cursor.fetchall())


# Another category.


def categories(count, odd="red"):
    """Return shirts that look alike and are red, and one among them that is blue."""
    fill("product", {f"shirt {number:02}": [at_angle(number / 100)] for number in range(count)})
    Shirt.objects.update(color="red")
    Shirt.objects.filter(name="shirt 03").update(color="blue")


def test_categories__product_among_another_one(admin_client):
    categories(12)
    response = admin_client.get(url_of(Shirt, "?look=categories"))
    assert [names[0] for names in findings_in(response)] == ["shirt 03"]
    assert "In blue, but 10 of its 10 neighbours are in red." in text(response)


def test_categories__too_few_neighbours_and_no_category_say_nothing(admin_client):
    categories(5)
    assert findings_in(admin_client.get(url_of(Shirt, "?look=categories"))) == []
    fill("product", {f"more {number}": [at_angle(number / 100)] for number in range(9)})
    assert [names[0] for names in findings_in(admin_client.get(url_of(Shirt, "?look=categories")))] == []
    Shirt.objects.filter(name__startswith="more").update(color="red")
    assert [names[0] for names in findings_in(admin_client.get(url_of(Shirt, "?look=categories")))] == ["shirt 03"]
    Shirt.objects.filter(name="shirt 03").update(color="")
    assert findings_in(admin_client.get(url_of(Shirt, "?look=categories"))) == []


def test_categories__no_majority_says_nothing(admin_client):
    categories(12)
    Shirt.objects.filter(name__gte="shirt 06").update(color="green")
    assert "shirt 03" not in [names[0] for names in findings_in(admin_client.get(url_of(Shirt, "?look=categories")))]


def test_categories__by_a_foreign_key(admin_client):
    rows = fill("companion", {f"vase {number}": [at_angle(number / 100)] for number in range(8)})
    many, one = Shelf.objects.create(), Shelf.objects.create()
    Vase.objects.update(shelf=many)
    Vase.objects.filter(pk=rows["vase 2"].pk).update(shelf=one)
    page = text(admin_client.get(url_of(Vase, "?look=categories")))
    assert f"In {one}, but 7 of its 7 neighbours are in {many}." in page


def test_categories__by_many_to_many_through_pictures(admin_client):
    rows = fill("pictures", {f"chair {number}": [at_angle(number / 100), along(number + 9)] for number in range(8)})
    many, both = Shelf.objects.create(), Shelf.objects.create()
    many.chairs.set(rows.values())
    both.chairs.set([rows["chair 2"]])
    assert findings_in(admin_client.get(url_of(Chair, "?look=categories"))) == []
    many.chairs.remove(rows["chair 2"])
    response = admin_client.get(url_of(Chair, "?look=categories"))
    assert [names[0] for names in findings_in(response)] == ["chair 2"]


@isolate_apps("tests")
def test_categories__by_a_foreign_key_to_another_field_than_the_key():
    class Section(models.Model):
        slug = models.SlugField(unique=True)

        class Meta:
            app_label = "tests"

        def __str__(self):
            return f"section {self.slug}"

    class Piece(models.Model):
        section = models.ForeignKey(Section, models.CASCADE, to_field="slug", null=True)

        class Meta:
            app_label = "tests"

    with connection.schema_editor() as editor:
        editor.create_model(Section)
        editor.create_model(Piece)
    hats = Section.objects.create(slug="hats")
    pieces = [Piece.objects.create(section=hats), Piece.objects.create()]
    values, names = catalogue._categories(Piece.objects.all(), "section", [piece.pk for piece in pieces])
    assert (dict(values), names) == ({pieces[0].pk: {hats.pk}}, {hats.pk: "section hats"})


def test_categories__without_a_field_is_said(admin_client):
    fill("companions of pictures", TWINS)
    page = text(admin_client.get(url_of(Rug, "?look=categories")))
    assert 'Name the field with the category in the admin: similar_products_category = "category".' in page
    assert "Find products in the wrong category" not in page
    assert RugPhotoLook.objects.ready().count() == 5


# What may go wrong.


def test_page__statement_that_takes_too_long_is_stopped_and_said(admin_client, monkeypatch):
    fill("product", TWINS)
    real = catalogue.find_neighbours

    def slow(*arguments):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")
        return real(*arguments)

    monkeypatch.setattr(catalogue, "SECONDS", 0.05)
    monkeypatch.setattr(catalogue, "find_neighbours", slow)
    response = admin_client.get(url_of(Shirt, "?look=duplicates"))
    assert "This took longer than" in text(response)
    assert "Of 5 products 5" in text(response)


def test_page__limit_of_time_ends_with_it(admin_client):
    admin_client.get(url_of(Shirt, "?look=duplicates"))
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_page__other_faults_of_the_database_are_raised(admin_client, monkeypatch):
    def fail(*arguments):
        raise OperationalError("the server is gone")

    monkeypatch.setattr(catalogue, "_count", fail)
    with pytest.raises(OperationalError, match="the server is gone"):
        admin_client.get(url_of(Shirt))


def test_page__needs_the_permission_to_view():
    user = User.objects.create_user("clerk", is_staff=True)
    client = Client()
    client.force_login(user)
    assert client.get(url_of(Shirt)).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_shirt"))
    assert client.get(url_of(Shirt)).status_code == 200
    assert Client().get(url_of(Shirt)).status_code == 302


def test_page__is_linked_from_the_list(admin_client):
    assert f'href="{url_of(Shirt)}"' in admin_client.get("/admin/tests/shirt/").content.decode()


def test_category_field__choices_are_shown_by_their_names(rf, admin_user):
    categories(12)
    field = Shirt._meta.get_field("color")
    assert field_at_end(Shirt, "color") is field
    assert field_at_end(Vase, "shelf__vases").is_relation
    assert isinstance(ChairAdmin(Chair, site), SimilarProductsAdminMixin | admin.ModelAdmin)
