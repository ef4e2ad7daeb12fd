import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.urls import reverse

from shop_demo.drawing import DrawnProduct
from shop_demo.models import Category, Product
from shop_demo.views import POLICY
from tests.shop_demo.elements import Elements, queries_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture(scope="module")
def picture():
    return DrawnProduct(0).picture()


@pytest.fixture
def make_products(picture):
    """Return a function that makes so many products of a category, all with the same picture, embedded."""

    def make(number, *, category="Mugs", **attributes):
        values = {"price": 10, "stock": 1, **attributes}
        in_category = Category.objects.get_or_create_named(category)
        products = [
            Product(
                name=f"{category} {index:03}",
                category=in_category,
                image=ContentFile(picture, name=f"{category}{index}.jpg"),
                **values,
            )
            for index in range(number)
        ]
        Product.objects.bulk_create(products)
        call_command("embed_products", "shop_demo.Product", verbosity=0)
        return products

    return make


class TestList:
    def test_list__thirty_products_to_a_page(self, client, make_products):
        make_products(31)
        first, second = client.get("/"), client.get("/?page=2")
        assert len(first.context["page"].object_list) == 30
        assert "Products 1 to 30 of 31" in first.content.decode()
        assert [product.name for product in second.context["page"]] == ["Mugs 030"]
        assert {"href": "?page=2", "rel": "next"} in Elements(first).named("a")
        assert {"href": "?page=1", "rel": "prev"} in Elements(second).named("a")

    def test_list__page_out_of_range_is_the_last(self, client, make_products):
        make_products(31)
        assert client.get("/?page=99").context["page"].number == 2
        assert client.get("/?page=x").context["page"].number == 1

    def test_list__query_count_constant(self, client, make_products):
        make_products(3)
        few = queries_of(client, "/")
        make_products(25, category="Bags")
        assert len(queries_of(client, "/")) == len(few) == 3

    def test_list__does_not_load_vectors(self, client, make_products):
        make_products(3)
        assert not [sql for sql in queries_of(client, "/") if "embedding" in sql]

    def test_list__filtered_by_category(self, client, make_products):
        make_products(2)
        make_products(3, category="Bags")
        response = client.get(Category.objects.get(name="Bags").get_absolute_url())
        assert [product.name for product in response.context["page"]] == ["Bags 000", "Bags 001", "Bags 002"]
        assert {"href": "/categories/bags/", "aria-current": "page"} in Elements(response).named("a")
        assert len(queries_of(client, "/categories/bags/")) == 3

    def test_list__unknown_category_is_not_found(self, client):
        response = client.get("/categories/nothing/")
        assert response.status_code == 404
        assert "This page is not here" in response.content.decode()

    def test_list__empty_shop_says_so(self, client):
        assert "There is nothing here yet" in client.get("/").content.decode()

    def test_list__categories_show_their_first_picture(self, client, make_products):
        products = make_products(2)
        make_products(1, category="Bags")
        Product.objects.filter(category__name="Bags").update(image="")
        Category.objects.get_or_create_named("Hats")
        page = client.get("/").content.decode()
        shown = Elements(client.get("/categories/bags/")).named("img")
        assert [each["src"] for each in shown] == [products[0].image.url]
        for name in ("Bags", "Hats", "Mugs"):
            assert f"{name}</a>" in page

    def test_list__product_without_a_picture_has_a_place(self, client, make_products):
        (product, _) = make_products(2)
        Product.objects.filter(pk=product.pk).update(image="")
        for address in ("/", product.get_absolute_url()):
            assert "No picture" in client.get(address).content.decode()

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("q=mugs", ["Mugs 000", "Mugs 001"]),
            ("q=TEAL+bag", ["Bags 000"]),
            ("q=+++", ["Bags 000", "Mugs 000", "Mugs 001"]),
            ("q=%25", []),
            ("in_stock=on", ["Mugs 000", "Mugs 001"]),
            ("sort=-price", ["Bags 000", "Mugs 000", "Mugs 001"]),
            ("sort=price", ["Mugs 000", "Mugs 001", "Bags 000"]),
            ("sort=price&q=00&in_stock=on", ["Mugs 000", "Mugs 001"]),
            ("sort=nonsense&in_stock=", ["Bags 000", "Mugs 000", "Mugs 001"]),
            ("q=%00", ["Bags 000", "Mugs 000", "Mugs 001"]),
            (f"q={'x' * 101}", ["Bags 000", "Mugs 000", "Mugs 001"]),
        ],
    )
    def test_list__narrowed_down_and_sorted(self, client, make_products, query, expected):
        make_products(2)
        make_products(1, category="Bags", price=20, stock=0, color="teal")
        response = client.get(f"/?{query}")
        assert [product.name for product in response.context["page"]] == expected
        assert 'class="hero"' not in response.content.decode()

    def test_list__says_when_nothing_fits(self, client, make_products):
        make_products(1, stock=0)
        for address in ("/?q=nothing", "/categories/mugs/?in_stock=on"):
            assert "No product fits." in client.get(address).content.decode()

    def test_list__other_pages_are_narrowed_down_too(self, client, make_products):
        make_products(31)
        links = Elements(client.get("/?q=mugs&sort=price")).named("a")
        assert {"href": "?q=mugs&sort=price&page=2", "rel": "next"} in links

    def test_list__words_are_kept_when_sorted(self, client, make_products):
        make_products(1)
        inputs = Elements(client.get("/?q=mugs")).named("input")
        assert {"type": "hidden", "name": "q", "value": "mugs"} in inputs

    def test_list__pictures_have_size_and_alternative_text(self, client, make_products):
        make_products(2)
        pictures = Elements(client.get("/")).named("img")
        assert len(pictures) == 2 + 2  # and those of the category, in the hero and in the navigation
        for attributes in pictures:
            assert {"src", "alt", "width", "height"} <= set(attributes)

    def test_list__pictures_below_the_first_row_are_lazy(self, client, make_products):
        make_products(8)
        cards = [each for each in Elements(client.get("/")).named("img") if each.get("class") == "card__picture"]
        assert [each.get("loading") for each in cards] == [None] * 5 + ["lazy"] * 3

    def test_list__sold_out_is_said(self, client, make_products):
        make_products(1, stock=0)
        assert "Sold out" in client.get("/").content.decode()

    def test_list__names_are_escaped(self, client, make_products):
        (product,) = make_products(1)
        Product.objects.filter(pk=product.pk).update(name="<script>alert(1)</script>")
        for address in ("/", product.get_absolute_url(), "/?q=<script>alert(1)</script>"):
            assert "<script" not in client.get(address).content.decode()


