"""Admin classes of others bring templates, in each way in which a class can; what they show and what we show stay."""

import pytest
from django.contrib import admin
from django.template.exceptions import TemplateDoesNotExist
from django.template.loader import get_template

from similar_products.admin import SimilarProductsAdminMixin
from tests.admin.pages import fill
from tests.admin_site import site
from tests.models import Shirt

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.admin_site"),
    pytest.mark.usefixtures("fresh_indexes"),
]

OURS = {"change_form": 'id="similar-products-controls"', "change_list": "Visual catalogue"}
THEIRS, META = "a button of theirs", '<meta name="theirs">'
EVERY_PAGE = pytest.mark.parametrize("page", OURS)


class Named(admin.ModelAdmin):
    change_form_template = "theirs/change_form.html"
    change_list_template = "theirs/change_list.html"


class Several(admin.ModelAdmin):
    """Computes names, of which the first is not there."""

    @property
    def change_form_template(self) -> list[str]:
        return [f"theirs/{self.opts.model_name}/change_form.html", "theirs/change_form.html"]

    @property
    def change_list_template(self) -> tuple[str, ...]:
        return f"theirs/{self.opts.model_name}/change_list.html", "theirs/change_list.html"


class Loaded(admin.ModelAdmin):
    @property
    def change_form_template(self):
        return get_template("theirs/change_form.html")

    @property
    def change_list_template(self):
        return get_template("theirs/change_list.html")


class Wrapping(admin.ModelAdmin):
    """Puts a template of its own over the one that it finds, for each of its instances."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        for page in OURS:
            setattr(self, f"{page}_below", getattr(self, f"{page}_template"))
            setattr(self, f"{page}_template", f"theirs/wrapping_{page}.html")

    def changelist_view(self, request, extra_context=None):
        return super().changelist_view(request, {**(extra_context or {}), "below": self.change_list_below})

    def render_change_form(self, request, context, *args, **kwargs):
        return super().render_change_form(request, {**context, "below": self.change_form_below}, *args, **kwargs)


class ReplacingOnTheAddPage(Named):
    add_form_template = "theirs/change_form.html"


@pytest.fixture
def write(settings, tmp_path):
    """Return a function that writes a project's template with a button of theirs."""
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path / "templates")]}]

    def write_template(name, parent, button=THEIRS):
        file = tmp_path / "templates" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"{{% extends {parent} %}}"
            f"{{% block extrahead %}}{{{{ block.super }}}}{META}{{% endblock %}}"
            f"{{% block object-tools-items %}}<li>{button}</li>{{{{ block.super }}}}{{% endblock %}}"
        )

    for page in OURS:
        write_template(f"theirs/{page}.html", f'"admin/{page}.html"')
        write_template(f"theirs/wrapping_{page}.html", "below")
    return write_template


@pytest.fixture
def show(rf, admin_user):
    """Return a function that returns the HTML of a page of an admin class for shirts."""
    (shirt,) = fill("product", 1)

    def show_page(admin_class, page, address="/"):
        request = rf.get(address)
        request.user = admin_user
        shirts = admin_class(Shirt, site)
        views = {
            "change_form": lambda: shirts.change_view(request, str(shirt.pk)),
            "change_list": lambda: shirts.changelist_view(request),
            "add": lambda: shirts.add_view(request),
        }
        response = views[page]()
        assert response.status_code == 200
        return response.render().content.decode()

    return show_page


def behind_ours(*bases, **own):
    return type("ShirtAdmin", (SimilarProductsAdminMixin, *bases), own)


@EVERY_PAGE
@pytest.mark.parametrize("theirs", [Named, Several, Loaded, Wrapping, ReplacingOnTheAddPage])
def test_page__has_the_button_of_the_next_class_and_our_part(write, show, theirs, page):
    html = show(behind_ours(theirs), page)
    assert html.count(THEIRS) == 1
    assert OURS[page] in html
    assert behind_ours(theirs)(Shirt, site).check() == []


