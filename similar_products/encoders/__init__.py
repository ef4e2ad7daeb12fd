"""Encoders turn pixels into unit vectors. They know nothing of Django models."""

from .base import Encoder, EncoderError, get_encoder, load_model
from .histogram import ColorHistogramEncoder
from .keras import KerasEncoder
from .tfhub import TFHubEncoder

__all__ = [
    "ColorHistogramEncoder",
    "Encoder",
    "EncoderError",
    "KerasEncoder",
    "TFHubEncoder",
    "get_encoder",
    "load_model",
]
