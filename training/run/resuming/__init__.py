"""Where a run resumes, in the order of the calls.

`training/run/launch.py::resume_run` reads the run, `run.py::train` builds it again,
`checkpoint_files.py::choose_checkpoint` takes the newest whole checkpoint, `differences.py` compares and
applies changed settings, and `callback.py::load_state_dict` restores mixture, plan and controller.
"""
