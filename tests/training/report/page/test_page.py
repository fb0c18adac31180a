from tests.training.report.fixtures import HOSTILE, report_page


def test_page_needs_no_network(page):
    assert page.outside == []
    assert not {"link", "iframe", "img", "object"} & set(page.tags)
    assert "@import" not in page.html.split("<script")[0]
    assert any(content.startswith("default-src 'none'") for content in page.meta)


def test_plotly_stands_once_in_the_page_and_every_figure_has_its_place(page):
    assert {"overview", "run-one", "data"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert len(page.scripts) == 3
    assert set(page.figures) <= set(page.ids)
    assert "prefers-color-scheme: dark" in page.html


def test_text_of_users_cannot_become_markup(page):
    assert HOSTILE not in page.html
    assert len(page.scripts) == 3
    assert "b" not in page.tags
    names = [t["name"] for t in page.figures["run-one-domains"][0]["asked|areas"]["data"]]
    assert "source: Science &amp; &lt;b&gt;Maths&lt;/b&gt;" in names


def test_page_without_figures_goes_without_plotly(bare_warehouse, tmp_path):
    page = report_page(bare_warehouse, tmp_path)
    assert page.figures == {}
    assert len(page.html) < 100_000


def test_page_of_a_finished_run_does_not_load_itself_anew(page):
    assert "live" not in page.ids
