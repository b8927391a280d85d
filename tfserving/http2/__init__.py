"""What both ends of an HTTP/2 connection need for unary gRPC: frames, headers, connection."""
