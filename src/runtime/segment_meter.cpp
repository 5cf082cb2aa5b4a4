// SPDX-License-Identifier: Apache-2.0
#include "runtime/segment_meter.hpp"

namespace amp4ec::detail {

namespace {

constexpr std::size_t warm_runs = 3;  // LibTorch settles within three calls.

// What a session's worker has beside: rings, mappings of arenas, their page tables. Seen with LSTMs, whose workers peak
// at 5 MB.
constexpr Bytes for_session{256 << 10};

Bytes peak_of(const StageWorker& worker) {
  if (!worker.group()) return {};
  const auto details = worker.group()->read_details();
  return details && details->memory_peak_known ? details->memory_peak + for_session : Bytes();
}

}  // namespace

Result<Need> SegmentMeter::measure(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs,
                                   const ipc::MemoryFile* outputs) {
  std::string& chosen = chosen_[{first, last}];
  auto segment = model_.segment(first, last);
  if (!segment) return segment.error();
  std::unique_ptr<StageWorker> own;
  std::unique_ptr<StageWorker>& place = chosen.empty() ? own : timing_;
  if (!place) {
    auto started = StageWorker::start(runtime_, nullptr, 0);
    if (!started) return started.error();
    place = std::move(*started);
  }
  StageWorker& worker = *place;
  if (auto sent = worker.begin_load(*segment, form_, chosen); !sent) return sent.error();
  if (auto loaded = worker.finish_load(options_.timeout); !loaded) return loaded.error();
  if (auto sent = worker.begin_measure(inputs, {warm_runs, options_.runs, 0}, outputs); !sent) return sent.error();
  const auto measured = worker.finish_measure(options_.timeout);
  if (!measured) return measured.error();
  if (!own) return Need{measured->median_us, measured->spread, {}};
  auto found = worker.find_chosen_form();
  if (!found) return found.error();
  chosen = std::move(*found);
  base_memory_ = worker.base_memory();
  return Need{measured->median_us, measured->spread, peak_of(worker)};
}

}  // namespace amp4ec::detail
