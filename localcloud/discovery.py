# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's discovery documents as the judge of every body that goes in or out.

The documents ship inside the PyPI package `google-api-python-client`. A method's paths, query parameters and
schemas come from there; nothing about the shape of a message is written down a second time.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema_rs import Draft202012Validator, ValidationError, ValidationErrorKind

from localcloud.json_types import Json

#: Sent by Google's own clients although the documents do not list them: google-cloud-tpu's
#: `$alt=json;enum-encoding=int`, and what gcloud adds to lists of Compute Engine.
EXTRA_PARAMETERS = frozenset({"$alt", "returnPartialSuccess"})

#: google-cloud-tpu sends enumerations as numbers, and the documents know only their names. Numbers from the
#: protocol buffers of google.cloud.tpu.v2.
ENUM_NUMBERS: Mapping[tuple[str, str], Mapping[int, str]] = {
    ("AttachedDisk", "mode"): {1: "READ_WRITE", 2: "READ_ONLY"},
    ("AcceleratorConfig", "type"): {2: "V2", 4: "V3", 7: "V4", 9: "V5LITE_POD", 10: "V5P", 11: "V6E"},
    ("Node", "health"): {1: "HEALTHY", 3: "TIMEOUT", 4: "UNHEALTHY_TENSORFLOW", 5: "UNHEALTHY_MAINTENANCE"},
}


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a message. field: dotted path, empty for the message as a whole."""

    field: str
    description: str


@dataclass(frozen=True)
class Method:
    """One method of an API. path: with the document's service path, variables in braces, leading slash."""

    id: str
    http_method: str
    path: str
    query: Mapping[str, Json]
    request: str | None
    response: str | None


class Document:
    """A discovery document: its methods, and checks of their messages."""

    def __init__(self, raw: Json) -> None:
        self._raw = raw
        self._schemas: dict[str, Json] = raw["schemas"]
        self._validators: dict[tuple[str, bool], _Validator] = {}
        self.global_parameters = frozenset(raw["parameters"]) | EXTRA_PARAMETERS
        self.methods = {method.id: method for method in self._walk(raw)}

    def _walk(self, resource: Json) -> Iterator[Method]:
        for child in resource.get("resources", {}).values():
            for raw in child.get("methods", {}).values():
                query = {
                    name: parameter
                    for name, parameter in raw.get("parameters", {}).items()
                    if parameter["location"] == "query"
                }
                yield Method(
                    id=raw["id"],
                    http_method=raw["httpMethod"],
                    path="/" + self._raw["servicePath"] + raw.get("flatPath", raw["path"]),
                    query=query,
                    request=raw.get("request", {}).get("$ref"),
                    response=raw.get("response", {}).get("$ref"),
                )
            yield from self._walk(child)

    def parse_query(
        self, method: Method, pairs: list[tuple[str, str]]
    ) -> tuple[dict[str, Any], list[Violation]]:
        """Query parameters with their types (lists where repeated), and what is wrong with them."""
        values: dict[str, Any] = {}
        violations = []
        for name, text in pairs:
            if name in self.global_parameters and name not in method.query:
                continue
            parameter = method.query.get(name)
            if parameter is None:
                violations.append(
                    Violation(
                        "",
                        f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
                        f"Field '{name}' could not be found in request message.",
                    )
                )
                continue
            try:
                value = _parse_parameter(parameter, text)
            except ValueError:
                violations.append(
                    Violation(name, f"Invalid value at '{name}' ({_type_name(parameter)}), \"{text}\"")
                )
                continue
            if parameter.get("repeated"):
                values.setdefault(name, []).append(value)
            else:
                values[name] = value
        return values, violations

    def accept(self, method: Method, body: Any) -> Any:
        """A request body as the service sees it: numbers of enumerations replaced by their names, output-only
        fields dropped (AIP-203: a service ignores what a client puts there)."""
        return self._accept({"$ref": method.request}, body) if method.request else body

    def _accept(self, schema: Json, value: Any, owner: str = "", name: str = "") -> Any:
        if "$ref" in schema:
            owner, schema = schema["$ref"], self._schemas[schema["$ref"]]
        if isinstance(value, list) and "items" in schema:
            return [self._accept(schema["items"], item) for item in value]
        if isinstance(value, dict):
            properties = schema.get("properties", {})
            return {
                key: self._accept(properties[key], item, owner, key) if key in properties else item
                for key, item in value.items()
                if not properties.get(key, {}).get("readOnly")
            }
        if isinstance(value, int) and not isinstance(value, bool) and "enum" in schema:
            return ENUM_NUMBERS.get((owner, name), {}).get(value, value)
        return value

    def request_violations(self, method: Method, body: Any) -> list[Violation]:
        """What is wrong with a request body; empty when it is right."""
        if method.request is None:
            return [] if not body else [Violation("", "Request body is not allowed for this method.")]
        return self._validator(method.request, lenient=True).violations(body)

    def response_violations(self, method: Method, body: Any) -> list[Violation]:
        """What is wrong with a response body; empty when it is right."""
        if method.response is None:
            return [] if not body else [Violation("", "The method has no response body.")]
        return self._validator(method.response, lenient=False).violations(body)

    def _validator(self, name: str, *, lenient: bool) -> _Validator:
        key = (name, lenient)
        if key not in self._validators:
            definitions: Json = {}
            self._collect(name, lenient, definitions)
            self._validators[key] = _Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})
        return self._validators[key]

    def _collect(self, name: str, lenient: bool, definitions: Json) -> None:
        """Convert a schema and everything it refers to (compute has a thousand others)."""
        if name in definitions:
            return
        definitions[name] = {}
        references: set[str] = set()
        definitions[name] = _json_schema(self._schemas[name], lenient, references)
        for reference in references:
            self._collect(reference, lenient, definitions)


