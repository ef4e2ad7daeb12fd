"""Pins and hides in the admin: on a product's page, as a list of all, and as a preview of what comes of them."""

from datetime import datetime
from typing import Any, cast

from django import forms
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.admin import GenericTabularInline
from django.core import checks
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy

from ..admin.showing import ProductAdmin, Similar, copy_for_visitor, make_card, report_problems
from ..query import ranked
from ..search.placement import get_placement, root_of
from ..visibility import visible_and_similar
from .forms import RuleForm, RuleFormSet, SingleRuleForm, names_of, search_products
from .models import Rule

PREVIEW_LENGTH = 12


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

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        may_write = self.has_change_permission(request, obj) or self.has_add_permission(request, obj)
        return ("action", "other_key" if may_write else "other_product", "place", "start", "end")

    def get_formset(
        self, request: HttpRequest, obj: models.Model | None = None, **kwargs: Any
    ) -> "type[forms.BaseInlineFormSet[Any, Any, forms.ModelForm[Any]]]":
        formset = super().get_formset(request, obj, **kwargs)
        search_products(formset.form, self.parent_model, self.admin_site)
        return formset

    @admin.display(description=gettext_lazy("other product"))
    def other_product(self, rule: Rule) -> str:
        return getattr(rule, "other_name", rule.other_key)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return [*super().check(**kwargs), *self._check_admins()]

    def _check_admins(self) -> list[checks.CheckMessage]:
        """E001: the rules' admin is missing. E002: the products' admin has no search."""
        if not self.admin_site.is_registered(Rule):
            return [
                checks.Error(
                    "PinsAndHidesInline needs the admin of its rules on the same admin site, which searches and "
                    "previews.",
                    hint="Add site.register(Rule, RuleAdmin), from similar_products.merchandising.",
                    obj=type(self),
                    id="similar_products_merchandising.E001",
                )
            ]
        product_admin = self.admin_site._registry.get(self.parent_model)
        if product_admin is not None and not product_admin.search_fields:
            return [
                checks.Error(
                    f"PinsAndHidesInline lets people search for products, and {type(product_admin).__name__} has no "
                    "search_fields.",
                    hint='Add search_fields = ("name",) to it.',
                    obj=type(self),
                    id="similar_products_merchandising.E002",
                )
            ]
        return []


class RuleList(ChangeList):
    """The page of rules with the names of their products: one query for each model, whatever the number of rules."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        by_type: dict[int, list[Rule]] = {}
        for rule in self.result_list:
            by_type.setdefault(rule.content_type_id, []).append(rule)
        for rules in by_type.values():
            keys = {key for rule in rules for key in (rule.product_key, rule.other_key)}
            names = names_of(rules[0].content_type.model_class(), keys)
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

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RuleList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_form(
        self, request: HttpRequest, obj: Rule | None = None, change: bool = False, **kwargs: Any
    ) -> type[RuleForm]:
        form = cast("type[RuleForm]", super().get_form(request, obj, change, **kwargs))
        model = None if obj is None else self._searched_model(obj)
        if model is not None:
            search_products(form, model, self.admin_site)
        return form

    @admin.display(description=gettext_lazy("product"), ordering="product_key")
    def product_name(self, rule: Rule) -> str:
        return rule.product_name

    @admin.display(description=gettext_lazy("other product"), ordering="other_key")
    def other_name(self, rule: Rule) -> str:
        return rule.other_name

    @admin.display(description=gettext_lazy("in force"), boolean=True)
    def is_in_force(self, rule: Rule) -> bool:
        now = timezone.now()
        return (rule.start is None or rule.start <= now) and (rule.end is None or now < rule.end)

    @admin.display(description=gettext_lazy("product"))
    def product_link(self, rule: Rule) -> str:
        names = names_of(rule.content_type.model_class(), {rule.product_key})
        name = names.get(rule.product_key, rule.product_key)
        model = self._searched_model(rule)
        if model is None:
            return name
        address = f"{self.admin_site.name}:{model._meta.app_label}_{model._meta.model_name}_change"
        return format_html('<a href="{}">{}</a>', reverse(address, args=[quote(rule.product_key)]), name)

    def _searched_model(self, rule: Rule) -> type[models.Model] | None:
        """Return the model in whose admin the rule's products are found: their own, or a proxy or child of it."""
        model = rule.content_type.model_class()
        if model is None or self.admin_site.is_registered(model):
            return model
        return next((each for each in self.admin_site._registry if root_of(each) is model), None)

    # The two pages that the inline needs.

    def get_urls(self) -> list[URLPattern]:
        view, stem = self.admin_site.admin_view, "similar_products_merchandising_rule"
        one_model = "<str:app_label>/<str:model_name>/"
        return [
            path(f"products/{one_model}", view(self.products_view), name=f"{stem}_products"),
            path(f"preview/{one_model}<path:key>/", view(self.preview_view), name=f"{stem}_preview"),
            *super().get_urls(),
        ]

    def products_view(self, request: HttpRequest, app_label: str, model_name: str) -> HttpResponseBase:
        """Answer the select of a rule with the products that the product's own admin finds."""
        if not (self.has_view_permission(request) or super().has_add_permission(request)):
            raise PermissionDenied
        product_admin = self._product_admin(app_label, model_name)
        if not product_admin.get_search_fields(request):
            raise Http404(gettext("Products of this model cannot be searched: their admin has no search_fields."))
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
            **_preview(product_admin, product, request, at),
            "title": gettext("Similar products with and without pins and hides"),
            "subtitle": str(product),
            "product": product,
            "opts": product._meta,
            "form": form,
            "at": at,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/similar_products_merchandising/preview.html", context)

    def _product_admin(self, app_label: str, model_name: str) -> ProductAdmin:
        try:
            return self.admin_site.get_model_admin(apps.get_model(app_label, model_name))
        except (LookupError, NotRegistered) as error:
            raise Http404(gettext("There is no such model here.")) from error


