"""What the gateway tells about itself: metrics, and the trace of one request."""
