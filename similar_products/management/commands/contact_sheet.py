from argparse import ArgumentParser
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.utils.translation import gettext

from ...catalogue.evaluation import sample_of
from ...catalogue.neighbours import CatalogueError
from ...catalogue.products import read_pictures, read_products, ready_keys
from ...catalogue.sheets import PER_ROW, TILE, Tile, draw_sheet
from ...encoders import get_encoder
from ...pictures.gate import Pixels
from ...query import similar_to
from ...search.bands import WORDS, Bands, get_bands
from ...search.placement import get_placement, picture_of
from ..arguments import add_font, add_neighbours, add_output, add_seed, check_font, positive
from ..base import CatalogueCommand
from ..output import writable_file, write_files

MAX_ROWS = 200
"""Maximum number of rows on a sheet: 1,000 pictures, 57,000 pixels high, 300 MB of memory while it is drawn."""


class Command(CatalogueCommand):
    help = (
        "Draw products with their nearest as one picture to look at: the product in a frame, the similarity and its "
        f"word under each, {PER_ROW} to a row, each picture as encoders see it, the square from its middle. Compares "
        "exactly, without the index; only visible products are shown."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_output(parser, metavar="FILE.png")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--keys", nargs="+", metavar="KEY", help="Primary keys of the products to begin with.")
        text = "Number of products, chosen at random (5)."
        which.add_argument("--random", type=positive, default=5, metavar="N", help=text)
        add_neighbours(parser, 9)
        add_seed(parser)
        add_font(parser)

    def handle(
        self,
        *,
        output: Path,
        keys: Sequence[str] | None,
        random: int,
        k: int,
        seed: int,
        font: Path | None,
        **options: object,
    ) -> None:
        path = writable_file(output, ".png")
        check_font(font)
        _check_size(len(keys or ()) or random, k)
        products = self.get_products()
        queries = _read_named(products, keys) if keys else _read_random(products, random, seed)
        groups: list[list[Any]] = []
        with self.progress("neighbours", len(queries), "products") as advance:
            for query in queries:
                groups.append([query, *similar_to(products, query, exact=True)[:k]])
                advance(1)
        shown = [product for group in groups for product in group]
        with self.progress("pictures", len(shown), "pictures") as advance:
            pictures = iter(_read_pictures(products.model, shown, advance))
        bands = get_bands(get_encoder().name)
        tiles = [
            [
                Tile(next(pictures), str(query), gettext("the product"), is_query=True),
                *(Tile(next(pictures), str(product), _note(product.similarity, bands)) for product in nearest),
            ]
            for query, *nearest in groups
        ]
        title = gettext("%(model)s: products and their nearest") % {"model": products.model._meta.label}
        write_files({path: draw_sheet(title, tiles, font=font)})
        self.say(f"{len(groups):,} products with their nearest, {len(shown):,} pictures, in {path}.")


def _check_size(count: int, k: int) -> None:
    if (rows := count * -(-(k + 1) // PER_ROW)) > MAX_ROWS:
        raise CatalogueError(
            f"{count:,} products with {k:,} each are {rows:,} rows of {PER_ROW} pictures, and one sheet takes "
            f"{MAX_ROWS}; take fewer products or a smaller -k."
        )


def _read_named(products: QuerySet[Model], keys: Sequence[str]) -> list[Model]:
    """Return the products of these keys, in this order and each once."""
    label, field = products.model._meta.label, products.model._meta.pk
    try:
        wanted: list[Hashable] = list(dict.fromkeys(field.to_python(key) for key in keys))
    except ValidationError as error:
        raise CatalogueError(f"Not all of {', '.join(keys)} are keys of {label}: {error.messages[0]}") from error
    found = read_products(products, wanted)
    if missing := [str(key) for key in wanted if key not in found]:
        raise CatalogueError(f"{label} has no visible product with the key {', '.join(missing)}; name others.")
    ready = set(ready_keys(products.filter(pk__in=wanted), using=products.db))
    if pending := [str(key) for key in wanted if key not in ready]:
        raise CatalogueError(
            f"{label} {', '.join(pending)} has no vector of the encoder {get_encoder().name}; run embed_products first."
        )
    return [found[key] for key in wanted]


def _read_random(products: QuerySet[Model], count: int, seed: int) -> list[Model]:
    keys = ready_keys(products, using=products.db)
    if not keys:
        raise CatalogueError(
            f"{products.model._meta.label} has no visible product with a vector of the encoder {get_encoder().name}; "
            "run embed_products first."
        )
    chosen = [keys[position] for position in sample_of(len(keys), count, seed=seed)]
    found = read_products(products, chosen)
    return [found[key] for key in chosen if key in found]


def _read_pictures(
    model: type[Model], products: Sequence[Model], on_progress: Callable[[int], object]
) -> list[Pixels | str]:
    storage = get_placement(model).picture_field.storage
    names = [getattr(picture_of(product), "name", None) or "" for product in products]
    return read_pictures(storage, names, TILE, lambda picture: picture, on_progress=on_progress)


def _note(similarity: float, bands: Bands | None) -> str:
    return f"{similarity:.3f}, {WORDS[bands.word(similarity)]}" if bands else f"{similarity:.3f}"
