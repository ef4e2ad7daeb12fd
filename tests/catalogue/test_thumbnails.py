"""Which pictures are one by their pixels."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from similar_products.catalogue.thumbnails import MIRRORED, SAME_PICTURE, same_picture, thumbnail_of
from similar_products.pictures.gate import load_pixels
from tests.copied_pictures import COPIES, drawn, file_of


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("size", [(320, 320), (300, 400), (420, 300)])
def test_same_picture__sees_copies(how, size):
    for seed in range(6):
        image = drawn(seed, size)
        original = thumbnail_of(load_pixels(file_of(image), 128))
        copy = thumbnail_of(load_pixels(COPIES[how](image), 128))
        wanted = MIRRORED if "mirrored" in how else SAME_PICTURE
        assert (same_picture(original, copy), same_picture(copy, original)) == (wanted, wanted)


def test_same_picture__border_around_an_object_on_white():
    """Both lose the white as well, and what is left has the shape of the object."""
    image = Image.new("RGB", (300, 300), "white")
    image.paste(drawn(3, (80, 200)), (110, 50))
    original = thumbnail_of(load_pixels(file_of(image), 128))
    for color in ("white", "black"):
        copy = thumbnail_of(load_pixels(file_of(ImageOps.expand(image, 40, color)), 128))
        assert same_picture(original, copy) == SAME_PICTURE


def test_same_picture__tells_others_apart():
    def look(image: Image.Image):
        return thumbnail_of(load_pixels(file_of(image), 128))

    pictures = [look(drawn(seed)) for seed in range(12)]
    assert not any(same_picture(one, other) for one in pictures for other in pictures if one is not other)
    # The same shape in another colour or texture, and the same texture in another shape, are other products.
    shape = Image.new("RGB", (300, 300), "white")
    red, blue, striped, wide = shape.copy(), shape.copy(), shape.copy(), shape.copy()
    red.paste((200, 30, 40), (90, 40, 210, 260))
    blue.paste((40, 60, 200), (90, 40, 210, 260))
    wide.paste((200, 30, 40), (40, 90, 260, 210))
    striped.paste((200, 30, 40), (90, 40, 210, 260))
    for x in range(90, 210, 24):
        striped.paste((230, 90, 90), (x, 40, x + 12, 260))
    looks = [look(one) for one in (red, blue, striped, wide)]
    assert not any(same_picture(one, other) for one in looks for other in looks if one is not other)
    assert same_picture(looks[2], looks[2]) == SAME_PICTURE
    # One colour has no details that could agree.
    grey = look_of_one_color("grey")
    assert same_picture(grey, look_of_one_color("grey")) == ""


def look_of_one_color(name: str):
    return thumbnail_of(np.asarray(Image.new("RGB", (128, 128), name)))
