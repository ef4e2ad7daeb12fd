"""Encoders turn pixels into unit vectors. They know nothing of Django models."""

from .base import Encoder, EncoderError, get_encoder
from .histogram import ColorHistogramEncoder
from .tfhub import TFHubEncoder

__all__ = ["ColorHistogramEncoder", "Encoder", "EncoderError", "TFHubEncoder", "get_encoder"]
