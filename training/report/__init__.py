"""The report: one HTML file about runs and their data that opens without a network.

    reader.py             how the catalog is asked
    run_facts.py, data_facts.py, farm_facts.py, optimum.py    what the catalog says
    series.py, seeds.py   numbers made of it: shares, tokens so far, final scores, means over seeds
    judged.py, story.py   runs as groups that can be compared; what an agent did, in sentences
    summary.py            what a reader wants to know first, and what to do next
    bands.py              which domains get an area and a colour of their own
    charts.py             panels: every choice that a reader has is a variant
    run_figures.py and the other *_figures.py    plotly figures
    templates.py          Jinja2 templates that escape all text (templates/)
    tables.py, run_tables.py, data_tables.py                  HTML tables
    parts.py, run_sections.py, data_sections.py               the parts of the page
    page.py               the whole page with style, script and figures inside
    build.py              reads, draws and publishes
    watch.py              does so again and again while a run goes on

Only the catalog's public views are read (and the fits that RegMix keeps), so a run under way can be
reported too. Colours are
names of CSS variables (`assets/report.css`) in every figure, so that light and dark are chosen
by the reader's system in one place.
"""

from dmix.training.report.page.build import Report, write_report
from dmix.training.report.page.watch import watch_report

__all__ = ["Report", "watch_report", "write_report"]
