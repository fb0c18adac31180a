"""How errors of torch and of the system say that memory ran out."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the GPU or in the process."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "can't allocate memory", "Cannot allocate memory", "std::bad_alloc")
    return isinstance(error, RuntimeError | OSError) and any(word in str(error) for word in words)
