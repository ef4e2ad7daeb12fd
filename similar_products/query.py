"""``similar_to``: SQL only. The vector never leaves the database, and no model is opened to answer."""

from collections.abc import Iterable, Sequence
from typing import Any, Self, TypeVar, Unpack, cast

from django.db import models
from django.db.models import F, OuterRef, Q, Value
from django.db.models.constants import LOOKUP_SEP
from django.db.models.lookups import IsNull
from django.db.models.sql import Query

from .conf import get_settings, listed
from .encoders import get_encoder
from .search.bands import get_bands as get_bands
from .search.expressions import Written
from .search.placement import (
    DERIVED_FIELDS,
    IsCurrent,
    Placement,
    declared_through,
    get_placement,
    holder_of,
    replaced_source,
    source_of,
)
from .search.ranking import RankingOptions
from .search.ranking import ranked as ranked
from .search.scan import (
    DISTANCE,
    RESULT_NAMES,
    ScanSettings,
    Similarity,
    SimilarQuery,
    annotate,
    repeats_rows,
    turn_into,
)
from .search.targets import Comparison, Products, Target, compare_with

ModelT = TypeVar("ModelT", bound=models.Model)
QuerySetT = TypeVar("QuerySetT", bound="models.QuerySet[Any]")


def similar_to(
    queryset: "models.QuerySet[ModelT]",
    target: Target,
    *,
    away_from: Products | None = None,
    exact: bool = False,
    through: str = "",
) -> "models.QuerySet[ModelT]":
    """Return the products of ``queryset`` that look like ``target``, nearest first: lazy, one query.

    A slice that the index leaves short is asked for a second time, of all rows.

    ``target`` is a product; several, as a list, a queryset, or a dict with a weight for each; a picture, as bytes or an
    open file; or a vector. Of several products, and of several pictures of one, the mean counts. ``away_from`` takes
    products to move away from. Each row carries ``distance``, the cosine distance in 0..2, and ``similarity`` in 0..1;
    through several pictures also ``matched_image``, the name of the picture that is nearest. The target's products are
    left out.

    Only rows made by the target's encoder from their present picture count; a target without such a vector has no
    similar products. Filter before or after, then slice: without a LIMIT PostgreSQL cannot use the index. ``exact``
    compares with every row that passes the filters, in full precision: for filters that correlate with looks.

    ``through`` names the relation to the vectors where neither manager nor settings declare it. Raises ``TypeError``
    where the target is none or the model has no vectors, and as ``targets.compare_with`` says.
    """
    placement = get_placement(queryset.model, through)
    comparison = compare_with(queryset.model, placement, target, away_from=away_from, is_exact=exact)
    _refuse_taken_names(queryset)
    if comparison is None:
        found, results = _nothing(queryset, placement)
    else:
        found, results = _with_distance(_one_row_each(queryset), comparison)
    results |= {"distance": F(DISTANCE), "similarity": Similarity(DISTANCE)}
    # Ascending distance and then the key is the one ordering that keeps the index and is stable.
    found = annotate(found, **results).order_by(DISTANCE, "pk")
    if not found.query.standard_ordering:  # reverse() before similar_to() would list the farthest first
        found = found.reverse()
    turn_into(found.query, SimilarQuery).comparison = comparison
    return found


def _refuse_taken_names(queryset: "models.QuerySet[Any]") -> None:
    if DISTANCE in queryset.query.annotations:
        raise TypeError("The queryset is one of similar_to() already; give it the queryset that this was made of.")
    columns = {*queryset.query.annotations, *queryset.query.extra}
    for where, taken in (
        (queryset.model._meta.label, [name for name in RESULT_NAMES if hasattr(queryset.model, name)]),
        ("The queryset", [name for name in RESULT_NAMES if name in columns]),
    ):
        if taken:
            raise TypeError(
                f"{where} has {listed(taken)} of its own, which similar_to() gives each result; choose another name."
            )


def _nothing(
    queryset: "models.QuerySet[ModelT]", placement: Placement
) -> "tuple[models.QuerySet[ModelT], dict[str, Any]]":
    """Return no rows, on which the same may be chained as on some."""
    results = {"matched_image": Value("")} if placement.several else {}
    return queryset.none().alias(**{DISTANCE: Value(0.0, output_field=models.FloatField())}), results


