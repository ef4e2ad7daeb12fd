"""Pictures of all formats as pixels, and what is rejected."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter

from similar_products.encoders import TFHubEncoder
from similar_products.pictures import decoder
from similar_products.pictures.gate import load_pixels
from tests.drawn_pictures import picture_bytes
from tests.encoders.small_models import converted
from tests.pictures.photos import SHARED, SIZE, difference, mean_difference, photo, png_header, rejected, saved


@pytest.fixture(autouse=True)
def _let_blank_pictures_in(settings) -> None:
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "REFUSE_BLANK": False}


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_formats__give_the_same_pixels(format):
    options = {"lossless": True} if format == "WEBP" else {}
    assert difference(saved(photo(), format, **options)) == 0


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats__stay_close(format):
    assert mean_difference(saved(photo(), format, quality=95)) <= 2


def test_gif__first_frame_counts():
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_pixels(data, SIZE)[0, 0].tolist() == [255, 0, 0]


def test_palette__is_expanded_before_resizing():
    assert difference(saved(photo().quantize(256), "PNG"), photo().quantize(256).convert("RGB")) == 0


def test_sixteen_bit_grey__is_scaled_not_clipped():
    grey = np.asarray(photo().convert("L")).astype(np.uint16) * 257
    assert difference(saved(Image.fromarray(grey), "PNG"), photo().convert("L")) <= 1


def test_float_grey__is_scaled():
    grey = np.asarray(photo().convert("L")).astype(np.float32) / 255
    assert difference(saved(Image.fromarray(grey), "TIFF"), photo().convert("L")) <= 1


def test_thirty_two_bit_grey__is_scaled():
    grey = np.asarray(photo().convert("L")).astype(np.int32) * 257
    assert difference(saved(Image.fromarray(grey), "TIFF"), photo().convert("L")) <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency__is_laid_on_white(mode):
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    if mode == "P":
        data = saved(Image.new("P", (40, 40), 0), "PNG", transparency=0)
    else:
        data = saved(image.convert(mode), "PNG")
    assert load_pixels(data, SIZE).min() == 255


def test_transparent_edges__do_not_bleed_hidden_colors():
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (16, 16, 48, 48))
    pixels = load_pixels(saved(image, "PNG"), SIZE).astype(int)
    assert (pixels[..., 0] <= pixels[..., 2] + 2).all()  # white, blue and between, never reddish


STORED_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def stored_as(upright: Image.Image, orientation: int) -> Image.Image:
    """Return the picture as it is stored with that EXIF orientation."""
    return upright.transpose(STORED_BY[orientation]) if orientation in STORED_BY else upright


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation__is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert mean_difference(saved(stored_as(photo(), orientation), "JPEG", exif=exif, quality=98)) <= 2


# A region of the picture.

THIRDS = (0.25, 0.5, 0.25, 0.375)
"""Of the photo's 96 x 64 pixels: 24 x 24 from (24, 32)."""


