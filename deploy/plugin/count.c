/* Counting plugin for QEMU: exact executions per translation block and per bucket (a layer), taken
 * edges, loads and stores with their bytes, and on request flash line misses, the lowest stack
 * address stored and every address stored in a range.
 *
 * Options; numbers are hexadecimal, a range is LOW:HIGH with HIGH the first address past it:
 *   out=FILE        the dump, read and documented by deploy/profile.py
 *   marks=LOW:HIGH  array of 32-bit words; a store into word k makes k the current bucket,
 *   code=LOW:HIGH   but only when made by code in this range: start-up clears the array too
 *   memory=on       count loads and stores (the options below imply it)
 *   flash=LOW:HIGH  pass loads from this range through a small least-recently-used cache
 *   line=BYTES      its line size, a power of two
 *   lines=COUNT     its number of lines; 0: every load misses
 *   stack=LOW:HIGH  find the lowest address stored in this range, from the first mark on
 *   touch=LOW:HIGH  per bucket, find the addresses stored in this range, marks left out
 *
 * Buckets are 0 to 63. Bucket 63 is "outside": all before the first mark and after a mark 63.
 * The block that holds a mark's store counts to the bucket before it. */
#include "qemu_plugin_api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 64, OUTSIDE = 63, TABLE_SIZE = 1 << 16, LINES_MAX = 64 };

struct range {
    uint64_t low, high; /* low <= address < high; high 0: no range given */
};

struct block {
    struct block *next;
    uint64_t start, end; /* end: the address after the last instruction */
    uint32_t instructions;
    uint64_t executions[BUCKETS];
    uint64_t taken[BUCKETS]; /* executions after which the guest went on elsewhere than at end */
};

struct bucket {
    uint64_t loads, load_bytes, stores, store_bytes, flash_reads, flash_misses;
    uint8_t
        *touched; /* 1 for each byte of the touch range that was stored; NULL before the first */
};

static struct {
    struct range marks, code, flash, stack, touch;
    unsigned line_bytes, lines;
    bool memory, thumb, marked, several_cpus;
    const char *out;
    unsigned bucket;
    uint64_t stack_lowest;
    struct block *last;   /* the block executed before this one … */
    unsigned last_bucket; /* … and the bucket it was counted in */
    struct block *table[TABLE_SIZE];
    size_t block_count;
    struct bucket buckets[BUCKETS];
    uint64_t cache[LINES_MAX]; /* line numbers + 1, most recently used first */
} state;

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static bool contains(struct range range, uint64_t address)
{
    return address >= range.low && address < range.high;
}

static void on_block(unsigned cpu, void *context)
{
    struct block *block = context;
    if (cpu != 0) {
        state.several_cpus = true;
    }
    if (state.last && state.last->end != block->start) {
        state.last->taken[state.last_bucket]++;
    }
    block->executions[state.bucket]++;
    state.last = block;
    state.last_bucket = state.bucket;
}

/* Look a flash line up, make it the most recently used one, and say whether it was there. */
static bool cache_hit(uint64_t line)
{
    unsigned position = 0;
    while (position < state.lines && state.cache[position] != line + 1) {
        position++;
    }
    const bool hit = position < state.lines;
    if (state.lines) {
        const unsigned moved = hit ? position : state.lines - 1;
        memmove(&state.cache[1], &state.cache[0], moved * sizeof state.cache[0]);
        state.cache[0] = line + 1;
    }
    return hit;
}

static void on_load(struct bucket *bucket, uint64_t address, unsigned bytes)
{
    bucket->loads++;
    bucket->load_bytes += bytes;
    if (contains(state.flash, address)) {
        bucket->flash_reads++;
        bucket->flash_misses += !cache_hit(address / state.line_bytes);
    }
}

static void *allocate(size_t count, size_t size)
{
    void *const memory = calloc(count, size);
    if (!memory) {
        fprintf(stderr, "count: out of memory\n");
        exit(EXIT_FAILURE);
    }
    return memory;
}

static void touch(struct bucket *bucket, uint64_t address, unsigned bytes)
{
    if (!bucket->touched) {
        bucket->touched = allocate(state.touch.high - state.touch.low, 1);
    }
    for (uint64_t at = address; at < address + bytes; at++) {
        if (contains(state.touch, at)) {
            bucket->touched[at - state.touch.low] = 1;
        }
    }
}

