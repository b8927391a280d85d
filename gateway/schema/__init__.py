"""What clients can read by machine: the JSON Schema of a record, the OpenAPI document of the gateway."""

from gateway.schema.openapi import openapi
from gateway.schema.record import JsonSchema, record_schema

__all__ = ["JsonSchema", "openapi", "record_schema"]
