"""Pins and hides in the admin: on a product's page, as a list of all, and as a preview of what comes of them."""

from datetime import datetime
from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.admin import GenericInlineModelAdminChecks, GenericTabularInline
from django.core import checks
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy

from ..admin.showing import Similar, copy_for_visitor, report_problems, url_of
from ..query import ranked
from ..search.bands import WORDS
from ..search.placement import get_placement, picture_of, root_of
from ..visibility import visible_and_similar
from .forms import ProductSelect, RuleForm, RuleFormSet, SingleRuleForm, names_of
from .models import Rule

PREVIEW_LENGTH = 12


class PinsAndHidesInlineChecks(GenericInlineModelAdminChecks):
    def check(self, inline: Any, **kwargs: Any) -> list[Any]:  # type: ignore[override]  # names differ in Django too
        return [*super().check(inline, **kwargs), *self._check_admins(inline)]

    def _check_admins(self, inline: Any) -> list[Any]:
        if not inline.admin_site.is_registered(Rule):
            return [
                checks.Error(
                    "PinsAndHidesInline needs the admin of its rules on the same admin site, which searches and "
                    "previews.",
                    hint="Add site.register(Rule, RuleAdmin), from similar_products.merchandising.",
                    obj=inline.__class__,
                    id="similar_products_merchandising.E001",
                )
            ]
        product_admin = inline.admin_site._registry.get(inline.parent_model)
        if product_admin is not None and not product_admin.search_fields:
            return [
                checks.Error(
                    f"PinsAndHidesInline lets people search for products, and {type(product_admin).__name__} has no "
                    "search_fields.",
                    hint='Add search_fields = ("name",) to it.',
                    obj=inline.__class__,
                    id="similar_products_merchandising.E002",
                )
            ]
        return []


class PinsAndHidesInline(GenericTabularInline):
    """The rules of a product on its own admin page: ``inlines = [PinsAndHidesInline]``."""

    model = Rule
    form = RuleForm
    formset = RuleFormSet  # type: ignore[assignment]
    ct_field = "content_type"
    ct_fk_field = "product_key"
    ordering = ("-action", "place", "pk")
    extra = 0
    verbose_name_plural = gettext_lazy("Pins and hides")
    template = "admin/similar_products_merchandising/pins_and_hides.html"
    readonly_fields = ("other_product",)
    checks_class = PinsAndHidesInlineChecks

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        may_write = self.has_change_permission(request, obj) or self.has_add_permission(request, obj)
        return ("action", "other_key" if may_write else "other_product", "place", "start", "end")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest | None, **kwargs: Any) -> Any:
        return _formfield(super(), self.parent_model, self.admin_site, db_field, request, **kwargs)

    @admin.display(description=gettext_lazy("other product"))
    def other_product(self, rule: Any) -> str:
        name: str = getattr(rule, "other_name", rule.other_key)
        return name


