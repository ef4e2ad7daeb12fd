import hashlib
import io
import random

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from shop_demo.drawing import COLORS, PATTERNS, SECTIONS, DrawnProduct
from shop_demo.models import Category, Product


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestDrawing:
    def test_picture__is_a_jpeg_of_480_pixels(self):
        with Image.open(io.BytesIO(DrawnProduct(3).picture())) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (480, 480), "RGB")

    def test_picture__same_bytes_whatever_the_global_random_state(self):
        product = DrawnProduct(11)
        first = product.picture()
        random.seed(1)
        np.random.seed(1)
        assert product.picture() == first
        assert DrawnProduct(11).picture() == first

    def test_picture__leaves_the_global_random_state_alone(self):
        before = random.getstate(), np.random.get_state()[1].tolist()
        DrawnProduct(12).picture()
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before

    def test_picture__different_for_each_product(self):
        pictures = {hashlib.sha256(DrawnProduct(number).picture()).digest() for number in range(60)}
        assert len(pictures) == 60

    @pytest.mark.parametrize("section", range(len(SECTIONS)), ids=[section.name for section in SECTIONS])
    def test_picture__shows_the_product_on_a_light_backdrop(self, section):
        for index in range(8):
            with Image.open(io.BytesIO(DrawnProduct(section + index * len(SECTIONS)).picture())) as image:
                pixels = np.asarray(image.convert("L"), dtype=np.int16)
            # Most of the border is wall, and well over a twelfth of the picture stands out from it.
            border = np.concatenate([pixels[:8].ravel(), pixels[:, :8].ravel(), pixels[:, -8:].ravel()])
            assert np.median(border) > 200
            product = np.abs(pixels - np.median(pixels[:, :8], axis=1)[:, None]) > 12
            assert product.mean() > 0.08

    def test_names__unique_within_a_category(self):
        keys = [(product.category, product.name) for product in map(DrawnProduct, range(1_000))]
        assert len(set(keys)) == 1_000

    def test_catalogue__is_varied(self):
        products = [DrawnProduct(number) for number in range(260)]
        assert {product.color for product in products} == set(COLORS)
        assert {product.pattern for product in products} == set(PATTERNS)
        for section in SECTIONS:
            chosen = [product for product in products if product.category == section.name]
            assert len(chosen) == 26
            assert len({product.color for product in chosen}) >= 8
            assert len({product.name.split(" ", 1)[1] for product in chosen}) >= 3
            assert any(product.stock == 0 for product in products)
            assert all(section.cheapest - 1 < product.price < section.dearest for product in chosen)


@pytest.mark.django_db
class TestCommand:
    def test_seed_shop__draws_products_with_pictures(self, media, capsys):
        call_command("seed_shop", products=20)
        assert Product.objects.count() == 20
        assert Category.objects.count() == len(SECTIONS)
        for product in Product.objects.all():
            with product.image.open() as file, Image.open(file) as image:
                image.load()
        assert len(files_below(media)) == 20
        # One line, and nothing on stderr, where that is no terminal.
        output = capsys.readouterr()
        assert output.out == "Drew 20 products; 0 were there already.\n"
        assert output.err == ""

    def test_seed_shop__leaves_embedding_to_embed_products(self):
        call_command("seed_shop", products=5, verbosity=0)
        assert Product.objects.pending().count() == 5

    def test_seed_shop__run_again_changes_nothing(self, media, capsys):
        call_command("seed_shop", products=12)
        rows, files = list(Product.objects.order_by("pk").values_list()), files_below(media)
        capsys.readouterr()
        call_command("seed_shop", products=12)
        assert list(Product.objects.order_by("pk").values_list()) == rows
        assert files_below(media) == files
        assert capsys.readouterr().out == "Drew 0 products; 12 were there already.\n"

    def test_seed_shop__more_products_adds_those_missing(self):
        call_command("seed_shop", products=10, verbosity=0)
        kept = set(Product.objects.values_list("pk", flat=True))
        call_command("seed_shop", products=15, verbosity=0)
        assert Product.objects.count() == 15
        assert kept <= set(Product.objects.values_list("pk", flat=True))

    def test_seed_shop__quiet_at_verbosity_0(self, capsys):
        call_command("seed_shop", products=2, verbosity=0)
        assert capsys.readouterr().out == ""

    def test_seed_shop__negative_number_refused(self):
        with pytest.raises(CommandError, match="--products -1 is too few; give 0 or more"):
            call_command("seed_shop", products=-1)