class ProductsView(AutocompleteJsonView):
    """Django's view for selects with a search; it takes its model from a foreign key, and here there is none."""

    model_admin = cast("ProductAdmin", None)  # as_view() is given it

    def process_request(self, request: HttpRequest) -> Any:
        return request.GET.get("term", ""), self.model_admin, None, "pk"

    def get_queryset(self) -> models.QuerySet[models.Model]:
        products = self.model_admin.get_queryset(self.request)
        found, repeats = self.model_admin.get_search_results(self.request, products, self.term)
        if not found.ordered:
            found = found.order_by("pk")
        return found.distinct() if repeats else found


class PreviewForm(forms.Form):
    at = forms.DateTimeField(
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )


def _preview(
    product_admin: ProductAdmin, product: models.Model, request: HttpRequest, at: datetime | None
) -> dict[str, Any]:
    """Return both lists, and the rules in force with what came of each; or the ``problem``, a sentence."""
    try:
        get_placement(type(product))
    except TypeError as error:
        return {"problem": str(error)}
    shown = Similar()
    with report_problems(shown, product._state.db or "default"):
        similar = visible_and_similar(product, copy_for_visitor(request))
        with_rules = ranked(similar, PREVIEW_LENGTH, at=at)
        without = ranked(similar, PREVIEW_LENGTH, merchandising=False)
        lists = [
            (heading, [make_card(product_admin, request, row) for row in rows])
            for heading, rows in ((gettext("With pins and hides"), with_rules), (gettext("Without"), without))
        ]
    if shown.problem:
        return {"problem": shown.problem}
    places = {str(row.pk): place for place, row in enumerate(with_rules, 1) if row.pinned}
    rules = _rules_in_force(product, timezone.now() if at is None else at, places)
    return {"lists": lists, "rules": rules, "length": PREVIEW_LENGTH}


def _rules_in_force(product: models.Model, at: datetime, places: dict[str, int]) -> list[dict[str, Any]]:
    """Return the rules that concern a product, each with the other one's text and the place where that is shown."""
    model, key = type(product), str(product.pk)
    rules = Rule.objects.of(model).in_force(at).filter(Q(product_key=key) | Q(other_key=key, action=Rule.Action.HIDE))
    others = [
        (rule, rule.product_key if rule.other_key == key else rule.other_key)
        for rule in rules.order_by("-action", "place", "pk")
    ]
    names = names_of(model, (other for _, other in others))
    return [
        {"rule": rule, "other_name": names.get(other, other), "shown_at": places.get(other)} for rule, other in others
    ]
