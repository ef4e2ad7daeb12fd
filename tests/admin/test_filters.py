import pytest

from tests.admin.pages import EVERY_PLACEMENT, MODELS, fill, list_url, shirts_in_each_state, text
from tests.catalogues import CATALOGUES
from tests.models import Shirt, Vase, VaseLook

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.admin_site"),
    pytest.mark.usefixtures("fresh_indexes"),
]


def listed(client, model, query=""):
    return {str(product) for product in client.get(f"{list_url(model)}?{query}").context["cl"].result_list}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("ready", {"ready"}),
        ("pending", {"pending", "stale"}),
        ("failed", {"cut", "gone"}),
        ("failed:truncated", {"cut"}),
        ("failed:missing_file", {"gone"}),
        ("no_picture", {"none"}),
    ],
)
def test_filter__finds_each_state(admin_client, value, names):
    shirts_in_each_state()
    assert listed(admin_client, Shirt, f"similar_products_state={value}") == names


def test_filter__offers_the_codes_that_there_are(admin_client):
    shirts_in_each_state()
    page = text(admin_client.get(list_url(Shirt)))
    assert "By picture state All ready pending failed failed: missing_file failed: truncated no picture" in page
    assert "similar_products_state" in admin_client.get(f"{list_url(Shirt)}?_facets=True").content.decode()


@EVERY_PLACEMENT
def test_filter__works_in_every_placement(admin_client, placement):
    fill(placement, 2)
    rows = fill(placement, 1, start=50)
    holder = CATALOGUES[placement].holder
    last = holder.embeddings.order_by("-pk")[0]
    model = MODELS[placement]
    assert listed(admin_client, model, "similar_products_state=ready") == {"item 00", "item 01", "item 50"}
    holder.embeddings.filter(pk=last.pk).update(embedding=None, embedding_error="blank")
    assert listed(admin_client, model, "similar_products_state=failed:blank") == {str(rows[0])}
    holder.embeddings.filter(pk=last.pk).update(embedding_source="another|x")
    assert listed(admin_client, model, "similar_products_state=pending") == {str(rows[0])}
    assert listed(admin_client, model, "similar_products_state=ready") == {"item 00", "item 01"}


def test_filter__picture_without_its_companion_is_pending(admin_client):
    Vase.objects.create(name="new", image="new.png")
    VaseLook.objects.all().delete()
    Vase.objects.create(name="bare")
    assert listed(admin_client, Vase, "similar_products_state=pending") == {"new"}
    assert listed(admin_client, Vase, "similar_products_state=no_picture") == {"bare"}


@pytest.mark.parametrize("value", ["nonsense", "failed:a%00b"])
def test_filter__unknown_value_leads_back_to_the_list(admin_client, value):
    response = admin_client.get(f"{list_url(Shirt)}?similar_products_state={value}")
    assert (response.status_code, response["Location"]) == (302, f"{list_url(Shirt)}?e=1")
