import dataclasses
import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils.module_loading import import_string

from ...catalogue.evaluation import (
    Change,
    Coverage,
    IndexFigures,
    NeighbourFigures,
    SelfFigures,
    count_coverage,
    encode_catalogue,
    evaluate,
    find_by_crops,
    find_by_pictures,
    measure_index,
    sample_of,
)
from ...catalogue.labels import Labels, read_labels
from ...catalogue.neighbours import Catalogue
from ...encoders import Encoder, EncoderError, TFHubEncoder, get_encoder
from ...search.bands import get_bands
from ..arguments import (
    positive,
    share,
    table,
)
from ..base import (
    CANNOT_RUN,
    FOUND,
    CatalogueCommand,
    add_neighbours,
    read_embedded,
)

INDEX_K = 12
"""Neighbours that the index is asked for: a page of them."""
SAMPLE = 300


@dataclasses.dataclass(frozen=True, slots=True)
class EncoderFigures:
    """A column of the report."""

    encoder: str
    labels: Any
    itself: SelfFigures | None
    near_duplicates: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """All that was measured; as JSON it has these very names."""

    model: str
    k: int
    by: str | None
    products: int
    left_out: int
    coverage: Coverage
    encoders: list[EncoderFigures]
    index: IndexFigures
    change: Change | None


class Command(CatalogueCommand):
    help = (
        "Say how good the similar products of the encoder in the settings are: by labels that the products have "
        "(--by), or by finding products again (--self); with coverage, near-duplicates and the recall of the index. "
        "Writes nothing to the database."
    )

    exit_1 = "the figure is below --fail-under"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--by", metavar="FIELD", help="Field or relation of the product, as in category__name.")
        parser.add_argument(
            "--self",
            action="store_true",
            dest="itself",
            help="Without labels: each picture must find another of its product, or a crop of a picture its product.",
        )
        parser.add_argument(
            "--compare",
            metavar="HANDLE",
            help="A second encoder beside the first: TF-Hub URL, SavedModel folder or dotted path of an Encoder class. "
            "Its vectors are computed now and not stored.",
        )
        add_neighbours(parser, 10)
        parser.add_argument(
            "--sample",
            type=positive,
            default=SAMPLE,
            help=f"Number of products searched by crops and by the index ({SAMPLE}).",
        )
        parser.add_argument(
            "--fail-under",
            type=share,
            metavar="P",
            help="Exit code 1 when precision@k (with --by) or the share found first (with --self) is below P.",
        )
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print JSON instead of a table.")

    def run(
        self,
        *,
        by: str | None,
        itself: bool,
        compare: str | None,
        k: int,
        sample: int,
        fail_under: float | None,
        as_json: bool,
    ) -> None:
        if fail_under is not None and not by and not itself:
            raise CommandError(
                "--fail-under needs a figure to look at: add --by FIELD or --self.", returncode=CANNOT_RUN
            )
        report = self._measure(by=by, itself=itself, compare=compare, k=k, sample=sample)
        self.stdout.write(json.dumps(dataclasses.asdict(report), indent=2) if as_json else _text(report))
        if fail_under is not None:
            name, value = _watched(report)
            if value < fail_under:
                raise CommandError(f"{name} is {value:.4f}, below {fail_under}.", returncode=FOUND)

    def _measure(
        self,
        *,
        by: str | None,
        itself: bool,
        compare: str | None,
        k: int,
        sample: int,
    ) -> Report:
        encoder = get_encoder()
        second = _encoder(compare) if compare else None
        products = self.get_products()
        model, using = products.model, products.db
        catalogue = read_embedded(products)
        coverage = count_coverage(products, using=using)
        if by:
            read_labels(products, by, catalogue)  # a wrong name is said before an hour of encoding
        sampled = sample_of(len(catalogue.owners), sample)
        with self.progress("index", len(sampled), "products") as advance:
            index = measure_index(products, catalogue, k=INDEX_K, queries=sampled, on_progress=advance)
        catalogues, count = [catalogue], len(catalogue.owners)
        if second is not None:
            with self.progress(second.name, len(catalogue.keys), "pictures") as advance:
                catalogues = [*encode_catalogue(catalogue, second, model, using=using, on_progress=advance)]
        encoders = [encoder] if second is None else [encoder, second]
        labels = read_labels(products, by, catalogues[0]) if by else None
        figures, change = self._evaluate(encoders, catalogues, k, labels)
        found = [
            self._find_itself(catalogue, encoder, model, k=k, sample=sample, using=using) if itself else None
            for catalogue, encoder in zip(catalogues, encoders, strict=True)
        ]
        return Report(
            model=model._meta.label,
            k=k,
            by=by,
            products=len(catalogues[0].owners),
            left_out=count - len(catalogues[0].owners),
            coverage=coverage,
            encoders=[
                EncoderFigures(encoder.name, figure.labels, one, figure.near_duplicates)
                for encoder, figure, one in zip(encoders, figures, found, strict=True)
            ],
            index=index,
            change=change,
        )

    def _evaluate(
        self, encoders: list[Encoder], catalogues: list[Catalogue], k: int, labels: Labels | None
    ) -> tuple[list[NeighbourFigures], Change | None]:
        bands = [get_bands(encoder.name) for encoder in encoders]
        with self.progress("neighbours", len(catalogues[0].owners), "products") as advance:
            return evaluate(
                catalogues,
                k=k,
                labels=labels,
                thresholds=[one.near_duplicate if one else None for one in bands],
                on_progress=advance,
            )

    def _find_itself(
        self,
        catalogue: Catalogue,
        encoder: Encoder,
        model: type[Any],
        *,
        k: int,
        sample: int,
        using: str,
    ) -> SelfFigures:
        if catalogue.has_several:
            with self.progress("pictures", len(catalogue.keys), "pictures") as advance:
                return find_by_pictures(catalogue, k=k, on_progress=advance)
        queries = sample_of(len(catalogue.owners), sample)
        with self.progress("crops", len(queries), "crops") as advance:
            return find_by_crops(catalogue, encoder, model, k=k, queries=queries, using=using, on_progress=advance)


