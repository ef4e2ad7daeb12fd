"""The list filter by the state of a product's pictures."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy

from ..embedding.states import STATE_NAMES, STATES, has_picture_in
from ..search.placement import get_placement
from .showing import find_encoder

CODE_SEPARATOR = ":"
PARAMETER = "similar_products_state"


def value_of(state: str, code: str = "") -> str:
    """Return the filter's value for products with a picture in ``state``, failed with ``code`` if given."""
    return f"{state}{CODE_SEPARATOR}{code}" if code else state


class StateFilter(admin.SimpleListFilter):
    """Finds products that have a picture in a state, and failed ones by code; hidden where no encoder can be made."""

    title = gettext_lazy("picture state")
    parameter_name = PARAMETER

    def lookups(self, request: Any, model_admin: Any) -> Any:
        encoder, _ = find_encoder()
        if encoder is None:
            return []
        holder: Any = get_placement(model_admin.model).holder
        rows = holder._base_manager.using(model_admin.get_queryset(request).db)
        codes = rows.failed().exclude(embedding_error="").order_by("embedding_error")
        by_code = [
            (value_of("failed", code), f"{STATE_NAMES['failed']}: {code}")
            for code in codes.values_list("embedding_error", flat=True).distinct()
        ]
        choices: list[tuple[str, Any]] = []
        for state in STATES:
            choices += [(state, STATE_NAMES[state]), *(by_code if state == "failed" else ())]
        return choices

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value, (encoder, _) = self.value(), find_encoder()
        if value is None or encoder is None:
            return queryset
        state, _, code = value.partition(CODE_SEPARATOR)
        if state not in STATES or "\0" in code:
            raise IncorrectLookupParameters(value)
        found: QuerySet[Any] = queryset.filter(has_picture_in(queryset.model, state, encoder.name, code=code))
        return found
