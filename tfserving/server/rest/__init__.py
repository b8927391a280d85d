"""The REST port: HTTP/1.x messages, and the API behind them."""
