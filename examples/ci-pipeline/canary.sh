#!/bin/sh
# canary.sh VERSION: export the model as VERSION, roll it out under gates; the exit code is that of the rollout.
set -eu
VERSION=$1
deployer export train:model --store store --model iris --version "$VERSION" --features features.yaml
if [ -n "${PUBLISH_TO:-}" ]; then # pvc://NAMESPACE/PVC, for a release in a cluster
  deployer publish iris --store store --version "$VERSION" --to "$PUBLISH_TO"
fi
deployer rollout start iris --to "$VERSION" \
  --steps 10,50 --soak 30s --max-duration 15m \
  --gate 'error_rate<1%' --gate 'p99<1.5*stable' --gate 'accuracy>=0.9' \
  --labelled holdout.jsonl --load synthetic --load-rate 20 \
  -o json > rollout.json
