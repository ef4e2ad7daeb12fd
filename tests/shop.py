"""Six products of the demo shop for the browser; a module asks for them by ``pytest_plugins = ("tests.shop",)``."""

import io

import pytest
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.management import call_command
from PIL import Image

from shop_demo import settings as shop_settings
from shop_demo.drawing import DrawnProduct
from shop_demo.models import Category, Product

NUMBERS = (0, 1, 5, 6, 8, 9)


@pytest.fixture(scope="session")
def drawn() -> list[DrawnProduct]:
    return [DrawnProduct(number) for number in NUMBERS]


@pytest.fixture(scope="session")
def pictures(drawn) -> list[bytes]:
    return [product.picture() for product in drawn]


@pytest.fixture
def products(settings, tmp_path, drawn, pictures) -> list[Product]:
    """Six products that cost 10, 20 ... 60, each of a category of its own; the second is sold out."""
    settings.MEDIA_ROOT = tmp_path
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "API": shop_settings.SIMILAR_PRODUCTS["API"]}
    settings.ALLOWED_HOSTS = ["localhost"]
    cache.clear()
    products = [
        Product(
            name=each.name,
            category=Category.objects.get_or_create_named(each.category),
            price=10 * number,
            stock=0 if number == 2 else 5,
            color=each.color,
            pattern=each.pattern,
            image=ContentFile(picture, name=f"{number}.jpg"),
        )
        for number, (each, picture) in enumerate(zip(drawn, pictures, strict=True), 1)
    ]
    Product.objects.bulk_create(products)
    call_command("embed_products", "shop_demo.Product", verbosity=0)
    return products


@pytest.fixture(scope="session")
def photo_of_two(pictures) -> bytes:
    """One photo with the first product on its left half and the third on its right."""
    both = Image.new("RGB", (960, 480))
    for left, picture in ((0, pictures[0]), (480, pictures[2])):
        both.paste(Image.open(io.BytesIO(picture)), (left, 0))
    buffer = io.BytesIO()
    both.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
