import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from similar_products.admin.showing import change_url as linked
from similar_products.embedding import embed
from similar_products.encoders import ColorHistogramEncoder, EncoderError
from similar_products.pictures import uploads
from similar_products.search.bands import Bands, write_bands
from similar_products.search.photo import _slots
from tests.admin.pages import (
    EVERY_PLACEMENT,
    change_url,
    fill,
    list_url,
    photo_url,
    shirts_in_each_state,
    staff_with,
    states_in,
    text,
)
from tests.admin_site import ShirtAdmin, site
from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, at_angle
from tests.drawn_pictures import picture_file
from tests.merchandising.made_rules import hide, pin
from tests.models import Lamp, Rug, Shirt

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.admin_site"),
    pytest.mark.usefixtures("fresh_indexes"),
]


def strip_of(response):
    html = response.content.decode()
    return html[html.index('<section class="module similar-products"') : html.index("</section>")]


def names_in(html):
    return [unescape(name) for name in re.findall(r'similar-products__name">(?:<a [^>]*>)?([^<]*)<', html)]


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
    assert "Similar products cannot be found at the moment; the log says why." in strip_of(response)
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
    assert "c itself is number" in page
    assert "a itself is number 1, with a similarity of 1.000." in text(
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
    assert "item 00 itself is number" in text(response)


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
    assert "itself is number" not in page
    assert "b itself is number 1," in text(send(admin_client, embedded[1], picture_file("red", "blue")))


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
    assert "Send one file only." in text(admin_client.post(photo_url(embedded[0]), two))


def test_photo__too_large_is_refused_before_it_is_read(admin_client, embedded, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_FORM_BYTES", 1_000)
    monkeypatch.setattr(uploads, "PhotoInMemory", None)  # it is not come to
    response = send(admin_client, embedded[0], picture_file("red", "lime", "blue", name="x" * 1_000))
    assert response.status_code == 400
    assert "The photo has more than 10 MB; choose a smaller one." in text(response)


def test_photo__file_over_the_limit_in_a_form_under_it(admin_client, embedded, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PHOTO_BYTES", 100)
    assert "choose a smaller one" in text(send(admin_client, embedded[0], picture_file("red", "lime")))


def test_photo__without_a_length_is_refused(admin_client, embedded):
    response = send(admin_client, embedded[0], picture_file("red", "lime"), CONTENT_LENGTH="")
    assert "The request has a body without Content-Length; send its length." in text(response)


def test_photo__form_that_cannot_be_read_is_refused(admin_client, embedded):
    response = admin_client.post(photo_url(embedded[0]), b"junk", content_type="multipart/form-data; boundary=")
    assert response.status_code == 400


def test_photo__is_kept_in_memory(admin_client, embedded, monkeypatch, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    seen = []
    monkeypatch.setattr(uploads, "read_photo", lambda request: seen.append(request.FILES["photo"]) or b"")
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
