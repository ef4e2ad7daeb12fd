"""Bytes to pixels with Pillow: in this process, or in one of its own that has limits on memory and time.

It knows nothing of Django, so that the other process starts in 0.1 s, takes 20 MB and holds no secrets.
"""

import atexit
import io
import math
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

import PIL
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError


class Limits(NamedTuple):
    """What is decoded at all: formats by Pillow's names and by people's, bytes of a file, pixels of a picture."""

    formats: tuple[str, ...]
    format_names: str
    max_bytes: int
    max_pixels: int


# MPO is what Pillow calls many phones' JPEGs.
PUBLIC = Limits(
    ("JPEG", "MPO", "PNG", "WEBP", "GIF", "AVIF"), "JPEG, PNG, WebP, GIF and AVIF", 10 * 1024 * 1024, 25_000_000
)
"""For what anybody may send."""
CATALOGUE = Limits(
    (*PUBLIC.formats, "BMP", "TIFF"), "JPEG, PNG, WebP, GIF, AVIF, BMP and TIFF", 64 * 1024 * 1024, 50_000_000
)
"""For what the shop's own people have stored."""


class Region(NamedTuple):
    """A part of the upright picture, in fractions of its width and height, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


WHOLE = Region(0.0, 0.0, 1.0, 1.0)

MAX_SIDE = 16_384
"""A 6-KB PNG of 49,000,000 x 1 pixels took Pillow 1.95 GB: the longest side counts, not the area alone."""

MAX_MEMORY = 512 * 1024 * 1024
"""Bytes of address space that a decoder process may have; an idle one has 36 MB of it."""
DECODE_SECONDS = 10.0
"""Time by the clock for one picture in a decoder process, its way through the pipes included."""
START_SECONDS = 30.0
"""Time by the clock for a decoder process to get ready, which takes 0.1 s on an idle machine."""
CPU_SECONDS = 60
"""Processor time after which the system kills a decoder process; at half of it the process is replaced."""
PICTURES_PER_PROCESS = 1_000
"""So many pictures a decoder process takes before it is replaced: no leak of a codec grows for ever."""

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_AS_STORED = {
    2: lambda x, y, width, height: Region(1 - x - width, y, width, height),
    3: lambda x, y, width, height: Region(1 - x - width, 1 - y - height, width, height),
    4: lambda x, y, width, height: Region(x, 1 - y - height, width, height),
    5: lambda x, y, width, height: Region(y, x, height, width),
    6: lambda x, y, width, height: Region(y, 1 - x - width, height, width),
    7: lambda x, y, width, height: Region(1 - y - height, 1 - x - width, height, width),
    8: lambda x, y, width, height: Region(1 - y - height, x, height, width),
}
"""By EXIF orientation: where a region of the upright picture lies in the picture as it is stored."""
_EXIF_ORIENTATION = 0x0112
_STRIP_PIXELS = 1_000_000
_WEBP_BYTES_PER_PIXEL = 20
"""25 megapixels took 16 bytes a pixel; the rest is for the file and for what the process has anyway."""

_DECODE_CODES = frozenset(
    {"unsupported_format", "too_many_pixels", "bad_dimensions", "truncated", "corrupt", "decoder_crashed"}
)
_LIMITS = (CATALOGUE, PUBLIC)
_REQUEST = struct.Struct("!QIB4d")  # length of the file, side of the square, position in _LIMITS, region
_READY = b"R"
_ANSWER = struct.Struct("!I??")  # length of what follows, whether it is pixels, whether the process ends now
_MAX_REJECTION = 4_096
_BOOT = f"import sys; sys.path += sys.argv[4:]; from {__name__} import serve; serve()"


class ImageRejected(Exception):
    """A picture that cannot be used. ``code`` is stable, ``str()`` is a sentence for people.

    Codes: ``empty_file``, ``missing_file``, ``storage_error``, ``unsupported_format``, ``too_large_bytes``,
    ``too_many_pixels``, ``bad_dimensions``, ``truncated``, ``corrupt``, ``blank``; with a decoder process also
    ``decode_timeout``, ``decoder_crashed`` and ``decoder_unavailable`` (the process could not be started).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# Decoding, in whichever process.


