"""The catalogue page: what is embedded, and on demand what looks alike or stands among another category.

What counts rows is worked out at once. What compares products asks the vector index about one block of them at a time,
so that a page of a catalogue of any size takes the time of its block.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import psycopg
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.paginator import Page, Paginator
from django.db import OperationalError, connections, transaction
from django.db.models import Count, F, OuterRef, QuerySet, Value
from django.db.models.functions import JSONObject
from django.db.models.lookups import IsNull
from django.http import HttpRequest
from django.utils.translation import gettext
from pgvector.django import CosineDistance

from ..catalogue.labels import collect_values, field_at_end, read_texts
from ..conf import get_settings
from ..embedding.index import has_index
from ..embedding.states import REASONS, count_pictures, is_in, last_embedded, pictures_with_states
from ..encoders import Encoder
from ..search.bands import get_bands
from ..search.hnsw import half, index_name
from ..search.placement import EncoderOf, IsCurrent, dimensions_of, get_placement
from ..search.scan import ScanSettings
from .filters import PARAMETER, value_of
from .showing import Card, find_encoder, make_card

logger = logging.getLogger(__name__)

BLOCK = 50
"""Number of products that one page compares with all others: among 100,000, on two busy cores, in 3 seconds."""
NEIGHBOURS = 10
MIN_NEIGHBOURS = 5
"""Minimum number of neighbours for a majority."""
SECONDS = 10
"""PostgreSQL ends a statement of this page that takes longer: without its index a block scans the table 50 times."""
LOOKS = ("duplicates", "categories")


@dataclass(slots=True)
class Neighbour:
    """A product near another one: its key, the greatest similarity of their pictures in 0..1, and which these are."""

    key: Any
    similarity: float
    own_image: str
    image: str


@dataclass(slots=True)
class Finding:
    """A product of the block with what was found for it, and a sentence where there is more to say."""

    product: Card
    others: list[Card] = field(default_factory=list)
    sentence: str = ""
    weight: int = 0


@dataclass(slots=True)
class Look:
    """What a look at one block has found; ``problem`` is a sentence where it could not be taken."""

    name: str
    page: Page[Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    problem: str = ""


def describe(model_admin: Any, request: HttpRequest) -> dict[str, Any]:
    """Return what the catalogue page shows; see its template. What goes wrong becomes a sentence in it."""
    products = model_admin.get_queryset(request)
    products = products.using(products.db)  # of several replicas one for the whole page
    holder = get_placement(products.model).holder
    encoder, problem = find_encoder()
    context: dict[str, Any] = {
        "encoder": encoder,
        "encoder_problem": problem,
        "dimensions": dimensions_of(holder),
        "holder": holder._meta.label,
        "index_name": index_name(holder),
        "last_embedded": last_embedded(holder),
        "category": model_admin.similar_products_category,
        "compared": BLOCK,
        "neighbours": NEIGHBOURS,
    }
    if encoder is None:
        return context
    with _bounded(products.db) as sentence:
        context |= _count(products, encoder)
        context["has_index"] = has_index(holder, products.db)
    context["count_problem"] = sentence()
    look = request.GET.get("look", "")
    if look in LOOKS and not sentence():
        context["look"] = _look(model_admin, request, products, encoder, look)
    return context


@contextmanager
def _bounded(using: str) -> Iterator[Callable[[], str]]:
    """Let no statement take longer than ``SECONDS``; what is yielded returns the sentence where one did, or ''."""
    problem = ""
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout')")
            before = cursor.fetchone()[0]
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{SECONDS}s"])
            yield lambda: problem
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    except OperationalError as error:
        if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise
        logger.warning("The catalogue page gave up after %d seconds.", SECONDS)
        problem = gettext(
            "This took longer than %(seconds)d seconds and was stopped. Is the vector index there, and the table "
            "analyzed?"
        ) % {"seconds": SECONDS}


def _count(products: QuerySet[Any], encoder: Encoder) -> dict[str, Any]:
    """Return how many products and pictures are in which state, in a fixed number of queries."""
    model, using = products.model, products.db
    placement = get_placement(model)
    keys = products.order_by().values("pk")
    pictures = pictures_with_states(model, encoder.name).using(using).filter(pk__in=keys)
    counts = pictures.aggregate(
        pictures=Count("pk"),
        with_picture=Count("pk", distinct=True),
        ready_products=Count("pk", filter=is_in("ready"), distinct=True),
    )
    states = count_pictures(pictures)
    total = products.order_by().count()
    rows: Any = placement.holder._base_manager.using(using)
    vectors = rows.filter(embedding__isnull=False, **{f"{placement.owner}__in": keys}).annotate(
        encoder=EncoderOf("embedding_source")
    )
    current = vectors.filter(IsCurrent("embedding_source", F("encoder"), placement.holder_image))
    others = current.exclude(encoder=encoder.name).values_list("encoder").annotate(number=Count("pk"))
    return {
        **counts,
        **states,
        "products": total,
        "without_picture": total - counts["with_picture"],
        "percent": 100 * counts["ready_products"] // total if total else 0,
        "several": placement.several,
        "failures": [
            {"code": code, "number": number, "reason": REASONS.get(code, ""), "query": _query("failed", code)}
            for code, number in states["codes"].items()
        ],
        "queries": {state: _query(state) for state in ("ready", "pending", "failed", "no_picture")},
        "other_encoders": list(others.order_by("-number", "encoder")),
    }


def _query(state: str, code: str = "") -> str:
    return urlencode({PARAMETER: value_of(state, code)})


def _look(model_admin: Any, request: HttpRequest, products: QuerySet[Any], encoder: Encoder, name: str) -> Look:
    look = Look(name)
    ready = pictures_with_states(products.model, encoder.name).using(products.db).filter(is_in("ready"))
    compared = products.filter(pk__in=ready.values("pk")).order_by("pk")
    with _bounded(products.db) as sentence:
        look.page = Paginator(compared.values_list("pk", flat=True), BLOCK).get_page(request.GET.get("page"))
        keys = list(look.page.object_list)
        try:
            if name == "duplicates":
                look.findings = _duplicates(model_admin, request, products, keys, encoder)
            else:
                look.findings = _strangers(model_admin, request, products, keys, encoder)
        except (ImproperlyConfigured, FieldDoesNotExist, _CannotLook) as error:
            look.problem = str(error)
    if sentence():
        return Look(name, problem=sentence())
    return look


class _CannotLook(Exception):
    """There is something missing; the sentence says what."""


def _duplicates(
    model_admin: Any, request: HttpRequest, products: QuerySet[Any], keys: list[Any], encoder: Encoder
) -> list[Finding]:
    """Return the products of the block that are near-duplicates of others, by the bands of the encoder."""
    bands = get_bands(encoder.name)
    if bands is None:
        raise _CannotLook(
            gettext(
                "Nobody has calibrated the encoder %(encoder)s, so nothing says from which similarity on two pictures "
                "are near-duplicates: run calibrate_similarity."
            )
            % {"encoder": encoder.name}
        )
    near = find_neighbours(products, keys, encoder.name, NEIGHBOURS)
    found = {
        key: [each for each in neighbours if each.similarity >= bands.near_duplicate]
        for key, neighbours in near.items()
    }
    shown: set[Any] = set()
    groups: list[tuple[Any, list[Neighbour]]] = []
    for key in keys:
        others = found.get(key, [])
        if others and key not in shown:
            groups.append((key, others))
            shown |= {key, *(each.key for each in others)}
    by_key = products.in_bulk(list(shown))  # those that this person may see in the admin
    findings = []
    for key, others in groups:
        cards = [_card(model_admin, request, by_key[each.key], each) for each in others if each.key in by_key]
        if cards and key in by_key:
            findings.append(Finding(make_card(model_admin, request, by_key[key], others[0].own_image), cards))
    return findings


def _strangers(
    model_admin: Any, request: HttpRequest, products: QuerySet[Any], keys: list[Any], encoder: Encoder
) -> list[Finding]:
    """Return the products of the block of whose neighbours more than half are of one other category."""
    path = model_admin.similar_products_category
    if not path:
        raise _CannotLook(
            gettext('Name the field with the category in the admin: similar_products_category = "category".')
        )
    near = find_neighbours(products, keys, encoder.name, NEIGHBOURS)
    everybody = {*near, *(each.key for neighbours in near.values() for each in neighbours)}
    categories, names = _categories(products, path, everybody)
    odd: dict[Any, tuple[list[Neighbour], Any, int, int]] = {}
    for key, neighbours in near.items():
        with_category = [each for each in neighbours if categories[each.key]]
        counted = Counter(category for each in with_category for category in categories[each.key])
        if len(with_category) < MIN_NEIGHBOURS or not categories[key]:
            continue
        category, number = counted.most_common(1)[0]
        if category not in categories[key] and 2 * number > len(with_category):
            alike = [each for each in with_category if category in categories[each.key]]
            odd[key] = (alike[:MIN_NEIGHBOURS], category, number, len(with_category))
    by_key = products.in_bulk([*odd, *(each.key for alike, *_ in odd.values() for each in alike)])
    findings = []
    for key, (alike, category, number, among) in odd.items():
        if key not in by_key:
            continue
        sentence = gettext("In %(own)s; of its %(among)d neighbours %(number)d are in %(category)s.") % {
            "own": ", ".join(sorted(names[each] for each in categories[key])),
            "among": among,
            "number": number,
            "category": names[category],
        }
        cards = [_card(model_admin, request, by_key[each.key], each) for each in alike if each.key in by_key]
        own = make_card(model_admin, request, by_key[key], alike[0].own_image)
        findings.append(Finding(own, cards, sentence, number))
    return sorted(findings, key=lambda finding: -finding.weight)


def find_neighbours(products: QuerySet[Any], keys: list[Any], encoder_name: str, k: int) -> dict[Any, list[Neighbour]]:
    """Return the ``k`` nearest products of each product in ``keys`` that has a vector, the nearest first.

    ``products`` names model and database; the neighbours are not narrowed to it, which would lose the index.

    One query; the vector index is asked once for each picture of ``keys``. Of several pictures the best pair counts.
    The nearest in the index are taken as they come: few may be missed, and of hundreds of equal pictures others.
    """
    model, placement = products.model, get_placement(products.model)
    holder, owner, image = placement.holder, placement.owner, placement.holder_image
    vector = half("embedding", dimensions_of(holder))
    rows: Any = holder._base_manager.using(products.db).order_by()
    rows = rows.filter(embedding__isnull=False).filter(IsCurrent("embedding_source", Value(encoder_name), image))
    near = (
        rows.filter(IsNull(ScanSettings(get_settings().ef_search), False))
        .exclude(**{owner: OuterRef("_owner")})
        .alias(_distance=CosineDistance(vector, OuterRef("_vector")))
        .order_by("_distance")
        .values(near=JSONObject(owner=F(owner), image=F(image), distance=F("_distance")))
    )
    several = 3 if placement.several else 1  # the pictures of one product may take several places
    compared = (
        rows.filter(**{f"{owner}__in": keys})
        .alias(_owner=F(owner), _vector=vector)
        .annotate(similar_products_near=ArraySubquery(near[: several * k]))
        .values_list(F("_owner"), image, "similar_products_near")
    )
    best: dict[Any, dict[Any, Neighbour]] = {}
    for key, own_image, others in compared:
        of_product = best.setdefault(key, {})
        for other in others:
            other_key = model._meta.pk.to_python(other["owner"])
            similarity = min(max(1.0 - other["distance"], 0.0), 1.0)
            known = of_product.get(other_key)
            if known is None or known.similarity < similarity:
                of_product[other_key] = Neighbour(other_key, similarity, own_image, other["image"])
    return {key: sorted(best[key].values(), key=lambda each: -each.similarity)[:k] for key in keys if key in best}


def _card(model_admin: Any, request: HttpRequest, product: Any, neighbour: Neighbour) -> Card:
    card = make_card(model_admin, request, product, neighbour.image)
    card.similarity = neighbour.similarity
    return card


def _categories(products: QuerySet[Any], path: str, keys: Iterable[Any]) -> tuple[dict[Any, set[Any]], dict[Any, str]]:
    """Return the values of the field at ``path`` by product, and the text to show for each value."""
    field_at_end(products.model, path)  # raises a sentence where there is none
    values = collect_values(products, path, list(keys))
    return values, read_texts(products, path, set().union(*values.values()))
