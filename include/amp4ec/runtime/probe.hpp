// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/core/units.hpp>
#include <amp4ec/model/model.hpp>
#include <amp4ec/model/value.hpp>

#include <chrono>
#include <filesystem>
#include <memory>

namespace amp4ec {

struct ProbeOptions {
  Bytes memory;  ///< That one probe may use for itself; 0: 512 MiB and six times the size of the file.
  std::chrono::milliseconds timeout{120'000};  ///< For one probe.
  std::filesystem::path worker_executable;     ///< As in RuntimeOptions.
};

/// Tries files that nobody vouches for. LibTorch's loader trusts what it reads: a damaged or hostile file can crash it,
/// make it allocate all memory or never return. A probe does it first, in a process of its own that may use so much
/// memory and time; what happens to that process is an error here. Loading a file that passed gives what LibTorch
/// gives. A move-only handle with one process, which forks another for each file: the first probe takes most of a
/// second, later ones some 10 ms and the work itself. Not thread-safe.
class Probe {
 public:
  /// @error WorkerNotFound, SystemCall.
  [[nodiscard]] static Result<Probe> start(ProbeOptions options = {});

  /// Loads and lowers the file; with an example also runs it, layer by layer and as a whole in both forms. Blocking.
  /// The file must not change between probe and load.
  /// @error as Model::load; ModelCorrupt when it crashes LibTorch or asks for more memory or time than a probe has;
  /// InputMismatch and ExecutionFailed of the run.
  [[nodiscard]] Result<void> check(const std::filesystem::path& file, const Values* example = nullptr);

  Probe(Probe&&) noexcept;
  Probe& operator=(Probe&&) noexcept;
  ~Probe();

 private:
  class Process;
  explicit Probe(std::unique_ptr<Process> process);
  std::unique_ptr<Process> process_;
};

/// Model::load after a probe. @error as Probe.
[[nodiscard]] Result<Model> load_untrusted(const std::filesystem::path& file, const Values* example = nullptr,
                                           const ProbeOptions& options = {});

}  // namespace amp4ec
