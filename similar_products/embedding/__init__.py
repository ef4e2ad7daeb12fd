from .run import embed

__all__ = ["embed"]
