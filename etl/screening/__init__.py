"""Searches of label files: exact duplicates (`duplicates`) and evaluation items (`contamination`)."""
