# Muster. `make help` lists the targets.

BUILD ?= build
CC ?= gcc
PREFIX ?= /usr
PKG := libmicrohttpd gnutls libmosquitto jansson libpq libssl libcrypto libarchive libargon2 sqlite3 libcurl inih

CPPFLAGS_ALL = -D_GNU_SOURCE -D_FORTIFY_SOURCE=3 -I. $(shell pkg-config --cflags libmicrohttpd libpq jansson) $(CPPFLAGS)
WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Werror
HARDENING = -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
CFLAGS_ALL = -std=gnu2x -O2 -g $(WARNINGS) $(HARDENING) -pthread -MMD -MP $(CFLAGS) $(SANITIZE)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now -Wl,--as-needed -pthread $(LDFLAGS) $(SANITIZE)
ifneq ($(SANITIZE),)
CPPFLAGS_ALL := $(filter-out -D_FORTIFY_SOURCE=3,$(CPPFLAGS_ALL))
endif

sources = $(sort $(foreach dir,$(1),$(wildcard $(dir)/*.c $(dir)/*/*.c)))
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

COMMON_SRC := $(call sources,common)
SERVER_SRC := $(filter-out server/main.c,$(call sources,server))
AGENT_SRC  := $(filter-out agent/main.c agent/infer/% agent/fetch/%,$(call sources,agent))
INFER_SRC  := $(filter-out agent/infer/main.c,$(call sources,agent/infer))
FETCH_SRC  := $(filter-out agent/fetch/main.c,$(call sources,agent/fetch))
CLI_SRC    := $(filter-out cli/main.c,$(call sources,cli))
ALL_C      := $(COMMON_SRC) $(call sources,server) $(call sources,agent) $(call sources,cli)

PROGRAMS := musterd muster-agent muster-infer muster-fetch musterctl
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))

LIBS_COMMON = -larchive -linih -ljansson -lcrypto -lm
LIBS_SERVER = -lmicrohttpd -lgnutls -lmosquitto -lpq -largon2 -lssl
LIBS_AGENT  = -lmosquitto -lsqlite3
LIBS_CLI    = -lcurl

.PHONY: all programs help
all: programs web

programs: $(addprefix $(BUILD)/,$(PROGRAMS))

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -c $< -o $@

# Static libraries, so that a program and a unit test link only what they use.
$(BUILD)/libcommon.a: $(call objects,$(COMMON_SRC))
$(BUILD)/libserver.a: $(call objects,$(SERVER_SRC))
$(BUILD)/libagent.a: $(call objects,$(AGENT_SRC))
$(BUILD)/libinfer.a: $(call objects,$(INFER_SRC))
$(BUILD)/libfetch.a: $(call objects,$(FETCH_SRC))
$(BUILD)/libcli.a: $(call objects,$(CLI_SRC))
$(BUILD)/lib%.a:
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/musterd: $(BUILD)/server/main.o $(BUILD)/libserver.a $(BUILD)/libcommon.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_SERVER) $(LIBS_COMMON)
$(BUILD)/muster-agent: $(BUILD)/agent/main.o $(BUILD)/libagent.a $(BUILD)/libcommon.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_AGENT) $(LIBS_COMMON)
$(BUILD)/muster-infer: $(BUILD)/agent/infer/main.o $(BUILD)/libinfer.a $(BUILD)/libcommon.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_COMMON) -ldl
$(BUILD)/muster-fetch: $(BUILD)/agent/fetch/main.o $(BUILD)/libfetch.a $(BUILD)/libcommon.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CLI) $(LIBS_COMMON)
$(BUILD)/musterctl: $(BUILD)/cli/main.o $(BUILD)/libcli.a $(BUILD)/libcommon.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CLI) $(LIBS_COMMON)

# Unit tests link everything; the linker takes what each one uses.
ALL_LIBS := server agent infer fetch cli common
$(BUILD)/unit/%: tests/unit/%.c $(foreach lib,$(ALL_LIBS),$(BUILD)/lib$(lib).a)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(foreach lib,$(ALL_LIBS),$(BUILD)/lib$(lib).a) \
	    -Wl,--end-group $(LIBS_SERVER) $(LIBS_AGENT) $(LIBS_CLI) $(LIBS_COMMON) -lcmocka -ldl

unit: $(UNIT_TESTS)
.PHONY: unit

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
