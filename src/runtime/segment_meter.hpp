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
  Bytes memory;  ///< Highest charge of the group of its worker; 0 where no group counts, and in other measurements.
};

/// Measures segments one after the other, in workers that run nowhere else and under no limit. The first measurement of
/// a segment includes the search for its fastest form, which the later ones take. The second is done in a worker of its
/// own and tells its memory. Borrows what it is made of.
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

  /// The form that was found; empty where there was nothing to search.
  [[nodiscard]] const std::string& found_form(std::size_t first, std::size_t last) const {
    return known_.at({first, last}).form;
  }

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
  struct Known {
    std::size_t measurements = 0;
    std::string form;
  };
  std::unique_ptr<StageWorker> shared_;                         ///< For all measurements but the second.
  std::map<std::pair<std::size_t, std::size_t>, Known> known_;  ///< By first and last layer.
};

}  // namespace amp4ec::detail
