import dataclasses
import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path

from django.core.management.base import CommandError
from django.db.models import Model, QuerySet
from django.utils.module_loading import import_string

from ...catalogue.evaluation import (
    Change,
    Coverage,
    IndexFigures,
    LabelFigures,
    NearDuplicates,
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
from ...catalogue.neighbours import Catalogue, CatalogueError
from ...encoders import Encoder, EncoderError, TFHubEncoder, get_encoder
from ...search.bands import get_bands
from ..arguments import add_json, add_label, add_neighbours, add_sample, share
from ..base import CatalogueCommand, read_embedded
from ..output import table

INDEX_K = 12
"""Neighbours that the index is asked for: a page of them."""
SAMPLE = 300


@dataclasses.dataclass(frozen=True, slots=True)
class EncoderFigures:
    """A column of the report."""

    encoder: str
    labels: LabelFigures | None
    itself: SelfFigures | None
    near_duplicates: NearDuplicates | None


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
        "Measure how good the similar products of the encoder in the settings are: by labels that the products have "
        "(--by), or by finding products again (--self); with coverage, near-duplicates and the recall of the index. "
        "Writes nothing to the database."
    )
    exit_1 = "the figure is below --fail-under"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_label(parser)
        text = "Without labels: each picture must find another of its product, or a crop of a picture its product."
        parser.add_argument("--self", action="store_true", dest="itself", help=text)
        text = (
            "A second encoder to compare with: TF-Hub URL, SavedModel folder, .tflite file or dotted path of an "
            "Encoder class. Its vectors are computed and not stored."
        )
        parser.add_argument("--compare", metavar="HANDLE", help=text)
        add_neighbours(parser, 10)
        add_sample(parser, SAMPLE, "Maximum number of products searched by crops and by the index")
        text = "Exit code 1 when precision@k (with --by) or the share found first (with --self) is below P."
        parser.add_argument("--fail-under", type=share, metavar="P", help=text)
        add_json(parser)

    def handle(
        self,
        *,
        by: str | None,
        itself: bool,
        compare: str | None,
        k: int,
        sample: int,
        fail_under: float | None,
        as_json: bool,
        **options: object,
    ) -> None:
        if fail_under is not None and not by and not itself:
            raise CatalogueError("--fail-under needs a figure to look at: add --by FIELD or --self.")
        encoders = [get_encoder(), *([_find_encoder(compare)] if compare else [])]
        products = self.get_products()
        catalogue = read_embedded(products)
        if itself or compare:
            for encoder in encoders:
                self.prepare(encoder)
        if by:
            read_labels(products, by, catalogue)  # a wrong name is said before an hour of encoding
        index = self._measure_index(products, catalogue, sample)
        catalogues = self._encode(products, catalogue, encoders)
        labels = read_labels(products, by, catalogues[0]) if by else None
        figures, change = self._evaluate(catalogues, encoders, labels, k)
        found = [
            self._find_itself(products, catalogue, encoder, k, sample) if itself else None
            for catalogue, encoder in zip(catalogues, encoders, strict=True)
        ]
        report = Report(
            model=products.model._meta.label,
            k=k,
            by=by,
            products=len(catalogues[0].owners),
            left_out=len(catalogue.owners) - len(catalogues[0].owners),
            coverage=count_coverage(products, using=products.db),
            encoders=[
                EncoderFigures(encoder.name, one.labels, own, one.near_duplicates)
                for encoder, one, own in zip(encoders, figures, found, strict=True)
            ],
            index=index,
            change=change,
        )
        self.write_output([json.dumps(dataclasses.asdict(report), indent=2) if as_json else _text(report), "\n"])
        if fail_under is not None:
            _check_figure(report, fail_under)

    def _measure_index(self, products: QuerySet[Model], catalogue: Catalogue, sample: int) -> IndexFigures:
        queries = sample_of(len(catalogue.owners), sample)
        with self.progress("index", len(queries), "products") as advance:
            return measure_index(products, catalogue, k=INDEX_K, queries=queries, on_progress=advance)

    def _encode(
        self, products: QuerySet[Model], catalogue: Catalogue, encoders: Sequence[Encoder]
    ) -> Sequence[Catalogue]:
        """Return the catalogue for each of the encoders, of the products whose pictures all of them can use."""
        if len(encoders) < 2:
            return [catalogue]
        with self.progress(encoders[1].name, len(catalogue.keys), "pictures") as advance:
            return encode_catalogue(catalogue, encoders[1], products.model, using=products.db, on_progress=advance)

    def _evaluate(
        self, catalogues: Sequence[Catalogue], encoders: Sequence[Encoder], labels: Labels | None, k: int
    ) -> tuple[list[NeighbourFigures], Change | None]:
        bands = [get_bands(encoder.name) for encoder in encoders]
        thresholds = [one.near_duplicate if one else None for one in bands]
        with self.progress("neighbours", len(catalogues[0].owners), "products") as advance:
            return evaluate(catalogues, k=k, labels=labels, thresholds=thresholds, on_progress=advance)

    def _find_itself(
        self, products: QuerySet[Model], catalogue: Catalogue, encoder: Encoder, k: int, sample: int
    ) -> SelfFigures:
        if catalogue.has_several:
            with self.progress("pictures", len(catalogue.keys), "pictures") as advance:
                return find_by_pictures(catalogue, k=k, on_progress=advance)
        queries, model, using = sample_of(len(catalogue.owners), sample), products.model, products.db
        with self.progress("crops", len(queries), "crops") as advance:
            return find_by_crops(catalogue, encoder, model, k=k, queries=queries, using=using, on_progress=advance)