def _encoder(handle: str) -> Encoder:
    """Return the encoder that a TF-Hub URL, a folder or the dotted path of a class names."""
    if "://" in handle or Path(handle).is_dir():
        encoder = TFHubEncoder(handle)
        encoder.name  # noqa: B018  a folder that is no SavedModel is said now
        return encoder
    try:
        found = import_string(handle)
    except ImportError:
        found = None
    if not isinstance(found, type) or not issubclass(found, Encoder):
        raise EncoderError(
            f"--compare is {handle!r}, which names no encoder; valid are a TF-Hub URL, the folder of a SavedModel and "
            "the dotted path of an Encoder class, as in similar_products.encoders.ColorHistogramEncoder."
        )
    try:
        return found()
    except TypeError as error:
        raise EncoderError(f"--compare is {handle!r}, which cannot be made without options: {error}.") from error


def _watched(report: Report) -> tuple[str, float]:
    first = report.encoders[0]
    if first.labels is not None:
        return f"precision@{report.k} by {report.by}", first.labels.precision
    assert first.itself is not None  # noqa: S101  one of the two was asked for
    return "The share found first", first.itself.found_first


def _text(report: Report) -> str:
    coverage = report.coverage
    lines = [
        f"{report.model}: {report.products:,} products compared.",
        (
            f"Pictures: {coverage.ready:,} of {coverage.pictures:,} ready, {coverage.pending:,} pending, "
            f"{coverage.failed:,} failed."
        ),
    ]
    if report.left_out:
        lines.append(f"Left out, because the second encoder could not use their pictures: {report.left_out:,}.")
    first = report.encoders[0]
    if first.labels is not None:
        lines.append(
            f"By {report.by}: {first.labels.queries:,} products asked; {first.labels.without_label:,} without a label "
            f"left out, {first.labels.alone:,} alone with theirs not asked."
        )
    lines += ["", table(_rows(report)), ""]
    if report.change is not None:
        lines.append(
            f"{report.change.neighbours:.1%} of the {report.k} nearest are others under the second encoder; "
            f"{report.change.lists:.1%} of the lists change."
        )
    lines.append(
        f"The index finds {report.index.recall:.1%} of the truly nearest {report.index.k}, over "
        f"{report.index.queries:,} products."
    )
    return "\n".join(lines)


def _rows(report: Report) -> list[list[Any]]:
    columns = report.encoders
    rows: list[list[Any]] = [["", *(column.encoder for column in columns)]]
    if columns[0].labels is not None:
        rows += [
            [f"precision@{report.k}", *(f"{column.labels.precision:.4f}" for column in columns)],
            ["  best possible", *(f"{column.labels.best_possible_precision:.4f}" for column in columns)],
            ["R@1", *(f"{column.labels.recall_at_1:.4f}" for column in columns)],
            ["mAP", *(f"{column.labels.mean_average_precision:.4f}" for column in columns)],
        ]
    if columns[0].itself is not None:
        found = [column.itself for column in columns if column.itself is not None]
        kind = "a picture" if found[0].queries_are == "pictures" else "a crop"
        rows += [
            [f"{kind} finds its product first", *(f"{one.found_first:.4f}" for one in found)],
            [f"  among the first {report.k}", *(f"{one.found:.4f}" for one in found)],
            [f"  {found[0].queries_are} asked", *(f"{one.queries:,}" for one in found)],
        ]
    near = [column.near_duplicates for column in columns]
    rows += [
        ["products with a near-duplicate", *(f"{one.share:.4f}" if one else "-" for one in near)],
        ["  from this similarity", *(f"{one.similarity:.3f}" if one else "-" for one in near)],
    ]
    return rows
