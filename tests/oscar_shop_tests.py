"""What holds in the shop of tests/oscar_shop. Run by test_oscar.py, in a process with the settings of that shop."""

import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import transaction
from django.template import Context, Template
from django.urls import reverse
from looks.models import ProductImageLook
from oscar.core.loading import get_model

from similar_products.query import similar_to
from similar_products.search.hnsw_index import index_name
from similar_products.search.ranking import ranked
from similar_products.visibility import visible_and_similar
from tests.drawn_pictures import picture_bytes

Category = get_model("catalogue", "Category")
Partner = get_model("partner", "Partner")
Product = get_model("catalogue", "Product")
ProductClass = get_model("catalogue", "ProductClass")
ProductImage = get_model("catalogue", "ProductImage")
StockRecord = get_model("partner", "StockRecord")

pytestmark = [
    # Haystack's simple backend, Oscar's own for a shop without a search server, says at each save that it has no index.
    pytest.mark.filterwarnings(r"ignore:(update|remove) is not implemented:UserWarning:haystack\.backends"),
    # Oscar 4.2 still calls methods that treebeard 7 has moved.
    pytest.mark.filterwarnings(r"ignore:Using Category\.:DeprecationWarning"),
]

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "oscar.md").read_text()
COLORS = {"r": "red", "w": "white", "b": "blue", "g": "lime"}


def stripes(code: str) -> bytes:
    """Return a square picture of eight stripes: "r7b1" has seven red ones and a blue one, from the left."""
    colors = [COLORS[letter] for letter, times in re.findall(r"(\w)(\d)", code) for _ in range(int(times))]
    return picture_bytes(*colors, size=(64, 64))


def create_product(title: str, *pictures: str, **fields) -> Product:
    """Create a product as an import does, by bulk: no signal tells of its pictures."""
    if "parent" not in fields:
        fields["product_class"], _ = ProductClass.objects.get_or_create(name="Clothing", track_stock=False)
    product = Product.objects.create(title=title, slug=title.replace(" ", "-"), **fields)
    ProductImage.objects.bulk_create(
        ProductImage(product=product, display_order=order, original=ContentFile(stripes(code), f"{code}.png"))
        for order, code in enumerate(pictures)
    )
    return product


@pytest.fixture
def catalogue(fresh_indexes) -> dict[str, Product]:
    """Six products for the catalogue's pages, two variants and one that is not public; not embedded yet."""
    jumper = create_product("jumper", "r5w3", "g8", structure=Product.PARENT)
    products = [
        create_product("tee", "r8", "r7w1"),
        create_product("polo", "b8", "r7b1"),
        create_product("shirt", "r4b4"),
        create_product("sock", "r2b6"),
        create_product("scarf"),
        create_product("sample", "r8", is_public=False),
        jumper,
        create_product("jumper small", "r8", structure=Product.CHILD, parent=jumper),
        create_product("jumper large", structure=Product.CHILD, parent=jumper),
    ]
    return {product.title: product for product in products}


@pytest.fixture
def shop(catalogue) -> dict[str, Product]:
    call_command("embed_products", stdout=StringIO())
    return catalogue


def titles(products) -> list[str]:
    return [product.title for product in products]


def matched(product: Product) -> str:
    """Return the stripes of the picture that was matched; a storage appends "_" and more to a name that is taken."""
    return Path(product.matched_image).stem.partition("_")[0]


# Filling.


def test_embed_products__makes_the_companions_and_embeds_every_picture(catalogue):
    assert not ProductImageLook.objects.exists()
    output = StringIO()
    call_command("embed_products", stdout=output)
    assert "looks.ProductImageLook: 10 embedded in" in output.getvalue()
    assert ProductImageLook.objects.ready().count() == ProductImage.objects.count() == 10
    assert ProductImageLook.objects.ready().filter(image__product=catalogue["tee"]).count() == 2
    again = StringIO()
    call_command("embed_products", stdout=again)
    assert "looks.ProductImageLook: 0 embedded." in again.getvalue()


@pytest.mark.django_db(transaction=True)
def test_save__embeds_a_new_image_after_the_commit():
    product = create_product("tee")
    with transaction.atomic():
        image = ProductImage.objects.create(product=product, original=ContentFile(stripes("r8"), "tee.png"))
        assert not ProductImageLook.objects.exists()
    assert image.look == ProductImageLook.objects.ready().get()


