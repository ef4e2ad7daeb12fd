"""What a queryset is compared with: products, a photo or a vector, as one vector in expressions of the ORM."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from numbers import Real
from typing import IO, Any, TypeAlias

import numpy as np
from django.db import models
from django.db.models import Avg, Case, Count, F, FloatField, OuterRef, Subquery, Sum, TextField, Value, When
from django.db.models.functions import Cast, Coalesce, NullIf
from django.db.models.lookups import IsNull
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from pgvector.django import HalfVectorField, VectorField

from ..encoders import get_encoder
from ..encoders.base import MIN_NORM
from ..search.photo import embed_photo
from .expressions import Independent, Written
from .placement import EncoderOf, IsCurrent, Placement, dimensions_of, root_of

Products: TypeAlias = models.Model | Iterable[models.Model] | Mapping[models.Model, float]
"""One product, several, a queryset of them, or several with a weight each."""
Photo: TypeAlias = IO[bytes] | bytes
GivenVector: TypeAlias = NDArray[np.floating[Any]] | Sequence[float] | Vector | HalfVector
Target: TypeAlias = Products | Photo | GivenVector
"""Products, a photo as bytes or an open file, or a vector of the encoder in the settings."""
Weights: TypeAlias = "dict[Any, float] | models.QuerySet[Any]"
"""The weight of each product by its key, or a queryset of products that count alike."""
Expression: TypeAlias = Any
"""Whatever the ORM can compile: its own expressions share no class with those of the stubs."""

PRODUCTS = "one of its instances, several, a dict from instance to weight"

VECTOR = "(SELECT _vector FROM {rows} AS target WHERE _owner = {key})"
ENCODER = "(SELECT _encoder FROM {rows} AS target WHERE _owner = {key})"
"""Vector and encoder of one product. Written out, since two thirds of the time of a product page went into Django's
building of these subqueries, of which nothing but the key differs from page to page."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a queryset is compared with, in expressions worked out once.

    ``vector`` is a halfvec for the index, or a vector in full precision for an exact search; ``encoder`` the name of
    its encoder; ``condition`` holds where there is something to compare with. ``products`` has the primary keys of the
    target's products, or is the queryset of them; empty for a photo or a vector.
    """

    placement: Placement
    vector: Expression
    encoder: Expression
    condition: Expression
    products: "Sequence[Any] | models.QuerySet[Any]"
    is_exact: bool
    tops_up: bool = True
    """Whether a page that comes short is asked for again, of all rows."""

    def path(self, field: str) -> str:
        """Return the path to a field of the row that matched.

        Where a product may have several it is an alias: a filter over the relation, after similar_to, is another join.
        """
        return f"_similar_{field}" if self.placement.several else self.placement.from_product(field)

    def cast(self, embedding: str) -> Expression:
        """Return the column at the path ``embedding`` as what ``vector`` is compared with."""
        if self.is_exact:
            return F(embedding)
        # Read by PostgreSQL, it is the expression that the index stands on.
        return Written(f"{{embedding}}::halfvec({dimensions_of(self.placement.holder):d})", embedding=embedding)

    def distance(self, embedding: str) -> Written:
        """Return the cosine distance, 0..2, of the column at the path ``embedding``."""
        parts = {"column": self.cast(embedding), "vector": self.vector}
        return Written("({column} <=> {vector})", **parts, output_field=FloatField())


def compare_with(
    model: type[models.Model],
    placement: Placement,
    target: Target,
    *,
    away_from: Products | None = None,
    is_exact: bool = False,
) -> Comparison | None:
    """Return what ``target`` and ``away_from`` come to, or ``None`` where no saved product is among the targets.

    A photo is encoded at once, within the limits of ``search.photo``. Raises ``TypeError`` for a target that is none,
    ``ValueError`` for a vector that cannot be compared or a weight that is not positive, and for a photo
    ``ImageRejected``, ``TooManyPhotos`` and ``EncoderError``.
    """
    dimensions = dimensions_of(placement.holder)
    aside: Weights | None = None
    if away_from is not None:
        aside = _weights(model, away_from, f"away_from takes {PRODUCTS}, or a queryset of them")
    given = _given_vector(model, target, dimensions)
    products: Weights = {}
    if given is not None:
        vector: Expression = Cast(Value(Vector(given).to_text()), VectorField(dimensions=dimensions))
        encoder: Expression = Value(get_encoder().name)
    else:
        takes = f"{PRODUCTS}, a queryset of them, a picture as bytes or an open file, or a vector"
        products = _weights(model, target, f"similar_to() on {model._meta.label} takes {takes}")
        if products == {}:
            return None
        vector, encoder = _of_products(model, placement, products)
    if aside is not None:
        vector = _beyond(placement, vector, aside, encoder)
    vector = normalized(vector) if is_exact else Cast(vector, HalfVectorField(dimensions=dimensions))
    # A subquery, which PostgreSQL works out before the scan. Left bare, a vector fetched from another row would be
    # fetched, and cast, again for every row it is compared with.
    field: models.Field[Any, Any] = vector.output_field
    vector = Independent(Written("(SELECT {vector})", vector=vector, output_field=field))
    condition = None if given is not None else IsNull(vector, False)
    keys = list(products) if isinstance(products, dict) else products
    return Comparison(placement, vector, encoder, condition, keys, is_exact)


def normalized(vector: Expression) -> Written:
    """Return a vector at norm 1; where it has none, the zero vector."""
    return Written("l2_normalize({vector})", vector=vector, output_field=VectorField())


def _scaled(vector: Expression, factor: Expression, dimensions: int) -> Written:
    """Return a vector times a number; pgvector multiplies vectors element by element only."""
    factors = f"array_fill({{factor}}::real, ARRAY[{dimensions:d}])::vector"
    return Written(f"({{vector}} * {factors})", vector=vector, factor=factor, output_field=VectorField())


def _zeros(dimensions: int) -> Written:
    return Written(f"array_fill(0, ARRAY[{dimensions:d}])::vector", output_field=VectorField())


def _beyond(placement: Placement, vector: Expression, products: Weights, encoder: Expression) -> Expression:
    """Return what is as far on the other side of ``vector`` as it is from ``products``: 2t - a, both at norm 1."""
    if products == {}:
        return vector
    dimensions = dimensions_of(placement.holder)
    twice = _scaled(normalized(vector), Value(2.0), dimensions)
    mean = Coalesce(_mean(placement, _rows(placement, products), products, encoder), _zeros(dimensions))
    return Written("({twice} - {mean})", twice=twice, mean=mean, output_field=VectorField())


def _of_products(model: type[models.Model], placement: Placement, products: Weights) -> tuple[Expression, Expression]:
    """Return vector and encoder of products by their own rows."""
    if not placement.several and isinstance(products, dict) and len(products) == 1:
        parts = {"rows": _current_rows(placement), "key": Value(next(iter(products)), model._meta.pk)}
        vector = Written(VECTOR, **parts, output_field=VectorField())
        return vector, Independent(Written(ENCODER, **parts, output_field=TextField()))
    rows = _rows(placement, products)
    # While a catalogue is embedded anew the targets may have vectors of two encoders. These cannot be mixed: the
    # encoder that has more of them is taken.
    current = rows.filter(IsCurrent("embedding_source", EncoderOf("embedding_source"), placement.holder_image))
    encoder = Subquery(
        current.values(encoder=EncoderOf("embedding_source"))
        .annotate(vectors=Count("*"))
        .order_by("-vectors", "encoder")
        .values("encoder")[:1]
    )
    majority = Independent(encoder)
    return _mean(placement, rows, products, majority), majority


@cache
def _current_rows(placement: Placement) -> Independent:
    """Return the subquery of what is compared with: owner, vector and encoder of each current row."""
    encoder = EncoderOf("embedding_source")
    rows: models.QuerySet[Any] = models.QuerySet(placement.holder)
    current = rows.filter(IsCurrent("embedding_source", encoder, placement.holder_image), embedding__isnull=False)
    found = current.order_by().values(_owner=F(placement.owner), _vector=F("embedding"), _encoder=encoder)
    return Independent(found.query)


def _rows(placement: Placement, products: Weights) -> "models.QuerySet[Any]":
    keys = list(products) if isinstance(products, dict) else products.values("pk")
    is_one = isinstance(keys, list) and len(keys) == 1
    owner = {placement.owner: keys[0]} if is_one else {f"{placement.owner}__in": keys}
    rows: models.QuerySet[Any] = models.QuerySet(placement.holder).filter(**owner, embedding__isnull=False)
    return rows.order_by()


def _mean(placement: Placement, rows: "models.QuerySet[Any]", products: Weights, encoder: Expression) -> Subquery:
    """Return the weighted mean, at norm 1, of what the products' pictures come to; each product's own mean counts."""
    dimensions = dimensions_of(placement.holder)
    rows = rows.filter(IsCurrent("embedding_source", encoder, placement.holder_image))
    weights = products if isinstance(products, dict) else {}
    are_alike = len(set(weights.values())) <= 1
    if len(weights) == 1 or (are_alike and not placement.several):
        mean: Expression = Avg("embedding", output_field=VectorField())
    else:
        factor: Expression = Value(1.0)
        if not are_alike:
            cases = [When(**{placement.owner: key}, then=Value(weight)) for key, weight in weights.items()]
            factor = Case(*cases, output_field=FloatField())
        if placement.several:
            pictures = rows.filter(**{placement.owner: OuterRef(placement.owner)}).values(placement.owner)
            factor = factor / Cast(Subquery(pictures.annotate(pictures=Count("*")).values("pictures")), FloatField())
        mean = Sum(_scaled("embedding", factor, dimensions), output_field=VectorField())
    # Opposite pictures cancel out. NULL compares with nothing, where the zero vector would be compared.
    mean = NullIf(normalized(mean), _zeros(dimensions))
    return Subquery(rows.values(one=Value(1)).annotate(mean=mean).values("mean"), output_field=VectorField())


def _given_vector(model: type[models.Model], target: Any, dimensions: int) -> NDArray[np.float32] | None:
    """Return float32 ``[dimensions]`` at norm 1 for a photo or a vector; ``None`` for another kind of target."""
    # A product may have a field of that name, and its queryset a method.
    is_file = hasattr(target, "read") and not isinstance(target, models.Model | models.QuerySet)
    if is_file or isinstance(target, bytes):
        return embed_photo(target)
    if not _is_vector(target):
        return None
    values = np.asarray(target.to_list() if isinstance(target, Vector | HalfVector) else target, dtype=np.float64)
    if values.shape != (dimensions,):
        raise ValueError(
            f"The vector has the shape {values.shape}; {model._meta.label} is compared in {dimensions} dimensions."
        )
    norm = float(np.linalg.norm(values))
    if not np.isfinite(norm) or norm < MIN_NORM:
        raise ValueError(
            f"The vector has the norm {norm}, and so no direction; valid are finite vectors that are not 0."
        )
    return np.asarray(values / norm, dtype=np.float32)


def _is_vector(target: Any) -> bool:
    if isinstance(target, list | tuple):
        return bool(target) and all(isinstance(number, Real) for number in target)
    return isinstance(target, np.ndarray | Vector | HalfVector)


def _weights(model: type[models.Model], target: Any, takes: str) -> Weights:
    """Return the weight of each saved product by its key, or the queryset of them.

    Raises ``TypeError``, which begins with ``takes``, for what are no products of ``model``, and ``ValueError`` for a
    weight that is none.
    """
    if isinstance(target, models.QuerySet):
        _refuse_another(model, target.model, takes)
        return target if target.query.is_sliced else target.order_by()
    if isinstance(target, models.Model):
        pairs: list[tuple[Any, Any]] = [(target, 1.0)]
    elif isinstance(target, Mapping):
        pairs = list(target.items())
    elif isinstance(target, list | tuple | set | frozenset) and not _is_vector(target):
        pairs = [(product, 1.0) for product in target]
    else:
        raise TypeError(f"{takes}; not {type(target).__name__}.")
    for product, weight in pairs:
        _refuse_another(model, product.__class__, takes)  # of a lazy object: the class it stands for
        if isinstance(weight, bool) or not isinstance(weight, Real | Decimal) or not 0 < float(weight) < np.inf:
            raise ValueError(
                f"The weight of {product} is {weight!r}; valid are positive numbers. Products to move away from are "
                "given as away_from."
            )
    greatest = max((float(weight) for _, weight in pairs), default=1.0)
    return {product.pk: float(weight) / greatest for product, weight in pairs if product.pk is not None}


def _refuse_another(model: type[models.Model], given: type[Any], takes: str) -> None:
    if not issubclass(given, models.Model) or root_of(given) is not root_of(model):
        raise TypeError(f"{takes}; not {given.__name__}.")
