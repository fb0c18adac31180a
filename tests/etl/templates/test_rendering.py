"""A template in its sandbox: what transformers offers, and nothing that a stranger should have."""

import signal

import pytest
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError

from dmix.etl.templates.rendering import bounded, compiled, render

MESSAGES = [{"role": "user", "content": "ä"}, {"role": "assistant", "content": "b"}]


def rendered(source, messages=MESSAGES, **tokens):
    return render(compiled(source), messages, tokens)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m['content'] }}|{% endfor %}", "user: ä|assistant: b|"),
        ("{{ eos_token }}", "</s>"),
        ("{% generation %}x{% endgeneration %}", "x"),
        ("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.content }}{% endfor %}", "ä"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "ä"}'),
        ("{{ add_generation_prompt }} {{ tools }}", "False None"),
        ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
    ],
)
def test_what_templates_of_models_use_is_there(source, text):
    assert rendered(source, eos_token="</s>") == text


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{{ ''.__class__.mro() }}", SecurityError),
        ("{{ messages.append(1) }}", SecurityError),
        ("{{ 'x' * 10000000 }}", SecurityError),
        ("{{ 9 ** 9 }}", SecurityError),
        ("{{ raise_exception('roles must alternate') }}", TemplateError),
        ("{{ lipsum() }}", UndefinedError),
        ("{{ strftime_now('%Y') }}", UndefinedError),
        ("{{ messages | random }}", TemplateError),
        ("{% for %}", TemplateError),
    ],
)
def test_what_a_stranger_should_not_have_is_refused(source, error):
    with pytest.raises(error):
        rendered(source)


def test_products_below_the_bound_are_made():
    assert rendered("{{ 'ab' * 3 }} {{ 6 * 7 }}") == "ababab 42"


def test_the_timer_stops_with_the_block(monkeypatch):
    set_, limits = [], []
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: set_.append(seconds))
    monkeypatch.setattr("resource.setrlimit", lambda which, given: limits.append(given[0]))
    for size in (10, 25 << 20):
        with pytest.raises(ValueError, match="x"), bounded(size):
            raise ValueError("x")
    # two seconds, and as many again for each ten megabytes
    assert set_ == [2.0, 0, 6.0, 0]
    assert limits[1] - limits[0] == 12 * ((25 << 20) - 10)