def _json_schema(schema: Json, lenient: bool, references: set[str]) -> Json:
    """A schema of the discovery format as JSON Schema. lenient: 64-bit numbers may come as numbers, as
    Google's parsers allow; in answers they are always strings."""
    if "$ref" in schema:
        references.add(schema["$ref"])
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    kind = schema.get("type")
    if kind == "any":
        return {}
    if kind == "object":
        extra = schema.get("additionalProperties")
        return {
            "type": "object",
            "properties": {
                name: _json_schema(value, lenient, references)
                for name, value in schema.get("properties", {}).items()
            },
            "additionalProperties": _json_schema(extra, lenient, references) if extra else False,
        }
    if kind == "array":
        return {"type": "array", "items": _json_schema(schema["items"], lenient, references)}
    if schema.get("format") in ("int64", "uint64"):
        number = {"type": "string", "pattern": "^-?[0-9]+$" if schema["format"] == "int64" else "^[0-9]+$"}
        return {"anyOf": [number, {"type": "integer"}]} if lenient else number
    converted: Json = {"type": kind}
    if "pattern" in schema:
        converted["pattern"] = f"^(?:{schema['pattern']})$"
    if "enum" in schema:
        converted["enum"] = schema["enum"]
    return converted


class _Validator:
    """Checks against one JSON Schema; a page of 500 nodes takes two milliseconds."""

    def __init__(self, schema: Json) -> None:
        self._schema = schema
        self._validator = Draft202012Validator(schema)

    def violations(self, body: Any) -> list[Violation]:
        return [self._violation(error) for error in self._validator.iter_errors(body)]

    def _violation(self, error: ValidationError) -> Violation:
        """A validation error in the words of Google's JSON parser."""
        field = ""
        for part in error.instance_path:
            field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else part
        match error.kind:
            case ValidationErrorKind.AdditionalProperties(unexpected):
                where = f" at '{field}'" if field else ""
                unknown = f'Unknown name "{unexpected[0]}"{where}: Cannot find field.'
                return Violation(field, f"Invalid JSON payload received. {unknown}")
            case ValidationErrorKind.Pattern(pattern):
                problem = f"'{error.instance}'. Must be a match of regex '{pattern}'"
                return Violation(field, f"Invalid value for field '{field}': {problem}")
        schema: Any = self._schema
        for part in error.schema_path[:-1]:
            schema = schema[part]
        value = json.dumps(error.instance)
        return Violation(field, f"Invalid value at '{field}' ({_type_name(schema)}), {value}")


def _type_name(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "TYPE_ENUM"
    if "anyOf" in schema or schema.get("format") in ("int64", "uint64"):
        return "TYPE_INT64"
    names = {
        "string": "TYPE_STRING",
        "integer": "TYPE_INT32",
        "boolean": "TYPE_BOOL",
        "number": "TYPE_DOUBLE",
    }
    return names.get(str(schema.get("type")), "TYPE_MESSAGE")


def _parse_parameter(parameter: Json, text: str) -> Any:
    kind = parameter["type"]
    if kind == "integer" or parameter.get("format") in ("int64", "uint64"):
        if not re.fullmatch(r"-?\d+", text):
            raise ValueError(text)
        return int(text)
    if kind == "boolean":
        # Python's clients send "True", Google's parser takes any case.
        return (
            {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else _fail(text)
        )
    if "enum" in parameter and text not in parameter["enum"]:
        raise ValueError(text)
    return text


def _fail(text: str) -> Any:
    raise ValueError(text)


@functools.cache
def load(name: str) -> Document:
    """The document `name`, for instance `tpu.v2`."""
    source = importlib.resources.files("googleapiclient") / "discovery_cache" / "documents" / f"{name}.json"
    return Document(json.loads(source.read_text(encoding="utf-8")))
