"""``{% similar_products product limit=6 %}``: the visible products that look like one, on its page."""

import logging
from typing import Any, Unpack

from django import template
from django.conf import settings
from django.db import models, transaction
from django.http import HttpRequest
from django.template.base import FilterExpression, Node, Parser, Token, token_kwargs
from django.template.context import Context

from ..query import ranked
from ..search.placement import get_placement, picture_of
from ..search.ranking import RankingOptions
from ..visibility import visible_and_similar

logger = logging.getLogger("similar_products.templatetags")
register = template.Library()

OPTIONS = ("limit", "template", *(RankingOptions.__annotations__.keys() - {"merchandising", "at"}))
"""Those of ``ranked``, of which the last two are for previews, and two of the tag's own."""
USAGE = (
    "{% similar_products PRODUCT [limit=6] [min_similarity=0..1] [diversity=0..1] [exclude=PRODUCTS] "
    "[near_duplicates=True] [variants=True] [template='...'] [as NAME] %}"
)
DEFAULT_LIMIT = 6
DEFAULT_TEMPLATE = "similar_products/similar_products.html"


class SimilarProductsNode(Node):
    """Renders the products similar to one, or keeps the list of them under a name."""

    child_nodelists = ()

    def __init__(self, product: FilterExpression, options: dict[str, FilterExpression], name: str) -> None:
        self.product = product
        self.options = options
        self.name = name

    def render(self, context: Context) -> str:
        product = self.product.resolve(context)
        options = {key: value.resolve(context) for key, value in self.options.items()}
        limit, path = options.pop("limit", DEFAULT_LIMIT), options.pop("template", DEFAULT_TEMPLATE)
        similar = find_similar(product, limit, request=context.get("request"), **options)
        if self.name:
            context[self.name] = similar
            return ""
        engine: Any = context.template.engine  # type: ignore[union-attr]
        chosen = engine.get_template(path)
        try:
            with context.push(product=product, similar_products=similar):
                return str(chosen.render(context))
        except Exception:
            if settings.DEBUG:
                raise
            logger.exception("The products similar to %r could not be rendered.", product)
            return ""


@register.tag
def similar_products(parser: Parser, token: Token) -> SimilarProductsNode:
    """Compile ``{% similar_products product limit=6 as name %}``; see the module."""
    tag, *bits = token.split_contents()
    name = ""
    if len(bits) >= 2 and bits[-2] == "as":
        name = bits[-1]
        bits = bits[:-2]
    if not bits:
        raise template.TemplateSyntaxError(f"{tag!r} needs a product: {USAGE}")
    product = parser.compile_filter(bits.pop(0))
    options = token_kwargs(bits, parser)
    unknown = [*bits, *(key for key in options if key not in OPTIONS)]
    if unknown:
        raise template.TemplateSyntaxError(f"{tag!r} does not know {unknown[0]!r}: {USAGE}")
    return SimilarProductsNode(product, options, name)


@register.filter
def product_picture(product: models.Model) -> Any:
    """Return the picture of a product as its file field gives it; of several the one that is alike."""
    return picture_of(product)


@register.filter
def with_pictures(products: list[models.Model]) -> list[tuple[models.Model, Any]]:
    """Return products of one model with the picture of each, as ``product_picture`` gives it."""
    placement = get_placement(products[0].__class__) if products else None
    return [(product, picture_of(product, placement)) for product in products]


def find_similar(
    product: Any, limit: Any, *, request: HttpRequest | None = None, **options: Unpack[RankingOptions]
) -> list[Any]:
    """Return at most ``limit`` visible products similar to ``product``, by the rules of ``ranked``.

    With DEBUG off nothing that goes wrong breaks the page: the error is logged, a savepoint keeps an open
    transaction usable, and the list is empty.
    """
    try:
        if not isinstance(product, models.Model):
            raise TypeError(f"{{% similar_products %}} takes a product, not {type(product).__name__}.")
        similar = visible_and_similar(product, request)
        connection = transaction.get_connection(similar.db)
        if connection.in_atomic_block:
            with transaction.atomic(using=similar.db):
                found = ranked(similar, int(limit), **options)
        else:
            found = ranked(similar, int(limit), **options)
    except Exception:
        if settings.DEBUG:
            raise
        logger.exception("No similar products for %r.", product)
        return []
    if not found:
        logger.info(
            "No similar products for %r: it has no current vector, is hidden, or there is nothing to compare with.",
            product,
        )
    return found
