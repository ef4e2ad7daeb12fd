"""Bytes to pixels with Pillow. Imports neither Django nor NumPy, as decoder processes do not wait for them."""

import io
import math
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module

from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from .limits import MAX_SIDE, WHOLE, Limits, Region

_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP")
"""Pillow's modules for the allowed formats."""
# The EXIF orientations in which the upright picture is the stored one mirrored, flipped, and then transposed.
_TRANSPOSED = frozenset({5, 6, 7, 8})
_MIRRORED = frozenset({2, 3, 7, 8})
_FLIPPED = frozenset({3, 4, 6, 7})
_STRIP_PIXELS = 1_000_000
_WEBP_BYTES_PER_PIXEL = 20
"""A WebP of 25 megapixels took 16 bytes a pixel; the rest is for the file and the process itself."""


class ImageRejected(Exception):
    """A picture that cannot be used. ``code`` is stable, ``str()`` is a sentence for people.

    Codes: ``empty_file``, ``missing_file``, ``storage_error``, ``unsupported_format``, ``too_large_bytes``,
    ``too_many_pixels``, ``bad_dimensions``, ``truncated``, ``corrupt``, ``blank``; with a decoder process also
    ``decode_timeout``, ``decoder_crashed`` and ``decoder_unavailable`` (the process cannot be started).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def decode(data: bytes, size: int, limits: Limits, region: Region = WHOLE, *, memory: int = 0) -> bytes:
    """Return ``region`` of the upright picture in sRGB, centre-filled to a square: RGB bytes, row by row.

    At least one pixel is taken. ``memory`` is the process's limit in bytes, 0 for none. Raises ``ImageRejected`` for
    whatever is wrong with the picture, and ``MemoryError`` where memory ends.
    """
    try:
        return _decode(data, size, limits, region, memory)
    except (ImageRejected, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageRejected(
            "unsupported_format", f"The file is not a picture that can be read; valid are {limits.format_names}."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_many_pixels(limits) from error
    except EOFError as error:
        raise ImageRejected("truncated", "The picture file ends too early.") from error
    except Exception as error:  # of 9,882 odd files 436 failed with something other than OSError
        if "truncated" in str(error):
            raise ImageRejected("truncated", f"The picture file ends too early: {error}.") from error
        raise ImageRejected("corrupt", f"The picture file is damaged: {type(error).__name__}: {error}.") from error


def too_many_pixels(limits: Limits) -> ImageRejected:
    return ImageRejected(
        "too_many_pixels",
        f"The picture has more than {limits.max_pixels // 1_000_000} megapixels or a side over {MAX_SIDE:,} pixels.",
    )


def _decode(data: bytes, size: int, limits: Limits, region: Region, memory: int) -> bytes:
    register_formats()
    # Pillow raises KeyError for a name that is not registered.
    formats = [name for name in limits.formats if name in Image.OPEN]
    with Image.open(io.BytesIO(data), formats=formats) as image:
        width, height = image.size
        if width < 1 or height < 1:
            raise ImageRejected("bad_dimensions", f"The picture is {width} x {height} pixels.")
        if max(width, height) > MAX_SIDE or width * height > limits.max_pixels:
            raise too_many_pixels(limits)
        if image.format == "WEBP" and memory and width * height * _WEBP_BYTES_PER_PIXEL > memory:
            raise MemoryError  # libwebp would report a damaged picture
        # JPEG decodes directly to a fraction of its size: 49 megapixels take 30 ms and 1 MB. At 1.5 times the square
        # no vector of 200 photos of 800 to 3,000 px moved by more than 0.009 in cosine; at the size of the square,
        # 1.0 to 1.9 times as fast, one moved by 0.16.
        side = math.ceil(min(size * 3 // 2 / min(region.width, region.height), MAX_SIDE))
        image.draft(None, (side, side))
        image.load()
        orientation = _get_orientation(image)
        profile = image.info.get("icc_profile")
        # Colours are converted and the picture is turned when it has few pixels: ``ImageOps.exif_transpose`` of the
        # loaded picture made rotated photos of 400 to 600 px 8 % slower, and changed their pixels.
        square = ImageOps.fit(_resizable(_crop(image, region, orientation)), (size, size))
    return _turn_upright(_to_srgb(square, profile), orientation).tobytes()


def register_formats() -> None:
    """Register the allowed formats; ``Image.init`` would import 40 others as well."""
    for name in _PLUGINS:  # not at the top: a process that never decodes does not wait for them
        import_module(f"PIL.{name}ImagePlugin")


def _get_orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  broken EXIF in a good picture: it is used as it is stored
        return 1


def _crop(image: Image.Image, region: Region, orientation: int) -> Image.Image:
    """Return ``region`` of the upright picture, cut out of the picture as it is stored."""
    if region == WHOLE:
        return image
    x, y, width, height = region
    if orientation in _TRANSPOSED:
        x, y, width, height = y, x, height, width
    if orientation in _MIRRORED:
        x = 1 - x - width
    if orientation in _FLIPPED:
        y = 1 - y - height
    left = min(round(x * image.width), image.width - 1)
    top = min(round(y * image.height), image.height - 1)
    right = min(max(round((x + width) * image.width), left + 1), image.width)
    bottom = min(max(round((y + height) * image.height), top + 1), image.height)
    return image.crop((left, top, right, bottom))


def _turn_upright(square: Image.Image, orientation: int) -> Image.Image:
    if orientation in _MIRRORED:
        square = ImageOps.mirror(square)
    if orientation in _FLIPPED:
        square = ImageOps.flip(square)
    if orientation in _TRANSPOSED:
        square = square.transpose(Image.Transpose.TRANSPOSE)
    return square


def _resizable(image: Image.Image) -> Image.Image:
    """Return the picture in L, LA, RGB, RGBA, CMYK or LAB, where ``convert("RGB")`` would lose grey or transparency."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _to_eight_bits(image)
    if image.mode in ("LA", "RGBA"):
        return image
    if image.mode in ("PA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float grey to L: Pillow's own conversion clips it to white."""
    import numpy as np  # not at the top: it would double the start time of a decoder process

    # In strips: 50 megapixels of float64 would take 400 MB, and each step as much again.
    rows = max(1, _STRIP_PIXELS // image.width)

    def strips() -> Iterator[tuple[int, "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"]]:
        for top in range(0, image.height, rows):
            strip = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
            yield top, np.nan_to_num(strip.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)

    if image.mode.startswith("I;16"):
        white = 65_535.0
    else:
        highest = max(float(values.max()) for _, values in strips())
        if image.mode == "I":
            white = 65_535.0 if highest <= 65_535 else 2.0**32 - 1
        else:
            white = 1.0 if highest <= 1 else 255.0 if highest <= 255 else highest
    grey = Image.new("L", image.size)
    for top, values in strips():
        scaled = np.clip(np.rint(values * (255.0 / white)), 0, 255).astype(np.uint8)
        grey.paste(Image.fromarray(scaled), (0, top))
    return grey


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colors = image.convert("RGB") if alpha else image
    if profile or colors.mode == "LAB":
        # With a broken or unfitting profile the plain conversion is close enough.
        with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.createProfile("LAB") if colors.mode == "LAB" else io.BytesIO(profile or b"")
            srgb = ImageCms.createProfile("sRGB")
            colors = (
                ImageCms.profileToProfile(colors, ImageCms.ImageCmsProfile(source), srgb, outputMode="RGB") or colors
            )
    colors = colors if colors.mode == "RGB" else colors.convert("RGB")  # which copies
    if alpha is None:
        return colors
    return Image.composite(colors, Image.new("RGB", colors.size, "white"), alpha)
