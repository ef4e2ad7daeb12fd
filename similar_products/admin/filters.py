"""The list filter by the state of a product's pictures."""

from collections.abc import Iterator

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from ..embedding.states import STATE_NAMES, STATES, has_picture_in
from ..query import all_rows
from ..search.placement import get_placement
from .showing import ProductAdmin, find_encoder

CODE_SEPARATOR = ":"
PARAMETER = "similar_products_state"


def value_of(state: str, code: str = "") -> str:
    """Return the filter's value for products with a picture in ``state``, failed with ``code`` if given."""
    return f"{state}{CODE_SEPARATOR}{code}" if code else state


class StateFilter(admin.SimpleListFilter):
    """Finds products that have a picture in a state, and failed ones by code; hidden where no encoder can be made."""

    title = gettext_lazy("picture state")
    parameter_name = PARAMETER

    def lookups(self, request: HttpRequest, model_admin: ProductAdmin) -> Iterator[tuple[str, str]]:
        if find_encoder()[0] is None:
            return
        holder = get_placement(model_admin.model).holder
        rows = all_rows(holder, model_admin.get_queryset(request).db)
        codes = rows.failed().exclude(embedding_error="").order_by("embedding_error")
        for state in STATES:
            yield state, str(STATE_NAMES[state])
            if state == "failed":
                for code in codes.values_list("embedding_error", flat=True).distinct():
                    yield value_of(state, code), f"{STATE_NAMES[state]}: {code}"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        value, (encoder, _) = self.value(), find_encoder()
        if value is None or encoder is None:
            return queryset
        state, _, code = value.partition(CODE_SEPARATOR)
        if state not in STATES or "\0" in code:
            raise IncorrectLookupParameters(value)
        return queryset.filter(has_picture_in(queryset.model, state, encoder.name, code=code))
