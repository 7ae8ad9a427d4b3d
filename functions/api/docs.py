"""`/docs`: the OpenAPI document as a page of its own, without a script and without anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from groundswell import errors
from groundswell.errors import GroundswellError

PAGE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""Inline style only; no script at all."""

_STYLE: Final = """
:root{color-scheme:light dark;
--line:color-mix(in srgb,currentColor 18%,transparent);
--soft:color-mix(in srgb,currentColor 65%,transparent)}
body{font:16px/1.55 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:2rem 1.25rem 6rem}
h1{font-size:1.9rem;margin:0 0 .25rem}h2{margin:2.5rem 0 .5rem;text-transform:capitalize}
code,pre{font:.875em/1.5 ui-monospace,monospace}
pre{overflow:auto;padding:.75rem 1rem;border:1px solid var(--line);border-radius:8px}
details{border:1px solid var(--line);border-radius:8px;margin:.5rem 0}summary{cursor:pointer;padding:.6rem 1rem}
details>div{padding:0 1rem 1rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.35rem .75rem .35rem 0;border-top:1px solid var(--line)}
.method{display:inline-block;min-width:4.2rem;font-weight:700}.soft{color:var(--soft)}a{color:inherit}
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """The reference, one section for each tag."""
    info = document["info"]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append("".join(_operation(path, method, operation)))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in sorted(by_tag.items()))
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<div>{_json(schema)}</div></details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    paragraphs = "".join(f"<p>{_inline(text)}</p>" for text in info["description"].strip().split("\n\n"))
    return _page(
        f"{info['title']} API",
        f"<h1>{escape(info['title'])} API</h1><p class=soft>Version {escape(info['version'])} · "
        '<a href="/openapi.json">OpenAPI document</a> · <a href="/docs/problems">errors</a></p>'
        f"{paragraphs}{sections}<h2>Shapes</h2>{schemas}",
    )


def problems_page() -> str:
    """What every `type` of a problem document means."""
    rows = "".join(
        f'<tr id="{escape(kind.code)}"><td><code>{escape(kind.code)}</code></td><td>{kind.status}</td>'
        f"<td>{escape(kind.title)}</td><td>{_inline((kind.__doc__ or '').strip())}</td></tr>"
        for kind in sorted(_kinds(), key=lambda kind: (kind.status, kind.code))
    )
    return _page(
        "Errors of the Groundswell API",
        "<h1>Errors</h1><p>Every error is a problem document (RFC 9457) whose <code>type</code> ends in one of these."
        f"</p><table><tr><th>Code<th>Status<th>Title<th>Meaning</tr>{rows}</table>",
    )


def _kinds() -> list[type[GroundswellError]]:
    found = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, GroundswellError)
    ]
    return [kind for kind in found if kind.__module__ == errors.__name__ and "status" in _declared(kind)]


def _declared(kind: type[GroundswellError]) -> set[str]:
    return {name for parent in kind.__mro__ if parent is not GroundswellError for name in vars(parent)}


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    summary, _, more = str(operation.get("description", "")).partition("\n\n")
    yield (
        f'<details id="{escape(operation["operationId"])}"><summary><span class=method>{method.upper()}</span>'
        f"<code>{escape(path)}</code> <span class=soft>{_inline(summary)}</span></summary><div>"
    )
    if more:
        yield f"<p>{_inline(more)}</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>Parameter<th>In<th>Type<th>Meaning</tr>"
        for parameter in parameters:
            name = escape(parameter["name"]) + (" *" if parameter.get("required") else "")
            yield (
                f"<tr><td><code>{name}</code><td>{parameter['in']}<td>{_type(parameter['schema'])}"
                f"<td>{_inline(parameter.get('description', ''))}</tr>"
            )
        yield "</table>"
    if body := operation.get("requestBody"):
        yield f"<p>Body: {_type(body['content']['application/json']['schema'])}</p>"
    yield "<table><tr><th>Answer<th>Shape<th>When</tr>"
    for status, response in operation["responses"].items():
        content: Mapping[str, Any] = response.get("content", {})
        shapes = "<br>".join(
            f"{_type(shape.get('schema', {}))} <span class=soft>{escape(media)}</span>"
            for media, shape in content.items()
        )
        yield f"<tr><td>{status}<td>{shapes}<td>{_inline(response['description'])}</tr>"
    yield "</table></div></details>"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rpartition("/")[2])
        return f'<a href="#{name}"><code>{name}</code></a>'
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    words = [str(schema.get("format", schema.get("type", "")))]
    words += [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    if schema.get("default") is not None:
        words.append(f"(default {schema['default']})")
    return escape(" ".join(words))


def _inline(text: str) -> str:
    """Escaped, with `code` between backticks."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{body}</body></html>"
    )
