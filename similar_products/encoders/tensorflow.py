"""Models that TensorFlow computes: where LiteRT cannot, and once to be converted. Nothing here imports it by itself."""

import importlib
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import EncoderError, first_line

_is_used = False
_forked_with_tensorflow = False


class TensorFlowModel:
    """A function from a tensor ``[n, s, s, 3]`` to one ``[n, d]``; never called across a fork.

    ``image_size`` is the side that the model declares, if it does. ``origin`` is what the function's variables live
    in, which TensorFlow does not keep for it.
    """

    takes_pixels = False
    dimensions = None

    def __init__(self, function: Callable[[Any], Any], *, image_size: int | None, origin: object) -> None:
        self.function = function
        self.image_size = image_size
        self._origin = origin

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        _refuse_after_fork()
        tensorflow = importlib.import_module("tensorflow")
        return np.asarray(self.function(tensorflow.constant(pictures)), dtype=np.float32)


def import_tensorflow(package: str, *, wanted_by: str) -> Any:
    """Return a package that runs on TensorFlow, imported; raise ``EncoderError`` with the remedy where it cannot be."""
    global _is_used
    _refuse_after_fork()
    # TensorFlow writes notices to standard error at its start; a value that is set already stays.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources announces its own end
            importlib.import_module("tensorflow")
            found = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == "pkg_resources":
            raise EncoderError(
                "tensorflow-hub needs pkg_resources, which setuptools 81 removed: run pip install 'setuptools<81'."
            ) from error
        raise EncoderError(
            f"{wanted_by} needs the package {error.name}, which is not installed: run "
            "pip install 'django-similar-products[tensorflow]'."
        ) from error
    except Exception as error:  # a broken installation raises whatever it likes
        raise EncoderError(
            f"TensorFlow is installed, but cannot be imported: {type(error).__name__}: {first_line(error)} Install it "
            "anew with pip install --force-reinstall 'django-similar-products[tensorflow]'."
        ) from error
    _is_used = True
    return found


def _refuse_after_fork() -> None:
    if _forked_with_tensorflow:
        raise EncoderError(
            "TensorFlow was used in this process's parent before it forked, and would hang here without "
            "an error. Embed after the fork only: leave out gunicorn's --preload, or set "
            "SIMILAR_PRODUCTS['EMBED_ON_SAVE'] to 'off' and run embed_products on its own."
        )


def _mark_forked() -> None:
    global _forked_with_tensorflow
    _forked_with_tensorflow = _is_used


os.register_at_fork(after_in_child=_mark_forked)