class TestPages:
    @pytest.fixture
    def addresses(self, make_products):
        (product, _) = make_products(2)
        return ["/", "/categories/mugs/", "/?q=nothing", product.get_absolute_url(), "/search/", "/products/0/"]

    def test_pages__load_nothing_from_other_hosts(self, client, addresses):
        for address in addresses:
            for _, attributes in Elements(client.get(address)).found:
                for name in ("src", "href", "action", "srcset"):
                    assert not attributes.get(name, "").startswith(("http", "//"))

    def test_pages__policy_allows_nothing_inline_and_no_other_host(self, client, addresses):
        for address in addresses:
            response = client.get(address)
            assert response["Content-Security-Policy"] == POLICY
            for tag, attributes in Elements(response).found:
                assert tag != "style"
                assert not [name for name in attributes if name == "style" or name.startswith("on")]
        assert "unsafe" not in POLICY

    def test_pages__have_a_title_a_language_and_one_first_heading(self, client, addresses):
        titles = set()
        for address in addresses:
            response = client.get(address)
            elements = Elements(response)
            assert elements.named("html") == [{"lang": "en"}]
            assert len(elements.named("h1")) == len(elements.named("main")) == 1
            titles.add(response.content.decode().split("<title>")[1].split("</title>")[0])
        assert len(titles) == len(addresses)

    def test_error__says_so_in_the_shops_own_page(self, client, monkeypatch):
        def fail(*args, **kwargs):
            raise RuntimeError("The view fails.")

        monkeypatch.setattr("shop_demo.views.ListForm", fail)
        client.raise_request_exception = False
        response = client.get("/")
        assert response.status_code == 500
        assert response["Content-Security-Policy"] == POLICY
        assert "Something went wrong" in response.content.decode()


