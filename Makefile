# Railgun. `make help` lists the targets. One Makefile: a folder is a program or an archive, files are found by
# wildcard, dependencies by -MMD. BUILD=debug|release|asan|tsan|fuzz each has its own tree under build/.
BUILD ?= debug
CC    := $(if $(filter fuzz,$(BUILD)),clang,$(if $(CC:cc=),$(CC),gcc))
# V=1 shows whole commands.
Q     := $(if $(V),,@)
say    = $(if $(V),,@printf '%-5s %s\n' '$(1)' '$(2)')
B     := build/$(BUILD)
GEN   := build/gen

VERSION := 0.1.0
PKGS    := libczmq libzmq libprotobuf-c libconfig
WARN := -Wall -Wextra -Werror -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wswitch-enum -Wvla -Wformat=2 \
        -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wundef -Wpointer-arith -Wwrite-strings
# clang 14 has no -ftrivial-auto-var-init=zero without a second, longer flag.
HARDEN := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIC $(if $(findstring clang,$(CC)),,-ftrivial-auto-var-init=zero)
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
DAEMON_LIBS := $(foreach a,common/run common/raft common/store common/wire common/base,$(call archive,$(a)))
COMMON_LIBS := $(call archive,client) $(DAEMON_LIBS)
# What a folder may stand on (the floors again, now for the linker).
under_common/base  := common/base
under_common/wire  := common/wire common/base
under_common/store := common/store common/base
under_common/raft  := common/raft common/base
under_client       := client common/wire common/base
under_lib          := common/base
stand_on = $(if $(under_$(1)),$(foreach a,$(under_$(1)),$(call archive,$(a))),$(if $(filter adminctl,$(1)),$(COMMON_LIBS),$(DAEMON_LIBS)))