def _with_distance(
    queryset: "models.QuerySet[ModelT]", comparison: Comparison
) -> "tuple[models.QuerySet[ModelT], dict[str, Any]]":
    """Return the rows that can be compared, each with its distance, and what else a result is given.

    Of several pictures it is the nearest one's.
    """
    placement = comparison.placement
    embedding, image = placement.from_product("embedding"), placement.product_image
    # What depends on no row is worked out once and first: without a vector to compare with nothing is scanned.
    conditions = [] if comparison.condition is None else [comparison.condition]
    if not comparison.is_exact:  # which would keep PostgreSQL from scanning in parallel
        conditions.append(IsNull(ScanSettings(get_settings().ef_search), False))
    conditions += _is_other(comparison.products)
    source = comparison.path("embedding_source")
    if not placement.several:
        conditions.append(IsCurrent(source, comparison.encoder, image))
    # An inner join, since ordering through a LEFT JOIN loses the index.
    found = narrow(queryset, *conditions, **{f"{embedding}__isnull": False})
    if not placement.several:
        return found.alias(**{DISTANCE: comparison.distance(embedding)}), {}
    # Named after that filter, so for the same join: a condition on the relation would make a join of its own.
    fields = ("pk", "embedding", "embedding_source")
    found = found.alias(**{comparison.path(field): F(placement.from_product(field)) for field in fields})
    matched = comparison.path("image")
    found = found.alias(**{matched: F(image), DISTANCE: comparison.distance(comparison.path("embedding"))})
    is_current = IsCurrent(source, comparison.encoder, matched)
    return narrow(found, is_current, ~models.Exists(_nearer_pictures(comparison))), {"matched_image": F(matched)}


def narrow(queryset: QuerySetT, *conditions: Any, **lookups: Any) -> QuerySetT:
    """Return ``queryset.filter(...)``, whatever the queryset's own ``filter`` makes of the names of fields.

    That of django-modeltranslation takes another column for each language, and our conditions mean the one we read.
    """
    queryset._not_support_combined_queries("filter")  # type: ignore[attr-defined]
    found: QuerySetT = queryset._chain()  # type: ignore[attr-defined]
    if found.query.is_sliced:
        raise TypeError("A slice cannot be filtered: filter first, then slice.")
    found.query.add_q(Q(*conditions, **lookups))
    return found


def _nearer_pictures(comparison: Comparison) -> "models.QuerySet[Any]":
    """Return the pictures of the same product that are nearer to the target than the row's own."""
    placement = comparison.placement
    is_current = IsCurrent("embedding_source", comparison.encoder, placement.holder_image)
    pictures: models.QuerySet[Any] = models.QuerySet(placement.holder).order_by()
    pictures = pictures.filter(is_current, **{placement.owner: OuterRef("pk")}, embedding__isnull=False)
    pictures = pictures.alias(_distance=comparison.distance("embedding"))
    is_same = Q(_distance=OuterRef(DISTANCE), pk__lt=OuterRef(comparison.path("pk")))
    nearer: models.QuerySet[Any] = pictures.filter(Q(_distance__lt=OuterRef(DISTANCE)) | is_same)
    return nearer


def _is_other(products: "Sequence[Any] | models.QuerySet[Any]") -> list[Any]:
    """Return the conditions that a row is none of the target's products."""
    if isinstance(products, models.QuerySet):
        return [~Q(pk__in=products.values("pk"))]
    if not products:
        return []
    return [~Q(pk=products[0]) if len(products) == 1 else ~Q(pk__in=products)]


def _one_row_each(queryset: "models.QuerySet[ModelT]") -> "models.QuerySet[ModelT]":
    """Return ``queryset`` with what may repeat or merge rows, a to-many filter or DISTINCT, turned into a subquery.

    DISTINCT over a join, Django's own remedy, loses the index. A queryset that is grouped has one row of each product
    already. One that selects from the joined tables is left as it is.
    """
    query: Any = queryset.query
    if query.group_by is not None or not (repeats_rows(query) or query.distinct):
        return queryset
    table = queryset.model._meta.db_table
    columns: Any = query._gen_cols(query.annotations.values(), include_external=True)
    if any(column.alias != table for column in columns) or query.extra or query._filtered_relations:
        return queryset
    found: Any = queryset._chain()  # type: ignore[attr-defined]
    found.query = Query(queryset.model)
    found.query.select_related = query.select_related
    found.query.deferred_loading = query.deferred_loading
    found.query.annotations = dict(query.annotations)
    found.query.set_annotation_mask(query.annotation_select_mask)
    if found._fields is not None:
        if any(LOOKUP_SEP in name for name in found._fields):
            return queryset
        found.query.set_values(found._fields)
    return cast("models.QuerySet[ModelT]", found.filter(pk__in=queryset.order_by().values("pk")))