class TestProduct:
    def test_product__shows_its_attributes(self, client, make_products):
        (product,) = make_products(1, price="12.50", stock=7, color="teal", pattern="dotted")
        page = client.get(product.get_absolute_url()).content.decode()
        for text in ("€12.50", "7 in stock", "teal", "dotted", "Mugs 000"):
            assert text in page
        assert product.image.url in page

    def test_product__similar_products_are_shown(self, client, make_products):
        products = make_products(9)
        page = client.get(products[0].get_absolute_url()).content.decode()
        strip = page.split('class="similar-products"')[1].split("</section>")[0]
        assert strip.count('class="card"') == 6
        assert strip.count("€10.00") == 6

    def test_product__without_vector_has_no_strips(self, client, make_products):
        (product,) = make_products(1, price=20)
        make_products(3, category="Cheap", price=5)
        assert "cheaper" in client.get(product.get_absolute_url()).content.decode()
        Product.objects.filter(pk=product.pk).update(embedding=None, embedding_source="")
        page = client.get(product.get_absolute_url()).content.decode()
        assert 'class="similar-products' not in page
        assert "cheaper" not in page
        assert "Nothing in the shop looks like this yet." in page

    def test_product__cheaper_strip_has_only_cheaper_products_in_stock(self, client, make_products):
        product = make_products(1, price=20)[0]
        make_products(2, category="Cheap", price=19)
        make_products(2, category="Cheap and gone", price=5, stock=0)
        make_products(2, category="Dear", price=21)
        make_products(2, category="Same price", price=20)
        response = client.get(product.get_absolute_url())
        assert {found.name for found in response.context["cheaper"]} == {"Cheap 000", "Cheap 001"}
        strip = response.content.decode().split("Like this, but cheaper and in stock")[1]
        assert strip.count('class="card"') == 2

    def test_product__cheaper_strip_left_out_when_empty(self, client, make_products):
        product = make_products(3)[0]
        assert "cheaper" not in client.get(product.get_absolute_url()).content.decode()

    def test_product__query_count_constant(self, client, make_products):
        product = make_products(1, price=20)[0]
        make_products(7, category="Hats", price=10)  # as many as a strip shows: a short one is asked for twice
        few = queries_of(client, product.get_absolute_url())
        make_products(20, category="Bags", price=5)
        assert len(queries_of(client, product.get_absolute_url())) == len(few) == 3

    def test_product__does_not_load_vectors(self, client, make_products):
        product = make_products(1, price=20)[0]
        make_products(2, category="Hats")
        context = client.get(product.get_absolute_url()).context
        shown = [context["product"], *context["cheaper"], *context["similar_products"]]
        assert len(shown) == 5
        for each in shown:
            assert {"embedding", "embedding_source", "embedding_error"} <= each.get_deferred_fields()

    @pytest.mark.parametrize("key", [1, 10**30])
    def test_product__unknown_is_not_found(self, client, key):
        response = client.get(reverse("product", args=[key]))
        assert response.status_code == 404
        assert "This page is not here" in response.content.decode()


class TestModels:
    def test_get_or_create_named__gives_slugs_that_no_other_has(self):
        slugs = [Category.objects.get_or_create_named(name).slug for name in ("A B", "A-B", "A b", "***", "Töpfe")]
        assert slugs == ["a-b", "a-b-2", "a-b-3", "category", "töpfe"]

    def test_get_or_create_named__name_that_exists(self):
        assert Category.objects.get_or_create_named("A") == Category.objects.get_or_create_named("A")

    def test_get_or_create_named__longest_name_fits(self):
        for ending in ("a", "A"):
            assert len(Category.objects.get_or_create_named("x" * 99 + ending).slug) <= 100

    def test_category__unicode_slug_has_a_page(self, client, make_products):
        make_products(1, category="Töpfe")
        response = client.get(Category.objects.get(name="Töpfe").get_absolute_url())
        assert len(response.context["page"].object_list) == 1


class TestAdmin:
    @pytest.mark.parametrize("model", [Product, Category])
    def test_admin__lists_and_finds(self, admin_client, make_products, model):
        make_products(2)
        address = reverse(f"admin:shop_demo_{model._meta.model_name}_changelist")
        response = admin_client.get(address, {"q": "Mugs"})
        assert response.status_code == 200
        assert response.context["cl"].result_count > 0
        assert admin_client.get(address, {"q": "xyz"}).context["cl"].result_count == 0

    def test_admin__product_can_be_edited(self, admin_client, make_products):
        (product,) = make_products(1)
        address = reverse("admin:shop_demo_product_change", args=[product.pk])
        context = admin_client.get(address).context
        data = {name: value for name, value in context["adminform"].form.initial.items() if name != "image"}
        for inline in context["inline_admin_formsets"]:
            management = inline.formset.management_form
            data |= {management.add_prefix(name): management[name].value() for name in management.fields}
        assert admin_client.post(address, {**data, "price": "3.50"}).status_code == 302
        product.refresh_from_db()
        assert str(product.price) == "3.50"