def test_dashboard__upload_is_embedded(shop, admin_client, django_capture_on_commit_callbacks):
    product = shop["scarf"]
    url = reverse("dashboard:catalogue-product", kwargs={"pk": product.pk})
    page = admin_client.get(url).context
    sent = {"title": "scarf", "slug": "scarf", "structure": "standalone", "is_public": "on", "priority": "0"}
    formsets = ("category_formset", "image_formset", "recommended_formset", "stockrecord_formset")
    for name in formsets:
        sent |= {f"{page[name].prefix}-{key}": "0" for key in ("TOTAL_FORMS", "INITIAL_FORMS")}
    category, images = page["category_formset"].prefix, page["image_formset"].prefix
    sent[f"{category}-TOTAL_FORMS"] = sent[f"{images}-TOTAL_FORMS"] = "1"
    sent[f"{category}-0-category"] = str(Category.add_root(name="Clothing").pk)
    sent[f"{images}-0-display_order"] = "0"
    sent[f"{images}-0-original"] = SimpleUploadedFile("scarf.png", stripes("r7b1"), "image/png")
    with django_capture_on_commit_callbacks(execute=True):
        response = admin_client.post(url, sent)
    assert response.status_code == 302, [response.context[form].errors for form in ("form", *formsets)]
    assert ProductImageLook.objects.ready().get(image__product=product).image.display_order == 0
    assert titles(similar_to(Product.objects.browsable(), product)[:2]) == ["polo", "tee"]


# Finding.


def test_similar_to__gives_one_row_per_product_through_its_best_picture(shop, django_assert_num_queries):
    with django_assert_num_queries(1):
        found = list(similar_to(Product.objects.all(), shop["tee"])[:6])
    assert [(product.title, matched(product)) for product in found[:5]] == [
        ("sample", "r8"),
        ("jumper small", "r8"),
        ("polo", "r7b1"),
        ("jumper", "r5w3"),
        ("shirt", "r4b4"),
    ]
    assert titles(found[5:]) == ["sock"]

    vectors = dict(ProductImageLook.objects.values_list("image", "embedding"))
    of = {product: [vectors[image.pk] for image in product.images.all()] for product in (shop["tee"], *found)}
    mean = np.mean(of.pop(shop["tee"]), axis=0)
    expected = [1 - max(vector @ mean for vector in of[product]) / np.linalg.norm(mean) for product in found]
    assert [product.distance for product in found] == pytest.approx(expected, abs=1e-3)


def test_similar_to__keeps_what_the_managers_of_oscar_ask_for(shop, django_assert_num_queries):
    assert titles(similar_to(Product.objects.browsable(), shop["tee"])[:20]) == ["polo", "jumper", "shirt", "sock"]
    public = similar_to(Product.objects.public(), shop["tee"])
    assert titles(public[:20]) == ["jumper small", "polo", "jumper", "shirt", "sock"]
    assert type(public) is type(Product.objects.all())
    assert titles(public.browsable()[:2]) == ["polo", "jumper"]
    with django_assert_num_queries(6):  # the similar products, and Oscar's five prefetches for all of them
        listed = list(similar_to(Product.objects.browsable().base_queryset(), shop["tee"])[:4])
        assert [len(product.images.all()) for product in listed] == [2, 2, 1, 1]


def test_similar_to__uses_the_index(shop, explain):
    nearest = similar_to(Product.objects.browsable().base_queryset(), shop["tee"])[:6]
    assert f"Index Scan using {index_name(ProductImageLook)}" in explain(nearest)


def test_similar_to__filters_by_stock_and_category_give_no_product_twice(shop):
    for name in ("London", "Paris"):
        partner = Partner.objects.create(name=name)
        for title in ("polo", "sock"):
            StockRecord.objects.create(product=shop[title], partner=partner, partner_sku=title, num_in_stock=3)
    in_stock = Product.objects.browsable().filter(stockrecords__num_in_stock__gt=0)
    assert in_stock.count() == 4
    assert titles(similar_to(in_stock, shop["tee"])[:20]) == ["polo", "sock"]
    (block,) = re.findall(r"```python\n# anywhere\n(.*?)```", PAGE, re.DOTALL)
    names = {"Product": Product, "product": shop["tee"]}
    exec(block, names)
    assert titles(names["found"]) == ["polo", "sock"]
    category = Category.add_root(name="Tops")
    shop["shirt"].categories.add(category)
    assert titles(similar_to(Product.objects.filter(categories=category), shop["tee"])[:20]) == ["shirt"]