def reset_derived(row: models.Model, *, only_deferred: bool = False) -> None:
    """Set the derived columns of an instance to their defaults, as an INSERT needs them."""
    for field in row._meta.concrete_fields:
        if field.name in DERIVED_FIELDS and not (only_deferred and field.attname in row.__dict__):
            row.__dict__[field.attname] = field.get_default()


def all_rows(model: type[ModelT], using: str | None = None) -> "SimilarQuerySet[ModelT]":
    """Return every row of ``model``, whatever its managers hide or rewrite, and none of its derived columns."""
    rows: SimilarQuerySet[ModelT] = SimilarQuerySet(model, using=using)
    return rows.defer(*DERIVED_FIELDS) if holder_of(model) else rows


class SimilarQuerySet(models.QuerySet[ModelT]):
    """A queryset that knows ``similar_to`` and the three states of a row."""

    _through = ""

    def similar_to(self, target: Target, *, away_from: Products | None = None, exact: bool = False) -> Self:
        """Return the rows that look like ``target``; see ``similar_products.query.similar_to``."""
        return similar_to(self, target, away_from=away_from, exact=exact, through=self._through)  # type: ignore[return-value]

    def ranked(self, k: int, **options: Unpack[RankingOptions]) -> list[ModelT]:
        """Return up to ``k`` of the similar rows by the shop's rules; see ``similar_products.query.ranked``."""
        return ranked(self, k, **options)

    def with_picture(self) -> Self:
        """Return the rows that lead to a picture."""
        return narrow(self, **{f"{self._own().holder_image}__gt": ""})

    def pending(self) -> Self:
        """Return the rows whose picture the encoder in the settings has not yet been tried on."""
        return narrow(self.with_picture(), ~Q(embedding_source=self._wanted()))

    def ready(self) -> Self:
        """Return the rows with a vector of the encoder in the settings, made from their present picture."""
        return narrow(self.with_picture(), embedding_source=self._wanted(), embedding__isnull=False)

    def failed(self) -> Self:
        """Return the rows whose present picture the encoder in the settings could not use."""
        return narrow(self.with_picture(), embedding_source=self._wanted(), embedding__isnull=True)

    def bulk_create(self, objs: Iterable[ModelT], *args: Any, **kwargs: Any) -> list[ModelT]:
        rows: list[Any] = list(objs)
        if holder_of(self.model):
            for row in rows:
                reset_derived(row, only_deferred=True)  # of a clone they would be fetched by the new key
            image, fields = self.model.similar_image, kwargs.get("update_fields") or ()  # type: ignore[attr-defined]
            if image in fields and not all(getattr(getattr(row, image), "_committed", True) for row in rows):
                # New bytes may come under the name that the row has.
                for row in rows:
                    row.embedding_source = replaced_source()
                kwargs["update_fields"] = [*fields, "embedding_source"]
        return super().bulk_create(rows, *args, **kwargs)

    def only(self, *fields: str) -> Self:
        # Django subtracts what is deferred already: without the reset only("embedding") on our deferring
        # base manager would be an empty mask, and reading a deferred field would reload all columns over
        # unsaved changes.
        return super(SimilarQuerySet, self.defer(None)).only(*fields)

    def _own(self) -> Placement:
        if through := self._through or ("" if holder_of(self.model) else declared_through(self.model)):
            raise TypeError(
                f"The vectors of {self.model._meta.label} stand on {through!r}: ask "
                f"{get_placement(self.model, through).holder._meta.label} for their state."
            )
        return get_placement(self.model)

    def _wanted(self) -> Written:
        return source_of(Value(get_encoder().name), self._own().holder_image)

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]
        clone._through = self._through
        return clone


class SimilarManager(models.Manager.from_queryset(SimilarQuerySet)[ModelT]):  # type: ignore[misc]
    """The manager of ``VisuallySimilarModel``: it never loads the derived columns unless they are named.

    A product model whose vectors stand on another takes it with the relations from the product to that model:
    ``SimilarManager(through="visual")`` for a companion, ``"pictures"`` for pictures with vectors,
    ``"pictures__visual"`` for companions of pictures.
    """

    def __init__(self, *, through: str = "") -> None:
        super().__init__()
        self._through = through

    def get_queryset(self) -> SimilarQuerySet[ModelT]:
        queryset: SimilarQuerySet[ModelT] = super().get_queryset()
        # Managers of relations are made by Django from this class, without its arguments.
        queryset._through = self._through or getattr(self.model._default_manager, "_through", "")
        if holder_of(self.model) is None:
            return queryset
        # 30 products load in 0.4-0.8 ms without their vectors and in 13-20 ms with them.
        return queryset.defer(*DERIVED_FIELDS)
