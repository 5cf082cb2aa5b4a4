// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/runtime/probe.hpp>

#include "runtime/stage_worker.hpp"
#include "runtime/worker_process.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>
#include <vector>

#include <fcntl.h>

namespace amp4ec {

namespace fs = std::filesystem;

class Probe::Process {
 public:
  static Result<std::unique_ptr<Process>> start(ProbeOptions options) {
    auto executable = detail::find_worker(options.worker_executable);
    if (!executable) return executable.error();
    std::unique_ptr<Process> process(new Process(*executable, std::move(options)));
    auto worker = detail::WorkerProcess::start(process->server_, nullptr);
    if (!worker) return worker.error();
    if (auto known = detail::teach_operators(*worker); !known) return known.error();
    process->worker_.emplace(std::move(*worker));
    return process;
  }

  Result<void> check(const fs::path& file, const Values* example) {
    std::error_code failed;
    if (fs::is_directory(file, failed))
      return Error{Errc::FileNotFound, fmt::format("'{}' is a folder", file.string())};
    const ipc::UniqueFd fd(
        ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // Must not wait for a pipe's writer.
    if (!fd) return Error{Errc::FileNotFound, fmt::format("cannot read '{}': {}", file.string(), std::strerror(errno))};
    const auto size = fs::file_size(file, failed);
    if (failed || !fs::is_regular_file(file, failed))
      return Error{Errc::NotTorchScript, fmt::format("'{}' is not a plain file", file.string())};

    std::vector<int> fds{fd.get()};
    std::optional<ipc::MemoryFile> values;
    if (example != nullptr) {
      auto shared = detail::share_values(*example);
      if (!shared) return shared.error();
      values.emplace(std::move(*shared));
      fds.push_back(values->fd());
    }
    const Bytes memory = options_.memory.count != 0 ? options_.memory : 512_MiB + Bytes{6 * size};
    constexpr std::chrono::seconds grace{10};  // The process itself keeps the time.
    auto done = worker_->call({{"op", "probe"},
                               {"file", file.string()},
                               {"memory_bytes", memory.count},
                               {"timeout_ms", options_.timeout.count()}},
                              fds, options_.timeout + grace);
    if (!done) return done.error();
    return {};
  }

 private:
  Process(const fs::path& executable, ProbeOptions options) : server_(executable, 1), options_(std::move(options)) {}

  detail::ForkServer server_;
  std::optional<detail::WorkerProcess> worker_;
  ProbeOptions options_;
};

Probe::Probe(std::unique_ptr<Process> process) : process_(std::move(process)) {}
Probe::Probe(Probe&&) noexcept = default;
Probe& Probe::operator=(Probe&&) noexcept = default;
Probe::~Probe() = default;

Result<Probe> Probe::start(ProbeOptions options) {
  auto process = Process::start(std::move(options));
  if (!process) return process.error();
  return Probe(std::move(*process));
}

Result<void> Probe::check(const fs::path& file, const Values* example) {
  return process_->check(file, example);
}

Result<Model> load_untrusted(const fs::path& file, const Values* example, const ProbeOptions& options) {
  auto probe = Probe::start(options);
  if (!probe) return probe.error();
  if (auto sound = probe->check(file, example); !sound) return sound.error();
  return Model::load(file);
}

}  // namespace amp4ec
