"""Writes conversations.jsonl: random conversations and the text that Jinja2 makes of them.

    pip install jinja2 && python3 make_conversations.py DATA [--count N] [--seed S] [--out FILE]

DATA holds tokenizers/*/tokenizer_config.json; of those that have a chat template only the folder's
name is written, so that the test skips them where they are not. TEMPLATES are written whole. What
a template refuses is kept as a case too: we must refuse it as well.
"""
import argparse
import json
import pathlib
import random

import reference

DATE_AND_TOOLS = """\
{#- A header with the date, tools, and tool calls by a macro. -#}
{%- macro call(c) %}
{%- set f = c.function if c.function is defined else c %}
<call>{{ f.name }}({% for k, v in (f.arguments or {}) | dictsort %}
{{- k }}={{ v | tojson if v is not string else v }}{{ ', ' if not loop.last }}
{%- endfor %})</call>
{%- endmacro -%}
{{ bos_token }}
{%- set ns = namespace(system='', turns=0) %}
{%- for m in messages if m.role == 'system' %}
  {%- set ns.system = ns.system ~ ('\\n' if ns.system) ~ m.content | trim %}
{%- endfor %}
<|header|>system<|/header|>
Today: {{ strftime_now("%d %b %Y") }}
{{ ns.system | default('You help.', true) }}
{% if tools %}
Tools ({{ tools | length }}):
{% for t in tools | sort(attribute='function.name') %}
{{ t.function.name | upper }}: {{ t | tojson(indent=2) | indent(2) }}
{% endfor %}
{% endif %}<|end|>
{%- for m in messages | rejectattr('role', 'equalto', 'system') %}
  {%- set ns.turns = ns.turns + 1 %}
  <|header|>{{ m['role'] }}{{ '/' ~ ns.turns if loop.index0 is divisibleby 3 }}<|/header|>
  {%- if m.content is string %}
    {{- '\\n' ~ m.content.strip() }}
  {%- elif m.content is iterable %}
    {%- for part in m.content %}
      {{- part.text if part.type == 'text' else '[' ~ part.type | title ~ ']' }}
    {%- endfor %}
  {%- endif %}
  {%- for c in m.tool_calls or [] %}{{ call(c) }}{% endfor -%}
  <|end|>{% if loop.nextitem is defined and loop.nextitem.role == m.role %}+{% endif %}
{% endfor %}
{%- if add_generation_prompt %}
<|header|>assistant<|/header|>
{% endif -%}
"""

ALTERNATING = """\
{%- if messages and messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- for m in turns %}
    {%- if (m['role'] == 'user') != (loop.index0 is even) %}
        {{- raise_exception('roles must alternate, but number ' ~ loop.index ~ ' is ' ~ m['role']) }}
    {%- endif %}
    {%- if m['role'] == 'user' %}
        {%- if loop.last and system is defined %}
            {{- '[I] ' + system + '\\n\\n' + m['content'] | string + ' [/I]' }}
        {%- else %}
            {{- '[I] ' ~ m['content'] ~ ' [/I]' }}
        {%- endif %}
    {%- elif m['role'] == 'assistant' %}
        {%- generation %}{{ ' ' ~ m['content'] ~ eos_token }}{% endgeneration %}
    {%- else %}
        {{- raise_exception('only user and assistant roles') }}
    {%- endif %}
{%- endfor %}
"""

TEMPLATES = {"date_and_tools": DATE_AND_TOOLS, "alternating": ALTERNATING}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
NAMES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
WORDS = ["hello", "a\nb", "  x ", "", "<think>\nwhy\n</think>\n\nso", "日本語", "é\u0301", "</think>", "{{ x }}",
         "'q' \"d\"", "\\n", "<tool_response>r</tool_response>", "\t", "1 < 2 & 3", "😀", "\u3000z\u2028"]
VALUES = [0, -1, 1.5, 1e22, 10**20, True, None, "s", "é\n", [1, [2]], {"z": 1, "a": {"b": []}}, [], {}]


def text(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 3)))


def arguments(rng):
    return {rng.choice("abcxyz") + str(i): rng.choice(VALUES) for i in range(rng.randint(0, 3))}


def message(rng, role):
    result = {"role": role, "content": text(rng)}
    if rng.random() < 0.08:
        result["content"] = [{"type": "text", "text": text(rng)}, {"type": "image"}]
    if role == "assistant" and rng.random() < 0.3:
        function = {"name": rng.choice(["get", "put"]), "arguments": arguments(rng)}
        if rng.random() < 0.3:
            function["arguments"] = json.dumps(function["arguments"])
        result["tool_calls"] = [{"type": "function", "function": function}] * rng.randint(1, 2)
        if rng.random() < 0.5:
            result["content"] = None
    if role == "assistant" and rng.random() < 0.2:
        result["reasoning_content"] = text(rng)
    return result


def conversation(rng):
    messages = [message(rng, "system")] if rng.random() < 0.4 else []
    for i in range(rng.randint(1, 5)):
        role = ("user", "assistant")[i % 2]
        if rng.random() < 0.12:
            role = rng.choice(["user", "assistant", "tool", "system"])
        messages.append(message(rng, role))
    return messages


def tools(rng):
    return [{"type": "function", "function": {"name": name, "description": text(rng),
                                              "parameters": arguments(rng)}}
            for name in rng.sample(["put", "get", "do"], rng.randint(1, 3))]


def configs(data):
    """Name -> (template, special tokens)."""
    found = {name: (source, TOKENS) for name, source in TEMPLATES.items()}
    for path in sorted(pathlib.Path(data).glob("tokenizers/*/tokenizer_config.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config.get("chat_template"), str):
            continue
        tokens = {name: config[name] for name in NAMES if config.get(name) is not None}
        tokens = {k: v if isinstance(v, str) else v["content"] for k, v in tokens.items()}
        found[f"tokenizers/{path.parent.name}"] = (config["chat_template"], tokens)
    return found


def case(rng, name, source, tokens):
    variables = {"messages": conversation(rng), "tools": tools(rng) if rng.random() < 0.3 else None,
                 "documents": None, "add_generation_prompt": rng.random() < 0.5}
    if rng.random() < 0.3:
        variables["enable_thinking"] = rng.random() < 0.5
    line = {"template": name, "messages": json.dumps(variables["messages"], ensure_ascii=False)}
    if variables["tools"]:
        line["tools"] = json.dumps(variables["tools"], ensure_ascii=False)
    line["add_generation_prompt"] = variables["add_generation_prompt"]
    if "enable_thinking" in variables:
        line["enable_thinking"] = variables["enable_thinking"]
    try:
        line["text"] = reference.render(source, {**tokens, **variables})
    except Exception:
        line["refused"] = True
    return line


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--count", type=int, default=24, help="of each template")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default=str(pathlib.Path(__file__).with_name("conversations.jsonl")))
    args = parser.parse_args()
    rng = random.Random(args.seed)
    lines = [{"define": name, "source": source, "config": TOKENS} for name, source in TEMPLATES.items()]
    for name, (source, tokens) in configs(args.data).items():
        lines += [case(rng, name, source, tokens) for _ in range(args.count)]
    refused = sum("refused" in line for line in lines)
    with open(args.out, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    print(f"{len(lines)} lines, {refused} refused")


if __name__ == "__main__":
    main()
