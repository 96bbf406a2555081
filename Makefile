# Muster. `make help` lists the targets; V=1 shows the commands.

.DEFAULT_GOAL := all

BUILD ?= build
CC ?= gcc
PREFIX ?= /usr

CPPFLAGS_ALL = -D_GNU_SOURCE $(if $(SANITIZE),,-D_FORTIFY_SOURCE=3) -I. $(shell pkg-config --cflags libmicrohttpd libpq jansson) $(CPPFLAGS)
WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Werror
HARDENING = -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
CFLAGS_ALL = -std=gnu2x -O2 -g $(WARNINGS) $(HARDENING) -pthread -MMD -MP $(CFLAGS) $(SANITIZE)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now -Wl,--as-needed -pthread $(LDFLAGS) $(SANITIZE)

sources = $(sort $(foreach dir,$(1),$(wildcard $(dir)/*.c $(dir)/*/*.c $(dir)/*/*/*.c)))
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

COMMON_SRC := $(call sources,common)
SERVER_SRC := $(filter-out server/main.c,$(call sources,server))
AGENT_SRC  := $(filter-out agent/main.c agent/infer/% agent/fetch/% agent/guard/%,$(call sources,agent))
INFER_SRC  := $(filter-out agent/infer/main.c,$(call sources,agent/infer))
FETCH_SRC  := $(filter-out agent/fetch/main.c,$(call sources,agent/fetch))
CLI_SRC    := $(filter-out cli/main.c cli/full/%,$(call sources,cli))
ALL_C      := $(COMMON_SRC) $(call sources,server) $(call sources,agent) $(call sources,cli)
ALL_H      := $(wildcard common/*/*.h server/*.h server/*/*.h server/*/*/*.h agent/*/*.h cli/*.h cli/*/*.h)

PROGRAMS := musterd muster-agent muster-infer muster-fetch muster-guard musterctl musterctl-full
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))

LIBS_COMMON = -larchive -linih -ljansson -lzstd -ldivsufsort -lcrypto -ldl -lm
LIBS_SERVER = -lmicrohttpd -lgnutls -lmosquitto -lpq -largon2 -lssl
LIBS_AGENT  = -lmosquitto -lsqlite3
LIBS_CURL   = -lcurl

ifndef V
Q := @
say = @echo "  $(1)"
endif

.PHONY: fuzz fuzz-programs fuzz-replay
.PHONY: faults faults-short
.PHONY: all programs web unit deps test unit-run integration lint format asan tsan install clean help \
        demo demo-check demo-clean demo-password screenshots bench-delta bench-verify bench-grid bench-scale check-arm64
all: programs web

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC  $<)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -c $< -o $@

# A delta is rebuilt with floating-point predictions: they must be the same on every machine, so nothing may be fused.
$(BUILD)/common/delta/%.o: CFLAGS += -O3 -ffp-contract=off

# ONNX Runtime is loaded at run time; only its C header is needed to build muster-infer. Without it all else is built.
ORT_HOME ?= $(shell packaging/onnxruntime.sh --where)
ifeq ($(wildcard $(ORT_HOME)/include/onnxruntime_c_api.h),)
programs: without-infer
PROGRAMS := $(filter-out muster-infer,$(PROGRAMS))
UNIT_TESTS := $(filter-out $(BUILD)/unit/test_infer_%,$(UNIT_TESTS))
INFER_SRC :=
COMMON_SRC := $(filter-out common/infer/%,$(COMMON_SRC))
endif
.PHONY: without-infer
without-infer:
	@echo "muster-infer is left out: ONNX Runtime's header is not in $(ORT_HOME)/include; get it with packaging/onnxruntime.sh"
$(BUILD)/agent/infer/%.o $(BUILD)/common/infer/%.o $(BUILD)/cli/judge.o: CPPFLAGS += -isystem $(ORT_HOME)/include

programs: $(addprefix $(BUILD)/,$(PROGRAMS))