UNIT_DIRS := $(patsubst %/,%,$(sort $(dir $(wildcard tests/unit/*/*_test.c tests/unit/*/*/*_test.c))))
UNIT_BINS := $(UNIT_DIRS:tests/unit/%=$(B)/tests/unit/%)
SYSTEM_BIN := $(if $(wildcard tests/system/*.c),$(B)/tests/system/system)
FUZZ_SRC  := $(wildcard tests/fuzz/*_fuzz.c)
FUZZ_BINS := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/fuzz/%)
REPLAY_BINS := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/tests/fuzz/%)
EXAMPLES  := $(patsubst examples/%.c,$(B)/examples/%,$(wildcard examples/*.c))

.SECONDARY:
.PHONY: planted bench-raft sanitized all programs lib examples unit-bins test-bins help clean format deps demo check unit system replay fuzz fuzz-bins lint bench install

all: programs lib examples ## build everything but the tests
programs: $(PROGRAMS:%=$(B)/bin/%)
lib: $(B)/lib/librailgun.so $(B)/lib/librailgun.a
examples: $(EXAMPLES)
SIM_BINS := $(B)/tests/sim/sim $(B)/tests/sim/search
test-bins: $(UNIT_BINS) $(SYSTEM_BIN) $(REPLAY_BINS) $(SIM_BINS)

# --- code generated from the protocol ---
$(GEN)/%.pb-c.c $(GEN)/%.pb-c.h &: %.proto
	@mkdir -p $(GEN)
	$(call say,proto,$<)
	$(Q)protoc-c --c_out=$(GEN) -I. $<

$(B)/%.pb-c.o: $(GEN)/%.pb-c.c
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) -std=c17 -I$(GEN) $(FLAGS_$(BUILD)) $(HARDEN) -w -MMD -MP -c $< -o $@

# --- objects, archives, programs ---
$(B)/%.o: %.c | $(PB_HDR)
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(WARN) $(WARN_$(subst /,_,$(*D))) -MMD -MP -c $< -o $@

define archive_rule
$(call archive,$(1)): $(call objects,$(1)) $(if $(filter common/wire,$(1)),$(PB_OBJ))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(Q)ar rcs $$@ $$^
endef
$(foreach a,$(ARCHIVES) $(DAEMONS) adminctl,$(eval $(call archive_rule,$(a))))

define program_rule
$(B)/bin/$(1): $(call archive,$(1)) $(call stand_on,$(1))
	@mkdir -p $$(@D)
	$(call say,link,$(1))
	$(Q)$(CC) $(LDFLAGS_ALL) -pie -o $$@ $(B)/$(1)/$(1).o $(call archive,$(1)) $(call stand_on,$(1)) $(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))

# The public library: only rg_* is visible. It stands on base and wire alone.
LIB_PARTS := $(call objects,client) $(call objects,common/wire) $(PB_OBJ) $(call objects,common/base)
$(B)/lib/librailgun.so: $(LIB_PARTS) client/railgun.map
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,librailgun.so.0 -Wl,--version-script=client/railgun.map -o $@ $(LIB_PARTS) -lprotobuf-c -lpthread
	@ln -sf librailgun.so $(B)/lib/librailgun.so.0
$(B)/lib/librailgun.a: $(LIB_PARTS)
	@mkdir -p $(@D)
	$(Q)ld -r -o $(B)/lib/railgun_all.o $(LIB_PARTS)
	$(Q)objcopy --wildcard --keep-global-symbol='rg_*' $(B)/lib/railgun_all.o
	@rm -f $@
	$(Q)ar rcs $@ $(B)/lib/railgun_all.o

$(B)/examples/%: examples/%.c $(B)/lib/librailgun.so
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror $(filter -fsanitize=% -g,$(FLAGS_$(BUILD))) -Iclient $< -o $@ -L$(B)/lib -Wl,-rpath,'$$ORIGIN/../lib' -lrailgun

# --- tests: one program a folder of tests/unit, so that one folder cannot lean on another ---
TEST_LIB := $(call objects,tests/lib)
# tests/unit/logd_groups stands on logd too: a part of it that is tested among fakes of its neighbours.
unit_daemon = $(firstword $(subst _, ,$(1)))
unit_own = $(if $(wildcard $(unit_daemon)/$(unit_daemon).c),$(call archive,$(unit_daemon)))$(if $(filter sim,$(1)),$(B)/lib/tests_sim.a)
# The program has the name of its folder, so the objects lie elsewhere.
unit_objects = $(patsubst tests/unit/%.c,$(B)/tests/obj/%.o,$(wildcard tests/unit/$(1)/*.c))
$(B)/tests/obj/%.o: tests/unit/%.c | $(PB_HDR)
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(WARN) -MMD -MP -c $< -o $@

define unit_rule
$(B)/tests/unit/$(1): $(call unit_objects,$(1)) $(TEST_LIB) $(call unit_own,$(1)) $(call stand_on,$(1))
	@mkdir -p $$(@D)
	$$(call say,link,$$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -Wl,--allow-multiple-definition -o $$@ $$(filter %.o,$$^) $(call unit_own,$(1)) $(call stand_on,$(1)) -lcheck -lsubunit -lrt $(LIBS)
endef
$(foreach d,$(UNIT_DIRS:tests/unit/%=%),$(eval $(call unit_rule,$(d))))

$(B)/tests/system/system: $(call objects,tests/system) $(TEST_LIB) $(COMMON_LIBS)
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(COMMON_LIBS) -lcheck -lsubunit -lrt $(LIBS)

# The simulator of common/raft: one program, all of it from one seed (tests/sim/sim.h).
$(B)/tests/sim/sim: $(call objects,tests/sim) $(call archive,common/raft) $(call archive,common/base)
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(call archive,common/raft) $(call archive,common/base) -lpthread -lm

# Without its main: tests/unit/sim sees the checker fail.
$(B)/lib/tests_sim.a: $(filter-out %/main.o,$(call objects,tests/sim))
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)ar rcs $@ $^

# The search through all small states of common/raft (tests/sim/bfs/search.c).
$(B)/tests/sim/search: $(call objects,tests/sim/bfs) $(call archive,common/raft) $(call archive,common/base)
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(call archive,common/raft) $(call archive,common/base) -lpthread -lm

# A fuzz target needs no daemon, and stands on all of common; the topic index is routerd's.
# It is built twice: with libFuzzer (BUILD=fuzz), and as a replayer of its corpus in every build.
$(B)/tests/fuzz/matcher_fuzz $(B)/fuzz/matcher_fuzz: $(call archive,routerd)
$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/lib/replay.o $(COMMON_LIBS)
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %/routerd.a,$^) $(COMMON_LIBS) $(LIBS)
$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(COMMON_LIBS)
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS_fuzz) -o $@ $(filter %.o,$^) $(filter %/routerd.a,$^) $(COMMON_LIBS) $(LIBS)

# The topic index under fire: make BUILD=release build/release/bench/matcher_bench
$(B)/bench/matcher_bench: $(B)/bench/matcher_bench.o $(B)/tests/obj/routerd/bombs.o $(call archive,routerd) $(call archive,common/base)
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(call archive,routerd) $(call archive,common/base)

# --- what people type ---
deps:
	@sh tests/lib/deps.sh build
demo: ## install what is missing, build, run a node in ./run/demo and show it at work
	@sh tests/lib/deps.sh build
	@$(MAKE) --no-print-directory -j2 BUILD=release programs > build.log 2>&1 || { cat build.log; exit 1; }; rm -f build.log
	@sh examples/demo.sh build/release/bin ./run/demo
check: ## install what is missing, build, run every test
	@sh tests/lib/deps.sh check
	@$(MAKE) --no-print-directory -j2 all test-bins
	@sh tests/lib/run.sh $(B) unit sim replay system
sanitized: ## unit tests, corpora and system tests under ASan and UBSan (make BUILD=asan sanitized)
	@$(MAKE) --no-print-directory -j2 all test-bins
	@SIM_SEEDS=$${SIM_SEEDS:-500} SEARCH_STATES=$${SEARCH_STATES:-30000} sh tests/lib/run.sh $(B) unit sim replay system
unit: ## the unit tests alone
	@$(MAKE) --no-print-directory -j2 $(UNIT_BINS) && sh tests/lib/run.sh $(B) unit
system: ## the system tests alone (real daemons, killed and restarted)
	@$(MAKE) --no-print-directory -j2 all $(SYSTEM_BIN) && sh tests/lib/run.sh $(B) system
replay: ## the corpora of the fuzz targets
	@$(MAKE) --no-print-directory -j2 $(REPLAY_BINS) && sh tests/lib/run.sh $(B) replay
sim: ## simulate SEEDS (1000) clusters of the consensus core, and play its scripts; SEED=n replays one, SIM_ARGS=--trace tells
	@$(MAKE) --no-print-directory -j2 $(SIM_BINS)
	@$(if $(SEED),$(B)/tests/sim/sim --seed $(SEED) $(SIM_ARGS),$(B)/tests/sim/sim --scripts tests/script && \
	    $(B)/tests/sim/sim --file tests/sim/seeds.txt --first $(or $(FIRST),1) --seeds $(or $(SEEDS),1000) $(SIM_ARGS))
search: ## search all small states of the consensus core (STATES, 1000000)
	@$(MAKE) --no-print-directory -j2 BUILD=release build/release/tests/sim/search
	@build/release/tests/sim/search --states $(or $(STATES),1000000)
mutants: ## plant each known bug into the consensus core and let the simulator find it (MUTANTS=n: so many, by the commit; MUTANT=n: that one)
	@$(MAKE) --no-print-directory -j2 $(B)/tests/sim/sim
	@MUTANT=$(MUTANT) CC="$(CC)" LINK="$(LDFLAGS_ALL)" sh tests/sim/mutants.sh $(B) $(or $(MUTANTS),0)
planted: ## plant each known bug into logd and let the checker of the fault tests find it (PLANTED=n: that one; COUNT=n: so many, by the commit)
	@$(MAKE) --no-print-directory -j2 all $(SYSTEM_BIN)
	@PLANTED=$(PLANTED) CC="$(CC)" CFLAGS="$(CFLAGS_ALL)" LINK="$(LDFLAGS_ALL)" LIBRARIES="$(call stand_on,logd) $(LIBS)" sh tests/system/planted.sh $(B) $(or $(COUNT),0)
fuzz: ## run each fuzz target for FUZZ_SECONDS (60) with libFuzzer
	@sh tests/lib/deps.sh lint
	@$(MAKE) --no-print-directory -j2 BUILD=fuzz fuzz-bins
	@for t in $(FUZZ_SRC:tests/fuzz/%.c=%); do mkdir -p build/fuzz/found/$$t && echo "== $$t" && \
	    build/fuzz/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=512 -timeout=5 -print_final_stats=1 \
	        build/fuzz/found/$$t tests/fuzz/corpus/$${t%_fuzz} || exit 1; done
fuzz-bins: $(FUZZ_BINS)
FUZZ_SECONDS ?= 60
lint: ## floors, headers, symbols, house rules, clang-format, clang-tidy, cppcheck, unused functions
	@sh tests/lib/deps.sh lint
	@$(MAKE) --no-print-directory -j2 all
	@sh tests/lint/lint.sh $(B) $(GEN)
bench: ## measure against the peers that Debian packages, in the same run
	@sh tests/lib/deps.sh bench
	@$(MAKE) --no-print-directory -j2 BUILD=release all $(addprefix build/release/bench/,raft_bench raft_idle libraft)
	@python3 bench/bench.py --bin build/release/bin $(BENCH_ARGS)

$(B)/bench/%: $(B)/bench/peers/%.o $(call archive,common/raft) $(call archive,common/base)
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^
# Debian's, with its own names: a program of its own, without ours.
$(B)/bench/libraft: bench/peers/libraft.c
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE -O2 -g -Wall -Wextra $< -o $@ -lraft
bench-raft: ## what the consensus core costs, in memory, beside Debian's libraft
	@sh tests/lib/deps.sh bench
	@$(MAKE) --no-print-directory BUILD=release $(addprefix build/release/bench/,raft_bench raft_idle libraft)
	@python3 bench/bench.py --only-raft build/release/bench

prefix ?= /usr/local
install: ## into $(DESTDIR)$(prefix): programs, library, header, pkg-config, configuration (an existing one stays), units, docs
	@sh tests/lib/deps.sh build
	@$(MAKE) --no-print-directory BUILD=release programs lib
	install -d $(DESTDIR)$(prefix)/bin $(DESTDIR)$(prefix)/lib/pkgconfig $(DESTDIR)$(prefix)/include $(DESTDIR)/etc/railgun
	install -m 755 $(PROGRAMS:%=build/release/bin/%) $(DESTDIR)$(prefix)/bin
	install -m 644 client/railgun.h $(DESTDIR)$(prefix)/include
	install -m 644 build/release/lib/librailgun.a $(DESTDIR)$(prefix)/lib
	install -m 755 build/release/lib/librailgun.so $(DESTDIR)$(prefix)/lib/librailgun.so.0
	ln -sf librailgun.so.0 $(DESTDIR)$(prefix)/lib/librailgun.so
	sed 's|@prefix@|$(prefix)|; s|@version@|$(VERSION)|' client/railgun.pc.in > $(DESTDIR)$(prefix)/lib/pkgconfig/railgun.pc
	for f in etc/*.conf; do [ -e $(DESTDIR)/etc/railgun/$${f#etc/} ] || install -m 644 $$f $(DESTDIR)/etc/railgun; done
	install -d $(DESTDIR)$(prefix)/lib/systemd/system $(DESTDIR)$(prefix)/lib/sysusers.d $(DESTDIR)$(prefix)/share/doc/railgun
	sed 's|/usr/local|$(prefix)|' systemd/railgun.target > $(DESTDIR)$(prefix)/lib/systemd/system/railgun.target
	for d in $(DAEMONS); do sed 's|/usr/local|$(prefix)|' systemd/railgun-$$d@.service > $(DESTDIR)$(prefix)/lib/systemd/system/railgun-$$d@.service; done
	install -m 644 systemd/railgun.sysusers $(DESTDIR)$(prefix)/lib/sysusers.d/railgun.conf
	install -m 644 README.md docs/*.md $(DESTDIR)$(prefix)/share/doc/railgun
	[ -n "$(DESTDIR)" ] || ldconfig

clean: ## remove everything built
	rm -rf build

format: ## let clang-format have its way
	clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

-include $(shell find $(B) -name '*.d' 2>/dev/null)
