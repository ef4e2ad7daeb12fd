import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.files.base import ContentFile
from django.core.management.base import BaseCommand, CommandError
from django.utils.text import slugify
from tqdm import tqdm

from ...bulk import create_products
from ...drawing import DrawnProduct
from ...models import Category, Product


class Command(BaseCommand):
    help = (
        "Draw a catalogue: products of ten categories in many colours and patterns, the same each time. "
        "Those that exist stay as they are. Run embed_products afterwards."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--products", type=int, default=260, help="How many products the shop has (260).")

    def handle(self, *, products: int, verbosity: int, **options: Any) -> None:
        if products < 0:
            raise CommandError(f"--products {products} is too few; give 0 or more.", returncode=2)
        existing = set(Product.objects.values_list("category__name", "name"))
        missing = [
            drawn for drawn in map(DrawnProduct, range(products)) if (drawn.category, drawn.name) not in existing
        ]
        create_products(_products(missing))
        if verbosity > 0:
            self.stdout.write(f"Drew {len(missing):,} products; {products - len(missing):,} were there already.")


def _products(missing: list[DrawnProduct]) -> Iterator[Product]:
    categories: dict[str, Category] = {}
    for drawn in tqdm(missing, desc="Drawing", unit=" products", disable=not sys.stderr.isatty()):
        if drawn.category not in categories:
            categories[drawn.category] = Category.objects.get_or_create_named(drawn.category)
        yield Product(
            name=drawn.name,
            category=categories[drawn.category],
            price=drawn.price,
            stock=drawn.stock,
            color=drawn.color,
            pattern=drawn.pattern,
            image=ContentFile(drawn.picture(), name=f"{slugify(drawn.name)}.jpg"),
        )
