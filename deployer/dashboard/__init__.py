"""`deployer dashboard`: one local page that shows a release and its rollouts as they move."""
