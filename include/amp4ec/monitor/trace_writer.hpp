// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/monitor/sample.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

namespace amp4ec {

/// A request's stay in one worker. Texts are read during `TraceWriter::add` only.
struct TraceStage {
  std::string_view node;
  std::string_view worker;    ///< Unique on its node for as long as the trace runs, e.g. "worker-3".
  std::string_view name;      ///< What the stage does, e.g. "layers 0-41".
  std::uint64_t request = 0;  ///< Id, unique in the trace.
  std::uint32_t stage = 0;    ///< Place on the request's route, from 0.
  std::uint32_t stages = 1;   ///< Length of the route.
  std::chrono::steady_clock::time_point begin;
  std::chrono::steady_clock::time_point end;  ///< Counts as `begin` if it is earlier.
};

/// A request from its admission to its completion.
struct TraceRequest {
  std::uint64_t request = 0;
  std::chrono::steady_clock::time_point begin;
  std::chrono::steady_clock::time_point end;
  std::string_view error;  ///< Empty: it was answered.
};

/// Writes what happened to a file that Perfetto (ui.perfetto.dev) and chrome://tracing open: the JSON array form of
/// the Trace Event Format. A node is a process, a worker one of its threads; stages are slices on them, which arrows
/// join to the way of a request; requests are asynchronous slices of the process "requests"; samples are counters of
/// their node. Times are microseconds of the monotonic clock.
///
/// The file grows by whole events, about 64 KiB at a time or what came within a second, so it opens even when the
/// process dies: the format lets the closing bracket be missing. Memory: that buffer, and the names of nodes and
/// workers. Thread-safety: `add` and `close` may be called from any thread, at once; they block while the file is
/// written. Compiled: part of `amp4ec::amp4ec`.
class TraceWriter {
 public:
  /// Makes the file, or empties it. @error SystemCall; InvalidArgument for a pipe or a socket.
  static Result<TraceWriter> create(const std::filesystem::path& file);

  TraceWriter(TraceWriter&& other) noexcept;
  TraceWriter& operator=(TraceWriter&& other) noexcept;
  ~TraceWriter();  ///< Closes.

  /// Once writing fails (a full disk, RLIMIT_FSIZE), what was written whole stays and everything after is dropped: one
  /// call returns the error, later ones succeed and do nothing. After `close`, nothing is written. @error SystemCall.
  Result<void> add(const TraceStage& stage);
  Result<void> add(const TraceRequest& request);
  Result<void> add(const Sample& sample);

  /// Ends the file, which is then valid JSON. Again: without effect. @error SystemCall, unless `add` has told it.
  Result<void> close();

  /// Events that did not get into the file because writing failed.
  [[nodiscard]] std::uint64_t dropped() const;

 private:
  struct State;
  explicit TraceWriter(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace amp4ec
