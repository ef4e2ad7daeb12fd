import re
from html import unescape

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext

from similar_products.admin import PictureStateInlineMixin, SimilarProductsAdminMixin
from tests.admin.pages import (
    EMBED,
    EVERY_PLACEMENT,
    MODELS,
    RETRY,
    change_url,
    fill,
    list_url,
    photo_url,
    shirts_in_each_state,
    states_in,
    text,
)
from tests.admin_site import LampAdmin, ShirtAdmin, site
from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, at_angle
from tests.models import Chair, ChairPhoto, Lamp, Order, RugPhoto, RugPhotoLook, Shirt

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.admin_site"),
    pytest.mark.usefixtures("fresh_indexes"),
]


@EVERY_PLACEMENT
def test_list__query_count_is_constant_and_no_vector_is_loaded(admin_client, placement):
    counts = []
    for number in (3, 27):
        fill(placement, number, start=30 * len(counts))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            response = admin_client.get(list_url(MODELS[placement]))
        counts.append(len(queries))
        for query in queries:
            assert '"embedding"' not in re.sub(r'"embedding" IS (NOT )?NULL', "", query["sql"])
    assert len(set(counts)) == 1
    assert states_in(response.content.decode()) == ["ready"] * 30


def test_list__shows_each_state(admin_client):
    shirts_in_each_state()
    html = admin_client.get(list_url(Shirt)).content.decode()
    assert states_in(html) == ["failed", "failed", "no_picture", "pending", "ready", "pending"]  # by name
    assert "failed: truncated" in html
    assert 'title="The storage has no such file."' in html


def test_list__several_pictures_are_counted(admin_client):
    (chair,) = fill("pictures", 1)
    ChairPhoto.objects.create(chair=chair, image="two.png")
    ChairPhoto.objects.create(chair=chair, image="three.png")
    assert "1 ready 2 pending" in text(admin_client.get(list_url(Chair)))


def test_list__encoder_that_cannot_be_made_breaks_nothing(admin_client, change):
    shirts_in_each_state()
    change(ENCODER={"BACKEND": "similar_products.encoders.TFHubEncoder", "OPTIONS": {"handle": "/no/such/folder"}})
    response = admin_client.get(f"{list_url(Shirt)}?similar_products_state=failed")
    assert states_in(response.content.decode()) == ["unknown"] * 6
    assert "There is no folder /no/such/folder" in unescape(response.content.decode())
    assert "By picture state" not in text(response)


def test_list__own_columns_filters_and_actions_stay(rf, admin_user):
    request = rf.get("/")
    request.user = admin_user
    assert ShirtAdmin(Shirt, site).get_list_display(request) == ["name", "color", "similar_products_state"]
    assert [*LampAdmin(Lamp, site).get_actions(request)] == ["delete_selected", "publish", EMBED, RETRY]

    class Placed(ShirtAdmin):
        list_display = ("similar_products_state", "name")
        list_filter = (*LampAdmin(Lamp, site).get_list_filter(request), "color")
        actions = None

    placed = Placed(Shirt, site)
    assert placed.get_list_display(request) == ("similar_products_state", "name")
    assert len(placed.get_list_filter(request)) == 2
    assert placed.get_actions(request) == {}


def test_pages__next_class_whose_actions_are_written_for_the_list_alone(rf, admin_user):
    """Django 6.1 says for which page actions are asked for, and takes such a class still."""
    (shirt,) = fill("product", 1)

    class Older(admin.ModelAdmin):
        def get_actions(self, request):
            return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    class OlderAdmin(SimilarProductsAdminMixin, Older):
        pass

    request = rf.get("/")
    request.user = admin_user
    shirts = OlderAdmin(Shirt, site)
    assert [*shirts.get_actions(request)] == [EMBED, RETRY]
    assert f'value="{EMBED}"' in shirts.changelist_view(request).render().content.decode()
    assert shirts.change_view(request, str(shirt.pk)).status_code == 200


def test_list__own_queryset_without_ours_claims_no_state(rf, admin_user):
    shirts_in_each_state()

    class Own(ShirtAdmin):
        def get_queryset(self, request):
            return Shirt.objects.all()

    assert {Own(Shirt, site).similar_products_state(shirt) for shirt in Own(Shirt, site).get_queryset(rf.get("/"))} == {
        "-"
    }


def test_pages__load_no_script_or_style_inline_of_ours(admin_client):
    rows = fill("product", 3)
    for url in (list_url(Shirt), change_url(rows[0]), photo_url(rows[0]), f"{list_url(Shirt)}similar-products/"):
        html = admin_client.get(url).content.decode()
        assert "/static/similar_products/admin.css" in html
        assert "<style" not in html
        assert re.findall(r"<script(?![^>]*src=)[^>]*>", html) == []
        assert "style=" not in html


def test_inline__shows_the_state_of_each_picture_and_why_it_failed(admin_client):
    (chair,) = fill("pictures", 1)
    ChairPhoto.objects.bulk_create(
        [
            ChairPhoto(chair=chair, image="new.png"),
            ChairPhoto(chair=chair, image="cut.png", embedding_source=f"{ENCODER}|cut.png", embedding_error="corrupt"),
        ]
    )
    html = admin_client.get(change_url(chair)).content.decode()
    html = html[html.index('id="photos-group"') :]
    assert states_in(html) == ["ready", "pending", "failed"]
    assert "failed: corrupt" in html
    assert '<span class="similar-products-state__reason">The picture file is damaged.</span>' in html


def test_inline__of_pictures_whose_vectors_are_elsewhere(admin_client):
    (rug,) = fill("companions of pictures", 1)
    RugPhoto.objects.create(rug=rug, image="new.png")
    RugPhotoLook.objects.all().update(embedding=None, embedding_error="blank")
    html = admin_client.get(change_url(rug)).content.decode()
    html = html[html.index('id="photos-group"') :]
    assert sorted(states_in(html)) == ["failed", "pending"]


def test_inline__query_count_is_constant_and_no_vector_is_loaded(admin_client):
    counts = []
    fill("pictures", 9)
    for number in (1, 8):
        item = Item(f"chair {number}", [Picture(at_angle(index / 10)) for index in range(number)])
        CATALOGUES["pictures"].fill([item])
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(change_url(item.row))
        counts.append(len(queries))
        for query in queries:
            if '"tests_chairphoto"."image"' in query["sql"].partition(" FROM ")[0]:
                assert '"tests_chairphoto"."embedding",' not in query["sql"]
    assert len(set(counts)) == 1


def test_check__model_without_vectors():
    class OrderAdmin(SimilarProductsAdminMixin, admin.ModelAdmin):
        pass

    (error,) = OrderAdmin(Order, site).check()
    assert error.id == "similar_products.E020"
    assert "tests.Order, which is not derived from VisuallySimilarModel" in error.msg


def test_check__category_that_is_no_field():
    class Wrong(ShirtAdmin):
        similar_products_category = "colour"

    class TooFar(ShirtAdmin):
        similar_products_category = "color__name"

    for wrong in (Wrong, TooFar):
        (error,) = wrong(Shirt, site).check()
        assert error.id == "similar_products.E021"
        assert error.msg.startswith(f"{wrong.__name__}.similar_products_category is ")
    assert ShirtAdmin(Shirt, site).check() == []


def test_check__inline_of_a_model_without_pictures():
    class Inline(PictureStateInlineMixin, admin.TabularInline):
        model = Order

    class OwnerAdmin(ShirtAdmin):
        inlines = (Inline,)

    assert [error.id for error in OwnerAdmin(Shirt, site).check()] == ["similar_products.E020"]
