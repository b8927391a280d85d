"""What clients can read by machine: the JSON Schema of a record, the OpenAPI document of the gateway."""

from gateway.api.schema.openapi import openapi
from gateway.api.schema.record import JsonSchema, record_schema

__all__ = ["JsonSchema", "openapi", "record_schema"]
