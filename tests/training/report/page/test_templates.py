import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from dmix.training.report.page.templates import joined, part


def test_templates_escape_text_and_leave_markup():
    content = part("folded", title="a<b", content=Markup("<b>&amp;</b>"), anchor='"x"')
    assert content == '<details id="&#34;x&#34;"><summary>a&lt;b</summary><b>&amp;</b></details>'


def test_joined_contents_are_escaped_too():
    assert joined([Markup("<p>"), "<"]) == "<p>\n&lt;"


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError):
        part("next_steps", advice=[{"reason": "no command"}])