# Static libraries, so that a program and a unit test link only what they use.
$(BUILD)/libcommon.a: $(call objects,$(COMMON_SRC))
$(BUILD)/libserver.a: $(call objects,$(SERVER_SRC))
$(BUILD)/libagent.a: $(call objects,$(AGENT_SRC))
$(BUILD)/libinfer.a: $(call objects,$(INFER_SRC))
$(BUILD)/libfetch.a: $(call objects,$(FETCH_SRC))
$(BUILD)/libcli.a: $(call objects,$(CLI_SRC))
$(BUILD)/lib%.a:
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/musterd: $(BUILD)/server/main.o $(BUILD)/libserver.a $(BUILD)/libcommon.a
$(BUILD)/musterd: LIBS = $(LIBS_SERVER)
$(BUILD)/muster-agent: $(BUILD)/agent/main.o $(BUILD)/libagent.a $(BUILD)/libcommon.a
$(BUILD)/muster-agent: LIBS = $(LIBS_AGENT)
$(BUILD)/muster-infer: $(BUILD)/agent/infer/main.o $(BUILD)/libinfer.a $(BUILD)/libcommon.a
$(BUILD)/muster-infer: LIBS =
$(BUILD)/muster-fetch: $(BUILD)/agent/fetch/main.o $(BUILD)/libfetch.a $(BUILD)/libcommon.a
$(BUILD)/muster-fetch: LIBS = $(LIBS_CURL)
$(BUILD)/musterctl: $(BUILD)/cli/main.o $(BUILD)/libcli.a $(BUILD)/libcommon.a
$(BUILD)/musterctl-full: $(BUILD)/cli/full/main.o $(BUILD)/libcli.a $(BUILD)/libcommon.a
$(BUILD)/musterctl-full: LIBS = $(LIBS_CURL)
$(BUILD)/muster-guard: $(BUILD)/agent/guard/main.o
$(BUILD)/muster-guard: LIBS_COMMON =
$(addprefix $(BUILD)/,$(PROGRAMS)):
	$(call say,LD  $@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(LIBS_COMMON)

# Unit tests are offered every library; the linker takes what each one uses.
ALL_LIBS := $(foreach lib,server agent infer fetch cli common,$(BUILD)/lib$(lib).a)
$(BUILD)/unit/%: tests/unit/%.c $(ALL_LIBS)
	@mkdir -p $(@D)
	$(call say,LD  $@)
	$(Q)$(CC) $(CPPFLAGS_ALL) -isystem $(ORT_HOME)/include $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(ALL_LIBS) -Wl,--end-group \
	    $(LIBS_SERVER) $(LIBS_AGENT) $(LIBS_CURL) $(LIBS_COMMON) -lcmocka

unit: $(UNIT_TESTS)

# Drops MQTT messages, for the tests of reconciliation.
$(BUILD)/on_trial: tests/faults/on_trial.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu2x -D_GNU_SOURCE -O2 -Wall -Wextra -Wconversion -Werror -o $@ $<

$(BUILD)/drop_plugin.so: tests/faults/drop_plugin.c
	@mkdir -p $(@D)
	$(Q)$(CC) -shared -fPIC -O2 -Wall -Wextra -Werror -o $@ $<

# Fuzz targets. What `make test` runs is each of them on its corpus; `make fuzz` searches for more with libFuzzer.
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_S ?= 60
FUZZ_BUILD := build-fuzz
fuzz-replay: $(addprefix $(BUILD)/fuzz/replay_,$(FUZZ))
$(BUILD)/fuzz/replay_%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD  $@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< tests/fuzz/replay.c $(BUILD)/libcommon.a $(LIBS_COMMON)
fuzz-programs: $(addprefix $(BUILD)/fuzz/fuzz_,$(FUZZ))
$(BUILD)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD  $@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -fsanitize=fuzzer $(LDFLAGS_ALL) -o $@ $< $(BUILD)/libcommon.a $(LIBS_COMMON)

# The console. Node.js comes from the distribution, or from packaging/node.sh where that is too old.
NODE_PATH_ENV = PATH="$$(packaging/node.sh):$$PATH"
WEB_SRC := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print)
web: web/dist/index.html
web/node_modules/.package-lock.json: web/package-lock.json
	$(call say,NPM web)
	$(Q)$(NODE_PATH_ENV) npm --prefix web ci --no-audit --no-fund --loglevel=error
	@touch $@
