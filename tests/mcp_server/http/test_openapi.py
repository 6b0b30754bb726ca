"""The document at /openapi.json says what is served."""

import re

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from mcp_server.http import app


def document(served):
    return served.get("/openapi.json").json()


def schema_of(document, schema):
    return {**schema, "components": document["components"]}


def test_the_document_is_valid_and_every_schema_in_it_is_one(served):
    told = document(served)
    OpenAPIV31SpecValidator(told).validate()
    for schema in told["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_route_of_the_table_is_told_of_once(served):
    told = document(served)["paths"]
    expected = {
        (("/v1" if one.is_versioned else "") + re.sub(r":\w+}", "}", one.path), one.method.lower())
        for one in app.ENDPOINTS
    }
    assert {(path, method) for path, methods in told.items() for method in methods} == expected
    names = [one["operationId"] for methods in told.values() for one in methods.values()]
    assert len(set(names)) == len(app.ENDPOINTS)
    assert all(one["summary"] for methods in told.values() for one in methods.values())


def test_a_good_answer_and_a_refusal_are_what_the_document_says(served):
    told = document(served)
    operation = told["paths"]["/v1/embeddings"]["post"]
    answers = {
        200: served.post("/v1/embeddings", {"model": "all-minilm-l6-v2", "input": "a"}),
        400: served.post("/v1/embeddings", {"model": "all-minilm-l6-v2"}),
        404: served.post("/v1/embeddings", {"model": "none", "input": "a"}),
        415: served.http.post("/v1/embeddings", content=b"{}"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        response = operation["responses"][str(status)]
        if "$ref" in response:
            response = told["components"]["responses"][response["$ref"].rpartition("/")[2]]
        schema = response["content"]["application/json"]["schema"]
        Draft202012Validator(schema_of(told, schema)).validate(answer.json())


def test_limits_of_a_body_are_in_its_schema(served):
    told = document(served)
    schema = told["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]["application/json"]
    takes = Draft202012Validator(schema_of(told, schema["schema"])).is_valid
    assert takes({"model": "m", "input": ["a"] * 2048, "user": "me", "new": 1})
    assert not takes({"model": "m", "input": ["a"] * 2049})
    assert not takes({"model": "m", "input": []})
    assert not takes({"input": "a"})
