"""Text protos, read as the real server reads them and written the same way every time."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


class ConfigError(ValueError):
    """A configuration that TensorFlow Serving would refuse, or that must not be written."""


class InvalidTextProto(ConfigError):
    """Text that is no message of the wanted type.

    The message is the real server's ("Invalid protobuf file: '<path>'", code INVALID_ARGUMENT); `detail` is the line,
    column and reason that it writes to its log.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"Invalid protobuf file: '{path}'")
        self.detail = detail


def parse_text(message_type: type[M], text: str | bytes, path: str = "") -> M:
    """Read one message. Text without any field is the empty message; an unknown or repeated field is an error.

    `path` only names the source in errors.
    Errors: InvalidTextProto.
    """
    name = f"tensorflow.serving.{message_type.DESCRIPTOR.name}"
    message = message_type()
    try:
        text_format.Parse(text.decode() if isinstance(text, bytes) else text, message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidTextProto(path, f"Error parsing text-format {name}: {error}") from error
    return message


def to_text(message: Message) -> str:
    """The message with one field a line and sorted map keys, so that equal messages give equal bytes."""
    return text_format.MessageToString(message, as_utf8=True)
