"""Pictures drawn for the tests."""

import io

from django.core.files.base import ContentFile
from PIL import Image, ImageDraw


def picture_bytes(*colors: str, size: tuple[int, int] = (64, 48), format: str = "PNG", **options) -> bytes:
    """Return a picture of vertical stripes in ``colors``."""
    image = Image.new("RGB", size, colors[0])
    draw = ImageDraw.Draw(image)
    width = size[0] / len(colors)
    for position, color in enumerate(colors):
        draw.rectangle((position * width, 0, (position + 1) * width, size[1]), fill=color)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture_file(*colors: str, name: str = "picture.png") -> ContentFile:
    return ContentFile(picture_bytes(*colors), name)
