import numpy as np
import pytest

from similar_products.encoders import ColorHistogramEncoder
from similar_products.pictures.gate import ImageRejected, load_pixels
from similar_products.search.photo import TooManyPhotos, _slots, embed_photo
from tests.drawn_pictures import picture_bytes


def test_embed_photo__is_the_unit_vector_of_the_region():
    photo = picture_bytes("red", "lime", "black", size=(300, 100))
    whole, left = embed_photo(photo), embed_photo(photo, (0, 0, 1 / 3, 1))
    assert np.linalg.norm(whole) == pytest.approx(1, abs=1e-5)
    encoder = ColorHistogramEncoder()
    pixels = load_pixels(photo, encoder.image_size, public=True, region=(0, 0, 1 / 3, 1))
    assert np.array_equal(left, encoder.encode(pixels[np.newaxis])[0])
    assert not np.array_equal(left, whole)


def test_embed_photo__what_the_gate_refuses_is_refused():
    with pytest.raises(ImageRejected) as caught:
        embed_photo(b"no picture")
    assert caught.value.code == "unsupported_format"


def test_embed_photo__in_which_the_encoder_sees_nothing_is_blank(monkeypatch):
    monkeypatch.setattr(ColorHistogramEncoder, "features", lambda self, pixels: np.zeros((1, 1280)))
    with pytest.raises(ImageRejected) as caught:
        embed_photo(picture_bytes("red", "lime"))
    assert (caught.value.code, str(caught.value)) == ("blank", "There is nothing to be seen in the photo.")


def test_slots__more_photos_than_allowed_are_refused_and_slots_are_given_back():
    with _slots.occupy(1), pytest.raises(TooManyPhotos, match="Too many photos at once"):
        embed_photo(picture_bytes("red", "lime"))
    assert embed_photo(picture_bytes("red", "lime")).shape == (1280,)
