"""Decoder processes: pictures are decoded outside this process, with limits on memory and time.

A decoder process imports this module without Django, so that it starts in 0.1 s, takes 20 MB and holds no secrets.
"""

import atexit
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
from pathlib import Path
from typing import IO, NamedTuple, cast

import PIL

from .cores import count_cores
from .decoder import ImageRejected, decode, register_formats
from .limits import CATALOGUE, PUBLIC, WHOLE, Limits, Region

MAX_MEMORY = 512 * 1024 * 1024
"""Maximum address space of a decoder process in bytes; an idle one has 36 MB."""
DECODE_SECONDS = 10.0
"""Maximum wall-clock time for one picture, including its way through the pipes."""
START_SECONDS = 30.0
"""Maximum wall-clock time for the start of a decoder process, which takes 0.1 s on an idle machine."""
CPU_SECONDS = 60
"""Processor time after which the system kills a decoder process; at half of it the process is replaced."""
PICTURES_PER_PROCESS = 1_000
"""Maximum number of pictures before a decoder process is replaced, so that a codec's memory leak stays bounded."""

_LIMITS = (CATALOGUE, PUBLIC)
_REQUEST = struct.Struct("!QIB4d")  # length of the file, side of the square, position in _LIMITS, region
_READY = b"R"
_HEADER = struct.Struct("!I??")  # of an answer: length of its payload, Answer.is_pixels, Answer.is_last
_MAX_REJECTION = 4_096
_DECODE_CODES = frozenset(
    {"unsupported_format", "too_many_pixels", "bad_dimensions", "truncated", "corrupt", "decoder_crashed"}
)
_BOOT = f"import sys; sys.path += sys.argv[4:]; from {__name__} import serve; serve()"


class _Answer(NamedTuple):
    is_pixels: bool
    """Whether the payload is pixels; otherwise it is a code and a sentence, one on each line."""
    payload: bytes
    is_last: bool
    """Whether the process ends after this answer."""


# Inside the decoder process.


def serve() -> None:
    """Answer the requests on standard input until it ends: the main function of a decoder process.

    ``sys.argv`` has the maximum address space in bytes, processor time in seconds and number of pictures.
    """
    memory, cpu_seconds, pictures = map(int, sys.argv[1:4])
    warnings.simplefilter("ignore")  # standard error is closed
    register_formats()
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there is a process for each core already
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # systemd sends SIGTERM to the whole service; the parent may finish its work, and ends this process after it.
        signal.signal(number, signal.SIG_IGN)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, cpu_seconds)
    _limit(resource.RLIMIT_NOFILE, 16)  # a codec needs none; Python's own late imports need one or two
    if sys.platform != "darwin":
        # macOS accepts this limit and ignores it: there only the limits on pixels and sides bound memory.
        _limit(resource.RLIMIT_AS, memory)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(_READY)
    answers.flush()
    is_last = False
    while not is_last and (header := requests.read(_REQUEST.size)):
        length, size, position, *region = _REQUEST.unpack(header)
        is_pixels, payload = _decode(requests.read(length), size, _LIMITS[position], Region(*region), memory)
        pictures -= 1
        is_last = pictures <= 0 or time.process_time() > cpu_seconds / 2
        answers.write(_HEADER.pack(len(payload), is_pixels, is_last) + payload)
        answers.flush()


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _decode(data: bytes, size: int, limits: Limits, region: Region, memory: int) -> tuple[bool, bytes]:
    try:
        return True, decode(data, size, limits, region, memory=memory)
    except ImageRejected as error:
        rejected = error
    except MemoryError:
        rejected = ImageRejected(
            "decoder_crashed", f"The picture takes more than {memory // 1024 // 1024} MB of memory to decode."
        )
    return False, f"{rejected.code}\n{rejected}".encode(errors="replace")[:_MAX_REJECTION]


# In the process that needs the pixels.


def decode_isolated(data: bytes, size: int, limits: Limits, region: Region = WHOLE) -> bytes:
    """Return what ``decode`` returns, computed in a decoder process that the picture may crash or hang.

    Processes start when they are needed, at most one for each core, are reused, and end with this process. Any thread
    may call; one waits where every core has a picture. Raises ``ImageRejected``; of its codes only
    ``decoder_unavailable`` is not the picture's fault.
    """
    return _pool.decode(data, size, limits, region)