def decode(data: bytes, size: int, limits: Limits, region: Region = WHOLE, *, memory: int = 0) -> bytes:
    """Return the picture upright, in sRGB, centre-filled to a square: ``size * size`` triples of bytes, by rows.

    Of the picture only ``region`` is taken, and at least one pixel. ``memory`` is how many bytes the process may
    have, or 0 where nothing limits it. Raises ``ImageRejected`` whatever is wrong with the picture, and
    ``MemoryError`` where memory ends.
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
    _register_formats()
    # An allow-list name that is not registered would raise KeyError.
    formats = [name for name in limits.formats if name in Image.OPEN]
    with Image.open(io.BytesIO(data), formats=formats) as image:
        width, height = image.size
        if width < 1 or height < 1:
            raise ImageRejected("bad_dimensions", f"The picture is {width} x {height} pixels.")
        if max(width, height) > MAX_SIDE or width * height > limits.max_pixels:
            raise too_many_pixels(limits)
        if image.format == "WEBP" and memory and width * height * _WEBP_BYTES_PER_PIXEL > memory:
            raise MemoryError  # libwebp would call the picture damaged
        # JPEG decodes straight to a fraction of its size: 49 megapixels cost 30 ms and 1 MB. With half as much
        # again as the square no vector of 200 photos at 800 to 3,000 px moved by more than 0.009 in cosine; with
        # the square itself, 1.0 to 1.9 times as fast, one moved by 0.16.
        side = math.ceil(min(size * 3 // 2 / min(region.width, region.height), MAX_SIDE))
        image.draft(None, (side, side))
        image.load()
        orientation = _orientation(image)
        profile = image.info.get("icc_profile")
        # One frame from here on; fitting before the conversion of colours leaves few pixels to convert.
        square = ImageOps.fit(_resizable(_cut(image, region, orientation)), (size, size))
    upright = _to_srgb(square, profile)
    if orientation in _ORIENTATIONS:
        upright = upright.transpose(_ORIENTATIONS[orientation])
    return upright.tobytes()


def _register_formats() -> None:
    """Register the formats of the allow-list; ``Image.init`` would import the 40 others as well."""
    from PIL import (  # noqa: F401  here, so that a process that never decodes does not wait for them
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        MpoImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  broken EXIF on a good picture: use the picture as it lies
        return 1


def _cut(image: Image.Image, region: Region, orientation: int) -> Image.Image:
    """Return the ``region`` of the upright picture out of the picture as it is stored."""
    if region == WHOLE:
        return image
    x, y, width, height = _AS_STORED.get(orientation, Region)(*region)
    left = min(round(x * image.width), image.width - 1)
    top = min(round(y * image.height), image.height - 1)
    right = min(max(round((x + width) * image.width), left + 1), image.width)
    bottom = min(max(round((y + height) * image.height), top + 1), image.height)
    return image.crop((left, top, right, bottom))


def _resizable(image: Image.Image) -> Image.Image:
    """Return the picture in L, LA, RGB, RGBA, CMYK or LAB, without loss that ``convert`` alone would cause."""
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
    import numpy as np  # here: it would double the time in which a decoder process starts

    # In strips, as 50 megapixels of float64 would take 400 MB, and as much again for each step.
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
    converted = None
    if profile or colors.mode == "LAB":
        try:
            source = ImageCms.ImageCmsProfile(
                ImageCms.createProfile("LAB") if colors.mode == "LAB" else io.BytesIO(profile or b"")
            )
            converted = ImageCms.profileToProfile(colors, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            converted = None  # a broken or unfitting profile: the plain conversion is close enough
    colors = converted or colors.convert("RGB")
    if alpha is None:
        return colors
    return Image.composite(colors, Image.new("RGB", colors.size, "white"), alpha)


# The decoder process.


def serve() -> None:
    """Be a decoder process: answer what comes on standard input until it ends.

    Takes the bytes of address space, the seconds of processor time and the number of pictures from ``sys.argv``.
    """
    memory, cpu_seconds, pictures = map(int, sys.argv[1:4])
    warnings.simplefilter("ignore")  # nobody reads what this process has to say
    _register_formats()
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there is a process for each core already
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # systemd sends SIGTERM to all at once; the parent may want to finish what it began, and ends us after.
        signal.signal(number, signal.SIG_IGN)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, cpu_seconds)
    _limit(resource.RLIMIT_NOFILE, 16)  # a codec needs none; Python's own late imports need one or two
    if sys.platform != "darwin":
        # macOS takes this limit and does not keep it: there the caps on pixels and sides alone bound memory.
        _limit(resource.RLIMIT_AS, memory)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(_READY)
    answers.flush()
    while header := requests.read(_REQUEST.size):
        length, size, position, *region = _REQUEST.unpack(header)
        is_pixels, payload = _answer(requests.read(length), size, _LIMITS[position], Region(*region), memory)
        pictures -= 1
        ends = pictures <= 0 or time.process_time() > cpu_seconds / 2
        answers.write(_ANSWER.pack(len(payload), is_pixels, ends))
        answers.write(payload)
        answers.flush()
        if ends:
            return


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _answer(data: bytes, size: int, limits: Limits, region: Region, memory: int) -> tuple[bool, bytes]:
    try:
        return True, decode(data, size, limits, region, memory=memory)
    except ImageRejected as error:
        rejected = error
    except MemoryError:
        rejected = ImageRejected(
            "decoder_crashed", f"The picture takes more than {memory // 1024 // 1024} MB of memory to decode."
        )
    return False, f"{rejected.code}\n{rejected}".encode(errors="replace")[:_MAX_REJECTION]


# The side of the process that wants pixels.


def decode_isolated(data: bytes, size: int, limits: Limits, region: Region = WHOLE) -> bytes:
    """Return what ``decode`` returns, computed in a decoder process that a picture may crash or hang.

    The processes are started as they are needed, at most one for each core, live on for the next pictures and
    end with this process. Any thread may call; one more than there are cores waits. Raises ``ImageRejected``;
    only ``decoder_unavailable`` of its codes is not the picture's fault.
    """
    return _pool.decode(data, size, limits, region)


class _Process:
    """One decoder process and the pipes to it, used by one thread at a time."""

    def __init__(self) -> None:
        import numpy

        # Its own session: Ctrl-C in the terminal is for the one who started us. No site, no variables: it sees
        # Pillow, NumPy and this package, and none of the shop's secrets.
        folders = {str(Path(module).parents[1]) for module in (PIL.__file__, numpy.__file__)}
        folders.add(str(Path(__file__).parents[2]))
        limits = (str(MAX_MEMORY), str(CPU_SECONDS), str(PICTURES_PER_PROCESS))
        self._popen = subprocess.Popen(  # noqa: S603  our own interpreter and our own lines
            [_interpreter(), "-I", "-S", "-c", _BOOT, *limits, *sorted(folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
        self._stdin = cast("IO[bytes]", self._popen.stdin)
        self._stdout = cast("IO[bytes]", self._popen.stdout)
        self._to, self._from = select.poll(), select.poll()
        self._to.register(self._stdin, select.POLLOUT)
        self._from.register(self._stdout, select.POLLIN)
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)
        try:
            if self._read(len(_READY), time.monotonic() + START_SECONDS) != _READY:
                raise EOFError
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._popen.pid

    def send(self, deadline: float, *parts: bytes) -> None:
        """Write all of ``parts``. Raises ``BrokenPipeError`` where the process has ended, ``TimeoutError``."""
        for part in parts:
            left = memoryview(part)
            while left:
                _await(self._to, deadline)
                try:
                    left = left[os.write(self._stdin.fileno(), left) :]
                except BlockingIOError:
                    continue

    def receive(self, deadline: float, *, length: int) -> tuple[bool, bytes, bool]:
        """Return whether the answer is pixels, the answer, and whether the process ends now.

        Trusts nothing: pixels are ``length`` bytes or they are none. Raises ``EOFError`` where the process has
        ended or talks nonsense, and ``TimeoutError``.
        """
        told, is_pixels, ends = _ANSWER.unpack(self._read(_ANSWER.size, deadline))
        if (told != length) if is_pixels else (told > _MAX_REJECTION):
            raise EOFError
        return is_pixels, self._read(told, deadline), ends

    def _read(self, length: int, deadline: float) -> bytes:
        chunks = []
        while length:
            _await(self._from, deadline)
            chunk = os.read(self._stdout.fileno(), length)
            if not chunk:
                raise EOFError
            chunks.append(chunk)
            length -= len(chunk)
        return b"".join(chunks)

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self._close()

    def forget(self) -> None:
        """Close this fork's copies of the pipes: the process belongs to the parent, and ends when it closes its own."""
        self._popen.returncode = 0
        self._close()

    def _close(self) -> None:
        self._stdin.close()
        self._stdout.close()


