import math
from argparse import ArgumentParser
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from django.core.files.storage import Storage
from django.db.models import Model, QuerySet
from django.utils.translation import gettext

from ...catalogue.evaluation import sample_of
from ...catalogue.labels import read_label_texts
from ...catalogue.map import Point, color_groups, lay_out, render_map, snap_to_grid
from ...catalogue.neighbours import CatalogueError, Positions, product_vectors
from ...catalogue.products import picture_names, read_pictures, read_products, ready_keys
from ...catalogue.sheets import Legend, draw_map, placeholder, smaller, webp
from ...pictures.gate import Pixels
from ...search.placement import get_placement
from ..arguments import add_font, add_label, add_seed, check_font, positive
from ..base import CatalogueCommand, read_embedded
from ..output import writable_file, write_files

LIMIT = 2_000
MAX_LIMIT = 10_000
"""Beyond it t-SNE takes many minutes, and browsers become slow."""
SMALL = 48
LARGE, LARGE_PIXELS = 256, 130_000_000
"""Side of the larger pictures on the page, and what they may have together: 20 MB or so of file."""
CELL, CELL_PIXELS = 64, 10_000_000
"""The same of the thumbnails on the PNG."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The products of a map: what they are called, their labels and colours, and the cell of the grid each has."""

    names: list[str]
    labels: list[str]
    groups: Sequence[int]
    legend: list[Legend]
    images: list[str]
    places: Positions
    shape: tuple[int, int]


class Thumbnails(NamedTuple):
    """A picture as the page has it, twice, in WebP, and as the PNG has it."""

    small: bytes
    large: bytes
    cell: Pixels
    is_missing: bool


class Command(CatalogueCommand):
    help = (
        "Draw the catalogue as a map on which products that look alike are neighbours, by t-SNE: as a page that zooms "
        "and shows each picture larger (--html), as a picture (--png), or both. The page is one file that needs no "
        "network. Only visible products are on it, each in the free place nearest to its own. 2,000 products take 45 s "
        "of one core and 350 MB of memory. Each label (--by) has its colour."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--html", type=Path, metavar="FILE.html", help="The page to write.")
        parser.add_argument("--png", type=Path, metavar="FILE.png", help="The picture to write.")
        add_label(parser)
        text = f"Maximum number of products on the map, chosen at random ({LIMIT:,}; up to {MAX_LIMIT:,})."
        parser.add_argument("--limit", type=positive, default=LIMIT, metavar="N", help=text)
        add_seed(parser)
        add_font(parser)

    def handle(
        self,
        *,
        html: Path | None,
        png: Path | None,
        by: str | None,
        limit: int,
        seed: int,
        font: Path | None,
        **options: object,
    ) -> None:
        if html is None and png is None:
            raise CatalogueError("There is no file to write: name one with --html FILE.html or --png FILE.png.")
        page, picture = html and writable_file(html, ".html"), png and writable_file(png, ".png")
        check_font(font)
        if not 2 <= limit <= MAX_LIMIT:
            raise CatalogueError(f"--limit is {limit:,}; a map takes 2 to {MAX_LIMIT:,} products.")
        products = self.get_products()
        keys = ready_keys(products, using=products.db)
        if by:
            read_label_texts(products, by, keys[:1])  # a wrong name is said before the work
        drawn = [keys[position] for position in sample_of(len(keys), limit, seed=seed)]
        arranged = self._arrange(products, drawn, by, seed)
        storage = get_placement(products.model).picture_field.storage
        thumbnails = self._read_thumbnails(storage, arranged.images, with_page=page is not None)
        title = gettext("%(model)s: map of %(number)s products") % {
            "number": f"{len(arranged.names):,}",
            "model": products.model._meta.label,
        }
        contents: dict[Path, bytes] = {}
        if page:
            contents[page] = _render_page(title, arranged, thumbnails)
        if picture:
            contents[picture] = _render_picture(title, arranged, thumbnails, font)
        write_files(contents)
        of = f" of {len(keys):,}, chosen at random; --limit takes more or fewer" if len(drawn) < len(keys) else ""
        self.say(f"{len(drawn):,} products{of}.")
        for path, data in contents.items():
            self.say(f"{path}: {len(data) / 1e6:,.1f} MB.")

    def _arrange(self, products: QuerySet[Model], keys: Sequence[Hashable], by: str | None, seed: int) -> Arrangement:
        catalogue = read_embedded(products.filter(pk__in=keys))
        owners = catalogue.owners.tolist()
        if self.shows_progress:
            self.stderr.write(f"t-SNE of {len(owners):,} products: about {len(owners) // 200 + 1} s on a free core.")
        places, shape = snap_to_grid(lay_out(product_vectors(catalogue, np.arange(len(owners))), seed=seed))
        found = read_products(products, owners)
        texts = read_label_texts(products, by, owners) if by else {}
        labels = [texts.get(owner, "") for owner in owners]
        groups, legend = color_groups(labels) if by else ([0] * len(owners), [])
        images = dict(picture_names(catalogue, products.model, catalogue.starts[:-1], products.db))
        return Arrangement(
            names=[str(found.get(owner, owner)) for owner in owners],
            labels=labels,
            groups=groups,
            legend=legend,
            images=[images.get(row, "") for row in catalogue.starts[:-1].tolist()],
            places=places,
            shape=shape,
        )

    def _read_thumbnails(self, storage: Storage, images: list[str], *, with_page: bool) -> list[Thumbnails]:
        """Return what is drawn of each picture; a cross stands for one that cannot be read."""
        large, cell = _side(len(images), LARGE, LARGE_PIXELS), _side(len(images), CELL, CELL_PIXELS)

        def shrink(pixels: Pixels | str) -> Thumbnails:
            square = placeholder(large) if isinstance(pixels, str) else pixels
            small, whole = (webp(smaller(square, SMALL)), webp(square)) if with_page else (b"", b"")
            return Thumbnails(small, whole, smaller(square, cell), is_missing=isinstance(pixels, str))

        with self.progress("pictures", len(images), "pictures") as advance:
            found = read_pictures(storage, images, large, shrink, on_progress=advance)
        if missing := sum(one.is_missing for one in found):
            self.stderr.write(
                f"Shown as a cross, as the picture cannot be read: {missing:,}; embed_products --verify names them."
            )
        return found


def _render_page(title: str, arranged: Arrangement, pictures: list[Thumbnails]) -> bytes:
    products = zip(arranged.names, arranged.labels, arranged.groups, arranged.places, pictures, strict=True)
    points = [
        Point(name, label, group, int(column), int(row), picture.small, picture.large)
        for name, label, group, (column, row), picture in products
    ]
    return render_map(title, points, arranged.shape, arranged.legend).encode()


def _render_picture(title: str, arranged: Arrangement, pictures: list[Thumbnails], font: Path | None) -> bytes:
    legend = arranged.legend
    return draw_map(
        title,
        [picture.cell for picture in pictures],
        arranged.places,
        arranged.shape,
        colors=[legend[group].color for group in arranged.groups] if legend else [],
        legend=legend,
        font=font,
    )


def _side(count: int, most: int, pixels: int) -> int:
    """Return the side of ``count`` squares that have ``pixels`` together, ``most`` at most."""
    return min(most, math.isqrt(pixels // count))
