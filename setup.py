"""What `setup.cfg` cannot say: the compiled loops of the classifier.

Without a C compiler the installation goes on, and NumPy does their work (`etl/classifiers/loops.py`).
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "dmix.etl.classifiers._loops",
            ["etl/classifiers/loops.c"],
            extra_compile_args=["-O3"],
            optional=True,
        )
    ]
)
