"""The report: one HTML file about runs and their data that opens without a network.

    queries/    what the catalog says (`reader.py`, `run_facts.py`, …), numbers made of it (`series.py`,
                `seeds.py`), runs that can be compared (`judged.py`), and what an agent did (`story.py`)
    figures/    plotly figures (`*_figures.py`) in panels with choices (`charts.py`)
    page/       Jinja2 templates that escape all text, HTML tables, sections, the whole page, and `build.py`,
                which reads, draws and publishes

Only the catalog's public views are read (and the fits that RegMix keeps), so a run under way can be
reported too. Colours are names of CSS variables (`assets/report.css`) in every figure, so that the reader's
system chooses light or dark in one place.
"""

from dmix.training.report.page.build import Report, write_report
from dmix.training.report.page.watch import watch_report

__all__ = ["Report", "watch_report", "write_report"]
