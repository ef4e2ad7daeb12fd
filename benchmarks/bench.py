"""The shop that a benchmark works in, and what all of them measure with."""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def parser(description: str | None, *, pictures: bool = True) -> argparse.ArgumentParser:
    """Return a parser of the options that all benchmarks have."""
    result = argparse.ArgumentParser(description=description)
    if pictures:
        result.add_argument("folder", type=Path, help="Folder with a folder of pictures for each category.")
    result.add_argument(
        "--model",
        default=os.environ.get("SIMILAR_PRODUCTS_MODEL"),
        help="TF-Hub URL, SavedModel folder or .tflite file (environment variable SIMILAR_PRODUCTS_MODEL; the model "
        "in the package).",
    )
    return result


@contextmanager
def shop(model: str | None) -> Iterator[None]:
    """Set Django up on an empty shop in a new database, and remove all of it at the end."""
    with tempfile.TemporaryDirectory(prefix="similar-products-benchmark-") as media:
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        os.environ["BENCHMARK_MEDIA_ROOT"] = media
        if model:
            os.environ["SIMILAR_PRODUCTS_MODEL"] = model
        import django

        django.setup()
        from django.db import connection

        from similar_products.encoders import load_model

        load_model()  # converted where it has not been
        name = connection.settings_dict["NAME"]
        connection.creation.create_test_db(verbosity=0, autoclobber=True)
        try:
            yield
        finally:
            connection.creation.destroy_test_db(name, verbosity=0)


def pictures_below(folder: Path) -> list[Path]:
    """Return the pictures below ``folder`` in an order that is the same everywhere."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        sys.exit(f"There is no picture below {folder}; valid are files ending in {', '.join(PICTURE_SUFFIXES)}.")
    return found


def run_django(*arguments: str, media: str | None = None) -> resource.struct_rusage:
    """Run a command of Django on the benchmark's shop in a process of its own, and return what it used."""
    from django.db import connection

    environment = {
        **os.environ,
        "BENCHMARK_DATABASE_NAME": connection.settings_dict["NAME"],
        **({"BENCHMARK_MEDIA_ROOT": media} if media else {}),
    }
    process = subprocess.Popen([sys.executable, "-m", "django", *arguments], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(arguments)} failed.")
    return usage


def seconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_milliseconds(works: list[Callable[[], object]]) -> float:
    """Return the median of how long each of ``works`` took."""
    return statistics.median(seconds(work) for work in works) * 1000


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """Return a table in Markdown, first column left, the others right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: tuple[str, ...]) -> str:
        padded = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = (
        "|"
        + "|".join("-" * (width + 2) if not column else "-" * (width + 1) + ":" for column, width in enumerate(widths))
        + "|"
    )
    return "\n".join([line(header), rule, *(line(row) for row in rows)])
