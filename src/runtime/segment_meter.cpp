// SPDX-License-Identifier: Apache-2.0
#include "runtime/segment_meter.hpp"

#include <algorithm>
#include <thread>
#include <vector>

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

// Alone and together take turns: a machine changes its speed meanwhile. CPU time is compared, since others may want the
// CPUs as well.
constexpr std::size_t turns = 5;
constexpr double turn_s = 0.2;
constexpr std::size_t least_runs = 3;

}  // namespace

Result<Need> SegmentMeter::measure(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs,
                                   const ipc::MemoryFile* outputs) {
  Known& known = known_[{first, last}];
  auto segment = model_.segment(first, last);
  if (!segment) return segment.error();
  std::unique_ptr<StageWorker> own;
  std::unique_ptr<StageWorker>& place = known.measurements == 1 ? own : shared_;
  if (!place) {
    auto started = StageWorker::start(runtime_, nullptr, 0);
    if (!started) return started.error();
    place = std::move(*started);
  }
  StageWorker& worker = *place;
  if (auto loaded = load(worker, *segment, known.form); !loaded) return loaded.error();
  if (auto sent = worker.begin_measure(inputs, {warm_runs, options_.runs, 0}, outputs); !sent) return sent.error();
  const auto measured = worker.finish_measure(options_.timeout);
  if (!measured) return measured.error();
  if (known.measurements++ == 0) {
    auto found = worker.find_chosen_form();
    if (!found) return found.error();
    // One that the runtime had learned the form of has not searched.
    const unsigned threads = RuntimeState::threads_on(nullptr);
    known.form = found->empty() ? runtime_.segments().form_of(*segment, threads) : std::move(*found);
  }
  if (!own) return Need{measured->median_us, measured->spread, {}};
  base_memory_ = worker.base_memory();
  return Need{measured->median_us, measured->spread, peak_of(worker)};
}

Result<Contention> SegmentMeter::contention(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs) {
  auto segment = model_.segment(first, last);
  if (!segment) return segment.error();
  const std::size_t cpus = std::min<std::size_t>(std::thread::hardware_concurrency(), most_contenders);
  std::vector<std::unique_ptr<StageWorker>> workers;
  while (workers.size() < cpus) {
    auto worker = StageWorker::start(runtime_, nullptr, 0);
    if (!worker || !load(**worker, *segment, known_[{first, last}].form)) break;  // No memory for one more.
    workers.push_back(std::move(*worker));
  }
  if (workers.size() < 2) return Contention{};
  std::vector<double> ratios;
  for (std::size_t turn = 0; turn < turns; ++turn) {
    const auto alone = cpu_us({workers.data(), 1}, inputs);
    if (!alone) return alone.error();
    const auto all = cpu_us(workers, inputs);
    if (!all) return all.error();
    ratios.push_back(*all / *alone);
  }
  std::ranges::nth_element(ratios, ratios.begin() + turns / 2);
  return Contention{workers.size(), std::max(1.0, ratios[turns / 2])};
}

Result<void> SegmentMeter::load(StageWorker& worker, const Segment& segment, const std::string& chosen) {
  if (auto sent = worker.begin_load(segment, form_, chosen); !sent) return sent;
  return worker.finish_load(options_.timeout);
}

Result<double> SegmentMeter::cpu_us(std::span<const std::unique_ptr<StageWorker>> workers,
                                    const ipc::MemoryFile& inputs) {
  for (const auto& worker : workers) {
    if (auto sent = worker->begin_measure(inputs, {1, least_runs, turn_s}); !sent) return sent.error();
  }
  double sum_us = 0;
  for (const auto& worker : workers) {
    const auto measured = worker->finish_measure(options_.timeout);
    if (!measured) return measured.error();
    sum_us += measured->cpu_us;
  }
  return sum_us / static_cast<double>(workers.size());
}

}  // namespace amp4ec::detail
