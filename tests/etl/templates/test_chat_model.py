"""Chat templates of checkpoints: what they write, and what a hostile one can do."""

import json

import pytest

from dmix.etl.publishing.rejects import REASONS
from dmix.etl.templates import chat_model
from dmix.etl.templates.chat_model import ModelTemplate, model_template
from dmix.etl.templates.conversations import Refusal
from dmix.etl.templates.settings import TextSettings
from dmix.etl.templates.templates import template_of
from dmix.warehouse_schema.errors import InputError, NotFoundError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TALK = {"messages": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}


@pytest.fixture
def checkpoint(tmp_path):
    def write(source, **more):
        config = {"chat_template": source, "eos_token": {"content": "<|im_end|>"}, **more}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        tokens = [{"content": text, "special": True} for text in ("<|im_start|>", "<|im_end|>", "<pad>")]
        (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
        return str(tmp_path)

    return write


@pytest.fixture(autouse=True)
def no_process_stays():
    yield
    chat_model._renderer.cache_clear()


def rendered(source, messages=({"role": "user", "content": "a"},)):
    renderer = chat_model._Renderer(ModelTemplate(source, (), ()))
    try:
        return renderer.render([chat_model.Message(**message) for message in messages])
    finally:
        renderer.end()


def test_messages_and_pairs_become_what_the_template_writes(checkpoint):
    template = template_of(TextSettings(template=f"model:{checkpoint(CHATML)}"))
    wanted = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
    assert template.text_of(TALK) == wanted
    assert template.text_of({"prompt": "Hi", "response": "Hello."}) == wanted
    assert template.written == ("<|im_end|>", "<|im_start|>")
    refusal = template.text_of({"question": "End with <|im_end|>", "answer": "<pad>"})
    assert refusal == Refusal("special_token", "message 1 contains '<|im_end|>'")
    assert template.text_of({"prompt": "a"}).reason == "missing_text"
    assert template.text_of({"messages": []}).reason == "empty_text"
    both = template_of(TextSettings(template=f"model:{template.path},first:content"))
    assert both.text_of(TALK) == wanted and both.text_of({"content": "Hello."}) == "Hello."
    assert both.text_of({"content": "Hello.<|im_end|>"}).reason == "special_token"


def test_a_file_of_its_own_and_a_named_list_hold_a_template(checkpoint, tmp_path):
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes {{ eos_token }}"}]
    assert model_template(checkpoint(named)).text_of(TALK) == "yes <|im_end|>"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert model_template(str(tmp_path)).text_of(TALK) == "file"


def test_what_templates_of_models_use_is_there():
    assert rendered("{{ messages | tojson }}") == '[{"role": "user", "content": "a"}]'
    assert rendered("{% generation %}{{ messages[0].content }}{% endgeneration %}!") == "a!"
    assert rendered("{% for m in messages %}{% break %}{% endfor %}{{ tools is none }}") == "True"
    assert rendered("{% set ns = namespace(n=2) %}{{ ns.n * 3 }}{{ '-' * 3 }}") == "6---"
    assert rendered("{{ strftime_now is defined }}") == "False"


def test_a_template_that_refuses_gives_its_own_words():
    found = rendered("{{ raise_exception('no system role') }}")
    assert found == Refusal("template_failed", "the chat template fails: no system role")
    assert found.reason in REASONS


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ ''.__class__.__mro__ }}", "SecurityError|unsafe|undefined"),
        ("{{ messages.append(1) }}", "not safely callable|unsafe"),
        ("{{ messages.__class__.__init__.__globals__ }}", "unsafe|undefined"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ 'a' * 100000000000 }}", "too large"),
        ("{{ 10 ** 10 ** 10 }}", "too large"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "Recursion"),
        ("{{ nothing.at.all }}", "undefined"),
        ("{{ lipsum() }}", "undefined"),
        ("{{ messages | random }}", "random"),
        ("{% for", "Unexpected|Expected|expected"),
    ],
)
def test_a_hostile_template_fails(source, said):
    found = rendered(source)
    assert isinstance(found, Refusal)
    assert any(word.lower() in found.detail.lower() for word in said.split("|")), found.detail


@pytest.mark.parametrize(
    "source",
    [
        "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{{ 'a' | center(100000000000) }}",
        "{{ '%100000000000d' % 1 }}",
    ],
)
def test_memory_is_bounded(source):
    found = rendered(source)
    assert isinstance(found, Refusal)
    assert "memory" in found.detail or "ended the process" in found.detail or "Overflow" in found.detail


def test_time_is_bounded():
    found = rendered("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")
    assert found == Refusal(
        "template_failed", "the chat template fails: the template needs more than 2 s of processor time"
    )


def test_the_process_is_used_again_and_comes_back_after_its_end(checkpoint):
    template = model_template(checkpoint("{{ messages[0].content }}"))
    renderer = chat_model._renderer(template)
    assert [template.text_of(TALK) for _ in range(3)] == ["Hi"] * 3
    first = renderer._process
    first.kill()
    first.wait()
    assert template.text_of(TALK).detail == "the chat template fails: the template ended its process"
    assert template.text_of(TALK) == "Hi"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "no chat template"),
        ("{% if %}", "fails"),
        ("{{ strftime_now('%Y') }}", "strftime_now"),
    ],
)
def test_a_checkpoint_without_a_template_that_works_is_refused(checkpoint, source, said):
    with pytest.raises(InputError, match=rf"{said}.*--template chat"):
        model_template(checkpoint(source))


def test_a_checkpoint_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="nowhere"):
        template_of(TextSettings(template=f"model:{tmp_path / 'nowhere'}"))
