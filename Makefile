# Index of tasks. Each sets up what it needs; the logic is in scripts/.
.PHONY: help setup demo test cluster-test conformance readme-test h2spec lint bench docs clean
help:          ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16
setup:         ## .venv with the project and everything pinned
	@scripts/venv
demo: setup    ## the main job on this machine, on real data
	@.venv/bin/deployer demo
test: setup    ## all tests that need no cluster
	@scripts/test
cluster-test: setup ## the tests on a kind cluster of their own (needs Docker)
	@scripts/cluster-test
conformance: setup ## the model server against recorded responses of a real one
	@scripts/conformance
readme-test: setup ## the commands of the README, in order, in an empty folder
	@scripts/test tests/examples/test_readme.py
h2spec: setup  ## HTTP/2 of the embedded server, held against h2spec (needs Go)
	@scripts/h2spec
lint: setup    ## style, types, import contracts
	@scripts/check
bench: setup   ## side-by-side figures; nothing passes or fails
	@.venv/bin/python -m bench
docs: setup    ## regenerate the reference pages
	@.venv/bin/python scripts/docs.py
	@.venv/bin/python scripts/chartgen.py
clean:         ## forget the environment and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
