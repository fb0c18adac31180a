"""The report: one HTML file about runs and their data that opens without a network.

    facts.py     what the catalog says about corpora, datasets and runs
    series.py    numbers made of it: shares, tokens so far, final scores
    bands.py     which domains get an area and a colour of their own
    figures.py   plotly figures of the numbers; every choice that a reader has is a variant
    markup.py    HTML that escapes by construction
    tables.py    HTML tables
    sections.py  the parts of the page: runs side by side, one run, data
    page.py      the whole page with style, script and figures inside
    build.py     reads, draws and publishes

Only the catalog's public views are read, so a run under way can be reported too. Colours are
names of CSS variables (`assets/report.css`) in every figure, so that light and dark are chosen
by the reader's system in one place.
"""

from dmix.training.report.build import Report, write_report

__all__ = ["Report", "write_report"]
