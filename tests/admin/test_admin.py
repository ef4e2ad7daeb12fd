"""The mixin for a shop's admin: list, filter, actions, change page, test photo, and the inline of pictures."""

import re
from html import unescape

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from similar_products import tasks
from similar_products.admin import PictureStateInlineMixin, SimilarProductsAdminMixin, actions, uploads
from similar_products.admin.showing import change_url as linked
from similar_products.embedding import embed
from similar_products.encoders import ColorHistogramEncoder, EncoderError
from similar_products.encoders.photo import _slots
from similar_products.search.bands import Bands, write_bands
from tests.admin_site import LampAdmin, ShirtAdmin, site
from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, at_angle
from tests.drawn_pictures import picture_bytes, picture_file
from tests.merchandising.made_rules import hide, pin
from tests.models import Chair, ChairPhoto, Lamp, Order, Rug, RugPhoto, RugPhotoLook, Shirt, Vase, VaseLook

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.admin_site"),
    pytest.mark.usefixtures("fresh_indexes"),
]

MODELS = {"product": Shirt, "companion": Vase, "pictures": Chair, "companions of pictures": Rug}
EVERY_PLACEMENT = pytest.mark.parametrize("placement", MODELS)
EMBED, RETRY = "similar_products_embed", "similar_products_retry"


@pytest.fixture(autouse=True)
def _media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def change(settings):
    """Return a function that changes keys of ``SIMILAR_PRODUCTS``."""

    def set_keys(**keys):
        settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, **keys}

    return set_keys


def fill(placement, number, start=0):
    items = [Item(f"item {start + index:02}", [Picture(at_angle((start + index) / 100))]) for index in range(number)]
    CATALOGUES[placement].fill(items)
    return [item.row for item in items]


def list_url(model):
    return f"/admin/tests/{model._meta.model_name}/"


def change_url(product):
    return f"{list_url(type(product))}{product.pk}/change/"


def photo_url(product):
    return f"{list_url(type(product))}{product.pk}/similar-products/"


def text(response):
    """Return what a person reads on a page, in one line."""
    body = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def strip_of(response):
    html = response.content.decode()
    return html[html.index('<section class="module similar-products"') : html.index("</section>")]


def names_in(html):
    return [unescape(name) for name in re.findall(r'similar-products__name">(?:<a [^>]*>)?([^<]*)<', html)]


def states_in(html):
    return re.findall(r"similar-products-state--(\w+)", html)


def listed(client, model, query=""):
    return {str(product) for product in client.get(f"{list_url(model)}?{query}").context["cl"].result_list}


def act(client, action, products, **data):
    model = type(products[0])
    keys = [product.pk for product in products]
    return client.post(list_url(model), {"action": action, "_selected_action": keys, **data}, follow=True)


def said(response):
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def staff_with(*codenames):
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def shirts_in_each_state():
    return Shirt.objects.bulk_create(
        [
            Shirt(name="ready", image="a.png", embedding=at_angle(0), embedding_source=f"{ENCODER}|a.png"),
            Shirt(name="pending", image="b.png"),
            Shirt(name="stale", image="c.png", embedding=at_angle(0), embedding_source=f"{ENCODER}|old.png"),
            Shirt(name="cut", image="d.png", embedding_source=f"{ENCODER}|d.png", embedding_error="truncated"),
            Shirt(name="gone", image="e.png", embedding_source=f"{ENCODER}|e.png", embedding_error="missing_file"),
            Shirt(name="none"),
        ]
    )


# The change list.


@EVERY_PLACEMENT
def test_list__query_count_is_constant_and_no_vector_is_loaded(admin_client, placement):
    counts = []
    for number in (3, 27):
        fill(placement, number, start=30 * len(counts))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            response = admin_client.get(list_url(MODELS[placement]))
        counts.append(len(queries))
        for query in queries:
            assert '"embedding"' not in re.sub(r'"embedding" IS (NOT )?NULL', "", query["sql"])
    assert len(set(counts)) == 1
    assert states_in(response.content.decode()) == ["ready"] * 30


def test_list__shows_each_state(admin_client):
    shirts_in_each_state()
    html = admin_client.get(list_url(Shirt)).content.decode()
    assert states_in(html) == ["failed", "failed", "no_picture", "pending", "ready", "pending"]  # by name
    assert "failed: truncated" in html
    assert 'title="The storage has no such file."' in html


