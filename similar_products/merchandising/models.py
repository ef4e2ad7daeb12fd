"""The one table: a rule stands at one product, and says something about another or about that product itself."""

import math
from collections.abc import Hashable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import connection, models
from django.db.models import F, Q
from django.db.models.expressions import Combinable
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..search.placement import root_of

MAX_KEY_LENGTH = 255


def key_of(model: type[models.Model], value: object) -> Hashable:
    """Return a primary key of ``model`` as Python has it, from text or as it is.

    Raises ``ValueError`` for what can be none; a shop's own validators are not asked, since old keys may break them.
    """
    field: Any = root_of(model)._meta.pk
    while field.remote_field is not None:
        field = field.target_field
    try:
        key: Hashable = field.to_python(value)
    except (ValidationError, TypeError, OverflowError) as error:
        raise ValueError(f"{value!r} is no key of {model._meta.label}.") from error
    low, high = -math.inf, math.inf
    if isinstance(field, models.IntegerField):
        low, high = connection.ops.integer_field_range(field.get_internal_type())
    if (isinstance(key, int) and not low <= key <= high) or (isinstance(key, str) and "\0" in key):
        raise ValueError(f"{value!r} is no key that the database takes.")
    return key


def valid_keys(model: type[models.Model], values: Iterable[object]) -> Iterator[Hashable]:
    """Yield ``key_of`` each value, without those of a time when the model's keys were of another type."""
    for value in values:
        with suppress(ValueError):
            yield key_of(model, value)


class RuleQuerySet(models.QuerySet["Rule"]):
    def of(self, model: type[models.Model]) -> "RuleQuerySet":
        """Return the rules of the products of ``model``, found without asking for its content type first."""
        options = root_of(model)._meta
        kind = ContentType.objects.filter(app_label=options.app_label, model=options.model_name)
        return self.filter(content_type=models.Subquery(kind.values("pk")[:1]))

    def in_force(self, at: datetime | Combinable) -> "RuleQuerySet":
        """Return the rules that have started by ``at`` and not ended: an instant, or an expression for one."""
        started = Q(start__isnull=True) | Q(start__lte=at)
        return self.filter(started, Q(end__isnull=True) | Q(end__gt=at))


class Rule(models.Model):
    """A pin, a hidden pair, or a product hidden everywhere, always or for some time.

    Keys are kept as text, so that products with keys of any type have their rules in one table.
    """

    class Action(models.TextChoices):
        PIN = "pin", _("pin to a place in this product's list")
        HIDE = "hide", _("never show together")
        HIDE_EVERYWHERE = "everywhere", _("hide this product everywhere")

    content_type = models.ForeignKey(
        ContentType, on_delete=models.CASCADE, db_index=False, editable=False, related_name="+", verbose_name=_("model")
    )
    product_key = models.CharField(_("key of the product"), max_length=MAX_KEY_LENGTH, editable=False)
    product = GenericForeignKey("content_type", "product_key")
    action = models.CharField(_("action"), max_length=10, choices=Action, default=Action.PIN)
    other_key = models.CharField(_("other product"), max_length=MAX_KEY_LENGTH, blank=True)
    other = GenericForeignKey("content_type", "other_key")
    place = models.PositiveSmallIntegerField(
        _("place"), null=True, blank=True, validators=[MinValueValidator(1)], help_text=_("1 is the first.")
    )
    start = models.DateTimeField(_("start"), null=True, blank=True, help_text=_("Leave empty to start now."))
    end = models.DateTimeField(_("end"), null=True, blank=True, help_text=_("Leave empty for no end."))

    objects = RuleQuerySet.as_manager()

    class Meta:
        verbose_name = _("pin or hide")
        verbose_name_plural = _("pins and hides")
        indexes = (
            models.Index(fields=["content_type", "action", "product_key"], name="similar_rule_product"),
            models.Index(fields=["content_type", "other_key"], name="similar_rule_other", condition=Q(action="hide")),
        )
        constraints = (
            models.CheckConstraint(
                name="similar_rule_action",
                condition=(
                    (Q(action="pin", place__isnull=False, place__gte=1) & ~Q(other_key=""))
                    | (Q(action="hide", place__isnull=True) & ~Q(other_key=""))
                    | Q(action="everywhere", place__isnull=True, other_key="")
                ),
                violation_error_message=_(
                    "A pin has another product and a place from 1, a hidden pair has another product and no place, and "
                    "a product hidden everywhere has neither."
                ),
            ),
            models.CheckConstraint(
                name="similar_rule_not_itself",
                condition=~Q(other_key=F("product_key")),
                violation_error_message=_("A product does not stand in its own list; choose another product."),
            ),
            models.CheckConstraint(
                name="similar_rule_end_after_start",
                condition=Q(start__isnull=True) | Q(end__isnull=True) | Q(end__gt=F("start")),
                violation_error_message=_("The end is not after the start; choose a later end."),
            ),
        )

    # The texts of the two products, where the admin lists rules.
    product_name: str
    other_name: str

    def __str__(self) -> str:
        return str(self.get_action_display())

    def clean(self) -> None:
        """Say by its field what is wrong, where the constraints could only speak of the whole rule."""
        wrong: dict[str, str | Promise] = {}
        if self.action == self.Action.HIDE_EVERYWHERE:
            if self.other_key:
                wrong["other_key"] = _("This product itself is hidden everywhere: leave the other product empty.")
        elif not self.other_key:
            wrong["other_key"] = (
                _("Choose the product to pin.")
                if self.action == self.Action.PIN
                else _("Choose the product not to show together with this one.")
            )
        elif self.other_key == self.product_key:
            wrong["other_key"] = _("A product does not stand in its own list; choose another product.")
        if self.action == self.Action.PIN:
            if self.place is None:
                wrong["place"] = _("Give the place of the pinned product, 1 for the first.")
        elif self.place is not None:
            wrong["place"] = _("Only a pinned product has a place; leave it empty.")
        if self.start and self.end and self.end <= self.start:
            wrong["end"] = _("The end is not after the start; choose a later end.")
        if wrong:
            raise ValidationError(wrong)

    def overlaps(self, rule: "Rule") -> bool:
        """Return whether there is a time when both rules are in force."""
        return _before(self.start, rule.end) and _before(rule.start, self.end)

    def contradicts(self, rule: "Rule") -> bool:
        """Return whether both pin to one place, or one product twice, in one list at the same time."""
        return (
            self.action == rule.action == self.Action.PIN
            and self.product_key == rule.product_key
            and (self.place == rule.place or self.other_key == rule.other_key)
            and self.overlaps(rule)
        )


def _before(start: datetime | None, end: datetime | None) -> bool:
    return start is None or end is None or start < end