web/dist/index.html: web/node_modules/.package-lock.json $(WEB_SRC) api/openapi.yaml
	$(call say,WEB $(@D))
	$(Q)$(NODE_PATH_ENV) npm --prefix web run --silent build -- --logLevel warn >/dev/null
	@touch $@

# ---------------------------------------------------------------- people

deps: ## install what building and the demo need (Debian packages, ONNX Runtime)
	@packaging/deps.sh build run web
	@packaging/onnxruntime.sh >/dev/null

demo: deps ## a real fleet on loopback, until Ctrl-C
	@$(MAKE) --no-print-directory programs web
	@exec /usr/bin/python3 packaging/demo/demo.py

demo-check: deps ## the whole story unattended; fails when a step is not as it should be
	@$(MAKE) --no-print-directory programs web
	@exec /usr/bin/python3 packaging/demo/check.py

demo-password: ## a new one-time admin password for the running demo
	@$(BUILD)/musterd --config var/demo/musterd/musterd.conf user reset-password admin

demo-clean: ## remove everything the demo keeps
	@packaging/demo/clean.sh

test: ## install what tests need, build, run all tests; the last line says how many passed and failed
	@packaging/deps.sh build run web test
	@packaging/onnxruntime.sh >/dev/null
	@$(MAKE) --no-print-directory programs web unit fuzz-replay $(BUILD)/drop_plugin.so $(BUILD)/on_trial
	@exec /usr/bin/python3 tests/run.py --build $(BUILD)

# A program that runs another and says what it took.
$(BUILD)/bench/measure: tests/bench/measure.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu2x -D_GNU_SOURCE -O2 $(WARNINGS) -o $@ $<

bench-delta: ## sizes, times and memory of deltas beside other tools; fails when a limit is missed (BENCH=--quick, BENCH="--extra DIR")
	@packaging/deps.sh build bench
	@$(MAKE) --no-print-directory programs $(BUILD)/bench/measure
	@exec /usr/bin/python3 -B tests/bench/delta.py --build $(BUILD) $(BENCH)

bench-verify: ## how fast a bundle is verified, beside sha256sum (BENCH=--quick)
	@packaging/deps.sh build bench
	@$(MAKE) --no-print-directory programs
	@exec /usr/bin/python3 -B tests/bench/verify.py --build $(BUILD) $(BENCH)

bench-grid: ## what publishing on a grid saves and costs, on the digits network
	@packaging/deps.sh build bench
	@packaging/onnxruntime.sh >/dev/null
	@$(MAKE) --no-print-directory programs
	@exec /usr/bin/python3 -B tests/bench/grid.py --build $(BUILD)

bench-scale: ## what 20,000 devices cost a server, and what an agent costs a device
	@packaging/deps.sh build run
	@packaging/onnxruntime.sh >/dev/null
	@$(MAKE) --no-print-directory programs
	@MUSTER_BUILD=$(abspath $(BUILD)) /usr/bin/python3 -B tests/bench/scale.py

check-arm64: ## deltas are rebuilt on arm64 (under qemu) as here, and made there with the same bytes (BENCH=--quick, BENCH="--effort fast")
	@packaging/deps.sh build bench
	@packaging/deps.sh arm64 || true
	@$(MAKE) --no-print-directory programs
	@exec /usr/bin/python3 -B tests/arm64/check.py --build $(BUILD) $(BENCH)

faults-short: ## kills, power cuts, full disks and I/O errors at a sample of an update's system calls
	@packaging/deps.sh build run test
	@packaging/onnxruntime.sh >/dev/null
	@$(MAKE) --no-print-directory programs $(BUILD)/on_trial
	@MUSTER_BUILD=$(abspath $(BUILD)) /usr/bin/python3 tests/faults/run.py --table

