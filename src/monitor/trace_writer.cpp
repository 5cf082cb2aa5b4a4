// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/monitor/trace_writer.hpp>

#include "monitor/event_file.hpp"

#include <amp4ec/monitor/detail/utf8.hpp>

#include <fmt/format.h>
#include <boost/json/serialize.hpp>
#include <boost/json/string_view.hpp>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace amp4ec {
namespace {

using Time = std::chrono::steady_clock::time_point;

constexpr std::uint32_t requests_process = 1;  // 0 is the idle process, to Perfetto

std::string quoted(std::string_view text) {
  return boost::json::serialize(boost::json::string_view(detail::valid_utf8(text)));
}

/// Nanoseconds as the format's microseconds, exactly.
std::string micros(std::chrono::nanoseconds time) {
  const std::int64_t ns = std::max<std::int64_t>(time.count(), 0);
  return fmt::format("{}.{:03}", ns / 1000, ns % 1000);
}

std::string micros(Time time) {
  return micros(std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()));
}

/// JSON has no form for infinity and NaN.
double finite(double value) {
  return std::isfinite(value) ? value : 0;
}

}  // namespace

struct TraceWriter::State {
  explicit State(detail::EventFile opened) : file(std::move(opened)) {}

  struct Process {
    std::uint32_t id = 0;
    std::map<std::string, std::uint32_t, std::less<>> threads;
  };

  mutable std::mutex mutex;  ///< Guards everything below.
  detail::EventFile file;
  std::map<std::string, Process, std::less<>> processes;
  std::string text;  ///< Of the events of one `add`; kept for its memory.

  /// `amount` events are in `text`.
  Result<void> write(std::uint64_t amount) {
    auto written = file.add(text, amount);
    text.clear();
    return written;
  }

  template <class... Args>
  void event(fmt::format_string<Args...> format, Args&&... args) {
    if (!text.empty()) text += ",\n";
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
  }

  void name(std::string_view what, std::uint32_t process, std::uint32_t thread, std::string_view name) {
    event(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{"name":{}}}}})", what, process, thread, quoted(name));
  }

  Process& process_of(std::string_view node) {
    auto found = processes.find(node);
    if (found == processes.end()) {
      found = processes.emplace(std::string(node), Process{}).first;
      found->second.id = requests_process + static_cast<std::uint32_t>(processes.size());
      name("process_name", found->second.id, 1, node);
    }
    return found->second;
  }

  static std::pair<std::uint32_t, bool> thread_of(Process& process, std::string_view worker) {
    if (const auto found = process.threads.find(worker); found != process.threads.end()) return {found->second, false};
    const auto id = static_cast<std::uint32_t>(process.threads.size() + 1);
    process.threads.emplace(std::string(worker), id);
    return {id, true};
  }
};

Result<TraceWriter> TraceWriter::create(const std::filesystem::path& path) {
  auto file = detail::EventFile::create(path);
  if (!file) return file.error();
  auto state = std::make_unique<State>(std::move(*file));
  state->name("process_name", requests_process, 1, "requests");
  if (auto written = state->write(1); !written) return written.error();
  return TraceWriter(std::move(state));
}

Result<void> TraceWriter::add(const TraceStage& stage) {
  const std::lock_guard lock(state_->mutex);
  State::Process& process = state_->process_of(stage.node);
  const auto [thread, is_new] = State::thread_of(process, stage.worker);
  if (is_new) state_->name("thread_name", process.id, thread, stage.worker);
  const auto begin = micros(stage.begin);
  const auto lasted = std::max(Time::duration::zero(), stage.end - stage.begin);
  state_->event(
      R"({{"ph":"X","cat":"stage","name":{},"pid":{},"tid":{},"ts":{},"dur":{},"args":{{"request":{},"stage":{}}}}})",
      quoted(stage.name), process.id, thread, begin, micros(lasted), stage.request, stage.stage);
  if (stage.stages > 1) {
    // An arrow's points belong to the slice that encloses them.
    const char phase = stage.stage == 0 ? 's' : (stage.stage + 1 < stage.stages ? 't' : 'f');
    state_->event(R"({{"ph":"{}","bp":"e","cat":"route","name":"route","id":{},"pid":{},"tid":{},"ts":{}}})", phase,
                  stage.request, process.id, thread, begin);
  }
  return state_->write(1);
}

Result<void> TraceWriter::add(const TraceRequest& request) {
  const std::lock_guard lock(state_->mutex);
  const auto end = std::max(request.begin, request.end);
  const auto half = [&](char phase, Time time, const std::string& arguments) {
    state_->event(R"({{"ph":"{}","cat":"request","name":"request","id":{},"pid":{},"tid":1,"ts":{},"args":{{{}}}}})",
                  phase, request.request, requests_process, micros(time), arguments);
  };
  // Both at once: whatever becomes of the process, every beginning in the file has its end.
  half('b', request.begin, "");
  half('e', end, request.error.empty() ? "" : "\"error\":" + quoted(request.error));
  return state_->write(1);
}

Result<void> TraceWriter::add(const Sample& sample) {
  const std::lock_guard lock(state_->mutex);
  const std::uint32_t process = state_->process_of(sample.node).id;
  const auto time = micros(sample.time);
  const auto counter = [&](std::string_view name, const std::string& values) {
    state_->event(R"({{"ph":"C","name":"{}","pid":{},"tid":1,"ts":{},"args":{{{}}}}})", name, process, time, values);
  };
  // A counter's values are stacked on one another, so each figure that is no part of a whole has a counter of its own.
  if (sample.cpu_known) counter("CPUs", fmt::format("\"used\":{}", finite(sample.cpu_used.count)));
  if (sample.resources_known) counter("throttled", fmt::format("\"share\":{}", finite(sample.throttled)));
  if (sample.memory_known) counter("memory (bytes)", fmt::format("\"used\":{}", sample.memory.count));
  counter("queue (requests)", fmt::format("\"waiting\":{}", sample.queue_depth));
  return state_->write(1);
}

Result<void> TraceWriter::close() {
  const std::lock_guard lock(state_->mutex);
  return state_->file.close();
}

std::uint64_t TraceWriter::dropped() const {
  const std::lock_guard lock(state_->mutex);
  return state_->file.dropped();
}

TraceWriter::TraceWriter(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
TraceWriter::TraceWriter(TraceWriter&& other) noexcept = default;

TraceWriter& TraceWriter::operator=(TraceWriter&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

TraceWriter::~TraceWriter() {
  if (state_) (void)close();
}

}  // namespace amp4ec
