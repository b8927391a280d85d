# Gives the server of this pod the model_config that it is to follow, and again whenever that changes:
# the pod's own (an annotation of it), else the one for pods that start during a rollout, else that of the release.
offered=/etc/tf-serving/offered followed=/etc/tf-serving/models/model.config
trap 'exit 0' TERM
while :; do
  # One generation of the volume is read as a whole: the kubelet puts a new one in its place in a single step.
  generation=$(readlink "$offered/..data")
  for name in own.config newcomer.config model.config; do
    wanted=$offered/$generation/$name
    [ -s "$wanted" ] || continue
    if ! cmp -s "$wanted" "$followed"; then
      # By a rename, so that the server never reads half of it.
      cp "$wanted" "$followed.next" && mv "$followed.next" "$followed" && echo "following $name"
    fi
    break
  done
  sleep 1
done