static void on_store(struct bucket *bucket, uint64_t address, unsigned bytes)
{
    bucket->stores++;
    bucket->store_bytes += bytes;
    if (!state.marked) {
        return; /* start-up paints the stack and clears .bss */
    }
    if (contains(state.stack, address) && address < state.stack_lowest) {
        state.stack_lowest = address;
    }
    if (contains(state.touch, address) && !contains(state.marks, address)) {
        touch(bucket, address, bytes);
    }
}

static void on_memory(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *context)
{
    (void)cpu, (void)context;
    struct bucket *bucket = &state.buckets[state.bucket];
    const unsigned bytes = 1u << qemu_plugin_mem_size_shift(info);
    if (qemu_plugin_mem_is_store(info)) {
        on_store(bucket, address, bytes);
    } else {
        on_load(bucket, address, bytes);
    }
}

static void on_mark(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *context)
{
    (void)cpu, (void)info, (void)context;
    if (contains(state.marks, address)) {
        state.bucket = (unsigned)((address - state.marks.low) / sizeof(uint32_t));
        state.marked = true;
    }
}

/* The address after an instruction. Near a page's end QEMU 7.2 reports a Thumb instruction two
 * bytes too long, so its length comes from its first halfword: 0xE800 and above start a 32-bit
 * instruction. */
static uint64_t end_of(struct qemu_plugin_insn *instruction)
{
    size_t bytes = qemu_plugin_insn_size(instruction);
    if (state.thumb) {
        const uint8_t *const encoding = qemu_plugin_insn_data(instruction);
        bytes = encoding[1] >= 0xE8 ? 4 : 2;
    }
    return qemu_plugin_insn_vaddr(instruction) + bytes;
}

/* The record of a block; QEMU may translate the same block again after its cache was flushed. */
static struct block *find_block(uint64_t start, uint64_t end, size_t instructions)
{
    struct block **slot = &state.table[(start * 2654435761u ^ end) % TABLE_SIZE];
    for (struct block *block = *slot; block; block = block->next) {
        if (block->start == start && block->end == end) {
            return block;
        }
    }
    struct block *const block = allocate(1, sizeof *block);
    *block = (struct block){.next = *slot, .start = start, .end = end};
    block->instructions = (uint32_t)instructions;
    *slot = block;
    state.block_count++;
    return block;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *translated)
{
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(translated);
    struct qemu_plugin_insn *const last = qemu_plugin_tb_get_insn(translated, count - 1);
    struct block *const block = find_block(qemu_plugin_tb_vaddr(translated), end_of(last), count);
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_block, QEMU_PLUGIN_CB_NO_REGS, block);
    for (size_t index = 0; index < count; index++) {
        struct qemu_plugin_insn *const instruction = qemu_plugin_tb_get_insn(translated, index);
        if (state.memory) {
            qemu_plugin_register_vcpu_mem_cb(instruction, on_memory, QEMU_PLUGIN_CB_NO_REGS,
                                             QEMU_PLUGIN_MEM_RW, NULL);
        }
        if (contains(state.code, qemu_plugin_insn_vaddr(instruction))) {
            qemu_plugin_register_vcpu_mem_cb(instruction, on_mark, QEMU_PLUGIN_CB_NO_REGS,
                                             QEMU_PLUGIN_MEM_W, NULL);
        }
    }
}

static int compare_blocks(const void *left, const void *right)
{
    const struct block *const a = *(struct block *const *)left;
    const struct block *const b = *(struct block *const *)right;
    if (a->start != b->start) {
        return a->start < b->start ? -1 : 1;
    }
    return (a->end > b->end) - (a->end < b->end);
}

/* All blocks by ascending address, so that equal runs give equal files. */
static struct block **sorted_blocks(void)
{
    struct block **const blocks = calloc(state.block_count + 1, sizeof *blocks);
    size_t count = 0;
    for (size_t slot = 0; blocks && slot < TABLE_SIZE; slot++) {
        for (struct block *block = state.table[slot]; block; block = block->next) {
            blocks[count++] = block;
        }
    }
    if (blocks) {
        qsort(blocks, count, sizeof *blocks, compare_blocks);
    }
    return blocks;
}

static void write_blocks(FILE *file, struct block *const *blocks, uint64_t *instructions)
{
    for (; *blocks; blocks++) {
        const struct block *const block = *blocks;
        for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
            const uint64_t executions = block->executions[bucket];
            if (executions) {
                fprintf(file,
                        "block %" PRIx64 " %" PRIx64 " %" PRIu32 " %u %" PRIu64 " %" PRIu64 "\n",
                        block->start, block->end, block->instructions, bucket, executions,
                        block->taken[bucket]);
            }
            instructions[bucket] += executions * block->instructions;
        }
    }
}

