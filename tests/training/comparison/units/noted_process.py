"""A task of a queue that notes where it runs; alone in its file, since a worker imports all of it."""

import json
import os


def note_process(unit, paths, loaded, commit):
    """In place of `execute`: writes its parent's id, its threads and its commit into a file."""
    import torch

    noted = [os.getppid(), torch.get_num_threads(), os.environ["RAYON_NUM_THREADS"], commit]
    (paths.work / unit.unit_id).write_text(json.dumps(noted))
    return 1.0, ""
