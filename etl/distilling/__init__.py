"""A fast classifier that learns the labels of a slow one; `distil` is the job, `agreement` its report."""
