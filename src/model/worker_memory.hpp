// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace amp4ec::detail {

/// Sets malloc up for a process that only runs segments; never called in a host's. Activations are large and
/// short-lived: without this, malloc returns them to the kernel after each request and faults them in again (3-4 ms
/// instead of 1.2 for a 4.8 MB tensor).
void keep_freed_memory();

/// While it lives, large allocations are mappings of their own, which go back to the kernel when freed: for weights,
/// which LibTorch copies several times while it optimises. Only where `keep_freed_memory` was called.
class ReturnFreedMemory {
 public:
  ReturnFreedMemory();
  ReturnFreedMemory(const ReturnFreedMemory&) = delete;
  ReturnFreedMemory& operator=(const ReturnFreedMemory&) = delete;
  ~ReturnFreedMemory();
};

}  // namespace amp4ec::detail
