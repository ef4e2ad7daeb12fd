import math
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand
from django.db import models
from django.utils.translation import gettext

from ...catalogue.evaluation import SEED, sample_of
from ...catalogue.labels import read_label_texts
from ...catalogue.map import Point, color_groups, lay_out, render_map, snap_to_grid
from ...catalogue.neighbours import CatalogueError, product_vectors
from ...catalogue.products import picture_names, read_pictures, read_products, ready_keys
from ...catalogue.sheets import draw_map, placeholder, smaller, webp
from ...pictures.gate import Pixels
from ...search.placement import get_placement, picture_field
from ..arguments import (
    add_catalogue_arguments,
    font_file,
    positive,
    products_of,
    progress,
    read_embedded,
    seed_number,
    sentences,
    writable_file,
    write_files,
)

LIMIT = 2_000
MOST = 10_000
"""Beyond it t-SNE takes many minutes, browsers tire of so many pictures, and nobody looks at each."""
SMALL = 48
LARGE, LARGE_PIXELS = 256, 130_000_000
"""Side of the larger pictures on the page, and what they may have together: 20 MB or so of file."""
CELL, CELL_PIXELS = 64, 10_000_000
"""The same of the thumbnails on the PNG."""


class Command(BaseCommand):
    help = (
        "Draw the catalogue as a map on which products that look alike are neighbours, by t-SNE: as a page that zooms "
        "and shows each picture larger (--html), as a picture (--png), or both. The page is one file that needs no "
        "network. Only visible products are on it, each in the free place nearest to its own. 2,000 products take 45 s "
        "of one core and 350 MB of memory. Exit code 0; 2 when the command could not run; 3 when it was interrupted."
    )
    requires_system_checks = ()  # what can be wrong is said below, in a sentence and with exit code 2

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_catalogue_arguments(parser)
        parser.add_argument("--html", type=Path, metavar="FILE.html", help="The page to write.")
        parser.add_argument("--png", type=Path, metavar="FILE.png", help="The picture to write.")
        parser.add_argument(
            "--by", metavar="FIELD", help="Colour by a field or relation of the product, as in category."
        )
        parser.add_argument(
            "--limit",
            type=positive,
            default=LIMIT,
            help=f"Most products on the map ({LIMIT:,}; up to {MOST:,}); of more it shows so many by chance.",
        )
        parser.add_argument("--seed", type=seed_number, default=SEED, help=f"Another one gives another map ({SEED}).")
        parser.add_argument(
            "--font", type=Path, metavar="FILE", help="Font for labels on the PNG in other than Latin letters."
        )

    def handle(
        self,
        *,
        model: str,
        database: str | None,
        html: Path | None,
        png: Path | None,
        by: str | None,
        limit: int,
        seed: int,
        font: Path | None,
        verbosity: int,
        **options: Any,
    ) -> None:
        with sentences():
            if html is None and png is None:
                raise CatalogueError("There is no file to write: name one with --html FILE.html or --png FILE.png.")
            page, picture = html and writable_file(html, ".html"), png and writable_file(png, ".png")
            font_file(font)
            if not 2 <= limit <= MOST:
                raise CatalogueError(f"--limit is {limit:,}; a map takes 2 to {MOST:,} products.")
            products = products_of(model, database)
            keys = ready_keys(products, using=products.db)
            if by:
                read_label_texts(products, by, keys[:1])  # a wrong name is said before the work
            drawn = [keys[position] for position in sample_of(len(keys), limit, seed=seed)]
            contents = self._draw(products, drawn, by, seed, font, page, picture, verbosity=verbosity)
            write_files(contents)
        if verbosity > 0:
            of = f" of {len(keys):,}, by chance; --limit takes another number" if len(drawn) < len(keys) else ""
            self.stdout.write(f"{len(drawn):,} products{of}.")
            for path, data in contents.items():
                self.stdout.write(f"{path}: {len(data) / 1e6:,.1f} MB.")

    def _draw(
        self,
        products: "models.QuerySet[Any]",
        keys: list[Any],
        by: str | None,
        seed: int,
        font: Path | None,
        page: Path | None,
        picture: Path | None,
        *,
        verbosity: int,
    ) -> dict[Path, bytes]:
        model = products.model
        catalogue = read_embedded(products.filter(pk__in=keys))
        owners = catalogue.owners.tolist()
        if sys.stderr.isatty() and verbosity > 0:
            self.stderr.write(f"t-SNE of {len(owners):,} products: about {len(owners) // 200 + 1} s on a free core.")
        places, shape = snap_to_grid(lay_out(product_vectors(catalogue, np.arange(len(owners))), seed=seed))
        found = read_products(products, owners)
        texts = read_label_texts(products, by, owners) if by else {}
        labels = [texts.get(owner, "") for owner in owners]
        groups, legend = color_groups(labels) if by else ([0] * len(owners), [])
        names = dict(picture_names(catalogue, model, catalogue.starts[:-1], products.db))
        large, cell = _side(len(owners), LARGE, LARGE_PIXELS), _side(len(owners), CELL, CELL_PIXELS)
        storage = picture_field(get_placement(model).holder).storage

        def thumbnails(pixels: Pixels | str) -> tuple[bytes, bytes, Pixels, bool]:
            is_missing = isinstance(pixels, str)
            square = placeholder(large) if isinstance(pixels, str) else pixels
            small, whole = (webp(smaller(square, SMALL)), webp(square)) if page else (b"", b"")
            return small, whole, smaller(square, cell), is_missing

        with progress("pictures", len(owners), " pictures", verbosity=verbosity) as advance:
            rows = catalogue.starts[:-1].tolist()
            pictures = read_pictures(
                storage, [names.get(row, "") for row in rows], large, thumbnails, on_progress=advance
            )
        if missing := sum(one[3] for one in pictures):
            self.stderr.write(
                f"Shown as a cross, as the picture cannot be read: {missing:,}; embed_products --verify names them."
            )
        title = gettext("%(model)s: map of %(number)s products") % {
            "number": f"{len(owners):,}",
            "model": model._meta.label,
        }
        contents: dict[Path, bytes] = {}
        if page:
            points = [
                Point(str(found.get(owner, owner)), label, group, int(column), int(row), small, whole)
                for owner, label, group, (column, row), (small, whole, _, _) in zip(
                    owners, labels, groups, places, pictures, strict=True
                )
            ]
            contents[page] = render_map(title, points, shape, legend).encode()
        if picture:
            contents[picture] = draw_map(
                title,
                [one[2] for one in pictures],
                places,
                shape,
                colors=[legend[group].color for group in groups] if legend else [],
                legend=legend,
                font=font,
            )
        return contents


def _side(count: int, most: int, pixels: int) -> int:
    """Return the side of ``count`` squares that have ``pixels`` together, ``most`` at most."""
    return min(most, math.isqrt(pixels // count))
