import fcntl
import io
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from similar_products.pictures import process as decoder_process
from similar_products.pictures.decoder import ImageRejected, decode
from similar_products.pictures.limits import CATALOGUE, PUBLIC
from similar_products.pictures.process import decode_isolated
from tests.drawn_pictures import picture_bytes

SIZE = 32
STRIPES = picture_bytes("red", "lime", "blue")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc or holds processes by pidfd")


@pytest.fixture(autouse=True)
def pool(monkeypatch) -> Iterator[decoder_process._Pool]:
    """Start each test without decoder processes, with two of them allowed."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    fresh = decoder_process._Pool()
    monkeypatch.setattr(decoder_process, "_pool", fresh)
    yield fresh
    fresh.close()


def decoded(data: bytes = STRIPES) -> bytes:
    return decode_isolated(data, SIZE, CATALOGUE)


def rejected(data: bytes = STRIPES, *, by=decode_isolated, limits=CATALOGUE) -> ImageRejected:
    with pytest.raises(ImageRejected) as caught:
        by(data, SIZE, limits)
    assert str(caught.value).endswith(".")
    return caught.value


def only_process(pool) -> decoder_process._Process:
    decoded()
    [process] = pool.idle
    return process


def is_gone(pid: int) -> bool:
    """Return whether ``pid`` is neither running nor a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@contextmanager
def stopped(process) -> Iterator[None]:
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if not is_gone(process.pid):
            os.kill(process.pid, signal.SIGCONT)


def wait_until_sent(process, length: int) -> None:
    """Return when the stopped ``process`` has ``length`` bytes in its pipe: whoever sent them waits for an answer."""
    arrived = 0
    while arrived < length:
        arrived = struct.unpack("i", fcntl.ioctl(process._stdin, termios.FIONREAD, b"    "))[0]


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


# What comes back.


@pytest.mark.parametrize(
    "data",
    [
        STRIPES,
        picture_bytes("red", "navy", size=(900, 700), format="JPEG", quality=60),
        picture_bytes("red", "navy", size=(900, 700), format="JPEG", progressive=True),
        picture_bytes("red", "navy", format="WEBP", quality=50),
        picture_bytes("red", "navy", format="AVIF", quality=50),
        picture_bytes("red", "navy", format="GIF"),
        picture_bytes("red", "navy", format="BMP"),
        saved(Image.radial_gradient("L").convert("I;16"), "PNG"),
        saved(Image.radial_gradient("L").convert("LA"), "PNG"),
        saved(Image.radial_gradient("L").convert("CMYK"), "TIFF"),
        saved(Image.radial_gradient("L").convert("F"), "TIFF"),
    ],
    ids=["png", "jpeg", "progressive", "webp", "avif", "gif", "bmp", "16 bit", "alpha", "cmyk", "float"],
)
def test_pixels__are_those_of_decoding_here(data):
    assert decode_isolated(data, SIZE, CATALOGUE) == decode(data, SIZE, CATALOGUE)


@pytest.mark.parametrize("limits", [CATALOGUE, PUBLIC])
@pytest.mark.parametrize("data", [b"no picture", STRIPES[:100], saved(Image.new("1", (16_385, 1)), "PNG")])
def test_rejections__are_those_of_decoding_here(data, limits):
    here, there = rejected(data, by=decode, limits=limits), rejected(data, limits=limits)
    assert (here.code, str(here)) == (there.code, str(there))


def test_next_picture__goes_to_the_same_process(pool):
    process = only_process(pool)
    rejected(b"no picture")
    decoded()
    assert pool.idle == [process]


def test_large_file__passes_the_pipes():
    data = saved(Image.effect_noise((1800, 1800), 90).convert("RGB"), "BMP")
    assert len(data) > 9_000_000
    assert decoded(data) == decode(data, SIZE, CATALOGUE)


def test_sixteen_bits_of_fifty_megapixels__fit_into_the_process(pool):
    data = saved(Image.linear_gradient("L").convert("I;16").resize((7_000, 7_000)), "PNG", compress_level=1)
    assert len(decoded(data)) == SIZE * SIZE * 3


# What goes wrong.


@on_linux
def test_killed_in_a_picture__is_one_failure_and_the_next_works(pool):
    process = only_process(pool)
    with ThreadPoolExecutor(1) as thread, stopped(process):
        failure = thread.submit(rejected)
        wait_until_sent(process, decoder_process._REQUEST.size + len(STRIPES))
        os.kill(process.pid, signal.SIGKILL)
        assert failure.result().code == "decoder_crashed"
    assert decoded() == decode(STRIPES, SIZE, CATALOGUE)
    assert is_gone(process.pid)


