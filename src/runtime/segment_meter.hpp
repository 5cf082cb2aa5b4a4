// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/stage_worker.hpp"

#include <amp4ec/model/model.hpp>

#include <cstddef>

namespace amp4ec::detail {

/// What one segment was measured to need, alone on a CPU.
struct Need {
  double us = 0;
  double spread = 0;
  Bytes memory;  ///< Highest charge of the group of its worker; 0 where no group counts.
};

/// Measures segments one after the other, each in a worker of its own, which runs nowhere else and under no limit.
/// Borrows what it is made of.
class SegmentMeter {
 public:
  SegmentMeter(RuntimeState& runtime, const Model& model, Form form, const ProfileOptions& options)
      : runtime_(runtime), model_(model), form_(form), options_(options) {}

  /// `outputs`: where its result goes, or null. @error as Runtime::profile.
  Result<Need> measure(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs,
                       const ipc::MemoryFile* outputs = nullptr);

  /// What the last worker had for itself before it loaded a segment.
  [[nodiscard]] Bytes base_memory() const { return base_memory_; }

 private:
  RuntimeState& runtime_;
  const Model& model_;
  Form form_;
  const ProfileOptions& options_;
  Bytes base_memory_;
};

}  // namespace amp4ec::detail