def test_list__several_pictures_are_counted(admin_client):
    (chair,) = fill("pictures", 1)
    ChairPhoto.objects.create(chair=chair, image="two.png")
    ChairPhoto.objects.create(chair=chair, image="three.png")
    assert "1 ready 2 pending" in text(admin_client.get(list_url(Chair)))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("ready", {"ready"}),
        ("pending", {"pending", "stale"}),
        ("failed", {"cut", "gone"}),
        ("failed:truncated", {"cut"}),
        ("failed:missing_file", {"gone"}),
        ("no_picture", {"none"}),
    ],
)
def test_filter__finds_each_state(admin_client, value, names):
    shirts_in_each_state()
    assert listed(admin_client, Shirt, f"similar_products_state={value}") == names


def test_filter__offers_the_codes_that_there_are(admin_client):
    shirts_in_each_state()
    page = text(admin_client.get(list_url(Shirt)))
    assert "By picture state All ready pending failed failed: missing_file failed: truncated no picture" in page
    assert "similar_products_state" in admin_client.get(f"{list_url(Shirt)}?_facets=True").content.decode()


@EVERY_PLACEMENT
def test_filter__works_in_every_placement(admin_client, placement):
    fill(placement, 2)
    rows = fill(placement, 1, start=50)
    holder = CATALOGUES[placement].holder
    last = holder.embeddings.order_by("-pk")[0]
    model = MODELS[placement]
    assert listed(admin_client, model, "similar_products_state=ready") == {"item 00", "item 01", "item 50"}
    holder.embeddings.filter(pk=last.pk).update(embedding=None, embedding_error="blank")
    assert listed(admin_client, model, "similar_products_state=failed:blank") == {str(rows[0])}
    holder.embeddings.filter(pk=last.pk).update(embedding_source="another|x")
    assert listed(admin_client, model, "similar_products_state=pending") == {str(rows[0])}
    assert listed(admin_client, model, "similar_products_state=ready") == {"item 00", "item 01"}


def test_filter__picture_without_its_companion_is_pending(admin_client):
    Vase.objects.create(name="new", image="new.png")
    VaseLook.objects.all().delete()
    Vase.objects.create(name="bare")
    assert listed(admin_client, Vase, "similar_products_state=pending") == {"new"}
    assert listed(admin_client, Vase, "similar_products_state=no_picture") == {"bare"}


@pytest.mark.parametrize("value", ["nonsense", "failed:a%00b"])
def test_filter__unknown_value_leads_back_to_the_list(admin_client, value):
    response = admin_client.get(f"{list_url(Shirt)}?similar_products_state={value}")
    assert (response.status_code, response["Location"]) == (302, f"{list_url(Shirt)}?e=1")


def test_list__encoder_that_cannot_be_made_breaks_nothing(admin_client, change):
    shirts_in_each_state()
    change(ENCODER={"BACKEND": "similar_products.encoders.TFHubEncoder", "OPTIONS": {"handle": "/no/such/folder"}})
    response = admin_client.get(f"{list_url(Shirt)}?similar_products_state=failed")
    assert states_in(response.content.decode()) == ["unknown"] * 6
    assert "There is no folder /no/such/folder" in unescape(response.content.decode())
    assert "By picture state" not in text(response)


def test_list__own_columns_filters_and_actions_stay(rf, admin_user):
    request = rf.get("/")
    request.user = admin_user
    assert ShirtAdmin(Shirt, site).get_list_display(request) == ["name", "color", "similar_products_state"]
    assert [*LampAdmin(Lamp, site).get_actions(request)] == ["delete_selected", "publish", EMBED, RETRY]

    class Placed(ShirtAdmin):
        list_display = ("similar_products_state", "name")
        list_filter = (*LampAdmin(Lamp, site).get_list_filter(request), "color")
        actions = None

    placed = Placed(Shirt, site)
    assert placed.get_list_display(request) == ("similar_products_state", "name")
    assert len(placed.get_list_filter(request)) == 2
    assert placed.get_actions(request) == {}


def test_list__own_queryset_without_ours_claims_no_state(rf, admin_user):
    shirts_in_each_state()

    class Own(ShirtAdmin):
        def get_queryset(self, request):
            return Shirt.objects.all()

    assert {Own(Shirt, site).similar_products_state(shirt) for shirt in Own(Shirt, site).get_queryset(rf.get("/"))} == {
        "-"
    }


# Actions.


