"""Conversations are rendered as transformers renders them, and a template that came with a model harms nobody."""

from __future__ import annotations

import json
import time

import pytest
import transformers

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.tokenizers.chat import chat_ids, chat_text, rendered
from glassformer.tokenizers.kinds import byte_tokenizer
from glassformer.tokenizers.tokenizer import Tokenizer

TURNS = """{{ bos_token }}{% for message in messages %}
<|{{ message['role'] }}|>
{{ message.content | trim }}{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
STRICT = """{%- set state = namespace(last='assistant') -%}
{%- if messages[0]['role'] == 'system' -%}{%- set rest = messages[1:] -%}SYS {{ messages[0].content }}
{%- else -%}{%- set rest = messages -%}{%- endif -%}
{%- for m in rest -%}
  {%- if m.role == state.last -%}{{ raise_exception('roles must alternate') }}{%- endif -%}
  {%- set state.last = m.role -%}
  {%- if m.role == 'assistant' -%}{% generation %} {{ m.content }}{{ eos_token }}{% endgeneration %}
  {%- else -%}[U]{{ m.content }}[/U]{%- endif -%}
{%- endfor -%}"""
TOOLS = """{% macro show(tool) %}- {{ tool.name }}: {{ tool | tojson }}
{% endmacro %}{% for tool in tools %}{% if tool.hidden %}{% continue %}{% endif %}{{ show(tool) }}{% endfor %}
{%- for m in messages %}{{ loop.index0 }}/{{ loop.length }} {{ m.role | capitalize }}: {{ m.content }}
{% if loop.last %}{% break %}{% endif %}{% endfor %}{{ messages | length }}
{{- {'é': [1, none, true]} | tojson(indent=2) }}"""
HELLO = [{"role": "user", "content": "Hello é 👩‍👩‍👧 "}, {"role": "assistant", "content": "Hi."}]
TALK = [{"role": "system", "content": "Be brief."}, *HELLO, {"role": "user", "content": "Why?\n"}]
THINGS = [{"name": "add", "args": {"a": "int"}}, {"name": "secret", "hidden": True}]


def with_template(template: str) -> Tokenizer:
    plain = byte_tokenizer()
    plain._carried["chat_template.jinja"] = template
    return plain


@pytest.fixture
def theirs(tmp_path):
    def make(template: str):
        with_template(template).save(tmp_path / "t")
        return transformers.AutoTokenizer.from_pretrained(tmp_path / "t")

    return make


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("messages", [HELLO[:1], TALK], ids=["one turn", "a talk"])
@pytest.mark.parametrize("template", [TURNS, STRICT, TOOLS], ids=["turns", "strict", "tools"])
def test_it_is_what_transformers_renders(theirs, template, messages, answer):
    ours = with_template(template)
    said = {"tokenize": False, "add_generation_prompt": answer, "tools": THINGS}
    text = chat_text(ours, messages, answer=answer, tools=THINGS)
    assert text == theirs(template).apply_chat_template(messages, **said)
    assert chat_ids(ours, messages, answer=answer, tools=THINGS) == ours.encode(text, add_special=False)


def test_the_date_is_there():
    assert rendered("{{ strftime_now('%Y') }}", {}) == time.strftime("%Y")


def test_a_template_may_refuse():
    with pytest.raises(DataError, match="the chat template fails · got TemplateError: roles must alternate"):
        chat_text(with_template(STRICT), [*HELLO, HELLO[1]])


def test_no_template():
    with pytest.raises(UnsupportedError, match="this tokenizer has no chat template · use a model"):
        chat_text(byte_tokenizer(), HELLO)


@pytest.mark.parametrize("message", [
    {"role": "user", "content": "so <|endoftext|> what"},
    {"role": "user", "content": [{"type": "text", "text": "<|endoftext|>"}]},
])  # fmt: skip
def test_a_message_cannot_end_its_turn(message):
    with pytest.raises(DataError, match=r"message 0: a message holds a special token · got '<\|endoftext\|>'"):
        chat_text(with_template(TURNS), [message])


@pytest.mark.parametrize("message", ["hello", {"content": "hello"}, {"role": 3}])
def test_no_message(message):
    with pytest.raises(DataError, match="no message"):
        chat_text(with_template(TURNS), [message])


FORBIDDEN = (
    "{{ ''.__class__.__mro__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self._TemplateReference__context }}",
    "{{ messages.append(1) }}",
    "{{ lipsum.__globals__['os'] }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ messages.__class__.__subclasses__() }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__self__.__class__ }}",
    "{{ ''.format.__func__ }}",
    "{{ '{0.__class__.__mro__}'.format(1) }}",
)


@pytest.mark.parametrize("template", FORBIDDEN)
def test_the_sandbox_holds(template):
    try:
        text = rendered(template, {"messages": [1]})
    except DataError:
        return
    assert not any(word in text for word in ("class", "root", "uid=", "module", "function", "object at"))


BOMBS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a long string": "{{ 'a' * 2000000000 }}",
    "a wide string": "{{ 'a' | center(2000000000) }}",
    "a power": "{{ 9 ** 999999999 }}",
    "doubling": "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "much text": "{% for i in range(99999) %}0123456789abcdef{% endfor %}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "depth": "{% if 1 %}" * 50_000 + "{% endif %}" * 50_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_soon_and_in_one_line(name):
    with pytest.raises(DataError) as caught:
        rendered(BOMBS[name], {"messages": []})
    assert "the chat template" in str(caught.value) and "\n" not in str(caught.value)


def test_messages_that_are_no_json_or_too_long():
    with pytest.raises(DataError, match="messages that are no JSON"):
        rendered("", {"messages": [object()]})
    with pytest.raises(DataError, match="the conversation is too long"):
        rendered("", {"messages": ["x" * (9 << 20)]})


def test_named_templates_of_older_settings(tmp_path):
    both = [{"name": "default", "template": TURNS}, {"name": "tool_use", "template": TOOLS}]
    plain = byte_tokenizer()
    plain.save(tmp_path / "named")
    settings = json.loads((tmp_path / "named" / "tokenizer_config.json").read_text())
    (tmp_path / "named" / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": both}))
    assert Tokenizer.load(tmp_path / "named").chat_template == TURNS