@pytest.mark.parametrize("theirs", [Named, Several, Loaded, Wrapping, ReplacingOnTheAddPage])
def test_add_page__is_theirs(write, show, theirs):
    html = show(behind_ours(theirs), "add")
    assert META in html
    assert OURS["change_form"] not in html


@EVERY_PAGE
def test_page__in_a_popup_is_theirs(write, show, page):
    assert META in show(behind_ours(Named), page, "/?_popup=1")


@EVERY_PAGE
@pytest.mark.parametrize("place", ["tests/shirt/", "tests/", ""])
def test_page__has_what_a_project_puts_where_django_looks(write, show, place, page):
    write(f"admin/{place}{page}.html", f'"admin/{page}.html"')
    html = show(behind_ours(admin.ModelAdmin), page)
    assert html.count(THEIRS) == 1
    assert OURS[page] in html


@EVERY_PAGE
def test_page__the_next_class_goes_before_where_django_looks(write, show, page):
    write(f"admin/tests/shirt/{page}.html", f'"admin/{page}.html"', button="the project's")
    html = show(behind_ours(Named), page)
    assert THEIRS in html
    assert "the project's" not in html


@EVERY_PAGE
def test_page__a_shops_own_template_extends_ours_and_through_it_theirs(write, show, page):
    write(f"shop/{page}.html", f'"admin/similar_products/{page}.html"', button="the shop's")
    html = show(behind_ours(Named, **{f"{page}_template": f"shop/{page}.html"}), page)
    assert [html.count(each) for each in ("the shop's", THEIRS)] == [1, 1]
    assert OURS[page] in html


@EVERY_PAGE
@pytest.mark.parametrize("file", ["theirs/{page}.html", "admin/tests/shirt/{page}.html"])
def test_page__a_template_below_that_extends_ours_does_not_go_round_in_a_circle(write, show, file, page):
    write("theirs/between.html", f'"admin/similar_products/{page}.html"')
    write(file.format(page=page), '"theirs/between.html"')
    base = Named if file.startswith("theirs") else admin.ModelAdmin
    assert OURS[page] in show(behind_ours(base), page)


@EVERY_PAGE
def test_page__of_a_context_without_ours_is_djangos(rf, admin_user, show, page):
    class Own(SimilarProductsAdminMixin, admin.ModelAdmin):
        """Answers by itself."""

        def render_change_form(self, request, context, *args, **kwargs):
            context = {key: value for key, value in context.items() if not key.startswith("similar_products")}
            return admin.ModelAdmin.render_change_form(self, request, context, *args, **kwargs)

        def changelist_view(self, request, extra_context=None):
            return admin.ModelAdmin.changelist_view(self, request, extra_context)

    assert OURS[page] not in show(Own, page)


@EVERY_PAGE
def test_page__template_that_is_not_there_is_named(show, page):
    with pytest.raises(TemplateDoesNotExist, match="no_such"):
        show(behind_ours(type("Wrong", (admin.ModelAdmin,), {f"{page}_template": "no_such.html"})), page)


@pytest.mark.parametrize("page", OURS)
def test_check__class_with_a_template_before_ours(page):
    theirs = type("Theirs", (admin.ModelAdmin,), {f"{page}_template": None})
    (warning,) = type("ShirtAdmin", (theirs, SimilarProductsAdminMixin), {})(Shirt, site).check()
    assert warning.id == "similar_products.W027"
    assert warning.msg == (
        f"ShirtAdmin has its {page}_template from Theirs, which stands before SimilarProductsAdminMixin: "
        "the page may be without our part."
    )
    assert warning.hint == "Put the mixin first: class ShirtAdmin(SimilarProductsAdminMixin, …). Both are shown then."


def test_check__own_template_or_a_class_without_one_before_ours_is_fine():
    plain = type("Plain", (admin.ModelAdmin,), {})
    assert type("ShirtAdmin", (plain, SimilarProductsAdminMixin), {})(Shirt, site).check() == []
    assert behind_ours(Named, change_form_template="shop/change_form.html")(Shirt, site).check() == []
