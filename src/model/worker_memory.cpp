// SPDX-License-Identifier: Apache-2.0
#include "model/worker_memory.hpp"

#include <atomic>

#include <malloc.h>

namespace amp4ec::detail {

namespace {

constexpr int never = 1 << 30;
constexpr int usual = 128 << 10;  // malloc's own default

std::atomic<bool> kept = false;

}  // namespace

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, never);
  mallopt(M_TRIM_THRESHOLD, never);
  kept = true;
}

ReturnFreedMemory::ReturnFreedMemory() {
  if (kept) mallopt(M_MMAP_THRESHOLD, usual);
}

ReturnFreedMemory::~ReturnFreedMemory() {
  if (kept) mallopt(M_MMAP_THRESHOLD, never);
}

}  // namespace amp4ec::detail
