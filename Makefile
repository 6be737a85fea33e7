# `make demo` and `make test` do all their set-up on a fresh Debian 12 with Rust, as root.
CARGO ?= cargo
CACHE ?= /var/cache/sheave-tests
export SHEAVE_TEST_CACHE = $(CACHE)

.PHONY: deps test-deps build demo lint images wasm test bench
deps:
	bash tests/setup/check.sh rust
	bash tests/setup/packages.sh deps

test-deps: deps
	bash tests/setup/packages.sh test
	bash tests/setup/check.sh

build: deps
	$(CARGO) build --workspace --bins

demo: build
	target/debug/sheave demo

lint: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# Test images and the component build tools: made once, kept in $(CACHE).
images: test-deps
	bash tests/setup/images.sh $(CACHE)/images
	bash tests/setup/guest.sh $(CACHE)/guest

# The whole-engine tests run the programs, so those are built before. Each of these tests waits for its engine most of the time.
test: build images
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} $(CARGO) test --workspace

bench: build images
	bash tests/bench/run.sh
