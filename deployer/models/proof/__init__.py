"""Whether a version loads and responds as it should, on the model server that will serve it."""
