"""Writes cases.jsonl: templates, their variables, and what Jinja2 makes of them.

    pip install jinja2 && python3 make_cases.py

A case of `ERRORS` must be refused by Jinja2 too; the text beside it is what our message must hold.
One of `REFUSED` works in Jinja2 and is refused here by name.
"""
import json
import pathlib

import case_list
import reference


def line(group, source, variables, **expected):
    case = {"group": group, "template": source}
    if variables:
        # As texts: a parser of JSON may not keep integers beyond 64 bits.
        case["variables"] = {k: json.dumps(v, ensure_ascii=False) for k, v in variables.items()}
    case.update(expected)
    return json.dumps(case, ensure_ascii=False)


def main():
    lines = []
    for group, cases in case_list.TEXTS.items():
        for case in cases:
            source, variables = case if isinstance(case, tuple) else (case, {})
            lines.append(line(group, source, variables, text=reference.render(source, variables)))
    for source, message, *variables in case_list.ERRORS:
        variables = variables[0] if variables else {}
        try:
            text = reference.render(source, variables)
        except Exception:
            lines.append(line("error", source, variables, error=message))
        else:
            raise SystemExit(f"Jinja2 accepts {source!r}: {text!r}")
    for source, message, *variables in case_list.REFUSED:
        reference.render(source, variables[0] if variables else {})
        lines.append(line("refused", source, variables[0] if variables else {}, error=message))
    path = pathlib.Path(__file__).with_name("cases.jsonl")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} cases")


if __name__ == "__main__":
    main()
