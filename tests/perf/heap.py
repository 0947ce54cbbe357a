"""`peak_memory` beside an independent count: a hook of our own under LD_PRELOAD.

    python tests/perf/heap.py [MODEL,T,B,H,MODE …]

Compiles a C library that counts `malloc_usable_size` of every block (needs gcc), runs one step of
each case in a process under it and measures the case in a process without, and prints both, their
difference, and the time that each took, with `tensor_memory` for comparison.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = [
    *("lstm_cell,4096,1,16,train", "lstm_cell,512,1,64,train", "lstm,512,1,64,train"),
    *("gru,512,1,64,train", "tcn,512,1,64,train", "conv,512,1,64,train"),
    *("lstm_cell,512,1,64,infer", "lstm,512,1,64,infer", "gru,512,1,64,infer"),
    *("tcn,512,1,64,infer", "conv,512,1,64,infer", "lstm,512,32,64,train", "conv,64,1,32,infer"),
]
HOOK = r"""
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), __libc_free(void *);
#define SLOTS (1u << 23)
static struct { uintptr_t block; size_t size; } *table;   /* size + 1 of blocks that are live */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int counting;
static long live, peak;

static size_t slot(uintptr_t block)
{
    size_t i = (block >> 4) * 0x9E3779B97F4A7C15ull >> 41;
    while (table[i].block && table[i].block != block) i = (i + 1) & (SLOTS - 1);
    return i;
}
static void *took(void *block)
{
    if (!counting || !block) return block;
    pthread_mutex_lock(&lock);
    size_t i = slot((uintptr_t)block), size = malloc_usable_size(block);
    table[i].block = (uintptr_t)block;
    table[i].size = size + 1;
    live += size;
    if (live > peak) peak = live;
    pthread_mutex_unlock(&lock);
    return block;
}
static void gave(void *block)
{
    if (!counting || !block) return;
    pthread_mutex_lock(&lock);
    size_t i = slot((uintptr_t)block);
    if (table[i].block && table[i].size) { live -= table[i].size - 1; table[i].size = 0; }
    pthread_mutex_unlock(&lock);
}
void *malloc(size_t n) { return took(__libc_malloc(n)); }
void *calloc(size_t n, size_t m) { return took(__libc_calloc(n, m)); }
void *realloc(void *old, size_t n) { gave(old); return took(__libc_realloc(old, n)); }
void *memalign(size_t a, size_t n) { return took(__libc_memalign(a, n)); }
void *aligned_alloc(size_t a, size_t n) { return memalign(a, n); }
int posix_memalign(void **out, size_t a, size_t n)
{
    void *block = memalign(a, n);
    if (!block) return 12;
    *out = block;
    return 0;
}
void free(void *block) { gave(block); __libc_free(block); }
void hook_start(void)
{
    table = mmap(0, SLOTS * sizeof *table, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    live = peak = 0;
    counting = 1;
}
long hook_stop(void) { counting = 0; return peak; }
"""
CHILD = """
import ctypes, gc, json, sys, time
from benchsuite.grid.case import Case
model, T, B, H, mode = sys.argv[2].split(",")
case = Case(model=model, seq_len=int(T), batch_size=int(B), hidden_size=int(H), mode=mode)
began = time.perf_counter()
if sys.argv[1] == "hook":
    from benchsuite.runtime.workload import prepare
    step = prepare(case).step
    step(); step()
    gc.collect(); gc.disable()
    hook = ctypes.CDLL(None)
    hook.hook_stop.restype = ctypes.c_long
    hook.hook_start()
    step()
    value = hook.hook_stop()
else:
    from benchsuite import measure
    began = time.perf_counter()
    value = measure(case, sys.argv[1]).value
print(json.dumps([value, time.perf_counter() - began]))
"""


def run(what: str, case: str, hook: Path) -> tuple[float, float]:
    preload = {"LD_PRELOAD": str(hook)} if what == "hook" else {}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, what, case],
        env={**os.environ, **preload},
        capture_output=True,
        text=True,
        check=True,
    )
    value, seconds = json.loads(done.stdout)
    return value, seconds


def main() -> None:
    compiler = shutil.which("gcc") or sys.exit("needs gcc")
    with tempfile.TemporaryDirectory() as directory:
        source, hook = Path(directory, "hook.c"), Path(directory, "hook.so")
        source.write_text(HOOK, "ascii")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", hook, source], check=True)
        print(
            f"{'case':28}{'hook, B':>14}{'peak_memory':>14}{'apart':>9}{'tensors':>13}{'took':>8}"
        )
        worst = 0.0
        for case in sys.argv[1:] or CASES:
            counted, _ = run("hook", case, hook)
            peak, seconds = run("peak_memory", case, hook)
            tensors, _ = run("tensor_memory", case, hook)
            apart = peak / counted - 1
            worst = max(worst, abs(apart))
            print(
                f"{case:28}{counted:14,.0f}{peak:14,.0f}{apart:9.2%}{tensors:13,.0f}{seconds:7.1f}s"
            )
        print(f"largest difference {worst:.2%}")


if __name__ == "__main__":
    main()