class _Pool:
    """The decoder processes of this process."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(os.cpu_count() or 1)
        self.idle: list[_Process] = []
        self._all: set[_Process] = set()

    def decode(self, data: bytes, size: int, limits: Limits, region: Region) -> bytes:
        request = (_REQUEST.pack(len(data), size, _LIMITS.index(limits), *region), data)
        with self._slots:
            process, keep = self._take(), False
            deadline = time.monotonic() + DECODE_SECONDS
            try:
                try:
                    process.send(deadline, *request)
                except BrokenPipeError:
                    # It ended before it had all of this picture, so of something else: a new one decodes it.
                    self._drop(process)
                    process = self._start()
                    deadline = time.monotonic() + DECODE_SECONDS
                    process.send(deadline, *request)
                is_pixels, answer, ends = process.receive(deadline, length=size * size * 3)
                if is_pixels:
                    keep = not ends
                    return answer
                code, _, message = answer.decode(errors="replace").partition("\n")
                if code not in _DECODE_CODES:
                    raise EOFError
                keep = not ends and code != "decoder_crashed"
                raise ImageRejected(code, message)
            except TimeoutError:
                raise ImageRejected(
                    "decode_timeout", f"The picture takes more than {DECODE_SECONDS:g} seconds to decode."
                ) from None
            except (EOFError, OSError):
                raise ImageRejected("decoder_crashed", "The picture made the decoder end or fail.") from None
            finally:
                if keep:
                    self.idle.append(process)
                else:
                    self._drop(process)

    def _take(self) -> _Process:
        try:
            return self.idle.pop()
        except IndexError:
            return self._start()

    def _start(self) -> _Process:
        try:
            process = _Process()
        except (OSError, EOFError) as error:
            raise ImageRejected(
                "decoder_unavailable",
                f"The decoder process cannot be started with {_interpreter()}: {type(error).__name__}: {error}.",
            ) from error
        self._all.add(process)
        return process

    def _drop(self, process: _Process) -> None:
        process.kill()
        self._all.discard(process)

    def close(self) -> None:
        while self.idle:
            self._drop(self.idle.pop())

    def forget(self) -> None:
        for process in self._all:
            process.forget()


def _await(poll: select.poll, deadline: float) -> None:
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1_000):
        raise TimeoutError


def _interpreter() -> str:
    """Return the Python that runs us; inside uWSGI and its like ``sys.executable`` is the server."""
    if "python" in Path(sys.executable or "").name:
        return sys.executable
    return str(Path(sys.exec_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))


def _environment() -> dict[str, str]:
    loader = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")  # some Pythons start by them only
    return {
        # A thread's stack and arena count as address space, even where nobody writes to them.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        **{name: os.environ[name] for name in loader if name in os.environ},
    }


_pool = _Pool()


def _close_pool() -> None:
    _pool.close()


def _renew_pool() -> None:
    global _pool
    inherited, _pool = _pool, _Pool()
    inherited.forget()


atexit.register(_close_pool)
os.register_at_fork(after_in_child=_renew_pool)
