from harness.store_case import case

__all__ = ["case"]
