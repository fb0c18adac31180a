from dmix.training import ctrl_c

__all__ = ["ctrl_c"]