/* The stored addresses of a bucket as ranges that do not meet, ascending. */
static void write_touched(FILE *file, unsigned index)
{
    const uint8_t *const touched = state.buckets[index].touched;
    const uint64_t bytes = touched ? state.touch.high - state.touch.low : 0;
    for (uint64_t at = 0; at < bytes; at++) {
        if (touched[at]) {
            const uint64_t first = at;
            while (at < bytes && touched[at]) {
                at++;
            }
            fprintf(file, "touch %u %" PRIx64 " %" PRIx64 "\n", index, state.touch.low + first,
                    state.touch.low + at);
        }
    }
}

static void write_buckets(FILE *file, const uint64_t *instructions)
{
    uint64_t total = 0;
    for (unsigned index = 0; index < BUCKETS; index++) {
        const struct bucket *const bucket = &state.buckets[index];
        total += instructions[index];
        if (instructions[index]) {
            fprintf(file,
                    "bucket %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
                    " %" PRIu64 "\n",
                    index, instructions[index], bucket->loads, bucket->load_bytes, bucket->stores,
                    bucket->store_bytes, bucket->flash_reads, bucket->flash_misses);
            write_touched(file, index);
        }
    }
    const uint64_t lowest = state.stack_lowest == UINT64_MAX ? 0 : state.stack_lowest;
    fprintf(file, "end %" PRIu64 " %" PRIx64 " %d\n", total, lowest, state.several_cpus);
}

static void on_exit_write(qemu_plugin_id_t id, void *context)
{
    (void)id, (void)context;
    uint64_t instructions[BUCKETS] = {0};
    struct block **const blocks = sorted_blocks();
    FILE *const file = fopen(state.out, "w");
    if (!file || !blocks) {
        fprintf(stderr, "count: cannot write %s\n", state.out);
        return;
    }
    fprintf(file, "repedge-count 2\n");
    write_blocks(file, blocks, instructions);
    write_buckets(file, instructions);
    if (fclose(file) != 0) {
        fprintf(stderr, "count: %s is not whole\n", state.out);
    }
    free(blocks);
}

static bool parse_range(const char *text, struct range *range)
{
    char *end;
    range->low = strtoull(text, &end, 16);
    if (*end != ':') {
        return false;
    }
    range->high = strtoull(end + 1, &end, 16);
    return *end == '\0' && range->high > range->low;
}

static bool parse_count(const char *text, unsigned *count, unsigned high)
{
    char *end;
    const unsigned long long value = strtoull(text, &end, 16);
    *count = (unsigned)value;
    return *end == '\0' && end != text && value <= high;
}

static bool parse_option(const char *option)
{
    static const struct {
        const char *name;
        struct range *range;
    } ranges[] = {{"marks=", &state.marks},
                  {"code=", &state.code},
                  {"flash=", &state.flash},
                  {"stack=", &state.stack},
                  {"touch=", &state.touch}};
    for (size_t index = 0; index < sizeof ranges / sizeof ranges[0]; index++) {
        const size_t length = strlen(ranges[index].name);
        if (strncmp(option, ranges[index].name, length) == 0) {
            return parse_range(option + length, ranges[index].range);
        }
    }
    if (strncmp(option, "line=", 5) == 0) {
        return parse_count(option + 5, &state.line_bytes, 1u << 16) && state.line_bytes;
    }
    if (strncmp(option, "lines=", 6) == 0) {
        return parse_count(option + 6, &state.lines, LINES_MAX);
    }
    if (strncmp(option, "out=", 4) == 0) {
        state.out = strdup(option + 4);
        return state.out != NULL;
    }
    state.memory = strcmp(option, "memory=on") == 0;
    return state.memory;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                           char **argv)
{
    state.line_bytes = 16;
    state.bucket = OUTSIDE;
    state.stack_lowest = UINT64_MAX;
    for (int index = 0; index < argc; index++) {
        if (!parse_option(argv[index])) {
            fprintf(stderr, "count: option %s is not one of count.c's\n", argv[index]);
            return -1;
        }
    }
    const bool marks_fit = state.marks.high - state.marks.low <= BUCKETS * sizeof(uint32_t);
    if (!state.out || !marks_fit || (state.marks.high != 0) != (state.code.high != 0)) {
        fprintf(
            stderr,
            "count: out= is missing, marks= is wrong, or marks= and code= are not both given\n");
        return -1;
    }
    state.memory = state.memory || state.flash.high || state.stack.high || state.touch.high;
    state.thumb = info->system_emulation && strcmp(info->target_name, "arm") == 0;
    state.marked = state.marks.high == 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit_write, NULL);
    return 0;
}
