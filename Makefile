# Railgun. `make help` lists the targets. One Makefile: a folder is a program or an archive, files are found by
# wildcard, dependencies by -MMD. BUILD=debug|release|asan|tsan|fuzz each has its own tree under build/.
BUILD ?= debug
CC    := $(if $(filter fuzz,$(BUILD)),clang,$(if $(CC:cc=),$(CC),gcc))
B     := build/$(BUILD)
GEN   := build/gen

VERSION := 0.1.0
PKGS    := libczmq libzmq libprotobuf-c libconfig
WARN := -Wall -Wextra -Werror -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wswitch-enum -Wvla -Wformat=2 \
        -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wundef -Wpointer-arith -Wwrite-strings
HARDEN := -fstack-protector-strong -fstack-clash-protection -fcf-protection -ftrivial-auto-var-init=zero -fPIC
FLAGS_debug   := -O1 -g -DRAILGUN_SLOW_CHECKS
FLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2
FLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DRAILGUN_SLOW_CHECKS
FLAGS_tsan    := -O1 -g -fsanitize=thread
FLAGS_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -DRAILGUN_SLOW_CHECKS
CFLAGS_ALL := -std=c17 -D_GNU_SOURCE -DRAILGUN_VERSION='"$(VERSION)"' -I. -I$(GEN) $(FLAGS_$(BUILD)) $(HARDEN) $(CFLAGS)
LDFLAGS_ALL := $(filter -fsanitize=%,$(FLAGS_$(BUILD):fuzzer-no-link%=address%)) -Wl,-z,relro,-z,now,-z,noexecstack $(LDFLAGS)
LDFLAGS_fuzz := -fsanitize=fuzzer,address,undefined
LIBS := -lczmq -lzmq -lprotobuf-c -ldb -lconfig -lpthread -lm

DAEMONS  := frontd routerd logd raftd
PROGRAMS := $(DAEMONS) adminctl
ARCHIVES := common/base common/wire common/store common/run common/raft client