def part_of_photo() -> np.ndarray:
    return load_pixels(saved(photo().crop((24, 32, 48, 56)), "PNG"), SIZE).astype(int)


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_region__is_what_counts(format, public):
    options = {"lossless": True} if format == "WEBP" else {}
    pixels = load_pixels(saved(photo(), format, **options), SIZE, public=public, region=THIRDS)
    assert (pixels == part_of_photo()).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_region__is_of_the_upright_picture(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = stored_as(photo(), orientation)
    pixels = load_pixels(saved(stored, "PNG", exif=exif), SIZE, public=True, region=THIRDS).astype(int)
    assert np.abs(pixels - part_of_photo()).max() <= 1  # resizing along the other side first rounds otherwise


def test_region__the_whole_is_the_picture_itself():
    data = saved(photo(), "JPEG", quality=90)
    assert (load_pixels(data, SIZE, region=(0, 0, 1, 1)) == load_pixels(data, SIZE)).all()


def test_region__of_a_large_jpeg_is_as_sharp_as_a_photo_of_it():
    rng = np.random.default_rng(0)
    tiles = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    large = tiles.resize((1800, 1200), Image.Resampling.NEAREST)
    data = saved(large, "JPEG", quality=95)
    alone = saved(large.crop((900, 600, 1020, 720)), "PNG")
    pixels = load_pixels(data, 64, public=True, region=(0.5, 0.5, 120 / 1800, 120 / 1200)).astype(int)
    assert np.abs(pixels - load_pixels(alone, 64).astype(int)).mean() < 4


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_region__has_a_pixel_at_least(format):
    data = saved(Image.new("RGB", (64, 48), "red"), format)
    pixels = load_pixels(data, SIZE, public=True, region=(1 - 1e-9, 1 - 1e-9, 1e-9, 1e-9))
    assert pixels[0, 0, 0] > 250


def test_region__of_a_transparent_palette_stays_transparent():
    data = saved(Image.new("P", (40, 40), 0), "PNG", transparency=0)
    assert load_pixels(data, SIZE, public=True, region=(0.5, 0.5, 0.5, 0.5)).min() == 255


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, at opening
def test_broken_exif__leaves_the_picture_as_it_lies():
    data = saved(photo(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff", quality=98)
    assert mean_difference(data) <= 2


def test_cmyk__is_converted():
    assert difference(saved(photo().convert("CMYK"), "TIFF"), photo().convert("CMYK").convert("RGB")) <= 1


def test_lab__goes_through_its_profile():
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(photo(), to_lab)
    assert mean_difference(saved(lab, "TIFF")) <= 4


def test_icc_profile__is_converted_to_srgb():
    swapped = b"".join([_swapped_red_and_blue()])
    pixels = load_pixels(saved(Image.new("RGB", (40, 40), (255, 0, 0)), "PNG", icc_profile=swapped), SIZE)
    assert pixels[0, 0, 2] > pixels[0, 0, 0]


def _swapped_red_and_blue() -> bytes:
    """Return an sRGB profile whose red and blue columns have changed places in the tag table."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def test_broken_icc_profile__falls_back_to_the_plain_conversion():
    assert difference(saved(photo(), "PNG", icc_profile=b"no profile")) == 0


@pytest.mark.parametrize("size", [(3_000, 2_000), (300, 300)])
def test_large_jpeg__is_decoded_at_a_fraction_of_its_size_but_not_too_small(monkeypatch, size):
    large = saved(photo().resize(size, Image.Resampling.BICUBIC), "JPEG", quality=95)
    decoded = []
    resizable = decoder._resizable
    monkeypatch.setattr(decoder, "_resizable", lambda image: decoded.append(image.size) or resizable(image))
    load_pixels(large, SIZE)
    assert max(decoded[0]) <= max(size) / 4
    assert min(decoded[0]) >= SIZE * 1.5


@pytest.mark.parametrize("data", [b"not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\x00\x01", b"<svg/>"])
def test_other_formats__are_rejected_whatever_their_name(data):
    assert rejected(data) == "unsupported_format"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_truncated_file__is_rejected(format):
    data = saved(photo().resize((500, 500)), format)
    assert rejected(data[: len(data) // 2]) in ("truncated", "corrupt")


def test_jpeg_cut_short__is_called_truncated():
    data = saved(photo().resize((500, 500)), "JPEG")
    assert rejected(data[: len(data) // 2]) == "truncated"


@pytest.mark.parametrize("size", [(16_385, 1), (7_100, 7_100), (49_000_000, 1)])
def test_too_many_pixels__are_rejected_before_decoding(size):
    # A PNG's header alone: whoever decodes it finds no pixels and says something else.
    assert rejected(png_header(*size)) == "too_many_pixels"


@pytest.mark.parametrize("raised", [ValueError, SyntaxError, RuntimeError, KeyError, IndexError, TypeError])
def test_any_error_of_a_decoder__is_a_rejection(monkeypatch, raised):
    def fail(*args, **kwargs):
        raise raised("odd")

    monkeypatch.setattr(Image, "open", fail)
    assert rejected(picture_bytes("red")) == "corrupt"


def test_eof_error__is_a_truncation(monkeypatch):
    def fail(*args, **kwargs):
        raise EOFError

    monkeypatch.setattr(Image, "open", fail)
    assert rejected(picture_bytes("red")) == "truncated"


def test_pillow_settings__stay_as_they_were():
    before = Image.MAX_IMAGE_PIXELS
    load_pixels(picture_bytes("red"), SIZE)
    assert before == Image.MAX_IMAGE_PIXELS


# One photo in twenty encodings, seen by a real model.

MODEL = SHARED / "models" / "mobilenet_v2_100_224_feature_vector"


DOT_GAIN = 2.2


def drawn_photo() -> Image.Image:
    """Return 480 x 360 of soft colours, hard edges and fine grain, its four corners unlike each other."""
    random = np.random.default_rng(5)
    rows, columns = np.mgrid[0:360, 0:480]
    light = 110 + columns / 4 - rows / 6
    for cells, weight in ((3, 60), (12, 25), (60, 12)):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells), dtype=np.uint8))
        light += (np.asarray(noise.resize((480, 360), Image.Resampling.BICUBIC)) / 255.0 - 0.5) * weight
    tint = np.array([1.05, 1.0, 0.88])
    image = Image.fromarray(np.clip(light[..., None] * tint, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((120, 70, 300, 310), fill=(176, 52, 40))
    draw.rectangle((230, 180, 390, 330), fill=(34, 80, 120))
    draw.polygon([(300, 40), (420, 150), (260, 160)], fill=(222, 190, 84))
    draw.line([(60, 330), (440, 30)], fill=(20, 20, 20), width=6)
    return image


def white_around(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return the picture with all but a soft ellipse hidden by alpha, and the same laid on white."""
    mask = ellipse(image).filter(ImageFilter.GaussianBlur(4))
    hidden = image.copy()
    hidden.putalpha(mask)
    return hidden, Image.composite(image, Image.new(image.mode, image.size, "white"), mask)


def transparent_palette(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return the picture in 255 colours and index 255 around an ellipse, and the same laid on white."""
    mask = ellipse(image)
    colors = image.quantize(255)
    indexed = colors.copy()
    indexed.putpalette([*(colors.getpalette() or []), 0, 0, 0])
    indexed.paste(255, mask=ImageChops.invert(mask))
    return indexed, Image.composite(colors.convert("RGB"), Image.new("RGB", image.size, "white"), mask)


def ellipse(image: Image.Image) -> Image.Image:
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((60, 20, 420, 340), fill=255)
    return mask


def sixteen_bit_png(image: Image.Image) -> bytes:
    """Return what Pillow does not write: RGB of 16 bits."""
    values = (np.asarray(image).astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", *image.size, 16, 2, 0, 0, 0), b"IDAT" + zlib.compress(rows), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def to_lab(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(image, transform)


def printed(image: Image.Image) -> tuple[Image.Image, bytes]:
    """Return the picture in CMYK for a press whose dots grow, and the ICC profile of that press.

    Ink of 0..1 is printed as ``1 - (1 - ink) ** DOT_GAIN``; whoever ignores the profile sees it too pale.
    """
    light = np.asarray(image) / 255.0
    inks = np.rint(255 * (1 - light ** (1 / DOT_GAIN))).astype(np.uint8)
    cmyk = Image.merge("CMYK", [*map(Image.fromarray, np.moveaxis(inks, -1, 0).copy()), Image.new("L", image.size)])
    levels = np.linspace(1, 0, 9)
    c, m, y, k = np.meshgrid(levels, levels, levels, levels, indexing="ij")
    rgb = np.rint(255 * np.stack([c * k, m * k, y * k], axis=-1)).astype(np.uint8)
    lab = to_lab(Image.fromarray(rgb.reshape(1, -1, 3))).tobytes("raw", "LAB")
    lab = (np.frombuffer(lab, np.uint8).reshape(-1, 3) ^ [0, 128, 128]).astype(np.uint8).tobytes()  # ICC has no sign
    gain = np.rint(255 * (1 - (1 - np.arange(256) / 255) ** DOT_GAIN)).astype(np.uint8).tobytes()
    identity = struct.pack(">9i", *(65_536 * int(row == column) for row in range(3) for column in range(3)))
    tags = {
        b"A2B0": b"mft1" + bytes(4) + bytes([4, 3, 9, 0]) + identity + gain * 4 + lab + bytes(range(256)) * 3,
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63_190, 65_536, 54_061),
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 6) + b"press\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = bytearray(128)
    header[8:12] = b"\x02\x40\0\0"
    header[12:24] = b"prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">3i", 63_190, 65_536, 54_061)
    header[0:4] = struct.pack(">I", start + len(body))
    return cmyk, bytes(header) + table + body


def encodings() -> Iterator[tuple[str, bytes, Image.Image, float]]:
    """Yield name, file, the plain picture that it stands for, and how far its vector may lie from that one's."""
    exact, near = 1e-5, 0.02
    plain = drawn_photo()
    grey = plain.convert("L")
    hidden, on_white = white_around(plain)
    hidden_grey, grey_on_white = white_around(grey)
    indexed, indexed_on_white = transparent_palette(plain)
    press, press_profile = printed(plain)
    yield "PNG of 16 bits", sixteen_bit_png(plain), plain, exact
    yield "grey", saved(grey, "PNG"), grey, exact
    yield "grey of 16 bits", saved(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"), grey, exact
    yield "palette", saved(plain.quantize(256), "PNG"), plain, near
    yield "palette and transparency", saved(indexed, "PNG", transparency=255), indexed_on_white, near
    yield "grey and alpha", saved(hidden_grey, "PNG"), grey_on_white, near
    yield "alpha", saved(hidden, "PNG"), on_white, near
    yield "CMYK", saved(plain.convert("CMYK"), "TIFF"), plain, near
    yield "CMYK JPEG", saved(plain.convert("CMYK"), "JPEG", quality=95), plain, near
    yield "CMYK and profile", saved(press, "TIFF", icc_profile=press_profile), plain, near
    yield "CMYK JPEG and profile", saved(press, "JPEG", quality=95, icc_profile=press_profile), plain, near
    yield "LAB", saved(to_lab(plain), "TIFF"), plain, near
    yield "JPEG", saved(plain, "JPEG", quality=95), plain, near
    yield "progressive JPEG", saved(plain, "JPEG", quality=95, progressive=True), plain, near
    yield "WebP", saved(plain, "WEBP", quality=98), plain, near
    yield "lossless WebP", saved(plain, "WEBP", lossless=True), plain, exact
    yield "AVIF", saved(plain, "AVIF", quality=90), plain, near
    yield "GIF", saved(plain, "GIF"), plain, near
    yield "BMP", saved(plain, "BMP"), plain, exact
    yield "TIFF", saved(plain, "TIFF", compression="tiff_lzw"), plain, exact
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield (
            f"orientation {orientation}",
            saved(stored_as(plain, orientation), "JPEG", quality=95, exif=exif),
            plain,
            near,
        )


@pytest.mark.skipif(not MODEL.is_dir(), reason="there is no model in ../shared/models")
@pytest.mark.slow
def test_one_photo_in_all_encodings__has_one_vector():
    encoder = converted(TFHubEncoder(MODEL))
    names, files, plain, allowed = zip(*encodings(), strict=True)
    seen = encoder.encode(np.stack([load_pixels(data, 224) for data in files]))
    expected = encoder.encode(np.stack([load_pixels(saved(image, "PNG"), 224) for image in plain]))
    distances = 1 - (seen * expected).sum(axis=1)
    far = {
        name: float(distance) for name, distance, most in zip(names, distances, allowed, strict=True) if distance > most
    }
    assert len(names) >= 20
    assert not far