def test_ranked__leaves_the_variants_of_the_target_out(shop, django_assert_num_queries):
    public = Product.objects.public()
    assert "jumper small" in titles(similar_to(public, shop["jumper"])[:20])
    with django_assert_num_queries(1):
        assert titles(ranked(similar_to(public, shop["jumper"]), 4)) == ["tee", "polo", "shirt", "sock"]
    assert titles(ranked(similar_to(public, shop["jumper small"]), 20)) == ["tee", "polo", "shirt", "sock"]
    assert "jumper" in titles(ranked(similar_to(public, shop["jumper small"]), 20, variants=True))


def test_hidden_product__is_neither_anchor_nor_neighbour(shop):
    assert titles(visible_and_similar(shop["tee"])[:20]) == ["polo", "jumper", "shirt", "sock"]
    assert not visible_and_similar(shop["sample"]).exists()
    assert similar_to(Product.objects.browsable(), shop["sample"]).exists()
    tag = Template("{% load similar_products %}{% similar_products product as found %}{{ found|length }}")
    assert tag.render(Context({"product": shop["sample"]})) == "0"
    assert tag.render(Context({"product": shop["tee"]})) == "4"


# The product's page.


def section(client, product: Product) -> list[tuple[str, str]]:
    """Return title and stripes of the picture of each similar product on Oscar's page of ``product``."""
    response = client.get(product.get_absolute_url())
    assert response.status_code == 200
    page = response.content.decode()
    assert f"<h1>{product.get_title()}</h1>" in page
    items = re.findall(r'<li class="similar-products__item">(.*?)</li>', page, re.DOTALL)
    assert ('<section class="similar-products"' in page) == bool(items)
    shown = []
    for item in items:
        (title,) = re.findall(r'<span class="similar-products__name">(.*?)</span>', item)
        (code,) = re.findall(r'src="/media/images/products/\d+/\d+/([a-z0-9]+)', item)
        shown.append((title, code))
    return shown


def test_page__shows_similar_products_by_the_picture_that_is_alike(shop, client):
    shown = [("polo", "r7b1"), ("jumper", "r5w3"), ("shirt", "r4b4"), ("sock", "r2b6")]
    assert section(client, shop["tee"]) == shown
    page = client.get(shop["tee"].get_absolute_url()).content.decode()
    assert f'<a href="{shop["polo"].get_absolute_url()}">' in page
    assert "Product Information" in page  # Oscar's own block is still there


def test_page__of_a_variant_shows_what_is_like_its_parent(shop, client):
    of_parent = section(client, shop["jumper"])
    assert [title for title, _ in of_parent] == ["tee", "polo", "shirt", "sock"]
    assert section(client, shop["jumper small"]) == section(client, shop["jumper large"]) == of_parent


def test_page__without_a_vector_is_oscars_own(shop, client):
    assert section(client, shop["scarf"]) == []
    coat = create_product("coat", structure=Product.PARENT)
    create_product("coat small", "r8", structure=Product.CHILD, parent=coat)
    call_command("embed_products", stdout=StringIO())
    assert section(client, coat) == []
    assert "coat" not in [title for title, _ in section(client, shop["tee"])]


def test_page__of_a_product_that_is_not_public(shop, client):
    assert client.get(shop["sample"].get_absolute_url()).status_code == 404
    client.force_login(User.objects.create_superuser("staff", password="worthless"))
    assert section(client, shop["sample"]) == []


# Changing and deleting.


def test_delete__takes_the_companions_along(shop):
    shop["tee"].delete()
    assert ProductImageLook.objects.count() == ProductImage.objects.count() == 8
    shop["polo"].images.get(display_order=1).delete()  # Oscar's own delete() saves the images that remain
    assert ProductImageLook.objects.count() == ProductImage.objects.count() == 7
    assert ProductImageLook.objects.ready().count() == 7
    assert titles(similar_to(Product.objects.browsable(), shop["shirt"])[:1]) == ["sock"]
