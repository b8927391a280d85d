"""The gRPC port: connections, messages, and the services behind them."""
