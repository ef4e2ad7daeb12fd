"""django-modeltranslation, whose managers read other columns: admin, API and commands work as without it."""

import pytest
from django.core.management import call_command

from tests.drawn_pictures import picture_file
from tests.packages.shop.models import Pan

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pans():
    return [Pan.objects.create(name=color, image=picture_file(color)) for color in ("red", "blue", "green")]


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize(
    "page",
    [
        "/plain/packages_shop/pan/",
        "/plain/packages_shop/pan/{key}/change/",
        "/plain/packages_shop/pan/similar-products/",
        "/api/products/{key}/similar/",
    ],
)
def test_pages__of_a_translated_product(pans, admin_client, page, language):
    answer = admin_client.get(page.format(key=pans[0].pk), headers={"accept-language": language})
    assert answer.status_code == 200
    assert "blue" in answer.content.decode() or "similar-products" in page


@pytest.mark.parametrize(
    "arguments",
    [
        ["embed_products", "--all"],
        ["cluster_products", "packages_shop.Pan", "--groups", "2"],
        ["export_similar", "packages_shop.Pan", "--output", "{folder}/similar.json"],
        ["find_duplicates", "packages_shop.Pan", "--similarity", "0.99"],
        ["map_catalogue", "packages_shop.Pan", "--html", "{folder}/map.html"],
        ["contact_sheet", "packages_shop.Pan", "--output", "{folder}/sheet.png"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands__on_a_translated_product(pans, tmp_path, arguments):
    call_command(*[argument.format(folder=tmp_path) for argument in arguments], verbosity=0)