@pytest.fixture
def colored():
    """Three shirts whose pictures are there, and pending."""
    Shirt.objects.bulk_create(
        [
            Shirt(name=name, image=picture_file(*colors))
            for name, colors in {"a": ("red", "lime"), "b": ("red", "blue"), "c": ("lime", "blue")}.items()
        ]
    )
    return list(Shirt.objects.order_by("name"))


def damage(shirt):
    """Make a shirt's picture one that cannot be read, and find that out."""
    with Shirt.objects.get(pk=shirt.pk).image.open("wb") as file:
        good, cut = picture_bytes("red", "lime"), b"\x89PNG\r\n\x1a\n"
        file.write(cut)
    embed(Shirt.objects.filter(pk=shirt.pk), retry_delays=())
    return good


def mend(shirt, good):
    with Shirt.objects.get(pk=shirt.pk).image.open("wb") as file:
        file.write(good)


def test_embed__inline_embeds_what_is_pending(admin_client, colored):
    response = act(admin_client, EMBED, colored[:2])
    assert said(response) == "2 pictures are ready, 0 failed, 0 are pending."
    assert {shirt.name for shirt in Shirt.objects.ready()} == {"a", "b"}


def test_embed__says_how_many_failed_and_does_not_retry_them(admin_client, colored):
    good = damage(colored[0])
    mend(colored[0], good)
    response = act(admin_client, EMBED, colored)
    assert re.fullmatch(r"2 pictures are ready, 1 failed \(\w+ 1\), 0 are pending\.", said(response))


def test_retry__inline_embeds_what_failed_and_nothing_else(admin_client, colored):
    good = damage(colored[0])
    assert Shirt.objects.failed().get() == colored[0]
    mend(colored[0], good)
    response = act(admin_client, RETRY, colored)
    assert said(response) == "1 picture is ready, 0 failed, 2 are pending."
    assert Shirt.objects.ready().get() == colored[0]


@EVERY_PLACEMENT
def test_actions__work_in_every_placement(admin_client, placement):
    model = MODELS[placement]
    if placement in ("product", "companion"):
        product = model.objects.bulk_create([model(name="a", image=picture_file("red", "lime"))])[0]
    else:
        product = model.objects.create(name="a")
        photos = ChairPhoto if model is Chair else RugPhoto
        relation = "chair" if model is Chair else "rug"
        photos._base_manager.bulk_create([photos(**{relation: product}, image=picture_file("red", "lime"))])
    holder = CATALOGUES[placement].holder
    assert said(act(admin_client, EMBED, [product])) == "1 picture is ready, 0 failed, 0 are pending."
    assert holder.embeddings.ready().count() == 1
    holder.embeddings.update(embedding=None, embedding_error="truncated")
    assert said(act(admin_client, RETRY, [product])) == "1 picture is ready, 0 failed, 0 are pending."
    assert holder.embeddings.ready().count() == 1


queued = []


def enqueue(model_label, pk, using):
    queued.append((model_label, pk, using))


def enqueue_nothing(model_label, pk, using):
    raise ConnectionError("the queue is down")


