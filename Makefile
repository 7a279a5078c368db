.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help
help: ## Show what each target does
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(STAMP) ## Install the project and its tools into .venv, at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "energaizer needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "installing into .venv (half a minute)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check pip==26.3
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[operator,calibration,plots,onnx]" --group dev
	@touch $@

.PHONY: try
try: install ## The offline half in seconds: an estimate, a clock sweep, a verdict on a manifest
	@echo '$$ energaizer estimate --model llama-3.1-8b --gpu h100-sxm --batch 16 --input-tokens 1024 --output-tokens 256'
	@$(BIN)/energaizer estimate --model llama-3.1-8b --gpu h100-sxm --batch 16 --input-tokens 1024 --output-tokens 256
	@echo
	@echo '$$ energaizer sweep --model llama-3.1-8b --gpu a100-80gb --batch 16 --clock 510MHz..1410MHz..150MHz'
	@$(BIN)/energaizer sweep --model llama-3.1-8b --gpu a100-80gb --batch 16 --clock 510MHz..1410MHz..150MHz
	@echo
	@echo '$$ kubectl energaizer review -f examples/job-over-limit.yaml --policy examples/energy-policy.yaml'
	@$(BIN)/kubectl-energaizer review -f examples/namespaces.yaml -f examples/job-over-limit.yaml --policy examples/energy-policy.yaml; test $$? -eq 4 && echo '(exit code 4: refused)'

.PHONY: test
test: check build-cluster ## Everything: make check, then the end-to-end tests on a real control plane
	$(BIN)/pytest -q -m "(cluster or packaging) and not proof" --durations=5

.PHONY: prove
prove: build-cluster ## Proofs that take minutes: twenty times a thousand ask one budget at once
	$(BIN)/pytest -q -m proof

.PHONY: build-cluster
build-cluster: install ## Build the local control plane and its companions into the cache: minutes the first time, then nothing
	@for set in $$(ls localcluster/toolsets); do $(BIN)/python -m localcluster build $$set || exit 1; done

.PHONY: cluster-up
cluster-up: install ## Start a real control plane with simulated GPU nodes on this machine, in seconds
	@$(BIN)/python -m localcluster up

.PHONY: cluster-down
cluster-down: install ## Stop it; nothing is left behind
	@$(BIN)/python -m localcluster down

.PHONY: demo
demo: install ## The operator at work on a real control plane: a workload priced, placed, refused; a minute once built
	@$(BIN)/python -m localcluster.demo

.PHONY: demo-down
demo-down: install ## Stop the demo; nothing is left behind
	@$(BIN)/python -m localcluster down --name demo

.PHONY: check
check: install ## Unit tests, format, lint, types, import contracts, generated files: minutes, no cluster
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m energaizer_operator.crds --check
	$(BIN)/python -m energaizer_operator.kubectl profiles | diff -q - charts/kustomize/profiles/gpuprofiles.yaml || { echo "profiles differ from the catalogue; run: make profiles" >&2; exit 1; }
	$(BIN)/python -m observability check
	$(BIN)/pytest -q -n auto -m "not cluster and not packaging"

.PHONY: crds
crds: install ## Write crds/ anew from the models of the operator
	$(BIN)/python -m energaizer_operator.crds

.PHONY: chart
chart: install ## Copy into the Helm chart what crds/ and the kustomize base hold: roles, webhooks, kinds
	cp $(BASE)/{controller-account,webhook-account,user-roles,webhooks}.yaml charts/energaizer/files/base/
	mkdir -p charts/energaizer/files/features
	for role in charts/kustomize/*/role.yaml; do cp $$role charts/energaizer/files/features/$$(basename $$(dirname $$role)).yaml; done
	rm -f charts/energaizer/files/crds/* && cp crds/*s.yaml charts/energaizer/files/crds/
	$(BIN)/python -m localcluster.helm > charts/kustomize/run/run.yaml

BASE := charts/kustomize/base

.PHONY: dashboards
dashboards: install ## Write the dashboards and the pages of metrics, alerts and settings anew from their code
	$(BIN)/python -m observability write

IMAGE ?= energaizer:$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' estimator/energaizer/__init__.py)
PLATFORMS ?= linux/amd64,linux/arm64

.PHONY: image
image: ## Build the container image for PLATFORMS with docker buildx, from a base by digest; push it with OUTPUT=--push
	base=$$(packaging/pin) && docker buildx build --platform $(PLATFORMS) --tag $(IMAGE) --build-arg PYTHON_IMAGE=$$base --build-arg REVISION=$$(git rev-parse HEAD) --sbom=true --provenance=true $(OUTPUT) .

.PHONY: pin
pin: ## Write the digest of the base image into the Dockerfile; needs its registry
	packaging/pin --write

.PHONY: sbom
sbom: install ## Write build/sbom.cdx.json, the bill of materials of what the image installs
	rm -rf build/sbom && mkdir -p build
	PIP="$(BIN)/python -m pip" packaging/assemble build/sbom $(PYTHON)
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file build/sbom.cdx.json build/sbom/bin/python

.PHONY: bench
bench: install ## Time estimates beside a bare numpy reference
	$(BIN)/python benchmarks/bench_estimate.py
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/bench_validate.py

.PHONY: profiles
profiles: install ## Write charts/kustomize/profiles anew from the estimator's catalogue
	$(BIN)/python -m energaizer_operator.kubectl profiles --out charts/kustomize/profiles/gpuprofiles.yaml

DATA ?= ../shared/data

.PHONY: fit
fit: install ## Fit coefficients to the measured tables in DATA and write the profiles
	$(BIN)/python -m energaizer.calibration fit $(DATA)

.PHONY: accuracy
accuracy: install ## Score predictions of what no fit saw on the tables in DATA; writes docs/accuracy.md
	$(BIN)/python -m energaizer.calibration report $(DATA) --output docs/accuracy.md

.PHONY: golden
golden: install ## Write the frozen answers of tests/golden anew; read the difference before you commit it
	$(BIN)/pytest -q -m "not cluster" --golden tests/operator

REVIEWS ?= 1000000

.PHONY: fuzz
fuzz: install ## Try REVIEWS (a million, a quarter of an hour) mutated admission reviews
	$(BIN)/pytest -q tests/operator/test_fuzz_reviews.py --reviews $(REVIEWS) --log-cli-level=INFO

SIZE ?= small

.PHONY: bench-cluster
bench-cluster: install build-cluster ## Time the controller beside a crowd: SIZE=small (minutes) or full (up to an hour)
	$(BIN)/python benchmarks/bench_cluster.py $(SIZE)

.PHONY: bench-admission
bench-admission: install build-cluster ## Time reviews at a steady rate and the creation of pods, beside webhooks with nothing to judge
	PYTHONPATH=tests/support $(BIN)/python benchmarks/bench_admission.py
	PYTHONPATH=tests/support:localcluster $(BIN)/python benchmarks/bench_create.py

RUNS ?= 1
CREATES ?= 1000

.PHONY: bench-budgets
bench-budgets: install build-cluster ## CREATES Jobs at once, with room for all and for a tenth, RUNS times; then five races of the accounting alone
	PYTHONPATH=tests/support:localcluster $(BIN)/python benchmarks/bench_budgets.py --creates $(CREATES) --runs $(RUNS)
	PYTHONPATH=tests/support:localcluster $(BIN)/python benchmarks/race_budgets.py --runs 5

RACES ?= 200

.PHONY: race
race: install build-cluster ## RACES times a thousand ask one budget at once: accounting alone, on a real API server
	PYTHONPATH=tests/support:localcluster $(BIN)/python benchmarks/race_budgets.py --runs $(RACES)
