import io
import threading

import numpy as np
import pytest
from django.core.files.storage import FileSystemStorage
from PIL import Image, ImageCms

from similar_products import images
from similar_products.images import TRANSIENT_CODES, ImageRejected, load_pixels, load_stored_pixels
from tests.pictures import picture_bytes

SIZE = 32


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def photo() -> Image.Image:
    """Return a picture of smooth colours, 96 x 64, whose four corners differ."""
    rows, columns = np.mgrid[0:64, 0:96]
    return Image.fromarray(np.stack([columns * 2, rows * 3, 255 - columns], axis=-1).astype(np.uint8))


def difference(data: bytes, expected: Image.Image | None = None) -> float:
    """Return the largest difference of any colour value to the plain picture, in 0..255."""
    plain = load_pixels(saved(expected or photo(), "PNG"), SIZE).astype(int)
    return float(np.abs(load_pixels(data, SIZE).astype(int) - plain).max())


def mean_difference(data: bytes) -> float:
    plain = load_pixels(saved(photo(), "PNG"), SIZE).astype(int)
    return float(np.abs(load_pixels(data, SIZE).astype(int) - plain).mean())


def rejected(data) -> str:
    with pytest.raises(ImageRejected) as caught:
        load_pixels(data, SIZE)
    assert str(caught.value).endswith(".")
    return caught.value.code


def test_load_pixels__is_a_centre_filled_square():
    pixels = load_pixels(picture_bytes("red", "lime", "blue", size=(90, 30)), SIZE)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[SIZE // 2, SIZE // 2] == (0, 255, 0)).all()  # the middle third is what remains


@pytest.mark.parametrize("source", [bytes, io.BytesIO])
def test_load_pixels__takes_bytes_and_files(source):
    assert load_pixels(source(picture_bytes("red")), SIZE)[0, 0].tolist() == [255, 0, 0]


def test_load_pixels__survives_short_reads():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

    assert load_pixels(Slow(picture_bytes("red")), SIZE)[0, 0].tolist() == [255, 0, 0]


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation__is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turned = photo()
    operation = inverse.get(orientation, images._ORIENTATIONS.get(orientation))
    if operation is not None:
        turned = turned.transpose(operation)
    assert mean_difference(saved(turned, "JPEG", exif=exif, quality=98)) <= 2


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


def test_large_jpeg__is_decoded_at_a_fraction_of_its_size(monkeypatch):
    large = saved(photo().resize((3000, 2000), Image.Resampling.BICUBIC), "JPEG", quality=95)
    decoded = []
    resizable = images._resizable
    monkeypatch.setattr(images, "_resizable", lambda image: decoded.append(image.size) or resizable(image))
    assert mean_difference(large) <= 2
    assert max(decoded[0]) < 1000


def test_empty_file__is_rejected():
    assert rejected(b"") == "empty_file"


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
    header = saved(Image.new("1", (1, 1)), "PNG")
    assert rejected(_with_size(header, size)) == "too_many_pixels"


def _with_size(png: bytes, size: tuple[int, int]) -> bytes:
    import struct
    import zlib

    chunk = b"IHDR" + struct.pack(">II", *size) + png[24:29]
    return png[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


def test_too_large_bytes__are_rejected_after_cap_plus_one(monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    endless = io.BytesIO(b"x" * 10_000)
    assert rejected(endless) == "too_large_bytes"
    assert endless.tell() == 101


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


def test_load_pixels__in_threads_gives_the_same():
    data = saved(photo(), "JPEG")
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(load_pixels(data, SIZE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all((result == results[0]).all() for result in results)


# From a storage.


@pytest.fixture
def storage(tmp_path) -> FileSystemStorage:
    return FileSystemStorage(tmp_path)


def stored_code(storage, name: str) -> ImageRejected:
    with pytest.raises(ImageRejected) as caught:
        load_stored_pixels(storage, name, SIZE)
    return caught.value


def test_load_stored_pixels__never_asks_for_a_path(storage, tmp_path):
    class Remote(FileSystemStorage):
        def path(self, name):
            raise NotImplementedError

        def _open(self, name, mode="rb"):
            return (tmp_path / name).open(mode)

    (tmp_path / "a.png").write_bytes(picture_bytes("red"))
    assert load_stored_pixels(Remote(), "a.png", SIZE)[0, 0].tolist() == [255, 0, 0]


def test_missing_file__is_permanent(storage):
    error = stored_code(storage, "gone.png")
    assert error.code == "missing_file"
    assert error.code not in TRANSIENT_CODES
    assert str(error) == "The storage has no file 'gone.png'."


@pytest.mark.parametrize("name", ["../outside.png", "null\x00byte.png", "folder"])
def test_malformed_name__is_a_missing_file(storage, tmp_path, name):
    (tmp_path / "folder").mkdir()
    assert stored_code(storage, name).code == "missing_file"


@pytest.mark.parametrize("raised", [TimeoutError, ConnectionError, PermissionError, RuntimeError])
def test_storage_failure__is_transient(raised):
    class Down(FileSystemStorage):
        def _open(self, name, mode="rb"):
            raise raised("no answer")

    assert stored_code(Down(), "a.png").code in TRANSIENT_CODES


def test_rejection__from_a_storage_keeps_its_code(storage, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    assert stored_code(storage, "a.png").code == "empty_file"
