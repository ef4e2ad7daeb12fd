"""The mixins for a shop's ``ModelAdmin`` and for the inline of its picture model."""

from collections.abc import Callable
from inspect import signature
from typing import Any, TypeAlias, TypeVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR, BaseModelAdmin, InlineModelAdmin
from django.contrib.admin.utils import flatten, quote, unquote
from django.core import checks
from django.core.exceptions import FieldDoesNotExist, PermissionDenied
from django.db.models import Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from ..catalogue.labels import field_at_end
from ..embedding.companions import get_hops
from ..embedding.states import pictures_of
from ..pictures import uploads
from ..pictures.gate import ImageRejected
from ..search.placement import DERIVED_FIELDS, get_placement, holder_of
from . import catalogue
from .actions import embed_products
from .base_templates import check_order, find_base
from .filters import StateFilter
from .showing import PICTURES, TriedPhoto, render_states, shown_by_the_shop, try_photo

STATE = "similar_products_state"
ACTIONS = ("similar_products_embed", "similar_products_retry")
BAD_REQUEST = 400

OptionT = TypeVar("OptionT")
Options: TypeAlias = list[OptionT] | tuple[OptionT, ...]


class SimilarProductsAdminMixin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Adds to a product's admin: state column and filter, actions, similar products, a test photo, a catalogue page.

    ``similar_products_limit`` is the number of products that the change page shows, ``similar_products_category`` the
    field, or path of fields, by which the catalogue page finds products in the wrong category; '' leaves that out. The
    templates extend those of the class after the mixin; a shop's own ``change_form_template`` extends
    ``admin/similar_products/change_form.html``, and its ``change_list_template`` ``change_list.html`` there.
    """

    similar_products_limit = 6
    similar_products_category = ""

    change_form_template = "admin/similar_products/change_form.html"
    change_list_template = "admin/similar_products/change_list.html"

    # The change list.

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        products: QuerySet[Any] = super().get_queryset(request)
        through = get_placement(self.model).through
        if holder_of(self.model):
            products = products.defer(*DERIVED_FIELDS)
        elif LOOKUP_SEP not in through:  # for a list_select_related of the companion
            products = products.defer(*(f"{through}{LOOKUP_SEP}{name}" for name in DERIVED_FIELDS))
        annotated: QuerySet[Any] = products.annotate(**{PICTURES: pictures_of(self.model)})
        return annotated

    def get_list_display(self, request: HttpRequest) -> Options[Any]:
        return _with(STATE, super().get_list_display(request))

    def get_list_filter(self, request: HttpRequest) -> Options[Any]:
        return _with(StateFilter, super().get_list_filter(request))

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        # Django 6.1 has actions on the change page too, and says which are asked for; 5.2 knows no such thing.
        location = {} if action_location is None else {"action_location": action_location}
        theirs = super().get_actions
        if location and not _takes(theirs, "action_location"):  # written for 5.2, and so for the list
            actions = {} if action_location.name == "CHANGE_FORM" else theirs(request)
        else:
            actions = theirs(request, **location)
        # Not by the attribute, which a shop's admin with actions of its own replaces.
        if self.actions is None or IS_POPUP_VAR in request.GET or not self.has_change_permission(request):
            return actions
        own = ((name, self.get_action(name, **location)) for name in ACTIONS if name not in actions)
        return {**actions, **{name: action for name, action in own if action is not None}}

    @admin.display(description=gettext_lazy("picture state"))
    def similar_products_state(self, product: Model) -> str:
        pictures = getattr(product, PICTURES, None)
        return self.get_empty_value_display() if pictures is None else render_states(pictures)

    @admin.action(
        description=gettext_lazy("Embed pending pictures of selected %(verbose_name_plural)s"), permissions=["change"]
    )
    def similar_products_embed(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        self._embed(request, queryset, retry_failed=False)

    @admin.action(
        description=gettext_lazy("Retry failed pictures of selected %(verbose_name_plural)s"), permissions=["change"]
    )
    def similar_products_retry(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        self._embed(request, queryset, retry_failed=True)

    def _embed(self, request: HttpRequest, products: QuerySet[Model], *, retry_failed: bool) -> None:
        outcome = embed_products(products, retry_failed=retry_failed)
        level = messages.SUCCESS if outcome.is_good else messages.WARNING
        self.message_user(request, str(outcome), messages.ERROR if outcome.problem else level)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = find_base(self.model, "change_list", super().change_list_template)
        context["similar_products_catalogue"] = self._url("similar_products")
        return super().changelist_view(request, context | (extra_context or {}))

    # The change page.

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context |= find_base(self.model, "change_form", super().change_form_template)
        product = context.get("original")
        if product is not None and not context.get("is_popup"):
            context["similar_products"] = shown_by_the_shop(self, product, request, self.similar_products_limit)
            context["similar_products_state"] = self.similar_products_state(product)
            context |= self._photo_form(product)
        return super().render_change_form(request, context, *args, **kwargs)

    @property
    def media(self) -> forms.Media:
        return super().media + forms.Media(
            css={"all": ["similar_products/admin.css"]}, js=["similar_products/admin.js"]
        )

    # Pages of its own.

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        # csrf_exempt: Django reads the form to find the token, and the photo's length is to be known before that.
        photo_view = view(csrf_exempt(self._photo_view))
        return [
            path("similar-products/", view(self._catalogue_view), name=self._name("similar_products")),
            path("<path:object_id>/similar-products/", photo_view, name=self._name("similar_products_photo")),
            *super().get_urls(),
        ]

    def _name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _url(self, page: str, *arguments: str) -> str:
        return reverse(f"admin:{self._name(page)}", args=arguments, current_app=self.admin_site.name)

    def _photo_form(self, product: Model) -> dict[str, Any]:
        return {
            "similar_products_photo": self._url("similar_products_photo", quote(product.pk)),
            "similar_products_max_bytes": uploads.MAX_PHOTO_BYTES,
            "similar_products_too_large": str(uploads.too_large()),
        }

    def _photo_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what a photo finds, and the place of the product of that key in it. Nothing is stored."""
        product = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, product):
            raise PermissionDenied
        if product is None:
            raise Http404(gettext("There is no such product."))
        if request.method != "POST":
            return self._render_photo(request, product, None)
        try:
            uploads.refuse_length(request)
            if not hasattr(request, "_files"):  # unless a middleware has read the form already
                request.upload_handlers = [uploads.PhotoInMemory(request)]
            response: HttpResponse = csrf_protect(self._answer_photo)(request, product)
        except ImageRejected as rejected:
            return self._render_photo(request, product, TriedPhoto(problem=str(rejected)))
        return response

    def _answer_photo(self, request: HttpRequest, product: Model) -> HttpResponse:
        tried = try_photo(self, product, request, uploads.read_photo(request), self.similar_products_limit)
        return self._render_photo(request, product, tried)

    def _render_photo(self, request: HttpRequest, product: Model, tried: TriedPhoto | None) -> HttpResponse:
        context = {
            **self._page(request, gettext("What a photo finds")),
            **self._photo_form(product),
            "original": product,
            "original_url": self._url("change", quote(product.pk)),
            "similar_products_tried": tried,
        }
        status = BAD_REQUEST if tried is not None and tried.problem else None
        return TemplateResponse(request, "admin/similar_products/photo.html", context, status=status)

    def _catalogue_view(self, request: HttpRequest) -> HttpResponse:
        """Show what of the catalogue is embedded, and on demand what looks wrong in it."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        context = {
            **self._page(request, gettext("Visual catalogue")),
            **catalogue.describe(self, request, self.similar_products_category),
            "change_list": self._url("changelist"),
        }
        return TemplateResponse(request, "admin/similar_products/catalogue.html", context)

    def _page(self, request: HttpRequest, title: str) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        return {**self.admin_site.each_context(request), "opts": self.opts, "title": title, "media": self.media}

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        own = _check_placement(self, "products", "") or self._check_category()
        return [*super().check(**kwargs), *own, *check_order(type(self), SimilarProductsAdminMixin)]

    def _check_category(self) -> list[checks.CheckMessage]:
        category, admin_class = self.similar_products_category, type(self)
        try:
            if category:
                field_at_end(self.model, category)
        except FieldDoesNotExist as error:
            sentence = f"{admin_class.__name__}.similar_products_category is {category!r}: {error}"
            hint = 'Name a field of the product, as in "category", or a path, as in "category__parent".'
            return [checks.Error(sentence, hint=hint, obj=admin_class, id="similar_products.E021")]
        return []


class PictureStateInlineMixin(InlineModelAdmin):  # type: ignore[type-arg]
    """Shows beside each picture of an inline whether it is embedded, and if it failed, why.

    For the inline of a model with pictures that are embedded, whether their vectors are its own or on a companion.
    With ``fieldsets`` of its own an inline names ``similar_products_state`` in them.
    """

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        states = pictures_of(self.model, _path_to_vectors(self.model))
        annotated: QuerySet[Any] = super().get_queryset(request).annotate(**{PICTURES: states})
        return annotated

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Options[str]:
        return _with(STATE, super().get_readonly_fields(request, obj))

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Options[Any]:
        fields = super().get_fields(request, obj)
        return fields if STATE in flatten(fields) else [*fields, STATE]

    @admin.display(description=gettext_lazy("picture state"))
    def similar_products_state(self, picture: Model) -> str:
        pictures = getattr(picture, PICTURES, None)
        return self.get_empty_value_display() if pictures is None else render_states(pictures, with_reasons=True)

    @property
    def media(self) -> forms.Media:
        return super().media + forms.Media(css={"all": ["similar_products/admin.css"]})

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return [*super().check(**kwargs), *_check_placement(self, "pictures", _path_to_vectors(self.model))]


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = signature(function).parameters
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _with(option: OptionT, options: "Options[OptionT]") -> "Options[OptionT]":
    return options if option in options else [*options, option]


def _check_placement(model_admin: "BaseModelAdmin[Model]", what: str, through: str) -> list[checks.CheckMessage]:
    """E020: the model has no vectors."""
    admin_class = type(model_admin)
    try:
        get_placement(model_admin.model, through)
    except (TypeError, FieldDoesNotExist) as error:
        sentence = f"{admin_class.__name__} is for {what} with vectors: {error}"
        hint = "Take our mixin from it, or say where its vectors are."
        return [checks.Error(sentence, hint=hint, obj=admin_class, id="similar_products.E020")]
    return []


def _path_to_vectors(model: type[Model]) -> str:
    """Return the relations from a picture's model to the model with the vectors made from it; '' where they are one."""
    if holder_of(model):
        return ""
    for hop in get_hops():
        if issubclass(model, hop.field.model):
            back: list[str] = []
            current: type[Model] = hop.holder
            for name in hop.path.split(LOOKUP_SEP):
                relation: Any = current._meta.get_field(name)
                back.insert(0, relation.related_query_name())
                current = relation.related_model
            return LOOKUP_SEP.join(back)
    return ""
