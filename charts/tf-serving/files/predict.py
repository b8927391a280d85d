"""One Predict per MODEL[/labels/LABEL][:SIGNATURE] of a server or a gateway, with zeros of the signature's shape."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request

base, targets = sys.argv[1], sys.argv[2:]
TEXT, TRUTH = "DT_STRING", "DT_BOOL"
# A cluster may put HTTP_PROXY into every pod; a Service is not reached through that.
# The test is of the models: a certificate for other names than that of the Service is accepted.
trusting = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), trusting)


def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    key = os.environ.get("API_KEY")
    headers = {"x-api-key": key} if key else {}
    try:
        with direct.open(urllib.request.Request(base + "/v1/models/" + path, data, headers), timeout=30) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        if error.code != 401 or key:
            raise
        print(path, "is closed to requests without a key; helmTest.keySecret lets the test ask for a prediction")
        sys.exit(0)


def filled(value, dims):
    for size in reversed(dims):
        value = [value] * (1 if size < 0 else size)
    return value


for target in targets:
    path, _, named = target.partition(":")
    signature = named or "serving_default"
    signatures = call(path + "/metadata")["metadata"]["signature_def"]["signature_def"]
    inputs = {}
    for name, tensor in signatures[signature]["inputs"].items():
        zero = "" if tensor["dtype"] == TEXT else False if tensor["dtype"] == TRUTH else 0
        inputs[name] = filled(zero, [int(d["size"]) for d in tensor["tensor_shape"].get("dim", [])])
    outputs = call(path + ":predict", {"signature_name": signature, "inputs": inputs})["outputs"]
    print(path, "answered", json.dumps(outputs)[:200])
