"""The converted models in the cache folder, and the process that makes them, which alone imports TensorFlow."""

import fcntl
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Protocol, cast

from ..conf import get_settings
from ..pictures.gate import Pixels
from ..pictures.process import find_python
from .base import EncoderError, Vectors, first_line
from .litert import LiteRTModel
from .tensorflow import TensorFlowModel

_CONVERTS = "SIMILAR_PRODUCTS_CONVERTS"
"""Set in the process that converts: where a shop's start asks for a conversion, it would wait there for itself."""


class Convertible(Protocol):
    """What is asked of an encoder whose model is converted."""

    source: str
    scaling: str
    batch_size: int

    @property
    def conversion_key(self) -> str: ...
    @property
    def image_size(self) -> int: ...

    def read(self) -> TensorFlowModel: ...
    def check_unchanged(self) -> None: ...
    def use(self, model: TensorFlowModel | LiteRTModel) -> None: ...
    def encode(self, pixels: Pixels) -> Vectors: ...


def get_folder() -> Path:
    """Return the folder with the converted models: the settings' ``MODEL_CACHE``, or one in the user's cache folder."""
    if folder := get_settings().model_cache:
        return folder
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "similar_products")
    except RuntimeError as error:  # in a container, of a user that the system does not know
        raise EncoderError(
            "There is no folder for converted models, because this user has no home folder: set "
            "SIMILAR_PRODUCTS['MODEL_CACHE'] to one that it may write to."
        ) from error


def find(key: str) -> Path | None:
    """Return the converted model that is kept under ``key``; a file that is not whole does not count.

    Its name ends in a digest of its bytes.
    """
    for file in sorted(get_folder().glob(f"{slug(key)}.*.tflite")):
        try:
            content = file.read_bytes()
        except OSError:
            continue
        if file.name == file_name(key, content):
            return file
    return None


def find_refusal(key: str) -> str:
    """Return why the model under ``key`` could not be converted; '' where nobody has tried."""
    try:
        return refusal_file(get_folder(), key).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_known(key: str) -> bool:
    """Return whether the model under ``key`` has been converted, or found to be one that cannot be."""
    return bool(find(key) or find_refusal(key))


def convert(encoder: Convertible, on_step: Callable[[str], object]) -> None:
    """Convert the encoder's model and keep it, or keep why LiteRT cannot run it; do nothing where that is known.

    Of several processes one converts and the others wait for it. The file is written whole or not at all. Raises
    ``EncoderError`` where TensorFlow cannot read the model either.
    """
    folder, key = get_folder(), encoder.conversion_key
    if _CONVERTS in os.environ:
        raise EncoderError("load_model() was called while apps are set up: call it in the server's hook after that.")
    with _locked(folder, key):
        if not is_known(key):
            for left in folder.glob(f".{slug(key)}.*.partial"):  # of a process that was killed
                left.unlink(missing_ok=True)
            _run({"encoder": encoder, "folder": folder}, on_step)


def quantize(encoder: Convertible, pixels: Pixels, file: Path, on_step: Callable[[str], object]) -> float:
    """Write the encoder's model to ``file`` with weights and results in 8 bits; return the mean cosine to its vectors.

    ``pixels``, uint8 ``[n, image_size, image_size, 3]``, are pictures as the shop has them: from what the model makes
    of them follows the range of each of its results. The file takes pixels as they are. Raises ``EncoderError``.
    """
    return float(_run({"encoder": encoder, "file": file, "pixels": pixels}, on_step))


@contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f"{slug(key)}.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise EncoderError(
            f"The converted model cannot be written to {folder}: {error.strerror}. Set SIMILAR_PRODUCTS['MODEL_CACHE'] "
            "to a folder that this user may write to."
        ) from error
    with lock:
        yield


def _run(job: dict[str, Any], on_step: Callable[[str], object]) -> str:
    """Do ``job`` in a process of its own, tell its steps to ``on_step`` and return its result."""
    source = job["encoder"].source
    with tempfile.TemporaryFile() as errors, _started(job, errors) as process:
        try:
            for line in cast("IO[bytes]", process.stdout):
                kind, text = json.loads(line)
                if kind == "step":
                    on_step(text)
                elif kind == "error":
                    raise EncoderError(text)
                else:
                    return str(text)
        except BaseException:
            process.kill()
            raise
        process.wait()
        errors.seek(0)
        last = (errors.read().decode(errors="replace").strip().splitlines() or ["it gave no reason"])[-1]
    if process.returncode < 0:
        reason = f"was killed by signal {-process.returncode}, probably because memory ended: run the command again."
    else:
        reason = f"ended with the exit code {process.returncode}: {first_line(last)}"
    raise EncoderError(f"The process that converts the model {source} {reason}")


def _started(job: dict[str, Any], errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Return the process that converts, with ``job`` on its standard input."""
    with tempfile.TemporaryFile() as given:
        try:
            pickle.dump(job, given)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise EncoderError(
                f"The encoder of the model {job['encoder'].source} cannot be given to the process that converts: "
                f"{first_line(error)} Define its class in a module, and keep no open files or locks in it."
            ) from error
        given.seek(0)
        return subprocess.Popen(  # noqa: S603  our own interpreter and our own module
            [find_python(), "-P", "-m", f"{__package__}.converter"],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
                _CONVERTS: "1",
            },
        )


def slug(key: str) -> str:
    """Return ``key`` as the beginning of a file's name; two keys never give the same one."""
    return f"{re.sub(r'[^A-Za-z0-9-]+', '_', key)[-80:]}-{hashlib.blake2b(key.encode(), digest_size=4).hexdigest()}"


def file_name(key: str, content: bytes) -> str:
    return f"{slug(key)}.{hashlib.blake2b(content, digest_size=8).hexdigest()}.tflite"


def refusal_file(folder: Path, key: str) -> Path:
    """Return the file that says why LiteRT cannot run a model; another version of TensorFlow may convert it."""
    try:
        converter = version("tensorflow")
    except PackageNotFoundError:
        converter = "any"
    return folder / f"{slug(key)}.refused-by-{converter}.txt"