class RuleList(ChangeList):
    """The page of rules with the names of their products: one query for each model, whatever the number of rules."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        by_type: dict[int, list[Any]] = {}
        for rule in self.result_list:
            by_type.setdefault(rule.content_type_id, []).append(rule)
        for rules in by_type.values():
            model = rules[0].content_type.model_class()
            keys = {key for rule in rules for key in (rule.product_key, rule.other_key)}
            names = {} if model is None else names_of(model, keys)
            for rule in rules:
                rule.product_name = names.get(rule.product_key, rule.product_key)
                rule.other_name = names.get(rule.other_key, rule.other_key)


@admin.register(Rule)
class RuleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """All rules. New ones are made on the page of a product."""

    form = SingleRuleForm
    fields = ("product_link", "action", "other_key", "place", "start", "end")
    readonly_fields = ("product_link",)
    list_display = ("product_name", "action", "other_name", "place", "start", "end", "is_in_force")
    list_filter = ("action", ("content_type", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("content_type",)
    search_fields = ("=product_key", "=other_key")
    search_help_text = gettext_lazy("The key of a product.")
    ordering = ("content_type", "product_key", "-action", "place", "pk")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return RuleList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest | None, **kwargs: Any) -> Any:
        rule = getattr(request, "similar_products_rule", None)
        model = None if rule is None else _registered(self.admin_site, rule.content_type.model_class())
        return _formfield(super(), model, self.admin_site, db_field, request, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        request.similar_products_rule = obj  # type: ignore[attr-defined]
        return super().get_form(request, obj, change, **kwargs)

    @admin.display(description=gettext_lazy("product"), ordering="product_key")
    def product_name(self, rule: Any) -> str:
        return str(rule.product_name)

    @admin.display(description=gettext_lazy("other product"), ordering="other_key")
    def other_name(self, rule: Any) -> str:
        return str(rule.other_name)

    @admin.display(description=gettext_lazy("in force"), boolean=True)
    def is_in_force(self, rule: Rule) -> bool:
        now = timezone.now()
        return (rule.start is None or rule.start <= now) and (rule.end is None or now < rule.end)

    @admin.display(description=gettext_lazy("product"))
    def product_link(self, rule: Rule) -> str:
        model: Any = rule.content_type.model_class()
        name = names_of(model, {rule.product_key}).get(rule.product_key, rule.product_key)
        registered = _registered(self.admin_site, model)
        if registered is None:
            return name
        options = registered._meta
        address = f"{self.admin_site.name}:{options.app_label}_{options.model_name}_change"
        return format_html('<a href="{}">{}</a>', reverse(address, args=[quote(rule.product_key)]), name)

    # The two pages that the inline needs.

    def get_urls(self) -> Any:
        stem = "similar_products_merchandising_rule"
        one_model = "<str:app_label>/<str:model_name>/"
        return [
            path(f"products/{one_model}", self.admin_site.admin_view(self.products_view), name=f"{stem}_products"),
            path(
                f"preview/{one_model}<path:key>/", self.admin_site.admin_view(self.preview_view), name=f"{stem}_preview"
            ),
            *super().get_urls(),
        ]

    def products_view(self, request: HttpRequest, app_label: str, model_name: str) -> HttpResponseBase:
        """Answer the select of a rule with the products that the product's own admin finds."""
        if not (self.has_view_permission(request) or super().has_add_permission(request)):
            raise PermissionDenied
        product_admin = self._product_admin(app_label, model_name)
        if not product_admin.get_search_fields(request):
            raise Http404(gettext("Products of this model are not searched."))
        return ProductsView.as_view(model_admin=product_admin, admin_site=self.admin_site)(request)

    def preview_view(self, request: HttpRequest, app_label: str, model_name: str, key: str) -> HttpResponse:
        """Show the list of a product as a visitor gets it, with the rules of a moment and without any."""
        product_admin = self._product_admin(app_label, model_name)
        if not self.has_view_permission(request) or not product_admin.has_view_permission(request):
            raise PermissionDenied
        product = product_admin.get_object(request, unquote(key))
        if product is None:
            raise Http404(gettext("There is no product with the key %(key)s.") % {"key": unquote(key)})
        if not product_admin.has_view_permission(request, product):
            raise PermissionDenied
        form = PreviewForm(request.GET if "at" in request.GET else None)
        at = form.cleaned_data["at"] if form.is_valid() else None
        context = {
            **self.admin_site.each_context(request),
            **_preview(product, request, at),
            "title": gettext("Similar products with and without pins and hides"),
            "subtitle": str(product),
            "product": product,
            "opts": product._meta,
            "form": form,
            "at": at,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/similar_products_merchandising/preview.html", context)

    def _product_admin(self, app_label: str, model_name: str) -> Any:
        try:
            return self.admin_site.get_model_admin(apps.get_model(app_label, model_name))
        except (LookupError, NotRegistered) as error:
            raise Http404(gettext("There is no such model here.")) from error


class ProductsView(AutocompleteJsonView):
    """Django's view for selects with a search; it takes its model from a foreign key, and here there is none."""

    model_admin: Any = None

    def process_request(self, request: HttpRequest) -> Any:
        return request.GET.get("term", ""), self.model_admin, None, "pk"

    def get_queryset(self) -> Any:
        products = self.model_admin.get_queryset(self.request)
        found, repeats = self.model_admin.get_search_results(self.request, products, self.term)
        if not found.ordered:
            found = found.order_by("pk")
        return found.distinct() if repeats else found


class PreviewForm(forms.Form):
    at = forms.DateTimeField(
        label=gettext_lazy("At"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )


def _preview(product: models.Model, request: HttpRequest, at: datetime | None) -> dict[str, Any]:
    """Return both lists, and the rules in force with what came of each; or the ``problem``, a sentence."""
    model, key = type(product), str(product.pk)
    try:
        get_placement(model)
    except TypeError as error:
        return {"problem": str(error)}
    shown = Similar()
    with report_problems(shown, product._state.db or "default"):
        similar = visible_and_similar(product, copy_for_visitor(request))
        with_rules = ranked(similar, PREVIEW_LENGTH, at=at)
        without = ranked(similar, PREVIEW_LENGTH, merchandising=False)
        for row in (*with_rules, *without):
            row.word, row.picture_url = WORDS.get(row.likeness, ""), url_of(picture_of(row))
    if shown.problem:
        return {"problem": shown.problem}
    rules = list(
        Rule.objects.of(model)
        .in_force(timezone.now() if at is None else at)
        .filter(Q(product_key=key) | Q(other_key=key, action=Rule.Action.HIDE))
        .order_by("-action", "place", "pk")
    )
    others = {rule.pk: rule.product_key if rule.other_key == key else rule.other_key for rule in rules}
    names = names_of(model, others.values())
    places = {str(row.pk): place for place, row in enumerate(with_rules, 1) if row.pinned}
    for rule in rules:
        other = others[rule.pk]
        rule.other_name = names.get(other, other)  # type: ignore[attr-defined]
        rule.shown_at = places.get(other)  # type: ignore[attr-defined]
    return {
        "lists": [(gettext("With pins and hides"), with_rules), (gettext("Without"), without)],
        "rules": rules,
        "length": PREVIEW_LENGTH,
    }


def _registered(admin_site: Any, model: Any) -> Any:
    """Return the model in whose admin the products of ``model`` are found: itself, or a proxy or child of it."""
    if model is None or admin_site.is_registered(model):
        return model
    return next((each for each in admin_site._registry if root_of(each) is model), None)


def _formfield(parent: Any, model: Any, admin_site: Any, db_field: Any, request: Any, **kwargs: Any) -> Any:
    if db_field.name != "other_key" or model is None:
        return parent.formfield_for_dbfield(db_field, request, **kwargs)
    field = parent.formfield_for_dbfield(db_field, request, widget=ProductSelect(model, admin_site), **kwargs)
    field.widget.attrs.pop("maxlength", None)  # which no select has
    return field
