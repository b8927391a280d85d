"""The gRPC port: TensorFlow Serving's services and the Open Inference Protocol, with the gateway's routing."""
