// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/stage_worker.hpp"

#include <amp4ec/model/model.hpp>

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace amp4ec::detail {

/// What one segment was measured to need, alone on a CPU.
struct Need {
  double us = 0;
  double spread = 0;
  Bytes memory;  ///< Highest charge of the group of its worker; 0 where no group counts, and in later measurements.
};

/// Measures segments one after the other, each in a worker of its own, which runs nowhere else and under no limit. The
/// first measurement of a segment includes the search for its fastest form, and so all the memory that a session's
/// first worker needs; later ones take the form that was found. Borrows what it is made of.
class SegmentMeter {
 public:
  SegmentMeter(RuntimeState& runtime, const Model& model, Form form, const ProfileOptions& options)
      : runtime_(runtime), model_(model), form_(form), options_(options) {}

  /// `outputs`: where its result goes, or null. @error as Runtime::profile.
  Result<Need> measure(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs,
                       const ipc::MemoryFile* outputs = nullptr);

  /// How much longer a segment takes while every CPU runs it, with a worker for each CPU, but at most
  /// `most_contenders` and as many as there is memory for. For a segment that was measured before.
  Result<Contention> contention(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs);

  /// What the last worker had for itself before it loaded a segment.
  [[nodiscard]] Bytes base_memory() const { return base_memory_; }

 private:
  static constexpr std::size_t most_contenders = 8;

  /// Loads a segment, in this form if one was found.
  Result<void> load(StageWorker& worker, const Segment& segment, const std::string& chosen);
  /// CPU time that a run takes on average while these workers run the segment at once.
  Result<double> cpu_us(std::span<const std::unique_ptr<StageWorker>> workers, const ipc::MemoryFile& inputs);

  RuntimeState& runtime_;
  const Model& model_;
  Form form_;
  const ProfileOptions& options_;
  Bytes base_memory_;
  std::unique_ptr<StageWorker> timing_;                                ///< For later measurements.
  std::map<std::pair<std::size_t, std::size_t>, std::string> chosen_;  ///< The form found, by first and last layer.
};

}  // namespace amp4ec::detail