faults: ## the same at every system call; takes about an hour
	@packaging/deps.sh build run test
	@packaging/onnxruntime.sh >/dev/null
	@$(MAKE) --no-print-directory programs $(BUILD)/on_trial
	@MUSTER_BUILD=$(abspath $(BUILD)) /usr/bin/python3 tests/faults/run.py --long

screenshots: ## docs/img/*.png, taken from a real server
	@packaging/deps.sh build run web test
	@$(MAKE) --no-print-directory programs web
	@exec /usr/bin/python3 packaging/demo/screenshots.py

lint: ## clang-format, clang-tidy, cppcheck, shellcheck, Python and console checks
	@packaging/deps.sh build web test lint
	@packaging/lint.sh $(ALL_C)

format: ## clang-format everything in place
	clang-format -i $(ALL_C) $(ALL_H) $(wildcard tests/unit/*.c tests/faults/*.c tests/bench/*.c tests/arm64/*.c tests/fuzz/*.[ch])

asan: ## unit and integration tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@packaging/deps.sh build run web test
	@$(MAKE) --no-print-directory BUILD=build-asan SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all" programs unit fuzz-replay build-asan/drop_plugin.so web
	@exec /usr/bin/python3 tests/run.py --build build-asan --skip-console --skip-faults

tsan: ## unit and integration tests of musterd under ThreadSanitizer
	@packaging/deps.sh build run web test
	@$(MAKE) --no-print-directory BUILD=build-tsan SANITIZE="-fsanitize=thread" programs unit fuzz-replay build-tsan/drop_plugin.so web
	@exec /usr/bin/python3 tests/run.py --build build-tsan --skip-console --skip-faults

fuzz: ## libFuzzer on every target, FUZZ_S seconds each (60); new inputs go to var/fuzz
	@packaging/deps.sh build fuzz
	@$(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=clang SANITIZE="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all" fuzz-programs
	@tests/fuzz/run.sh $(FUZZ_BUILD)/fuzz $(FUZZ_S) $(FUZZ)

install: programs web ## into $(DESTDIR)$(PREFIX) and $(DESTDIR)/etc/muster
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/libexec/muster $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -d $(DESTDIR)$(PREFIX)/share/muster/migrations $(DESTDIR)$(PREFIX)/share/muster/mosquitto $(DESTDIR)/etc/muster/keys
	install -m 755 $(BUILD)/musterctl $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BUILD)/musterd $(BUILD)/muster-agent $(DESTDIR)$(PREFIX)/sbin
	install -m 755 $(addprefix $(BUILD)/,$(filter muster-fetch muster-infer muster-guard musterctl-full,$(PROGRAMS))) $(DESTDIR)$(PREFIX)/libexec/muster
	install -m 644 migrations/*.sql $(DESTDIR)$(PREFIX)/share/muster/migrations
	install -m 644 packaging/mosquitto/mosquitto.conf.in packaging/mosquitto/acl $(DESTDIR)$(PREFIX)/share/muster/mosquitto
	install -m 644 packaging/systemd/*.service $(DESTDIR)$(PREFIX)/lib/systemd/system
	for f in packaging/etc/*.conf; do test -e $(DESTDIR)/etc/muster/$$(basename $$f) || install -m 640 $$f $(DESTDIR)/etc/muster; done
	rm -rf $(DESTDIR)$(PREFIX)/share/muster/web && cp -r web/dist $(DESTDIR)$(PREFIX)/share/muster/web
	for s in 1 8; do install -d $(DESTDIR)$(PREFIX)/share/man/man$$s && install -m 644 docs/man/*.$$s $(DESTDIR)$(PREFIX)/share/man/man$$s; done

clean: ## remove what was built
	rm -rf build build-asan build-tsan build-fuzz web/dist web/node_modules

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
