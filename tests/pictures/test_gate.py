import io
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from django.core.files.storage import FileSystemStorage
from PIL import Image

from similar_products.pictures import decoder, process
from similar_products.pictures.gate import TRANSIENT_CODES, ImageRejected, load_pixels, load_stored_pixels
from similar_products.pictures.limits import CATALOGUE
from tests.drawn_pictures import picture_bytes
from tests.pictures.photos import SHARED, SIZE, photo, png_header, rejected, saved

CODES = {
    *("empty_file", "missing_file", "storage_error", "unsupported_format", "too_large_bytes", "too_many_pixels"),
    *("bad_dimensions", "truncated", "corrupt", "decode_timeout", "decoder_crashed", "blank"),
}


@pytest.fixture(autouse=True)
def options(settings) -> dict[str, object]:
    """Give the app's settings to write into; blank pictures pass, as most of these tests draw them."""
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "REFUSE_BLANK": False}
    return settings.SIMILAR_PRODUCTS


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


def test_region__without_a_thing_in_it_is_blank(options):
    options["REFUSE_BLANK"] = True
    data = picture_bytes("red", "red", "lime", "blue", size=(80, 40))
    assert load_pixels(data, SIZE, public=True, region=(0.25, 0, 0.5, 1)).shape == (SIZE, SIZE, 3)
    with pytest.raises(ImageRejected, match="one colour"):
        load_pixels(data, SIZE, public=True, region=(0, 0, 0.5, 1))


@pytest.mark.parametrize(
    "region",
    [
        *((), (0, 0, 1), (0, 0, 1, 1, 1), (-0.1, 0, 0.5, 0.5), (0, -0.1, 0.5, 0.5), (0, 0, 0, 1), (0, 0, 1, 0)),
        *((0.6, 0, 0.5, 1), (0, 0.6, 1, 0.5), (0, 0, -1, 1), (float("nan"), 0, 1, 1), (0, float("nan"), 1, 1)),
        *((0, 0, float("nan"), 1), (0, 0, 1, float("inf"))),
    ],
)
def test_region__that_is_none_is_refused(region):
    with pytest.raises(ValueError, match="valid are x, y, width and height in fractions"):
        load_pixels(picture_bytes("red", "blue"), SIZE, region=region)


def test_empty_file__is_rejected():
    assert rejected(b"") == "empty_file"


class Endless(io.RawIOBase):
    given = 0

    def read(self, size=-1):
        self.given += min(size, 1024 * 1024)
        return b"x" * min(size, 1024 * 1024)


@pytest.mark.parametrize(("public", "megabytes"), [(False, 64), (True, 10)])
def test_too_large_bytes__are_rejected_after_cap_plus_one(public, megabytes):
    endless = Endless()
    assert rejected(endless, public=public) == "too_large_bytes"
    assert endless.given == megabytes * 1024 * 1024 + 1
    with pytest.raises(ImageRejected, match=f"more than {megabytes} MB"):
        load_pixels(b"x" * (megabytes * 1024 * 1024 + 1), SIZE, public=public)


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


# One colour.


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("isolated", [False, True])
def test_blank_picture__is_rejected(options, format, isolated):
    options |= {"REFUSE_BLANK": True, "ISOLATE_DECODER": isolated}
    assert rejected(saved(Image.new("RGB", (300, 200), "tan"), format)) == "blank"


def test_blank_picture__is_rejected_in_spite_of_grain(options):
    options["REFUSE_BLANK"] = True
    grain = np.random.default_rng(3).integers(126, 131, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(grain), "PNG")
    assert rejected(data) == "blank"
    options["REFUSE_BLANK"] = False
    assert np.ptp(load_pixels(data, SIZE)) >= 2


def test_nothing_but_transparency__is_blank(options):
    options["REFUSE_BLANK"] = True
    hidden = photo().convert("RGBA")
    hidden.putalpha(0)
    assert rejected(saved(hidden, "PNG")) == "blank"


def test_pale_picture__is_not_blank(options):
    options["REFUSE_BLANK"] = True
    pale = Image.new("RGB", (300, 200), (255, 255, 255))
    pale.paste((255, 255, 240), (140, 90, 160, 110))
    assert load_pixels(saved(pale, "JPEG"), SIZE).shape == (SIZE, SIZE, 3)


