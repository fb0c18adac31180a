"""dmix: continual pre-training whose data mixture a learned agent steers."""

__version__ = "0.1.0"
