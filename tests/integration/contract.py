"""Checks real answers against api/openapi.yaml."""

from __future__ import annotations

import re

import jsonschema


class Contract:
    def __init__(self, openapi: dict):
        self.openapi = openapi
        self.routes = [(method.upper(), path, operation) for path, methods in openapi["paths"].items()
                       for method, operation in methods.items() if method in ("get", "put", "post", "delete")]

    def validate(self, schema: dict, value) -> None:
        jsonschema.Draft202012Validator({**schema, "components": self.openapi["components"]}).validate(value)

    def operation(self, method: str, path: str) -> dict:
        """The operation of a real path; the most literal template wins."""
        path = path.split("?")[0]
        found = []
        for m, template, operation in self.routes:
            pattern = re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template))
            if m == method and re.fullmatch(pattern, path):
                found.append((template.count("{"), template, operation))
        assert found, f"{method} {path} is not in api/openapi.yaml"
        return min(found, key=lambda f: f[:2])[2]

    def check(self, method: str, path: str, status: int, answer, headers) -> None:
        """The answer's status, content type and body are as documented."""
        operation = self.operation(method, path)
        responses = operation["responses"]
        response = responses.get(str(status))
        if response is None:
            assert status >= 400, f"{method} {path}: status {status} is not documented"
            response = responses["default"]
        if "$ref" in response:
            response = self.openapi["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        content = response.get("content")
        if content is None:
            assert not answer, f"{method} {path}: {status} has a body"
            return
        kind = (headers.get("Content-Type") or "").split(";")[0]
        assert kind in content, f"{method} {path}: {kind} is not documented for {status}"
        if "json" in kind:
            self.validate(content[kind]["schema"], answer)

    def problem(self, answer, headers, status: int) -> None:
        assert headers.get("Content-Type", "").startswith("application/problem+json"), headers.get("Content-Type")
        self.validate({"$ref": "#/components/schemas/Problem"}, answer)
        assert answer["status"] == status and answer["detail"]
        assert answer["request_id"] == headers["X-Request-Id"]