@pytest.fixture
def no_inference(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("inference in the request")

    monkeypatch.setattr(ColorHistogramEncoder, "features", fail)


@pytest.mark.usefixtures("no_inference")
def test_embed__with_a_queue_enqueues_and_never_embeds(
    admin_client, change, colored, django_capture_on_commit_callbacks
):
    change(EMBED_ON_SAVE="tests.admin.test_admin.enqueue")
    queued.clear()
    with django_capture_on_commit_callbacks(execute=True):
        response = act(admin_client, EMBED, colored[:2])
    assert said(response) == "0 pictures are ready, 0 failed, 2 are pending. 2 were handed to the queue."
    assert sorted(queued) == sorted(("tests.Shirt", str(shirt.pk), "default") for shirt in colored[:2])


@pytest.mark.usefixtures("no_inference")
def test_retry__with_a_queue_makes_failed_ones_pending_first(admin_client, change, django_capture_on_commit_callbacks):
    change(EMBED_ON_SAVE="tests.admin.test_admin.enqueue")
    queued.clear()
    shirts = shirts_in_each_state()
    with django_capture_on_commit_callbacks(execute=True):
        response = act(admin_client, RETRY, shirts)
    assert said(response) == "1 picture is ready, 0 failed, 4 are pending. 2 were handed to the queue."
    assert sorted(int(pk) for _, pk, _ in queued) == sorted(
        shirt.pk for shirt in shirts if shirt.name in ("cut", "gone")
    )
    assert not Shirt.objects.exclude(embedding_error="").exists()


@pytest.mark.django_db(transaction=True)
def test_embed__queue_that_is_down_is_said(admin_client, change, colored, caplog):
    change(EMBED_ON_SAVE="tests.admin.test_admin.enqueue_nothing")
    response = act(admin_client, EMBED, colored)
    assert said(response) == (
        "0 pictures are ready, 0 failed, 3 are pending. Then it failed, and the rest stays pending; the log says why."
    )
    assert "the queue is down" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_embed__more_than_a_request_takes_is_left(admin_client, change, colored, monkeypatch):
    change(EMBED_ON_SAVE="tests.admin.test_admin.enqueue")
    queued.clear()
    monkeypatch.setattr(actions, "MAX_QUEUED", 2)
    assert "2 were handed to the queue. There were too many" in said(act(admin_client, EMBED, colored))
    assert len(queued) == 2
    change(EMBED_ON_SAVE="inline")
    monkeypatch.setattr(actions, "MAX_QUEUED", 1_000)
    monkeypatch.setattr(actions, "INLINE_SECONDS", -1)
    assert said(act(admin_client, EMBED, colored)).startswith(
        "0 pictures are ready, 0 failed, 3 are pending. There were too many"
    )


def test_retry__with_a_queue_hands_over_after_the_commit(change, django_capture_on_commit_callbacks):
    change(EMBED_ON_SAVE="tests.admin.test_admin.enqueue")
    queued.clear()
    shirts_in_each_state()
    with django_capture_on_commit_callbacks() as callbacks:
        assert actions.embed_products(Shirt.objects.all(), retry_failed=True).queued == 2
    assert (queued, len(callbacks)) == ([], 2)


@pytest.mark.usefixtures("no_inference")
def test_actions__off_leaves_it_to_the_command(admin_client, change):
    change(EMBED_ON_SAVE="off")
    response = act(admin_client, RETRY, shirts_in_each_state())
    assert said(response) == (
        '1 picture is ready, 0 failed, 4 are pending. EMBED_ON_SAVE is "off": what is pending is embedded by the next '
        "run of embed_products."
    )


class ReadsElsewhere:
    def db_for_read(self, model, **hints):
        return "replica"


@pytest.mark.usefixtures("no_inference")
def test_actions__read_and_write_where_is_written(change, settings, django_capture_on_commit_callbacks):
    change(EMBED_ON_SAVE="tests.admin.test_admin.enqueue")
    queued.clear()
    shirts = shirts_in_each_state()
    settings.DATABASE_ROUTERS = [ReadsElsewhere()]
    with django_capture_on_commit_callbacks(execute=True):
        outcome = actions.embed_products(Shirt.objects.filter(name__in=["cut", "gone"]), retry_failed=True)
    assert (outcome.pending, outcome.queued) == (2, 2)
    assert sorted(queued) == sorted(
        ("tests.Shirt", str(shirt.pk), "default") for shirt in shirts if shirt.name in ("cut", "gone")
    )


def test_embed__encoder_that_fails_is_said(admin_client, colored, monkeypatch):
    def fail(*args, **kwargs):
        raise EncoderError("The model is gone; copy it anew.")

    monkeypatch.setattr(ColorHistogramEncoder, "features", fail)
    assert said(act(admin_client, EMBED, colored)) == (
        "0 pictures are ready, 0 failed, 3 are pending. The model is gone; copy it anew."
    )


def test_embed__encoder_that_cannot_be_made_is_said(admin_client, colored, change):
    change(ENCODER={"BACKEND": "no.such.Encoder"})
    assert "cannot be imported" in said(act(admin_client, EMBED, colored))


def test_actions__all_of_a_filtered_list(admin_client, colored):
    good = damage(colored[0])
    mend(colored[0], good)
    url = f"{list_url(Shirt)}?similar_products_state=failed"
    data = {"action": RETRY, "_selected_action": [colored[0].pk], "select_across": "1"}
    assert said(admin_client.post(url, data, follow=True)) == "1 picture is ready, 0 failed, 0 are pending."


@pytest.mark.parametrize("action", [EMBED, RETRY])
def test_actions__need_the_permission_to_change(colored, action):
    client = staff_with("view_shirt")
    assert action not in client.get(list_url(Shirt)).content.decode()
    act(client, action, colored)
    assert Shirt.objects.pending().count() == 3
    assert f'value="{action}"' in staff_with_change().get(list_url(Shirt)).content.decode()


def staff_with_change():
    User.objects.all().delete()
    return staff_with("view_shirt", "change_shirt")


# The change page.


@EVERY_PLACEMENT
def test_change_page__shows_what_the_shop_shows(admin_client, placement):
    rows = fill(placement, 9)
    strip = strip_of(admin_client.get(change_url(rows[0])))
    assert names_in(strip) == [f"item {number:02}" for number in range(1, 7)]
    assert states_in(strip) == ["ready"]
    assert f'href="{change_url(rows[1])}"' in strip
    assert ">1.000<" in strip
    image = "item 01-0.png" if CATALOGUES[placement].several else "item 01.png"
    assert f'src="/media/{image.replace(" ", "%20")}"' in strip


def test_change_page__shows_the_matched_picture_beside_the_first(admin_client):
    items = [
        Item("target", [Picture(at_angle(0))]),
        Item("other", [Picture(at_angle(1)), Picture(at_angle(0.1))]),
    ]
    CATALOGUES["pictures"].fill(items)
    strip = strip_of(admin_client.get(change_url(items[0].row)))
    assert re.findall(r'src="/media/([^"]*)"', strip) == ["other-0.png", "other-1.png"]
    assert "matched" in strip


def test_change_page__says_the_word(admin_client, change, tmp_path):
    rows = fill("product", 3)
    write_bands(tmp_path / "bands.json", ENCODER, Bands(0.9999999, 0.9, 0.5))
    change(BANDS=tmp_path / "bands.json")
    strip = strip_of(admin_client.get(change_url(rows[0])))
    assert '<span class="similar-products__word similar-products__word--very-similar">very similar</span>' in strip


@EVERY_PLACEMENT
def test_change_page__query_count_is_constant(admin_client, placement):
    counts = []
    for number in (12, 40):
        rows = fill(placement, number, start=50 * len(counts))
        admin_client.get(change_url(rows[0]))  # Django remembers content types from here on
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(change_url(rows[0]))
        counts.append(len(queries))
    assert len(set(counts)) == 1


def test_change_page__asks_ranked(admin_client, monkeypatch):
    rows = fill("product", 3)
    monkeypatch.setattr("similar_products.admin.showing.ranked", lambda similar, limit: [rows[2]])
    assert names_in(strip_of(admin_client.get(change_url(rows[0])))) == ["item 02"]


def test_change_page__shows_pins_and_no_hidden_one_and_marks_the_pinned(admin_client):
    rows = fill("product", 9)
    pin(rows[0], rows[8], 1)
    hide(rows[0], rows[1])
    strip = strip_of(admin_client.get(change_url(rows[0])))
    assert names_in(strip) == ["item 08", "item 02", "item 03", "item 04", "item 05", "item 06"]
    assert [re.search(r"item \d\d", card)[0] for card in strip.split("<li>") if ">pinned<" in card] == ["item 08"]


def test_change_page__shows_no_hidden_product_and_says_when_this_one_is(admin_client):
    rows = fill("companions of pictures", 4)
    Rug.objects.filter(name="item 01").update(published=False)
    assert names_in(strip_of(admin_client.get(change_url(rows[0])))) == ["item 02", "item 03"]
    strip = strip_of(admin_client.get(change_url(rows[1])))
    assert "Customers do not see this product." in strip
    assert sorted(names_in(strip)) == ["item 00", "item 02", "item 03"]


def test_change_page__no_link_to_what_may_not_be_seen(rf):
    rows = fill("product", 2)
    model_admin = ShirtAdmin(Shirt, site)
    request = rf.get("/")
    request.user = User.objects.create_user("nobody", is_staff=True)
    assert linked(model_admin, request, rows[1]) == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pending", "The picture is not embedded yet: it is pending."),
        ("cut", "The picture could not be embedded. The picture file ends too early: upload it again."),
        ("none", "This product has no picture."),
        ("ready", "No other product that customers see has been embedded by the same encoder and is allowed here."),
    ],
)
def test_change_page__says_why_there_is_nothing(admin_client, name, sentence):
    shirts = shirts_in_each_state()
    shirt = next(shirt for shirt in shirts if shirt.name == name)
    response = admin_client.get(change_url(shirt))
    assert response.status_code == 200
    assert sentence in unescape(strip_of(response))
    assert names_in(strip_of(response)) == []