def _find_encoder(handle: str) -> Encoder:
    """Return the encoder that a TF-Hub URL, a folder, a file or the dotted path of a class names."""
    if "://" in handle or Path(handle).is_dir() or handle.endswith(".tflite"):
        encoder = TFHubEncoder(handle)
        encoder.name  # noqa: B018  a folder that is no SavedModel is said now
        return encoder
    try:
        found = import_string(handle)
    except ImportError:
        found = None
    if not isinstance(found, type) or not issubclass(found, Encoder):
        raise EncoderError(
            f"--compare is {handle!r}, which names no encoder; valid are a TF-Hub URL, the folder of a SavedModel, a "
            ".tflite file and the dotted path of an Encoder class, as in "
            "similar_products.encoders.ColorHistogramEncoder."
        )
    try:
        return found()
    except TypeError as error:
        raise EncoderError(f"--compare is {handle!r}, which cannot be made without options: {error}.") from error


def _check_figure(report: Report, least: float) -> None:
    first = report.encoders[0]
    if first.labels is not None:
        name, value = f"precision@{report.k} by {report.by}", first.labels.precision
    else:
        assert first.itself is not None  # noqa: S101  one of the two was asked for
        name, value = "The share found first", first.itself.found_first
    if value < least:
        raise CommandError(f"{name} is {value:.4f}, below {least}.")


def _text(report: Report) -> str:
    coverage, labels, index = report.coverage, report.encoders[0].labels, report.index
    lines = [
        f"{report.model}: {report.products:,} products compared.",
        (
            f"Pictures: {coverage.ready:,} of {coverage.pictures:,} ready, {coverage.pending:,} pending, "
            f"{coverage.failed:,} failed."
        ),
    ]
    if report.left_out:
        lines.append(f"Left out, because the second encoder could not use their pictures: {report.left_out:,}.")
    if labels is not None:
        lines.append(
            f"By {report.by}: {labels.queries:,} products as queries; {labels.without_label:,} without a label left "
            f"out, {labels.alone:,} alone with their label not queried."
        )
    lines += ["", table(list(_rows(report))), ""]
    if report.change is not None:
        lines.append(
            f"{report.change.neighbours:.1%} of the {report.k} nearest are others under the second encoder; "
            f"{report.change.lists:.1%} of the lists change."
        )
    lines.append(f"The index finds {index.recall:.1%} of the truly nearest {index.k}, over {index.queries:,} products.")
    return "\n".join(lines)


def _rows(report: Report) -> Iterator[list[str]]:
    columns = report.encoders
    yield ["", *(column.encoder for column in columns)]
    if labels := [column.labels for column in columns if column.labels]:
        yield [f"precision@{report.k}", *(f"{one.precision:.4f}" for one in labels)]
        yield ["  best possible", *(f"{one.best_possible_precision:.4f}" for one in labels)]
        yield ["R@1", *(f"{one.recall_at_1:.4f}" for one in labels)]
        yield ["mAP", *(f"{one.mean_average_precision:.4f}" for one in labels)]
    if found := [column.itself for column in columns if column.itself]:
        kind = "a picture" if found[0].queries_are == "pictures" else "a crop"
        yield [f"{kind} finds its product first", *(f"{one.found_first:.4f}" for one in found)]
        yield [f"  among the first {report.k}", *(f"{one.found:.4f}" for one in found)]
        yield [f"  {found[0].queries_are} as queries", *(f"{one.queries:,}" for one in found)]
    near = [column.near_duplicates for column in columns]
    yield ["products with a near-duplicate", *(f"{one.share:.4f}" if one else "-" for one in near)]
    yield ["  from this similarity", *(f"{one.similarity:.3f}" if one else "-" for one in near)]
