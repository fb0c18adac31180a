"""dmix: continual pre-training whose data mixture a learned agent steers."""

__all__ = ["__version__"]

__version__ = "0.1.0"