PROTOS := $(wildcard common/wire/*.proto)
PB_SRC := $(PROTOS:%.proto=$(GEN)/%.pb-c.c)
PB_HDR := $(PROTOS:%.proto=$(GEN)/%.pb-c.h)
PB_OBJ := $(PROTOS:%.proto=$(B)/%.pb-c.o)

objects  = $(patsubst %.c,$(B)/%.o,$(wildcard $(1)/*.c))
archive  = $(B)/lib/$(subst /,_,$(1)).a
# Link order: higher floors first.
COMMON_LIBS := $(foreach a,client common/run common/raft common/store common/wire common/base,$(call archive,$(a)))

UNIT_DIRS := $(patsubst %/,%,$(sort $(dir $(wildcard tests/unit/*/*_test.c tests/unit/*/*/*_test.c))))
UNIT_BINS := $(UNIT_DIRS:tests/unit/%=$(B)/tests/unit/%)
SYSTEM_BIN := $(if $(wildcard tests/system/*.c),$(B)/tests/system/system)
FUZZ_SRC  := $(wildcard tests/fuzz/*_fuzz.c)
FUZZ_BINS := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/fuzz/%)
REPLAY_BINS := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/tests/fuzz/%)
EXAMPLES  := $(patsubst examples/%.c,$(B)/examples/%,$(wildcard examples/*.c))

.SECONDARY:
.PHONY: all programs lib examples unit-bins test-bins help clean format deps demo check check-fast unit system replay fuzz lint bench install

all: programs lib examples ## build everything but the tests
programs: $(PROGRAMS:%=$(B)/bin/%)
lib: $(B)/lib/librailgun.so $(B)/lib/librailgun.a
examples: $(EXAMPLES)
test-bins: $(UNIT_BINS) $(SYSTEM_BIN) $(REPLAY_BINS)

# --- code generated from the protocol ---
$(GEN)/%.pb-c.c $(GEN)/%.pb-c.h &: %.proto
	@mkdir -p $(GEN)
	protoc-c --c_out=$(GEN) -I. $<

$(B)/%.pb-c.o: $(GEN)/%.pb-c.c
	@mkdir -p $(@D)
	$(CC) -std=c17 -I$(GEN) $(FLAGS_$(BUILD)) $(HARDEN) -w -MMD -MP -c $< -o $@

# --- objects, archives, programs ---
$(B)/%.o: %.c | $(PB_HDR)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(WARN) $(WARN_$(subst /,_,$(*D))) -MMD -MP -c $< -o $@

define archive_rule
$(call archive,$(1)): $(call objects,$(1)) $(if $(filter common/wire,$(1)),$(PB_OBJ))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach a,$(ARCHIVES) $(DAEMONS) adminctl,$(eval $(call archive_rule,$(a))))

define program_rule
$(B)/bin/$(1): $(call archive,$(1)) $(COMMON_LIBS)
	@mkdir -p $$(@D)
	$(CC) $(LDFLAGS_ALL) -pie -o $$@ $(B)/$(1)/$(1).o $(call archive,$(1)) $(COMMON_LIBS) $(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))

# The public library: only rg_* is visible. It stands on base and wire alone.
LIB_PARTS := $(call objects,client) $(call objects,common/wire) $(PB_OBJ) $(call objects,common/base)
$(B)/lib/librailgun.so: $(LIB_PARTS) client/railgun.map
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,librailgun.so.0 -Wl,--version-script=client/railgun.map -o $@ $(LIB_PARTS) -lprotobuf-c -lpthread
	@ln -sf librailgun.so $(B)/lib/librailgun.so.0
$(B)/lib/librailgun.a: $(LIB_PARTS)
	@mkdir -p $(@D)
	ld -r -o $(B)/lib/railgun_all.o $(LIB_PARTS)
	objcopy --wildcard --keep-global-symbol='rg_*' $(B)/lib/railgun_all.o
	@rm -f $@
	ar rcs $@ $(B)/lib/railgun_all.o

$(B)/examples/%: examples/%.c $(B)/lib/librailgun.so
	@mkdir -p $(@D)
	$(CC) -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror $(filter -fsanitize=% -g,$(FLAGS_$(BUILD))) -Iclient $< -o $@ -L$(B)/lib -Wl,-rpath,'$$ORIGIN/../lib' -lrailgun

# --- tests: one program a folder of tests/unit, so that one folder cannot lean on another ---
TEST_LIB := $(call objects,tests/lib)
unit_own = $(if $(wildcard $(1)/$(1).c),$(call archive,$(1)))
define unit_rule
$(B)/tests/unit/$(1): $(call objects,tests/unit/$(1)) $(TEST_LIB) $(call unit_own,$(1)) $(COMMON_LIBS)
	@mkdir -p $$(@D)
	$(CC) $(LDFLAGS_ALL) -Wl,--allow-multiple-definition -o $$@ $$(filter %.o,$$^) $(call unit_own,$(1)) $(COMMON_LIBS) -lcheck -lsubunit -lrt $(LIBS)
endef
$(foreach d,$(UNIT_DIRS:tests/unit/%=%),$(eval $(call unit_rule,$(d))))

$(B)/tests/system/system: $(call objects,tests/system) $(TEST_LIB) $(COMMON_LIBS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(COMMON_LIBS) -lcheck -lsubunit -lrt $(LIBS)

# A fuzz target is built twice: with libFuzzer (BUILD=fuzz), and as a replayer of its corpus in every build.
$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/lib/replay.o $(COMMON_LIBS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(COMMON_LIBS) $(LIBS)
$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(COMMON_LIBS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_fuzz) -o $@ $(filter %.o,$^) $(COMMON_LIBS) $(LIBS)

clean: ## remove everything built
	rm -rf build

format: ## let clang-format have its way
	clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

-include Makefile.targets
-include $(shell find $(B) -name '*.d' 2>/dev/null)