def test_small_thing__is_not_blank_wherever_it_lies(options):
    options["REFUSE_BLANK"] = True
    small = Image.new("RGB", (SIZE, SIZE), "white")
    small.putpixel((19, 11), (0, 0, 0))
    assert load_pixels(saved(small, "PNG"), SIZE).min() == 0


def test_blank_picture__is_refused_by_default_and_let_in_by_the_setting(options):
    data = picture_bytes("tan")
    assert load_pixels(data, SIZE).shape == (SIZE, SIZE, 3)
    del options["REFUSE_BLANK"]
    with pytest.raises(ImageRejected) as caught:
        load_pixels(data, SIZE)
    assert str(caught.value) == "The picture has one colour only, as a placeholder for a missing photo has."


# What anybody may send, and the process that decodes it.


@pytest.fixture
def pool(monkeypatch) -> Iterator[process._Pool]:
    pool = process._Pool()
    monkeypatch.setattr(process, "_pool", pool)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("isolate", "public", "processes"), [(False, False, 0), (True, False, 1), (False, True, 1), (True, True, 1)]
)
def test_decoder_process__is_for_the_public_and_by_setting(options, pool, isolate, public, processes):
    options["ISOLATE_DECODER"] = isolate
    data = saved(photo(), "JPEG")
    assert (
        load_pixels(data, SIZE, public=public)
        == np.frombuffer(decoder.decode(data, SIZE, CATALOGUE), np.uint8).reshape(SIZE, SIZE, 3)
    ).all()
    assert len(pool.idle) == processes


@pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "WEBP", "GIF", "AVIF"])
def test_public__may_send_the_formats_of_the_web(format):
    assert load_pixels(saved(photo(), format), SIZE, public=True).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("format", ["BMP", "TIFF"])
def test_public__may_send_no_others(format):
    with pytest.raises(ImageRejected) as caught:
        load_pixels(saved(photo(), format), SIZE, public=True)
    assert caught.value.code == "unsupported_format"
    assert str(caught.value) == ("The file is not a picture that can be read; valid are JPEG, PNG, WebP, GIF and AVIF.")


def test_public__may_send_half_the_pixels():
    assert rejected(png_header(5_001, 5_000), public=True) == "too_many_pixels"
    assert rejected(png_header(5_000, 5_000), public=True) != "too_many_pixels"
    assert rejected(png_header(5_001, 5_000)) != "too_many_pixels"


def test_decoder_that_cannot_be_started__is_no_failure_of_the_picture(options, pool, monkeypatch, tmp_path):
    options["ISOLATE_DECODER"] = True
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert rejected(picture_bytes("red")) in TRANSIENT_CODES


@pytest.mark.skipif(not (SHARED / "odd_images").is_dir(), reason="there is no ../shared/odd_images")
@pytest.mark.filterwarnings("ignore")  # Pillow has much to say
@pytest.mark.slow
def test_odd_pictures__are_ready_or_failed_with_a_code(options, pool):
    """Damaged files of all formats, in the decoder process and here: no crash, no hang, and no difference."""
    files = sorted(path for path in (SHARED / "odd_images").rglob("*") if path.is_file())
    assert len(files) > 1_000
    slowest, memory, outcomes = 0.0, 0, []
    for isolated in (True, False):
        options |= {"REFUSE_BLANK": True, "ISOLATE_DECODER": isolated}
        codes = []
        for path in files:
            started = time.monotonic()
            try:
                codes.append(load_pixels(path.read_bytes(), 64).tobytes())
            except ImageRejected as rejected:
                codes.append(rejected.code)
            slowest = max(slowest, time.monotonic() - started)
            memory = max([memory, *(_peak_memory(process.pid) for process in pool.idle)])
        outcomes.append(codes)
    isolated, here = outcomes
    failed = {code for code in isolated if isinstance(code, str)}
    assert failed <= CODES - {"decode_timeout", "decoder_crashed"}
    assert isolated == here
    assert slowest < 2
    assert memory <= 512 * 1024 * 1024
    assert sum(isinstance(code, bytes) for code in isolated) > 300


def _peak_memory(pid: int) -> int:
    """Return the most bytes of address space that the process had, or 0 where the system does not tell."""
    status = Path("/proc", str(pid), "status")
    if not status.exists():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmPeak"].split()[0]) * 1024


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