class _Process:
    """One decoder process and the pipes to it, used by one thread at a time."""

    def __init__(self) -> None:
        import numpy

        # A session of its own: Ctrl-C in the terminal is for the parent. Without site packages and environment it sees
        # Pillow, NumPy and this package, and none of the shop's secrets.
        folders = {str(Path(module).parents[1]) for module in (PIL.__file__, numpy.__file__)}
        folders.add(str(Path(__file__).parents[2]))
        limits = (str(MAX_MEMORY), str(CPU_SECONDS), str(PICTURES_PER_PROCESS))
        self._popen = subprocess.Popen(  # noqa: S603  our own interpreter and our own lines
            [find_python(), "-I", "-S", "-c", _BOOT, *limits, *sorted(folders)],
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

    def ask(self, *request: bytes, length: int) -> _Answer:
        """Send a request and return its answer, whose pixels are ``length`` bytes.

        Raises ``BrokenPipeError`` where the process ended before it had the whole request, ``EOFError`` where it
        ended later or its answer is not valid, and ``TimeoutError``.
        """
        deadline = time.monotonic() + DECODE_SECONDS
        for part in request:
            left = memoryview(part)
            while left:
                _wait(self._stdin, select.POLLOUT, deadline)
                try:
                    left = left[os.write(self._stdin.fileno(), left) :]
                except BlockingIOError:
                    continue
        promised, is_pixels, is_last = _HEADER.unpack(self._read(_HEADER.size, deadline))
        # A picture may have taken the process over: nothing that it says is trusted.
        if (promised != length) if is_pixels else (promised > _MAX_REJECTION):
            raise EOFError
        return _Answer(is_pixels, self._read(promised, deadline), is_last)

    def _read(self, length: int, deadline: float) -> bytes:
        chunks = []
        while length:
            _wait(self._stdout, select.POLLIN, deadline)
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
        """Close this fork's copies of the pipes: the process belongs to the parent and ends with the parent's."""
        self._popen.returncode = 0
        self._close()

    def _close(self) -> None:
        self._stdin.close()
        self._stdout.close()


class _Pool:
    """The decoder processes of this process."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(count_cores())
        self.idle: list[_Process] = []
        self._all: set[_Process] = set()

    def decode(self, data: bytes, size: int, limits: Limits, region: Region) -> bytes:
        request = (_REQUEST.pack(len(data), size, _LIMITS.index(limits), *region), data)
        length = size * size * 3
        with self._slots:
            process, keep = self._take(), False
            try:
                try:
                    answer = process.ask(*request, length=length)
                except BrokenPipeError:
                    # It ended before it had the whole picture, so for another reason: a new one decodes it.
                    self._drop(process)
                    process = self._start()
                    answer = process.ask(*request, length=length)
                if answer.is_pixels:
                    keep = not answer.is_last
                    return answer.payload
                rejected = _rejection(answer)
                keep = not answer.is_last and rejected.code != "decoder_crashed"
                raise rejected
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
                f"The decoder process cannot be started with {find_python()}: {type(error).__name__}: {error}.",
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


def _rejection(answer: _Answer) -> ImageRejected:
    code, _, message = answer.payload.decode(errors="replace").partition("\n")
    if code not in _DECODE_CODES:
        raise EOFError
    return ImageRejected(code, message)


def _wait(pipe: IO[bytes], event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1_000):
        raise TimeoutError


def find_python() -> str:
    """Return the path of this Python; under uWSGI and similar servers ``sys.executable`` is the server."""
    if "python" in Path(sys.executable or "").name:
        return sys.executable
    return str(Path(sys.exec_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))


def _environment() -> dict[str, str]:
    loader = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")  # some Pythons need them to start
    return {
        # A thread's stack and arena count as address space, even where nobody writes to them.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        **{name: os.environ[name] for name in loader if name in os.environ},
    }


def _renew_pool() -> None:
    global _pool
    inherited, _pool = _pool, _Pool()
    inherited.forget()


_pool = _Pool()
atexit.register(lambda: _pool.close())
os.register_at_fork(after_in_child=_renew_pool)
