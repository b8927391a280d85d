"""One file a verb group: parse, build a request, call a subject, print."""
