# The two commands: `make demo` runs the main job, `make test` proves it. Plain pip and Python 3.11+.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
NODE   := tests/sdk/server/clients/node
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo test check endurance ray format models bench heads clean help

help:            ## this list
	@grep -E '^[a-z]+: .*## |^[a-z]+: *##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# venv: on Debian a package of its own; say so before it is installed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "echat-sdk needs Python 3.11 or newer; got $$($(PYTHON) --version)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "installing python3-venv with apt, for the virtual environment"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy python3-venv; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.lite: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing echat-sdk with its default model's parts into $(VENV)"
	@$(PIP) -e '.[lite,voices]'
	@touch $@

# PyAudio is built from source; the tests with a sound card bring a virtual one.
$(VENV)/.dev: $(VENV)/.lite
	@{ [ -e /usr/include/portaudio.h ] && command -v pulseaudio >/dev/null; } || ! command -v apt-get >/dev/null || { echo "installing portaudio19-dev and pulseaudio with apt, for the tests with a sound card"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends gcc libc6-dev portaudio19-dev libasound2-plugins pulseaudio pulseaudio-utils; }
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || ! command -v apt-get >/dev/null || { echo "installing postgresql with apt, for the tests with a server of their own"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends postgresql; }
	@{ command -v chromium >/dev/null && command -v node >/dev/null && fc-list :lang=zh | grep -q .; } || ! command -v apt-get >/dev/null || { echo "installing chromium, nodejs and a Chinese font with apt, for the tests of the pages"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends chromium nodejs fontconfig fonts-wqy-microhei; }
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || ! command -v apt-get >/dev/null || { echo "installing mosquitto with apt, for the tests with a broker"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends mosquitto; }
	@command -v strace >/dev/null || ! command -v apt-get >/dev/null || { echo "installing strace with apt, for the tests that cut the power"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends strace; }
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) -e '.[lite,voices,echat,training,audio,aec,postgres,encryption,sqlcipher,server,otel,webrtc,mqtt,xiaozhi,wyoming,dev]'
	@touch $@

# OpenAI's clients in JavaScript, for the tests that have them talk to the server.
$(NODE)/node_modules/.package-lock.json: $(NODE)/package-lock.json
	@command -v npm >/dev/null || ! command -v apt-get >/dev/null || { echo "installing nodejs and npm with apt, for the tests with clients in JavaScript"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends nodejs npm; }
	@echo "installing what the clients in JavaScript need into $(NODE)"
	@cd $(NODE) && npm ci
	@touch $@

demo: $(VENV)/.lite ## run the main job on two spoken examples
	@$(BIN)/echat models pull echat-lite
	@mkdir -p answers
	@$(BIN)/echat reply examples/audio/sad.wav --user demo --remember --out answers/sad.wav
	@$(BIN)/echat reply examples/audio/happy.wav --user demo --remember --out answers/happy.wav
	@echo
	@echo "Try next:"
	@echo "  $(BIN)/echat chat --user demo"
	@echo "  $(BIN)/echat memory show demo"
	@echo "  $(BIN)/echat say 'I saved you a seat.' --emotion happy --out answers/seat.wav"

check: $(VENV)/.dev ## format, lint, types, import contracts, quick tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 2

# What has real weights or a sound card is heard and timed: alone. The rest waits for disks.
test: check models $(NODE)/node_modules/.package-lock.json ## everything, with real weights
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m '(slow or postgres) and not (real or device)' --timeout 600
	$(BIN)/python -m pytest -q -m 'real or device' --timeout 600

endurance: $(VENV)/.dev ## the whole of what the slow tests try a part of: kills, power cuts, conversations
	$(BIN)/python -m pytest -q -n 2 -m endurance --timeout 3600

# Half a gigabyte that nothing else needs, in an environment of its own over this one.
$(VENV)/ray/.done: $(VENV)/.dev
	@echo "installing Ray Serve into $(VENV)/ray"
	@$(BIN)/python -m venv $(VENV)/ray
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > $$($(VENV)/ray/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/echat.pth
	@$(VENV)/ray/bin/python -m pip install --quiet --disable-pip-version-check 'ray[serve]>=2.60,<3'
	@touch $@

ray: $(VENV)/ray/.done models ## two replicas on Ray Serve with one store: installs 0.5 GB, runs minutes
	$(BIN)/python -m pytest -q -m ray

models: $(VENV)/.dev
	@$(BIN)/echat models pull echat-lite
	@$(BIN)/echat models pull echat-mini
	@$(BIN)/echat models pull kokoro-82m

format: $(VENV)/.dev ## put the code into the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.lite ## time the main path on this machine
	@$(BIN)/echat bench reply

clean: ## remove what these commands made here; models and memory stay
	rm -rf $(VENV) $(NODE)/node_modules answers artefacts dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