def test_change_page__encoder_that_cannot_be_made_breaks_nothing(admin_client, change):
    rows = fill("product", 3)
    change(ENCODER={"BACKEND": "no.such.Encoder"})
    strip = strip_of(admin_client.get(change_url(rows[0])))
    assert "which cannot be imported" in strip
    assert states_in(strip) == ["unknown"]


def test_change_page__fault_of_the_database_breaks_nothing(admin_client, monkeypatch, caplog):
    rows = fill("product", 3)

    def fail(*args, **kwargs):
        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")

    monkeypatch.setattr("similar_products.admin.showing.ranked", fail)
    response = admin_client.get(change_url(rows[0]))
    assert "Similar products cannot be found at present; the log says why." in strip_of(response)
    assert '<input type="text" name="name" value="item 00"' in response.content.decode()
    assert caplog.records[-1].exc_info[0] is not None
    assert issubclass(caplog.records[-1].exc_info[0], DatabaseError)


def test_change_page__storage_without_urls_breaks_nothing(admin_client, monkeypatch):
    rows = fill("product", 3)
    real = FileSystemStorage.url

    def url(storage, name):
        if name == "item 01.png":
            raise NotImplementedError
        return real(storage, name)

    monkeypatch.setattr(FileSystemStorage, "url", url)
    strip = strip_of(admin_client.get(change_url(rows[0])))
    assert strip.count("no picture") == 1
    assert names_in(strip) == ["item 01", "item 02"]


