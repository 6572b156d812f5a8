from .deviation import Deviation

__all__ = ["Deviation"]
