"""From the text of a file to typed values: YAML, strict conversion, and where each problem stands."""
