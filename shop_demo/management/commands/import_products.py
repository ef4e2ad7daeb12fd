import csv
import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils.text import slugify
from tqdm import tqdm

from similar_products.pictures.gate import ImageRejected, load_pixels

from ...bulk import create_products
from ...models import Category, Product

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff"})
REQUIRED = ("name", "category", "price", "stock", "image")
FIELDS: dict[str, Any] = {
    "category": Category._meta.get_field("name"),
    **{name: Product._meta.get_field(name) for name in ("name", "price", "stock", "color", "pattern")},
}

UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # PostgreSQL refuses NUL, UTF-8 what stands for a byte of no text

INVALID = 1
CANNOT_RUN = 2
INTERRUPTED = 130

EPILOG = """\
FOLDER: each folder in it is a category, and each picture below that, at any depth, a product named after its
file. Pictures directly in FOLDER get FOLDER itself as their category. Hidden files are left out. Of files
with the same name in one category, each further one becomes "name (2)", "name (3)".

CSV: UTF-8, separated by commas or semicolons, with a header: name, category, price, stock, image and, as you
like, color and pattern; other columns are ignored. The image is a path, absolute or relative to the CSV file.
A product of the demo has one picture: of several, separated by |, each further one becomes a product of its
own, "name (2)", "name (3)".

Everything is checked before anything is imported. Products that exist already (same name and category) are
skipped. Exit code 0; 1 when a line or picture was wrong; 2 when the command could not run."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the CSV file or a picture of the folder: attributes as they are written, and pictures.

    With a ``fault`` it could not even be read, and is without them.
    """

    where: Path | str
    texts: Mapping[str, str] = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()
    fault: str = ""

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The category and the name of each product that it becomes."""
        category, name = self.texts["category"], self.texts["name"]
        further = (f"{name} ({number})" for number in range(2, len(self.pictures) + 1))
        return [(category, name), *((category, numbered) for numbered in further)]


class Command(BaseCommand):
    help = "Import your own pictures as products, from a folder or a CSV file. Run embed_products afterwards."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs = {"formatter_class": RawDescriptionHelpFormatter, "epilog": EPILOG, **kwargs}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, metavar="FOLDER|CSV")
        parser.add_argument("--price", type=_price, default="10.00", help="Price of the products of a FOLDER (10.00).")
        parser.add_argument("--stock", type=_stock, default="1", help="Stock of the products of a FOLDER (1).")
        parser.add_argument("--skip-invalid", action="store_true", help="Import what is right, and report the rest.")

    def handle(self, *, path: Path, price: str, stock: str, skip_invalid: bool, verbosity: int, **options: Any) -> None:
        try:
            rows = _read(Path(path), str(price), str(stock))
            if not rows:
                raise CommandError(
                    f"There is no product in {path}. Name a folder with pictures, that is files ending in "
                    f"{', '.join(sorted(SUFFIXES))}, or a CSV file with lines below its header.",
                    returncode=CANNOT_RUN,
                )
            existing = set(Product.objects.values_list("category__name", "name"))
            valid, problems = _checked(rows, existing)
            for problem in problems:
                self.stderr.write(problem)
            if problems and not skip_invalid:
                raise CommandError(
                    f"Nothing was imported, because of what is wrong above ({len(problems):,}). Correct it or "
                    "import the rest with --skip-invalid.",
                    returncode=INVALID,
                )
            new = [key for row in valid for key in row.keys if key not in existing]
            create_products(_products(valid, existing, len(new)))
        except (OSError, DatabaseError) as error:
            raise CommandError(f"Nothing was imported: {error}", returncode=CANNOT_RUN) from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted: nothing was imported.", returncode=INTERRUPTED) from None
        if verbosity > 0:
            skipped = sum(len(row.keys) for row in valid) - len(new)
            self.stdout.write(
                f"Imported {len(new):,} products in {len({category for category, _ in new}):,} categories."
                + (f" Skipped {skipped:,} that exist already." if skipped else "")
            )
        if problems:
            raise CommandError(f"What is wrong above ({len(problems):,}) was left out.", returncode=INVALID)


def _read(path: Path, price: str, stock: str) -> list[Row]:
    if path.is_dir():
        return list(_folder_rows(path, price, stock))
    if path.is_file():
        try:
            return list(_csv_rows(path))
        except UnicodeDecodeError as error:
            raise CommandError(
                f"{path} is not UTF-8 text. Save it as CSV in UTF-8, or name a folder with pictures.",
                returncode=CANNOT_RUN,
            ) from error
    raise CommandError(f"{path} does not exist. Name a folder with pictures or a CSV file.", returncode=CANNOT_RUN)


def _folder_rows(folder: Path, price: str, stock: str) -> Iterator[Row]:
    root = folder.resolve()
    taken: set[tuple[str, str]] = set()
    for category, picture in _categorized_pictures(folder, root):
        stem = name = picture.stem.strip()
        number = 1
        while (category, name) in taken:
            number += 1
            name = f"{stem} ({number})"
        taken.add((category, name))
        texts = {"category": category, "name": name, "price": price, "stock": stock}
        yield Row(picture, texts, (picture,))


def _categorized_pictures(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            if entry.suffix.lower() in SUFFIXES:
                yield root.name, entry
        elif not root.is_relative_to(entry.resolve()):  # a link back up would import everything twice
            for parent, folders, files in os.walk(entry, onerror=_raise):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(files):
                    picture = Path(parent, name)
                    if picture.suffix.lower() in SUFFIXES and not name.startswith("."):
                        yield entry.name.strip(), picture


def _raise(error: OSError) -> NoReturn:
    raise error


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        lines = csv.reader(file, delimiter=";" if first.count(";") > first.count(",") else ",")
        start = 1
        try:
            columns = [column.strip().lower() for column in next(lines, [])]
            if missing := [column for column in REQUIRED if column not in columns]:
                for column in missing:
                    yield Row(f"{path}:1", fault=f"The column {column!r} is missing.")
                return
            start = lines.line_num + 1
            for cells in lines:
                where, start = f"{path}:{start}", lines.line_num + 1
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    fault = f"The line has {len(cells)} fields, the header {len(columns)}."
                    yield Row(where, fault=fault)
                    continue
                texts = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
                names = [name.strip() for name in texts["image"].split("|") if name.strip()]
                yield Row(where, texts, tuple(path.parent / name for name in names))
        except csv.Error as error:
            yield Row(f"{path}:{start}", fault=f"The line cannot be read: {error}.")


def _checked(rows: list[Row], existing: set[tuple[str, str]]) -> tuple[list[Row], list[str]]:
    """Return the rows in which nothing is wrong, and a sentence for each thing that is wrong in the others."""
    valid: list[Row] = []
    problems: list[str] = []
    seen: dict[tuple[str, str], Path | str] = {}
    for row in _progress(rows, "Checking", len(rows)):
        wrong = [row.fault] if row.fault else list(_wrong(row, existing, seen))
        where = os.fsencode(row.where).decode(errors="replace")  # a file name may be no text at all
        problems += [f"{where}: {sentence}" for sentence in wrong]
        if not wrong:
            valid.append(row)
    return valid, problems


def _wrong(row: Row, existing: set[tuple[str, str]], seen: dict[tuple[str, str], Path | str]) -> Iterator[str]:
    for key in row.keys:
        if key in seen:
            yield f"The product {key[1]!r} in {key[0]!r} is at {seen[key]} already."
        seen.setdefault(key, row.where)
    if not existing.issuperset(row.keys):
        yield from _wrong_texts(row)
        yield from _wrong_pictures(row)


def _wrong_texts(row: Row) -> Iterator[str]:
    for column, text in {**row.texts, "name": row.keys[-1][1]}.items():
        if column not in FIELDS:
            continue
        if not text and column in REQUIRED:
            yield f"The {column} is empty."
            continue
        try:
            _value(column, text)
        except ValidationError as error:
            yield f"The {column} {text!r} is wrong: {error.messages[0]}"


def _wrong_pictures(row: Row) -> Iterator[str]:
    if not row.pictures:
        yield "The image is empty."
    for picture in row.pictures:
        named = f"The picture {str(picture)!r}" if picture != row.where else "The picture"
        try:
            if not picture.is_file():
                yield f"{named} is missing."
                continue
            with picture.open("rb") as file:
                load_pixels(file, size=32)
        except (OSError, ImageRejected) as error:
            yield f"{named} cannot be used: {error}"


def _value(column: str, text: str) -> Any:
    """Return what the field of that column makes of the text; raise ``ValidationError`` where it is wrong."""
    if UNSTORABLE.search(text):
        raise ValidationError("It has characters that are no text.")
    if column == "price" and "." not in text:
        text = text.replace(",", ".")  # 12,50 as half of the world writes it
    return FIELDS[column].clean(text, None)


def _products(rows: list[Row], existing: set[tuple[str, str]], total: int) -> Iterator[Product]:
    categories: dict[str, Category] = {}
    with _progress(None, "Importing", total) as bar:
        for row in rows:
            attributes = {
                column: _value(column, text)
                for column, text in row.texts.items()
                if column in FIELDS and column not in ("category", "name")
            }
            for (category, name), picture in zip(row.keys, row.pictures, strict=True):
                if (category, name) in existing:
                    continue
                if category not in categories:
                    categories[category] = Category.objects.get_or_create_named(category)
                file_name = (slugify(picture.stem, allow_unicode=True) or "picture") + picture.suffix.lower()
                yield Product(
                    name=name,
                    category=categories[category],
                    image=File(picture.open("rb"), name=file_name),
                    **attributes,
                )
                bar.update()


def _progress(rows: Iterable[Row] | None, title: str, total: int) -> Any:
    return tqdm(rows, desc=title, total=total, unit=" pictures", disable=not sys.stderr.isatty())


def _price(text: str) -> str:
    return _option("price", text)


def _stock(text: str) -> str:
    return _option("stock", text)


def _option(column: str, text: str) -> str:
    try:
        _value(column, text)
    except ValidationError as error:
        raise ArgumentTypeError(error.messages[0]) from error
    return text
