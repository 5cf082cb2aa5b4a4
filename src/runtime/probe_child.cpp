// SPDX-License-Identifier: Apache-2.0
#include "runtime/probe_child.hpp"

#include "model/tensor_bounds.hpp"
#include "model/wire.hpp"
#include "runtime/control_protocol.hpp"

#include <amp4ec/ipc/memory_file.hpp>
#include <amp4ec/model/model.hpp>
#include <amp4ec/model/segment_executor.hpp>

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace amp4ec::detail {

namespace {

// -- in the child ----------------------------------------------------------------------------------------------------

/// What the child is at, for the sentence about its end: a letter in the pipe each.
constexpr std::array<std::pair<char, std::string_view>, 3> steps = {
    {{'L', "loading it"}, {'R', "running it"}, {'O', "optimising it"}}};
constexpr char verdict_follows = '=';

void say(int out, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(out, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) ::_exit(1);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

/// Private memory of this process so far: LibTorch's own, which the limit comes on top of.
std::uint64_t data_size() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmData:", 0) == 0) return std::strtoull(line.c_str() + 7, nullptr, 10) * 1024;
  }
  return 0;
}

void set_limits(const ProbeRequest& request) {
  const rlim_t memory = data_size() + request.memory.count;
  const rlimit data{memory, memory};
  ::setrlimit(RLIMIT_DATA, &data);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::setrlimit(RLIMIT_FSIZE, &none);
  const rlim_t seconds = static_cast<rlim_t>(request.timeout.count() / 1000) + 1;
  const rlimit cpu{seconds * 4, seconds * 4};
  ::setrlimit(RLIMIT_CPU, &cpu);
}

Result<void> run_model(const Model& model, int example, int out) {
  auto file = ipc::MemoryFile::adopt(ipc::UniqueFd(::dup(example)));
  if (!file) return file.error();
  auto message = file->map_read_only();
  if (!message) return message.error();
  auto inputs = decode_copy(message->bytes());
  if (!inputs) return inputs.error();
  say(out, "R");
  auto graph = model.layer_graph(*inputs);
  if (!graph) return graph.error();
  auto checked = model.check_inputs(*inputs);
  if (!checked) return checked.error();
  auto reference = model.reference_executor();
  if (!reference) return reference.error();
  if (auto answer = (*reference)->run(*checked); !answer) return answer.error();
  say(out, "O");
  auto whole = model.segment(0, model.layer_count() - 1);
  if (!whole) return whole.error();
  auto optimized = make_executor(*whole, Form::Optimized);
  if (!optimized) return optimized.error();
  if (auto answer = (*optimized)->run(*checked); !answer) return answer.error();
  return {};
}

Result<void> try_model(const ProbeRequest& request, int out) {
  say(out, "L");
  auto module = load_within_bounds(fmt::format("/proc/self/fd/{}", request.file));
  if (!module) return module.error();
  auto model = Model::adopt(*module);
  if (!model) return model.error();
  if (request.example < 0) return {};
  return run_model(*model, request.example, out);
}

[[noreturn]] void be_child(const ProbeRequest& request, int out) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ::dup2(nowhere, STDOUT_FILENO);
  ::dup2(nowhere, STDERR_FILENO);  // LibTorch warns there; the host's process will do so itself.
  set_limits(request);
  const auto sound = try_model(request, out);
  say(out, fmt::format("{}{}", verdict_follows, sound ? "{}" : error_text(sound.error())));
  ::_exit(0);  // No destructors: a damaged heap must not speak after the verdict.
}

// -- in its parent ---------------------------------------------------------------------------------------------------

std::string_view step_of(std::string_view said) {
  for (const auto& [letter, step] : steps) {
    if (!said.empty() && said.back() == letter) return step;
  }
  return "starting";
}

Error describe(const ProbeRequest& request, std::string_view said, int status, bool late) {
  const std::string_view step = step_of(said);
  if (late) {
    return {Errc::ModelCorrupt, fmt::format("'{}' was given up after {} s: LibTorch had not done with {}; raise the "
                                            "probe's time-out if the file is sound",
                                            request.name, request.timeout.count() / 1000, step)};
  }
  const std::string end = WIFSIGNALED(status)
                              ? fmt::format("signal {}, {}", WTERMSIG(status), strsignal(WTERMSIG(status)))
                              : fmt::format("status {}", WEXITSTATUS(status));
  return {
      Errc::ModelCorrupt,
      fmt::format("'{}' is damaged: it ends the process that is {} ({}; it may use {}); take another copy of the file",
                  request.name, step, end, format_bytes(request.memory))};
}

/// Reads until the child closes its end. False when the time is over first.
bool read_until(int in, std::chrono::steady_clock::time_point deadline, std::string& said) {
  std::array<char, 4096> buffer{};
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd wait{in, POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(left.count())) <= 0) continue;
    const ssize_t size = ::read(in, buffer.data(), buffer.size());
    if (size == 0) return true;
    if (size > 0) said.append(buffer.data(), static_cast<std::size_t>(size));
  }
}

}  // namespace

Result<void> probe_in_child(const ProbeRequest& request) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) < 0)
    return Error{Errc::SystemCall, fmt::format("pipe2: {}", std::strerror(errno))};
  ipc::UniqueFd in(pipe[0]);
  ipc::UniqueFd out(pipe[1]);
  const pid_t child = ::fork();
  if (child < 0) return Error{Errc::SystemCall, fmt::format("fork of a probe: {}", std::strerror(errno))};
  if (child == 0) be_child(request, out.get());
  out = ipc::UniqueFd();

  std::string said;
  const bool ended = read_until(in.get(), std::chrono::steady_clock::now() + request.timeout, said);
  ::kill(child, SIGKILL);  // Threads of the model may outlive its verdict.
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  const auto verdict = said.find(verdict_follows);
  if (verdict == std::string::npos) return describe(request, said, status, !ended);
  const std::string text = said.substr(verdict + 1);
  if (text == "{}") return {};
  Error error = parse_error(text);
  // The child knows the file by its descriptor.
  const std::string inside = fmt::format("/proc/self/fd/{}", request.file);
  if (const auto at = error.message.find(inside); at != std::string::npos)
    error.message.replace(at, inside.size(), request.name);
  return error;
}

}  // namespace amp4ec::detail