def test_killed_between_pictures__costs_no_picture(pool):
    process = only_process(pool)
    os.kill(process.pid, signal.SIGKILL)
    process._popen.wait()
    assert decoded() == decode(STRIPES, SIZE, CATALOGUE)
    assert [other.pid for other in pool.idle] != [process.pid]


def test_hanging__is_one_failure_and_the_next_works(pool, monkeypatch):
    process = only_process(pool)
    with stopped(process), monkeypatch.context() as patch:
        patch.setattr(decoder_process, "DECODE_SECONDS", 0.05)
        error = rejected()
    assert (error.code, str(error)) == ("decode_timeout", "The picture takes more than 0.05 seconds to decode.")
    assert decoded() == decode(STRIPES, SIZE, CATALOGUE)
    assert is_gone(process.pid)


def test_hanging_before_it_has_read_the_file__is_a_timeout_too(pool, monkeypatch):
    process = only_process(pool)
    with stopped(process), monkeypatch.context() as patch:
        patch.setattr(decoder_process, "DECODE_SECONDS", 0.05)
        assert rejected(b"x" * 1_000_000).code == "decode_timeout"


@on_linux  # macOS keeps no limit on memory
def test_too_much_memory__is_one_failure_and_the_next_works(pool):
    # 196 MB as it lies, as much again with alpha, and as much again premultiplied.
    large = saved(Image.new("RGB", (16_384, 3_000), "red"), "PNG", compress_level=1, transparency=(1, 2, 3))
    process = only_process(pool)
    error = rejected(large)
    assert (error.code, str(error)) == ("decoder_crashed", "The picture takes more than 512 MB of memory to decode.")
    assert decoded() == decode(STRIPES, SIZE, CATALOGUE)
    assert is_gone(process.pid)


@on_linux
@pytest.mark.slow
def test_webp_beyond_the_memory__is_not_called_damaged():
    image = Image.new("RGB", (6_600, 6_600))
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    assert rejected(saved(image, "WEBP", method=0, quality=0)).code == "decoder_crashed"


@on_linux
def test_interrupted__leaves_no_process_behind_in_mid_answer(pool):
    process = only_process(pool)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    def interrupt_when_sent():
        wait_until_sent(process, decoder_process._REQUEST.size + len(STRIPES))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ThreadPoolExecutor(1) as thread, stopped(process), pytest.raises(KeyboardInterrupt):
            thread.submit(interrupt_when_sent)
            decoded()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert is_gone(process.pid)
    other = picture_bytes("blue", "white")
    assert decoded(other) == decode(other, SIZE, CATALOGUE)


@pytest.mark.parametrize(
    "answer",
    [
        struct.pack("!I??", 3, True, False) + b"abc",
        struct.pack("!I??", 2**31, False, False) + b"corrupt\nendless.",
        struct.pack("!I??", 18, False, False) + b"storage_error\nNo .\n",
        b"\xff",
    ],
    ids=["few pixels", "endless rejection", "a code of others", "half a header"],
)
def test_nonsense_from_the_process__is_a_crash(monkeypatch, pool, answer):
    lines = f"import sys; sys.stdout.buffer.write({b'R' + answer!r}); sys.stdout.flush(); sys.stdin.buffer.read(100)"
    monkeypatch.setattr(decoder_process, "_BOOT", lines)
    assert rejected().code == "decoder_crashed"
    assert not pool.idle


@pytest.mark.parametrize("boot", ["raise SystemExit", "print('Hello', flush=True)"])
def test_process_that_does_not_get_ready__is_nobodys_picture(monkeypatch, boot):
    monkeypatch.setattr(decoder_process, "_BOOT", boot)
    error = rejected()
    assert error.code == "decoder_unavailable"
    assert str(error).startswith(f"The decoder process cannot be started with {sys.executable}: EOFError")


def test_process_that_takes_for_ever_to_start__is_given_up(monkeypatch):
    monkeypatch.setattr(decoder_process, "_BOOT", "import sys; sys.stdin.read()")
    monkeypatch.setattr(decoder_process, "START_SECONDS", 0.05)
    assert rejected().code == "decoder_unavailable"