def test_change_page__without_an_index(admin_client):
    rows = fill("product", 3)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX shirt_9a438cef_hnsw")
    assert names_in(strip_of(admin_client.get(change_url(rows[0])))) == ["item 01", "item 02"]


def test_change_page__saves_and_keeps_the_vector(admin_client):
    rows = fill("product", 2)
    data = {"name": "new name", "color": "", "price": "12"}
    assert admin_client.post(change_url(rows[0]), data).status_code == 302
    assert Shirt.objects.ready().filter(name="new name").exists()
    response = admin_client.post(change_url(rows[0]), {**data, "name": ""})
    assert "This field is required." in text(response)
    assert names_in(strip_of(response)) == ["item 01"]


def test_change_page__add_page_and_popups_have_no_strip(admin_client):
    rows = fill("product", 2)
    for url in (f"{list_url(Shirt)}add/", f"{change_url(rows[0])}?_popup=1"):
        response = admin_client.get(url)
        assert response.status_code == 200
        assert "similar-products-heading" not in response.content.decode()


def test_change_page__limit_and_hidden_by_the_manager(admin_client):
    Lamp.embeddings.bulk_create(
        [
            Lamp(code=f"L{number}", image="x.png", embedding=at_angle(number / 10), embedding_source=f"{ENCODER}|x.png")
            for number in range(5)
        ]
    )
    Lamp.embeddings.filter(code="L1").update(published=False)
    strip = strip_of(admin_client.get(change_url(Lamp(code="L0"))))
    assert names_in(strip) == ["Lamp object (L2)", "Lamp object (L3)"]


def test_pages__load_no_script_or_style_inline_of_ours(admin_client):
    rows = fill("product", 3)
    for url in (list_url(Shirt), change_url(rows[0]), photo_url(rows[0]), f"{list_url(Shirt)}similar-products/"):
        html = admin_client.get(url).content.decode()
        assert "/static/similar_products/admin.css" in html
        assert "<style" not in html
        assert re.findall(r"<script(?![^>]*src=)[^>]*>", html) == []
        assert "style=" not in html


# A test photo.


@pytest.fixture
def embedded(colored):
    embed(Shirt.objects.pending(), retry_delays=())
    return colored


def send(client, product, photo, **headers):
    return client.post(photo_url(product), {"photo": photo}, **headers)


def test_photo__finds_and_says_the_place_of_the_product(admin_client, embedded):
    response = send(admin_client, embedded[2], picture_file("red", "lime"))
    page = text(response)
    assert response.status_code == 200
    assert names_in(response.content.decode())[0] == "a"
    assert "c itself comes in place" in page
    assert "a itself comes in place 1, with a similarity of 1.000." in text(
        send(admin_client, embedded[0], picture_file("red", "lime"))
    )


def test_photo__place_beyond_what_is_looked_at(admin_client, embedded, monkeypatch):
    monkeypatch.setattr("similar_products.admin.showing.RANKED", 1)
    page = text(send(admin_client, embedded[2], picture_file("red", "lime")))
    assert re.search(r"c itself is not among the nearest \d+; its similarity is 0\.\d{3}\.", page)


