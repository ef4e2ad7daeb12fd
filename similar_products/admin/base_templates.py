"""The templates of other admin classes: ours extend the one that the page would have without our mixin."""

from typing import Any

from django.core import checks
from django.db.models import Model
from django.template.exceptions import TemplateDoesNotExist
from django.template.loader import get_template, select_template
from django.template.loader_tags import ExtendsNode

BASE = "similar_products_base"
"""The name, in the context of a page, of the template that ours extends."""
PAGES = ("change_form", "change_list")


def find_base(model: type[Model], page: str, theirs: Any) -> dict[str, Any]:
    """Return as context the template, or its name, that ``page`` would have without our mixin.

    ``theirs`` is what the class after the mixin says: a template, a name, several of which the first that exists is
    meant, or ``None`` for the places where Django looks. What extends ours is passed over, as neither could be on top.
    """
    if hasattr(theirs, "render"):
        return {BASE: theirs}
    app, name = model._meta.app_label, model._meta.model_name
    django = [f"admin/{place}{page}.html" for place in (f"{app}/{name}/", f"{app}/", "")]
    named = [theirs] if isinstance(theirs, str) else theirs or django
    bases = [each for each in named if not _extends(each, f"admin/similar_products/{page}.html")]
    # Its name, not the template: Django then passes over a file that is in use above, and finds the next of that name.
    chosen: Any = select_template(bases or django[-1:])
    return {BASE: chosen.template.name}


def _extends(name: Any, ours: str) -> bool:
    """Return whether a template is ours or extends it, by names in the files."""
    seen: set[str] = set()
    while isinstance(name, str) and name not in seen:
        seen.add(name)
        try:
            template: Any = get_template(name)
        except TemplateDoesNotExist:
            break
        parents = template.template.nodelist.get_nodes_by_type(ExtendsNode)
        name = parents[0].parent_name.var if parents else None
    return ours in seen


def check_order(admin_class: type, mixin: type) -> list[checks.CheckMessage]:
    """W027: a class that stands before the mixin names the template of a page, and ours is not shown."""
    for page in PAGES:
        owner = next(each for each in admin_class.__mro__ if f"{page}_template" in vars(each))
        if not issubclass(owner, mixin):
            sentence = (
                f"{admin_class.__name__} has its {page}_template from {owner.__name__}, which stands before "
                f"{mixin.__name__}: the page may be without our part."
            )
            hint = f"Put the mixin first: class {admin_class.__name__}({mixin.__name__}, …). Both are shown then."
            return [checks.Warning(sentence, hint=hint, obj=admin_class, id="similar_products.W027")]
    return []
