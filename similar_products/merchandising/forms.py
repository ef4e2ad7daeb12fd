"""The form of a rule in the admin, and the set of them on a product's page."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

from django import forms
from django.contrib.admin import AdminSite
from django.contrib.admin.widgets import AutocompleteMixin
from django.contrib.contenttypes.forms import BaseGenericInlineFormSet
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext

from ..query import all_rows
from ..search.placement import root_of
from .models import Rule, valid_keys


def names_of(model: type[models.Model] | None, keys: Iterable[str], using: str | None = None) -> dict[str, str]:
    """Return the products' texts by their keys, those of them that exist: one query."""
    known = [] if model is None else list(valid_keys(model, set(keys) - {""}))
    if model is None or not known:
        return {}
    products = all_rows(root_of(model), using).filter(pk__in=known)
    return {str(product.pk): str(product) for product in products}


def refuse_contradictions(rules: list[Rule], names: dict[str, str] | None = None) -> None:
    """Raise ``ValidationError`` where two of the rules of one product cannot both be followed."""
    for first, second in combinations(rules, 2):
        if not first.contradicts(second):
            continue
        if names is None:
            names = names_of(first.content_type.model_class(), {first.other_key, second.other_key})
        one, other = (names.get(rule.other_key, rule.other_key) for rule in (first, second))
        if first.other_key == second.other_key:
            raise ValidationError(
                gettext("%(product)s is pinned twice at the same time: delete one of its pins, or change its time."),
                params={"product": one},
            )
        raise ValidationError(
            gettext(
                "Place %(place)s is given to %(one)s and %(other)s at the same time: choose another place or time for "
                "one of them."
            ),
            params={"place": first.place, "one": one, "other": other},
        )


class ProductSelect(AutocompleteMixin, forms.Select):
    """Django's select with a search, over the products of one model, whose own admin says what is searched.

    Django's own needs a foreign key; a rule has the key of a product of any model, as text.
    """

    def __init__(self, model: type[models.Model], admin_site: AdminSite) -> None:
        super().__init__(Rule._meta.get_field("other_key"), admin_site)
        self.model = model

    def get_url(self) -> str:
        options = self.model._meta
        name = f"{self.admin_site.name}:similar_products_merchandising_rule_products"
        return reverse(name, args=[options.app_label, options.model_name])

    def optgroups(
        self, name: str, value: Sequence[str], attrs: dict[str, Any] | None = None
    ) -> list[tuple[str | None, list[dict[str, Any]], int | None]]:
        return forms.Select.optgroups(self, name, list(value), attrs)


def search_products(form: "type[forms.ModelForm[Rule]]", model: type[models.Model], admin_site: AdminSite) -> None:
    """Let the other product of a rule be chosen by a search, except by somebody who may only look."""
    if "other_key" in form.base_fields:
        form.base_fields["other_key"].widget = ProductSelect(model, admin_site)


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """One rule. ``names`` are the texts of products by key; a formset looks them up for all of its forms at once."""

    class Meta:
        model = Rule
        fields = ("action", "other_key", "place", "start", "end")

    def __init__(self, *args: Any, names: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.names = names or {}
        if "other_key" not in self.fields:  # of somebody who may only look
            return
        key = str(self["other_key"].value() or "")
        if names is None:
            self.names = names_of(self.instance.content_type.model_class(), {key})
        # What is chosen is shown; what else there is to choose the select asks for.
        self.fields["other_key"].widget.choices = [("", ""), *([(key, self.names.get(key, key))] if key else [])]

    def validate_unique(self) -> None:
        """Look for the other product, at last, where nothing else is wrong: one sentence is enough."""
        super().validate_unique()
        key = self.instance.other_key
        if not self.errors and "other_key" in self.changed_data and key and key not in self.names:
            sentence = gettext("There is no product with the key %(key)s; choose one from the list.")
            self.add_error("other_key", ValidationError(sentence, params={"key": key}))


class SingleRuleForm(RuleForm):
    """A rule by itself, compared with those that are stored; in a set the forms are compared with each other."""

    def validate_unique(self) -> None:
        super().validate_unique()
        if not self.errors:
            rule = self.instance
            stored = Rule.objects.filter(content_type=rule.content_type_id, product_key=rule.product_key)
            try:
                refuse_contradictions([rule, *stored.exclude(pk=rule.pk)])
            except ValidationError as error:
                self.add_error(None, error)


class RuleFormSet(BaseGenericInlineFormSet):  # type: ignore[type-arg]
    """The rules that stand at one product. They are those of the topmost parent where it is a child's or a proxy's."""

    def __init__(self, data: Any = None, files: Any = None, instance: Any = None, **kwargs: Any) -> None:
        root = root_of(type(instance))
        super().__init__(data, files, instance=root(pk=instance.pk), **kwargs)
        self.instance = instance
        self._content_type = ContentType.objects.get_for_model(root)

    @cached_property
    def names(self) -> dict[str, str]:
        keys = {rule.other_key for rule in self.get_queryset()}
        if self.is_bound:
            own = re.compile(rf"{re.escape(str(self.prefix))}-\d+-other_key")
            keys |= {str(self.data[name]) for name in self.data if own.fullmatch(name)}
        return names_of(type(self.instance), keys)

    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        return {**super().get_form_kwargs(index), "names": self.names}

    def add_fields(self, form: "forms.ModelForm[Rule]", index: int | None) -> None:
        super().add_fields(form, index)
        # Before the rule is looked at, and not only when it is saved.
        form.instance.content_type = self._content_type
        form.instance.product_key = "" if self.instance._state.adding else str(self.instance.pk)
        form.instance.other_name = self.names.get(form.instance.other_key, form.instance.other_key)

    def save_new(self, form: "forms.ModelForm[Rule]", commit: bool = True) -> Rule:
        form.instance.product_key = str(self.instance.pk)
        rule: Rule = form.save(commit=commit)
        return rule

    def clean(self) -> None:
        super().clean()
        kept = [
            form.instance
            for form in self.forms
            if form.is_valid() and not form.cleaned_data.get("DELETE") and (form.has_changed() or form.instance.pk)
        ]
        refuse_contradictions(kept, self.names)