@EVERY_PLACEMENT
def test_photo__works_in_every_placement(admin_client, placement):
    rows = fill(placement, 3)
    response = send(admin_client, rows[0], picture_file("red", "lime"))
    assert sorted(names_in(response.content.decode())) == ["item 00", "item 01", "item 02"]
    assert "item 00 itself comes in place" in text(response)


def test_photo__product_without_vector_and_hidden_product_are_said(admin_client, embedded):
    shirt = Shirt.objects.create(name="new")
    assert "This product has no picture." in text(send(admin_client, shirt, picture_file("red", "lime")))
    rows = fill("companions of pictures", 2)
    Rug.objects.filter(pk=rows[0].pk).update(published=False)
    page = text(send(admin_client, rows[0], picture_file("red", "lime")))
    assert "Customers do not see this product, so the photo does not find it." in page
    assert "item 00 itself is not among" in page


def test_photo__product_hidden_everywhere_has_no_place(admin_client, embedded):
    hide(embedded[0])
    response = send(admin_client, embedded[0], picture_file("red", "lime"))
    assert names_in(response.content.decode()) == ["b", "c"]
    page = text(response)
    assert "This product is hidden everywhere by a rule, so the photo does not find it." in page
    assert "itself comes in place" not in page
    assert "b itself comes in place 1," in text(send(admin_client, embedded[1], picture_file("red", "blue")))


def test_photo__empty_catalogue_is_said(admin_client):
    shirt = Shirt.objects.create(name="new")
    page = text(send(admin_client, shirt, picture_file("red", "lime")))
    assert "No product has been embedded by the encoder in use." in page


def test_photo__form_stands_alone_without_script(admin_client, embedded):
    response = admin_client.get(photo_url(embedded[0]))
    html = response.content.decode()
    assert f'action="{photo_url(embedded[0])}" method="post" enctype="multipart/form-data"' in html
    assert 'form="similar-products-photo"' in html
    assert "similar-products-found" not in html


@pytest.mark.parametrize(
    ("photo", "sentence"),
    [
        (b"", "The submitted file is empty|Choose a photo first|The picture file is empty"),
        (b"GIF89a", "The file is not a picture that can be read"),
        (b"plain text", "JPEG, PNG, WebP, GIF"),
    ],
)
def test_photo__what_the_gate_refuses_is_one_sentence(admin_client, embedded, photo, sentence):
    response = send(admin_client, embedded[0], ContentFile(photo, "photo.jpg"))
    html = response.content.decode()
    assert response.status_code == 400
    (said,) = re.findall(r'note--problem">([^<]*)<', html)
    assert re.search(sentence, said)
    assert names_in(html) == []


def test_photo__none_and_two_are_refused(admin_client, embedded):
    assert "Choose a photo first." in text(admin_client.post(photo_url(embedded[0]), {}))
    two = {"photo": [picture_file("red", "lime"), picture_file("red", "blue")]}
    assert "Choose a photo first." in text(admin_client.post(photo_url(embedded[0]), two))


