"""The admin port: health, metrics and what the gateway tells about itself, served by a process of its own."""