def test_interpreter_that_is_not_there__is_nobodys_picture(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert rejected().code == "decoder_unavailable"


@pytest.mark.parametrize("executable", ["/usr/sbin/uwsgi", "", None])
def test_server_as_interpreter__is_not_started(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    assert decoded() == decode(STRIPES, SIZE, CATALOGUE)


# How many there are, and how long they live.


@on_linux
def test_threads__do_not_wait_for_each_other(pool):
    process = only_process(pool)
    with ThreadPoolExecutor(1) as thread:
        with stopped(process):
            slow = thread.submit(decoded)
            wait_until_sent(process, decoder_process._REQUEST.size + len(STRIPES))
            assert decoded() == decode(STRIPES, SIZE, CATALOGUE)
            assert not slow.done()
        assert slow.result() == decode(STRIPES, SIZE, CATALOGUE)
    assert len(pool.idle) == 2


def test_many_threads__share_as_many_processes_as_there_are_cores(pool):
    pictures = [picture_bytes(color, "white") for color in ("red", "lime", "blue", "navy")] * 8
    started = threading.Barrier(16)

    def work(data: bytes) -> bytes:
        started.wait()
        return decoded(data)

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(work, pictures)) == [decode(data, SIZE, CATALOGUE) for data in pictures]
    assert 1 <= len(pool.idle) <= 2
    assert set(pool.idle) == pool._all


def test_process__is_replaced_after_its_share_of_pictures(monkeypatch, pool):
    monkeypatch.setattr(decoder_process, "PICTURES_PER_PROCESS", 2)
    process = only_process(pool)
    decoded()
    assert not pool.idle
    assert is_gone(process.pid)
    assert only_process(pool).pid != process.pid


def test_process__is_replaced_after_half_its_processor_time(monkeypatch, pool):
    monkeypatch.setattr(decoder_process, "CPU_SECONDS", 1)
    slow = picture_bytes("red", "lime", size=(2_000, 2_000))
    process = only_process(pool)
    while pool.idle:
        assert pool.idle == [process]
        decoded(slow)  # would be rejected were the process left to be killed by its limit
    assert is_gone(process.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_for_the_whole_service__leave_the_picture_to_be_finished(pool, number):
    process = only_process(pool)
    os.kill(process.pid, number)
    decoded()
    assert pool.idle == [process]


# What a picture that takes the process over would find.


@on_linux
def test_process__has_limits(pool):
    pid = only_process(pool).pid
    assert {limit: resource.prlimit(pid, limit) for limit in (resource.RLIMIT_AS, resource.RLIMIT_CPU)} == {
        resource.RLIMIT_AS: (512 * 1024 * 1024,) * 2,
        resource.RLIMIT_CPU: (60, 60),
    }
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (16, 16)


@on_linux
def test_process__inherits_nothing(pool, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgres://shop:secret@db/shop")
    with (tmp_path / "open").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        proc = Path("/proc", str(only_process(pool).pid))
    assert sorted(path.name for path in (proc / "fd").iterdir()) == ["0", "1", "2"]
    variables = {line.split(b"=")[0] for line in (proc / "environ").read_bytes().split(b"\0") if line}
    assert variables <= {b"OPENBLAS_NUM_THREADS", b"OMP_NUM_THREADS", b"MALLOC_ARENA_MAX", b"LD_LIBRARY_PATH"}
    assert (proc / "cwd").readlink() == Path("/")
    assert os.getsid(int(proc.name)) == int(proc.name)
    assert (proc / "cmdline").read_bytes().split(b"\0")[1:3] == [b"-I", b"-S"]  # no user's nor site's hooks


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("module", ["decoder", "process"])
def test_decoder__imports_neither_django_nor_numpy(module):
    roots = "{name.partition('.')[0] for name in sys.modules}"
    heavy = "{'django', 'numpy', 'tensorflow'}"
    done = run_python(f"import sys, similar_products.pictures.{module}; print({roots} & {heavy})")
    assert (done.stdout, done.stderr) == ("set()\n", "")


# With other processes.

PIDS = """
import os, sys
from pathlib import Path
from similar_products.pictures import process
from similar_products.pictures.limits import CATALOGUE
def pid():
    process.decode_isolated(Path(sys.argv[1]).read_bytes(), 8, CATALOGUE)
    return process._pool.idle[0].pid
"""

FORKS = """
mine = pid()
reading, writing = os.pipe()
if not os.fork():
    os.write(writing, f"{pid()}".encode())
    os._exit(0)
os.wait()
print(mine, int(os.read(reading, 100)), pid())
"""

FORK_LIVES_ON = """
print(pid(), flush=True)
if not os.fork():
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
os.wait()
"""


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "picture.png"
    path.write_bytes(STRIPES)
    return str(path)


def test_fork__has_processes_of_its_own(file):
    done = run_python(PIDS + FORKS, file)
    assert done.stderr == ""
    mine, of_the_fork, mine_later = done.stdout.split()
    assert mine == mine_later != of_the_fork


def test_exit__ends_the_processes(file):
    done = run_python(PIDS + "print(pid())", file)
    assert done.stderr == ""
    assert is_gone(int(done.stdout))


@on_linux
def test_kill__ends_the_processes_though_a_fork_lives_on(file):
    command = [sys.executable, "-c", PIDS + FORK_LIVES_ON, file]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        descriptor = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert parent.stdout.readline() == "forked\n"
            parent.kill()
            ended, _, _ = select.select([descriptor], [], [], 30)
            assert ended
        finally:
            os.close(descriptor)
