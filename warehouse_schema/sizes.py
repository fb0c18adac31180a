"""Sizes of files and texts, as people read them."""


def size_text(size_bytes: float) -> str:
    """A size in the unit that gives it one to three digits: 950 B, 4.2 kB, 17.0 MB, 2.1 GB."""
    if size_bytes < 1e3:
        return f"{size_bytes:.0f} B"
    for unit, step in (("kB", 1e3), ("MB", 1e6)):
        # what would be rounded to 1,000.0 has the next unit
        if size_bytes < 999.95 * step:
            return f"{size_bytes / step:.1f} {unit}"
    return f"{size_bytes / 1e9:,.1f} GB"