def test_photo__too_large_is_refused_before_it_is_read(admin_client, embedded, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_FORM_BYTES", 1_000)
    monkeypatch.setattr(uploads, "keep_in_memory", None)  # it is not come to
    response = send(admin_client, embedded[0], picture_file("red", "lime", "blue", name="x" * 1_000))
    assert response.status_code == 400
    assert "The photo has more than 10 MB; choose a smaller one." in text(response)


def test_photo__file_over_the_limit_in_a_form_under_it(admin_client, embedded, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PHOTO_BYTES", 100)
    assert "choose a smaller one" in text(send(admin_client, embedded[0], picture_file("red", "lime")))


def test_photo__without_a_length_is_refused(admin_client, embedded):
    response = send(admin_client, embedded[0], picture_file("red", "lime"), CONTENT_LENGTH="")
    assert "The photo was sent without its length." in text(response)


def test_photo__form_that_cannot_be_read_is_refused(admin_client, embedded):
    response = admin_client.post(photo_url(embedded[0]), b"junk", content_type="multipart/form-data; boundary=")
    assert response.status_code == 400


def test_photo__is_kept_in_memory(admin_client, embedded, monkeypatch, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    seen = []
    monkeypatch.setattr(uploads, "photo_of", lambda request: seen.append(request.FILES["photo"]) or b"")
    send(admin_client, embedded[0], picture_file("red", "lime"))
    assert [type(photo).__name__ for photo in seen] == ["InMemoryUploadedFile"]


def test_photo__busy_process_and_failing_encoder_are_said(admin_client, embedded, monkeypatch):
    with _slots.occupy(1):
        page = text(send(admin_client, embedded[0], picture_file("red", "lime")))
    assert "Too many photos at once; try again in a moment." in page

    def fail(*args, **kwargs):
        raise EncoderError("The model is gone; copy it anew.")

    monkeypatch.setattr(ColorHistogramEncoder, "features", fail)
    page = text(send(admin_client, embedded[0], picture_file("red", "lime")))
    assert "The model is gone; copy it anew." in page


def test_photo__needs_the_token(admin_user, embedded):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert send(client, embedded[0], picture_file("red", "lime")).status_code == 403
    client.get(change_url(embedded[0]))
    data = {"photo": picture_file("red", "lime"), "csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    assert client.post(photo_url(embedded[0]), data).status_code == 200


def test_photo__needs_the_permission_to_view(embedded):
    assert send(staff_with(), embedded[0], picture_file("red", "lime")).status_code == 403
    assert send(Client(), embedded[0], picture_file("red", "lime")).status_code == 302
    User.objects.all().delete()
    assert send(staff_with("view_shirt"), embedded[0], picture_file("red", "lime")).status_code == 200


def test_photo__of_no_product_is_404(admin_client):
    assert admin_client.get(f"{list_url(Shirt)}12345/similar-products/").status_code == 404


# The inline of pictures.


def test_inline__shows_the_state_of_each_picture_and_why_it_failed(admin_client):
    (chair,) = fill("pictures", 1)
    ChairPhoto.objects.bulk_create(
        [
            ChairPhoto(chair=chair, image="new.png"),
            ChairPhoto(chair=chair, image="cut.png", embedding_source=f"{ENCODER}|cut.png", embedding_error="corrupt"),
        ]
    )
    html = admin_client.get(change_url(chair)).content.decode()
    html = html[html.index('id="photos-group"') :]
    assert states_in(html) == ["ready", "pending", "failed"]
    assert "failed: corrupt" in html
    assert '<span class="similar-products-state__reason">The picture file is damaged.</span>' in html


def test_inline__of_pictures_whose_vectors_are_elsewhere(admin_client):
    (rug,) = fill("companions of pictures", 1)
    RugPhoto.objects.create(rug=rug, image="new.png")
    RugPhotoLook.objects.all().update(embedding=None, embedding_error="blank")
    html = admin_client.get(change_url(rug)).content.decode()
    html = html[html.index('id="photos-group"') :]
    assert sorted(states_in(html)) == ["failed", "pending"]


def test_inline__query_count_is_constant_and_no_vector_is_loaded(admin_client):
    counts = []
    fill("pictures", 9)
    for number in (1, 8):
        item = Item(f"chair {number}", [Picture(at_angle(index / 10)) for index in range(number)])
        CATALOGUES["pictures"].fill([item])
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(change_url(item.row))
        counts.append(len(queries))
        for query in queries:
            if '"tests_chairphoto"."image"' in query["sql"].partition(" FROM ")[0]:
                assert '"tests_chairphoto"."embedding",' not in query["sql"]
    assert len(set(counts)) == 1


# System checks.


def test_check__model_without_vectors():
    class OrderAdmin(SimilarProductsAdminMixin, admin.ModelAdmin):
        pass

    (error,) = OrderAdmin(Order, site).check()
    assert error.id == "similar_products.E020"
    assert "tests.Order, which is not derived from VisuallySimilarModel" in error.msg


def test_check__category_that_is_no_field():
    class Wrong(ShirtAdmin):
        similar_products_category = "colour"

    class TooFar(ShirtAdmin):
        similar_products_category = "color__name"

    for wrong in (Wrong, TooFar):
        (error,) = wrong(Shirt, site).check()
        assert error.id == "similar_products.E021"
        assert error.msg.startswith(f"{wrong.__name__}.similar_products_category is ")
    assert ShirtAdmin(Shirt, site).check() == []


def test_check__inline_of_a_model_without_pictures():
    class Inline(PictureStateInlineMixin, admin.TabularInline):
        model = Order

    class OwnerAdmin(ShirtAdmin):
        inlines = (Inline,)

    assert [error.id for error in OwnerAdmin(Shirt, site).check()] == ["similar_products.E020"]


def test_actions__ask_what_a_save_asks():
    assert actions.embed_or_enqueue is tasks.embed_or_enqueue
